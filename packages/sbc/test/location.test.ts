import { type DnsRecord, H, writeAnswer } from '@drawbridge/sip';
import t from 'tap';
import type { Answer, Question } from '../src/asks.js';
import { BorderWorld, type Phone, replyTo } from './harness.js';

const ALICE = '198.51.100.1:5060';
const A5 = '10.0.0.5:5060';
const A6 = '10.0.0.6:5060';

/** Name servers as a table that a test may change; `down`: nobody answers. */
class Zone {
  down = false;
  readonly asked: string[] = [];
  readonly records = new Map<string, { readonly list: readonly DnsRecord[]; readonly ttlS: number }>();

  a(name: string, addresses: readonly string[], ttlS = 60): void {
    this.records.set(`A ${name}`, { list: addresses.map(address => ({ type: 'A', address })), ttlS });
  }

  srv(name: string, list: readonly { target: string; priority?: number; weight?: number }[], ttlS = 60): void {
    const records = list.map((x): DnsRecord => ({ type: 'SRV', priority: 0, weight: 0, port: 5060, ...x }));
    this.records.set(`SRV ${name}`, { list: records, ttlS });
  }

  readonly answer = (q: Question<'dns'>): Answer<'dns'> | undefined => {
    this.asked.push(`${q.type} ${q.name}`);
    if (this.down) return { failed: 'no answer' };
    const { list, ttlS } = this.records.get(`${q.type} ${q.name}`) ?? { list: [], ttlS: 0 };
    return { message: writeAnswer(q, list, ttlS) };
  };
}

function resolved(next: readonly string[], fill: (z: Zone) => void): { world: BorderWorld; zone: Zone } {
  const world = new BorderWorld({ next });
  const zone = new Zone();
  fill(zone);
  world.dns = zone.answer;
  world.run(() => {});
  return { world, zone };
}

function pbxAt(world: BorderWorld, at: string): Phone {
  return world.phone('pbx', { at, inner: at, via: 2, domain: 'pbx.example.net' });
}

/** Alice of the upstream's own domain, registered there through the first hop that answers. */
function registered(world: BorderWorld, pbx: Phone): Phone {
  const alice = world.phone('alice', { at: ALICE, domain: 'pbx.example.net' });
  alice.send(alice.request({ method: 'REGISTER', uri: 'sip:pbx.example.net', to: `<${alice.aor}>` }));
  accept(pbx);
  alice.next(200);
  return alice;
}

/** 200 to the REGISTER in its inbox. */
function accept(pbx: Phone): void {
  const m = pbx.next('REGISTER');
  pbx.send(replyTo(m, 200).replace('Content-Length', `Contact: ${m.get(H.contact)}\r\nContent-Length`));
}

t.test('a name is resolved in the background; until it is, requests hear 503 with a time to come back', async t => {
  const world = new BorderWorld({ next: ['sip:sip.pbx.example.net'] });
  const alice = world.phone('alice', { at: ALICE, domain: 'pbx.example.net' });
  alice.send(alice.request({ method: 'REGISTER', uri: 'sip:pbx.example.net', to: `<${alice.aor}>` }));
  const no = alice.next(503);
  t.match(no.text, /Retry-After: 10\r\n/);
  const zone = new Zone();
  zone.a('sip.pbx.example.net', ['10.0.0.5']);
  world.dns = zone.answer;
  // Nobody answered the first question: it comes again after its deadline.
  world.pass(20_000);
  const pbx = pbxAt(world, A5);
  registered(world, pbx);
  t.match(world.take('hops-changed').at(-1), { name: 'pbx.example.net', hops: ['udp 10.0.0.5:5060'], why: '' });
  t.ok(zone.asked.includes('A sip.pbx.example.net'));
});

