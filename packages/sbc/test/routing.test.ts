import { seededRandom } from '@drawbridge/core';
import { loadConfig } from '@drawbridge/service';
import { H, parseUri } from '@drawbridge/sip';
import tap from 'tap';
import { configSchema } from '../src/config.js';
import { dialledIn } from '../src/route/dialled.js';
import { toE164, written } from '../src/route/number.js';
import { matchesAny, withinTime } from '../src/route/pattern.js';
import { PrefixTable, readTariffs } from '../src/route/prefix-table.js';
import { inOrder } from '../src/route/strategy.js';
import { BORDER, BORDER_CORE } from './harness.js';
import { answered, hangUp, refused, refuses, trunked } from './trunk-world.js';

const GERMANY = { country: '49', area: '30', international: '00', national: '0', minLength: 7, maxLength: 15 };

tap.test('numbers become E.164 as they are dialled here, or stay what they are', async t => {
  for (const [dialled, number] of [
    ['+4930123456', '+4930123456'],
    ['+49-30-12.34(56)', '+4930123456'],
    ['004930123456', '+4930123456'],
    ['030123456', '+4930123456'],
    ['123456', '+4930123456'],
    ['0033123456789', '+33123456789'],
    ['1234', '+49301234'],
    ['12', undefined],
    ['+4912', undefined],
    ['+1234567890123456', undefined],
    ['+0301234567', undefined],
    ['++4930123', undefined],
    ['30+123456', undefined],
    ['alice', undefined],
    ['', undefined],
    [`+${'4'.repeat(70)}`, undefined],
  ] as const)
    t.equal(toE164(dialled, GERMANY), number, dialled.slice(0, 20));
  t.equal(toE164('123456', { ...GERMANY, area: undefined }), undefined, 'no area, no local numbers');
  t.equal(toE164('030123456', { ...GERMANY, country: undefined }), undefined, 'no country, no national numbers');
  t.equal(toE164('123456', GERMANY, '+4989'), '+4989123456', 'the context of a tel URI');
  for (const [form, text] of [
    ['e164', '+4930123456'],
    ['digits', '4930123456'],
    ['international', '004930123456'],
    ['national', '030123456'],
  ] as const)
    t.equal(written('+4930123456', form, GERMANY), text);
  t.equal(written('+33123456789', 'national', GERMANY), '0033123456789');
  t.equal(written('112', 'national', GERMANY), '112');
  for (const [uri, number] of [
    ['tel:+49-30-123456', '+4930123456'],
    ['tel:123456;phone-context=+4989', '+4989123456'],
    ['sip:123456%3Bphone-context=+4989@example.org;user=phone', '+4989123456'],
    ['sip:00%34930123456@example.org;user=phone', '+4930123456'],
  ] as const) {
    const parsed = parseUri(uri);
    t.not(parsed, undefined, uri);
    if (parsed !== undefined) t.equal(dialledIn(parsed, GERMANY).e164, number, uri);
  }
});

tap.test('patterns and times', async t => {
  t.equal(matchesAny(['+49*'], '+4930'), true);
  t.equal(matchesAny(['+49*'], '+4830'), false);
  t.equal(matchesAny(['+49'], '+4930'), false, 'without * the whole text');
  t.equal(matchesAny(['*'], undefined, 'x'), true);
  t.equal(matchesAny(['*'], undefined), false);
  t.equal(matchesAny(undefined), true);
  const at = (iso: string): number => Date.parse(iso);
  const office = { days: ['mon', 'tue'] as const, from: '08:00', to: '18:00', zone: 'Europe/Berlin' };
  t.equal(withinTime(office, at('2026-11-23T07:00:00Z')), true, 'Monday 8:00 in Berlin');
  t.equal(withinTime(office, at('2026-11-23T06:59:00Z')), false);
  t.equal(withinTime(office, at('2026-11-23T17:00:00Z')), false, '18:00 is over');
  t.equal(withinTime(office, at('2026-11-25T09:00:00Z')), false, 'Wednesday');
  t.equal(withinTime(office, at('2026-06-22T06:00:00Z')), true, 'summer time');
  const night = { days: ['fri'] as const, from: '22:00', to: '06:00', zone: 'UTC' };
  t.equal(withinTime(night, at('2026-11-27T23:00:00Z')), true);
  t.equal(withinTime(night, at('2026-11-28T05:59:00Z')), true, 'Saturday morning belongs to Friday night');
  t.equal(withinTime(night, at('2026-11-27T05:00:00Z')), false);
});

