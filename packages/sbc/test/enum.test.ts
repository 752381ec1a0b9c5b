import { type DnsRecord, writeAnswer } from '@drawbridge/sip';
import tap from 'tap';
import type { Answer, Question } from '../src/asks.js';
import { enumName } from '../src/route/enum.js';
import { substituted } from '../src/route/naptr.js';
import { answered, hangUp, type TrunkWorld, trunked } from './trunk-world.js';

tap.test('the substitution of a NAPTR record', async t => {
  for (const [rule, result] of [
    ['!^.*$!sip:info@example.com!', 'sip:info@example.com'],
    ['!^\\+49(.*)$!sip:\\1@example.com!', 'sip:30123456@example.com'],
    ['!^(\\+49)(30)(\\d+)$!sip:\\3-\\2@x.example!', 'sip:123456-30@x.example'],
    ['/^\\+4930([0-9]+)$/sip:a\\/\\1@x.example/', 'sip:a/123456@x.example'],
    ['!\\+49!sip:x@y!i', 'sip:x@y'],
    ['!^[+]4?9?30.*$!sip:ok@x!', 'sip:ok@x'],
    ['!^\\+1.*$!sip:no@x!', undefined],
    ['!^\\+49$!sip:no@x!', undefined],
    ['!^.*$!sip:\\2@x!', undefined],
    ['!^(a|b)$!sip:no@x!', undefined],
    ['!^(.)*$!sip:no@x!', undefined],
    ['!^.{3}$!sip:no@x!', undefined],
    ['!^[^0]$!sip:no@x!', undefined],
    ['!^.*$', undefined],
    ['!!!', ''],
    ['', undefined],
    [`!^${'.*'.repeat(126)}x$!sip:no@x!`, undefined],
  ] as const)
    t.equal(substituted(rule, '+4930123456'), result, rule.slice(0, 40));
  const began = process.cpuUsage();
  for (let i = 0; i < 200; i++) substituted(`!^${'.*'.repeat(120)}x$!sip:no@x!`, '+493012345678901');
  const spent = process.cpuUsage(began).user / 1000;
  t.ok(spent < 2000, `two hundred adversarial rules in ${Math.round(spent)} ms`);
  t.equal(enumName('+4930123', 'E164.arpa'), '3.2.1.0.3.9.4.e164.arpa');
});

const naptr = (regexp: string, o: Partial<Extract<DnsRecord, { type: 'NAPTR' }>> = {}): DnsRecord => ({
  type: 'NAPTR',
  order: 100,
  preference: 10,
  flags: 'u',
  services: 'E2U+sip',
  regexp,
  replacement: '',
  ...o,
});

function world(
  records: readonly DnsRecord[],
  o: { silent?: boolean; ttlS?: number } = {},
): TrunkWorld & { asked: string[] } {
  const w = trunked({
    config: { enum: { public: { zone: 'e164.arpa', timeout: '2s' } } },
    routes: [{ name: 'out', when: { to: '+*' }, to: [{ enum: 'public' }, { trunk: 'carrier' }] }],
  });
  const asked: string[] = [];
  w.world.dns = (q: Question<'dns'>): Answer<'dns'> | undefined => {
    asked.push(`${q.type} ${q.name}`);
    return o.silent === true ? undefined : { message: writeAnswer(q, records, o.ttlS ?? 60) };
  };
  return { ...w, asked };
}

tap.test('a number whose address is one of ours stays here; the others go on as if nothing had been asked', async t => {
  const ours = world([
    naptr('!^.*$!sip:bob@example.org!'),
    naptr('!^.*$!sip:carol@example.org!', { order: 50, services: 'E2U+pres' }),
  ]);
  const bob = ours.world.phone('bob', { at: '198.51.100.2:6060' }).register();
  const a = ours.alice.invite('sip:030123456@example.org');
  t.same(ours.asked, ['NAPTR 6.5.4.3.2.1.0.3.9.4.e164.arpa']);
  hangUp(a, answered(a, bob));
  t.same(ours.carrier.heard(), []);
  // Known already: no second question.
  const b = ours.alice.invite('sip:030123456@example.org');
  hangUp(b, answered(b, bob));
  t.equal(ours.asked.length, 1);
  for (const records of [
    [],
    [naptr('!^.*$!sip:victim@192.0.2.66!'), naptr('!^.*$!sip:x@elsewhere.example!')],
    [naptr('!^.*$!mailto:x@example.org!')],
    [naptr('!^.*$!sip:bob@example.org!', { flags: '' })],
    [naptr('!^(.)*$!sip:bob@example.org!')],
  ]) {
    const w = world(records);
    w.world.phone('bob', { at: '198.51.100.2:6060' }).register();
    const c = w.alice.invite('sip:+4930123456@example.org');
    t.equal(w.asked.length, 1);
    t.equal(w.carrier.inbox[0]?.uri, 'sip:+4930123456@carrier.example', JSON.stringify(records).slice(0, 80));
    hangUp(c, answered(c, w.carrier));
    t.same(
      w.world.lost.filter(x => x.text.startsWith('INVITE')),
      [],
      'the DNS makes us nobody’s relay',
    );
  }
});

tap.test('order and preference decide; a number behind a number goes by trunk', async t => {
  const w = world([
    naptr('!^.*$!sip:bob@example.org!', { order: 20 }),
    naptr('!^.*$!sip:carol@example.org!', { order: 10, preference: 20 }),
    naptr('!^.*$!tel:+33123456789!', { order: 10, preference: 5 }),
  ]);
  const a = w.alice.invite('sip:+4930123456@example.org');
  t.equal(w.carrier.inbox[0]?.uri, 'sip:+33123456789@carrier.example');
  t.equal(w.asked.length, 1, 'not asked again for the number that came out');
  hangUp(a, answered(a, w.carrier));
});

tap.test('a name server that says nothing costs two seconds, and a caller who gives up nothing', async t => {
  const w = world([], { silent: true });
  const a = w.alice.invite('sip:+4930123456@example.org');
  const began = w.world.now;
  w.world.pass(10_000, () => w.carrier.inbox.length > 0);
  t.equal(w.world.now - began, 2000);
  hangUp(a, answered(a, w.carrier));
  const b = w.alice.invite('sip:+4930999999@example.org');
  b.cancel();
  t.same(w.alice.heard(), [200, 487]);
  b.send('ACK', { branch: b.branch });
  w.world.pass(60_000);
  t.same(w.carrier.heard(), []);
  t.equal(w.world.border.calls().length, 0);
  // What is no whole number has no name in the DNS.
  const asked = w.asked.length;
  const c = w.alice.invite('sip:+49301@example.org');
  hangUp(c, answered(c, w.carrier));
  t.equal(w.asked.length, asked);
});