t.test('SRV: priorities are kept, weights share out the calls', async t => {
  const { world } = resolved(['sip:pbx.example.net;transport=udp'], z => {
    z.srv('_sip._udp.pbx.example.net', [
      { target: 'c.example.net', priority: 20 },
      { target: 'a.example.net', priority: 10, weight: 30 },
      { target: 'b.example.net', priority: 10, weight: 10 },
    ]);
    z.a('a.example.net', ['10.0.0.5']);
    z.a('b.example.net', ['10.0.0.6']);
    z.a('c.example.net', ['10.0.0.7', '192.0.2.1']);
  });
  const domain = world.domains.lookup('pbx.example.net');
  if (domain?.kind !== 'upstream') return t.fail('control');
  t.match(domain.next.facts(world.now)[0]?.why, /no realm has udp 192\.0\.2\.1/, 'outside the realm: said, not used');
  const firsts = new Map<string, number>();
  let last = 0;
  for (let n = 0; n < 4000; n++) {
    const order = domain.next.current(world.now).map(h => h.endpoint.address);
    if (order.length === 3 && order[2] === '10.0.0.7') last++;
    firsts.set(order[0] ?? '', (firsts.get(order[0] ?? '') ?? 0) + 1);
  }
  t.equal(last, 4000, 'the higher number is always last');
  const share = (firsts.get('10.0.0.5') ?? 0) / 4000;
  t.ok(share > 0.71 && share < 0.79, `three of four: ${share}`);
});

t.test('the DNS is down: the last good answer serves for a day and the status says so', async t => {
  const { world, zone } = resolved(['sip:sip.pbx.example.net'], z => z.a('sip.pbx.example.net', ['10.0.0.5'], 600));
  const domain = world.domains.lookup('pbx.example.net');
  if (domain?.kind !== 'upstream') return t.fail('control');
  const facts = () => domain.next.facts(world.now)[0];
  t.match(facts(), { stale: false, why: '', hops: [{ place: A5 }] });
  zone.down = true;
  world.pass(601_000);
  t.match(facts(), { stale: true, why: /no answer/, hops: [{ place: A5 }] });
  t.match(world.take('hops-changed').at(-1), { stale: true });
  registered(world, pbxAt(world, A5));
  const before = zone.asked.length;
  world.pass(3_600_000);
  t.ok(
    zone.asked.length - before <= 4 * 61,
    `four questions, once a minute: ${zone.asked.length - before} in an hour of silence`,
  );
  world.pass(22 * 3_600_000);
  t.equal(domain.next.current(world.now).length, 1, 'still served after 23 hours');
  world.pass(2 * 3_600_000);
  t.same(domain.next.current(world.now), [], 'and not after a day');
  zone.down = false;
  world.pass(61_000);
  t.match(facts(), { stale: false, hops: [{ place: A5 }] });
});

t.test(
  'a changed answer moves new calls, knows the new address as the peer, and leaves calls under way alone',
  async t => {
    const { world, zone } = resolved(['sip:sip.pbx.example.net'], z => z.a('sip.pbx.example.net', ['10.0.0.5'], 10));
    const old = pbxAt(world, A5);
    const fresh = pbxAt(world, A6);
    const alice = registered(world, old);
    const call = alice.invite('sip:service@pbx.example.net');
    const pbx = old.called();
    pbx.answer(200, { sdp: old.sdp() });
    old.next('ACK');
    call.expect(200);
    call.send('ACK');

    const bob = world.phone('bob', { at: '198.51.100.2:5060' }).register();
    const options = (from: Phone): number => {
      from.send(from.request({ method: 'INVITE', uri: bob.aor, to: `<${bob.aor}>`, sdp: from.sdp() }));
      const status = from.inbox.splice(0).map(m => m.status);
      bob.inbox.splice(0);
      return status[0] ?? 0;
    };
    t.equal(options(old), 100, 'control: the known address is the peer');
    t.equal(options(fresh), 403, 'the other is a stranger');
    zone.a('sip.pbx.example.net', ['10.0.0.6']);
    world.pass(11_000);
    old.inbox.splice(0);
    t.match(world.take('hops-changed').at(-1), { hops: ['udp 10.0.0.6:5060'] });
    t.equal(options(fresh), 100);
    t.equal(options(old), 403);

    alice.invite('sip:service@pbx.example.net');
    t.equal(fresh.next('INVITE').method, 'INVITE', 'a new call goes there');
    t.same(old.heard(), []);
    pbx.send('INFO');
    call.reply(alice.next('INFO'), 200);
    old.next(200);
    call.send('BYE');
    pbx.reply(old.next('BYE'), 200);
    alice.next(200);
  },
);