tap.test('the longest prefix decides; ten thousand are read and asked in no time', async t => {
  const table = new PrefixTable<string>();
  for (const p of ['+', '+49', '+4930', '+4930123']) table.add(p, p);
  t.same(table.longest('+49301'), ['+4930']);
  t.same(table.longest('+493012345'), ['+4930123']);
  t.same(table.longest('+1'), ['+']);
  t.equal(new PrefixTable<string>().longest('+1'), undefined);
  const random = seededRandom(11);
  const list = new Set<string>();
  while (list.size < 10_000) list.add(`+${String(random.u32()).slice(0, 2 + (random.u32() % 7))}`);
  const text = [...list].map((p, i) => `${p},${i % 2 === 0 ? 'a' : 'b'},0.0${i % 9}`).join('\n');
  const read = readTariffs(`prefix,trunk,cost\n${text}\n`, new Set(['a', 'b']));
  t.same(read.problems, []);
  t.equal(read.table.size, 10_000);
  const slow = (n: string): string | undefined => {
    for (let k = n.length; k > 0; k--) if (list.has(n.slice(0, k))) return n.slice(0, k);
    return undefined;
  };
  const plain = new PrefixTable<string>();
  for (const p of list) plain.add(p, p);
  let compared = 0;
  for (let i = 0; i < 2000; i++) {
    const number = `+${random.u32()}${random.u32()}`.slice(0, 14);
    const expected = slow(number);
    if (plain.longest(number)?.[0] !== expected) t.fail(number);
    if (expected !== undefined) compared++;
  }
  t.ok(compared > 1000, `${compared} of 2000 random numbers have a prefix`);
  t.same(readTariffs('+49,a,1\n49x,a,1\n+1,zz,1\n+2,a,-1', new Set(['a'])).problems, [
    'line 2: expected prefix,trunk,cost such as +4930,carrier,0.01',
    'line 3: there is no trunk "zz"',
    'line 4: expected prefix,trunk,cost such as +4930,carrier,0.01',
  ]);
});

tap.test('groups: priority, weights, round robin and hash', async t => {
  const member = (name: string, weight = 1, priority = 0) => ({ name, o: { weight, priority } });
  const random = seededRandom(5);
  const first = (members: ReturnType<typeof member>[], strategy: 'weighted' | 'roundRobin' | 'hash', n: number) => {
    const counts: Record<string, number> = {};
    for (let i = 0; i < n; i++) {
      const name = inOrder(members, strategy, { random, turn: i, key: `caller-${i}` })[0]?.name ?? '';
      counts[name] = (counts[name] ?? 0) + 1;
    }
    return counts;
  };
  const by = { random, turn: 1, key: 'k' };
  const backed = [member('late', 1, 9), member('a'), member('b')];
  t.same(
    inOrder(backed, 'priority', by).map(m => m.name),
    ['a', 'b', 'late'],
  );
  t.same(
    inOrder(backed, 'roundRobin', by).map(m => m.name),
    ['b', 'a', 'late'],
  );
  const weighted = first([member('a', 1), member('b', 3)], 'weighted', 4000);
  t.ok(Math.abs((weighted.b ?? 0) / 4000 - 0.75) < 0.03, `weights 1:3 give ${JSON.stringify(weighted)}, seed 5`);
  t.same(first([member('a'), member('b'), member('c')], 'roundRobin', 3000), { a: 1000, b: 1000, c: 1000 });
  const hashed = first([member('a'), member('b'), member('c', 2)], 'hash', 4000);
  t.ok(Math.abs((hashed.c ?? 0) / 4000 - 0.5) < 0.04, `hash shares by weight: ${JSON.stringify(hashed)}`);
  // When one goes only its own callers move, and the same caller always comes to the same.
  const all = [member('a'), member('b'), member('c')];
  const without = all.slice(0, 2);
  let moved = 0;
  for (let i = 0; i < 1000; i++) {
    const at = (list: typeof all): string | undefined =>
      inOrder(list, 'hash', { random, turn: i, key: `k${i}` })[0]?.name;
    t.equal(at(all), at(all)) || t.bailout();
    if (at(all) !== 'c' && at(all) !== at(without)) moved++;
  }
  t.equal(moved, 0);
});

tap.test('routes: the first that matches, by number, caller and domain; rewritten on the way', async t => {
  const { world, alice, carrier, second } = trunked({
    second: { numbers: { form: 'international', phone: true }, prefix: '77', fromUser: '+4930999' },
    routes: [
      { name: 'none', when: { to: '+49900*' }, to: { reject: 403 } },
      { name: 'mine', when: { to: '+33*', from: 'alice@example.org' }, to: { trunk: 'second' } },
      { name: 'short', when: { to: '8*' }, to: { trunk: 'carrier' }, rewrite: { strip: 1, prepend: '+49' } },
      { name: 'far', when: { domain: 'partner.example', to: '*' }, to: { trunk: 'carrier' } },
      { name: 'rest', when: { to: '+*' }, to: { trunk: 'carrier' } },
    ],
  });
  const goes = (uri: string, at: typeof carrier, expected: string): void => {
    const a = alice.invite(uri);
    t.equal(at.inbox[0]?.uri, expected, uri);
    hangUp(a, answered(a, at));
  };
  goes('sip:+491701234567@example.org', carrier, 'sip:+491701234567@carrier.example');
  goes('tel:+49-170-1234567', carrier, 'sip:+491701234567@carrier.example');
  goes(`sip:01701234567@${BORDER}`, carrier, 'sip:+491701234567@carrier.example');
  goes('sip:8170555@example.org', carrier, 'sip:+49170555@carrier.example');
  goes('sip:anybody@partner.example', carrier, 'sip:anybody@carrier.example');
  const a = alice.invite('sip:0033123456789@example.org');
  t.equal(second.inbox[0]?.uri, 'sip:770033123456789@second.example;user=phone');
  t.match(second.inbox[0]?.get(H.from), /^<sip:\+4930999@second\.example>;tag=/, 'one number for all');
  hangUp(a, answered(a, second));
  refused(alice.invite('sip:+4990012345@example.org'), 403);
  refused(alice.invite('sip:anybody@elsewhere.example'), 404);
  refused(alice.invite('sip:77777@example.org'), 404);
  t.same(carrier.heard(), [], 'nothing of these went out');
  t.equal(world.border.calls().length, 0);
  const none = trunked({ routes: [] });
  none.alice.invite('tel:+4930123456');
  none.alice.next(416);
});

tap.test('least cost first among equals of the longest prefix; the next when it fails', async t => {
  const { alice, carrier, second } = trunked({
    config: {
      prefixes: {
        world: {
          table: [
            { prefix: '+', trunk: 'carrier', cost: 9 },
            { prefix: '+49', trunk: 'carrier', cost: 2 },
            { prefix: '49', trunk: 'second', cost: 1 },
          ],
        },
      },
    },
    routes: [{ name: 'out', to: { prefixes: 'world' } }],
  });
  const a = alice.invite('sip:+4930123456@example.org');
  t.equal(second.inbox.length, 1, 'the cheaper one');
  refuses(second, 503);
  t.equal(carrier.inbox.length, 1, 'then the other');
  hangUp(a, answered(a, carrier));
  const b = alice.invite('sip:+33123456789@example.org');
  hangUp(b, answered(b, carrier));
});

tap.test('no transit: from trunk to trunk only where a route or a number says so', async t => {
  const { world, carrier, second } = trunked({
    carrier: { dids: { '+4940*': 'trunk:second' } },
    routes: [
      { name: 'out', when: { to: '+*' }, to: { trunk: 'second' } },
      { name: 'through', when: { trunk: 'carrier', to: '+41*' }, to: { trunk: 'second' } },
    ],
  });
  for (const number of ['+4930123456', '+33123456789']) {
    refused(carrier.invite(`sip:${number}@${BORDER_CORE}`), 404);
    refused(carrier.invite(`sip:${number}@second.example`), 404);
  }
  t.same(second.heard(), [], 'attack 35: a trunk is no way to another');
  for (const number of ['+41123456789', '+4940123456']) {
    const c = carrier.invite(`sip:${number}@${BORDER_CORE}`);
    t.equal(second.inbox[0]?.uri, `sip:${number}@second.example`);
    hangUp(c, answered(c, second));
  }
  refused(second.invite(`sip:+41123456789@${BORDER_CORE}`), 404);
  t.equal(world.border.calls().length, 0);
});

tap.test('a MESSAGE goes the same way, with the same substitutes', async t => {
  const { world, alice, carrier, second } = trunked();
  const send = (): void => {
    alice.ask({
      method: 'MESSAGE',
      uri: 'sip:+4930123456@example.org',
      to: '<sip:+4930123456@example.org>',
      body: 'hi',
    });
  };
  send();
  t.equal(carrier.inbox[0]?.uri, 'sip:+4930123456@carrier.example');
  const m = carrier.next('MESSAGE');
  carrier.send(answerTo(m.text, 503));
  const other = second.next('MESSAGE');
  t.equal(other.uri, 'sip:+4930123456@second.example');
  second.send(answerTo(other.text, 200));
  alice.next(200);
  t.same(world.lost, []);
});

function answerTo(text: string, status: number): string {
  const keep = text.split('\r\n').filter(l => /^(Via|From|To|Call-ID|CSeq):/.test(l));
  return `SIP/2.0 ${status} X\r\n${keep.join('\r\n').replace(/^(To: .*)$/m, '$1;tag=z')}\r\nContent-Length: 0\r\n\r\n`;
}

tap.test('what is wrong with trunks and routes is told in words', async t => {
  const read = (text: string): string[] => {
    const result = loadConfig(configSchema, { text, file: 'x.yaml' });
    return result.ok ? [] : result.problems.map(p => `${p.path}: ${p.message}`);
  };
  const trunk = 'trunks: { carrier: { next: ["sip:10.0.0.7"] } }\n';
  t.same(read(`${trunk}routes: [{ name: out, to: { trunk: carrier } }]`), []);
  t.same(read(`${trunk}routes: [{ name: out, to: { trunk: carier } }]`), [
    'routes[0].to.trunk: is "carier"; expected the name of a trunk, found "carier"; did you mean carrier?',
  ]);
  t.match(read(`${trunk}groups: { g: { trunks: [x] } }`)[0], /groups\.g\.trunks\[0\].*expected the name of a trunk/);
  t.match(
    read(`${trunk}routes: [{ name: a, to: [{ trunk: carrier }, { enum: e }] }]\nenum: { e: {} }`)[0],
    /enum before/,
  );
  t.match(read('trunks: { c: { next: ["sip:10.0.0.7"], realm: x } }')[0], /expected one of the realms/);
  const secret = read('trunks: { c: { next: ["sip:10.0.0.7"], auth: { user: u, realm: r, password: 4711 } } }');
  t.equal(secret.length > 0, true, 'a number is no password');
  t.notMatch(secret.join(), /4711/, 'and is not repeated');
  t.match(read('trunks: { c: { next: ["sip:10.0.0.7"], auth: { user: u, realm: r } } }')[0], /exactly one of password/);
});
