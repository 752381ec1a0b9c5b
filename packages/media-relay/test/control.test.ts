import { type Endpoint, Endpoints, type Random, seededRandom } from '@drawbridge/core';
import fc from 'fast-check';
import t from 'tap';
import {
  FLAG,
  FlowTable,
  Forwarder,
  isRejected,
  JOURNAL,
  type LatchPolicy,
  type RelayCommand,
  RelayControl,
  type RelayEvent,
  RelayOptionsError,
  ROW,
  relayAddresses,
} from '../src/index.js';
import { PortPairs } from '../src/ports.js';
import { audio, portOf, rtp, VirtualRelay } from './virtual.js';

const POLICY: LatchPolicy = {
  seenFrom: null,
  prefixBits: 32,
  windowMs: 5000,
  handover: false,
  handoverMs: 1000,
  sendBeforeLatch: true,
};

function establish(relay: VirtualRelay, id = 'call', lines: string[] = []) {
  const session = relay.hub.session(id);
  session.leg('a', { realm: 'access', local: '203.0.113.10' });
  session.leg('b', { realm: 'access', local: '203.0.113.10' });
  const toBob = session.offer({
    from: 'a',
    to: 'b',
    sdp: audio({ at: '198.51.100.7', port: 4000, lines }),
    seenFrom: '198.51.100.7',
  });
  if (isRejected(toBob)) return { session, refused: toBob };
  const toAlice = String(
    session.answer({
      from: 'b',
      to: 'a',
      sdp: audio({ at: '192.0.2.20', port: 5000 }),
      seenFrom: '192.0.2.20',
      final: true,
    }),
  );
  const talk = {
    a: () => relay.arrive('198.51.100.7:4000', `203.0.113.10:${portOf(toAlice)}`, rtp()),
    b: () => relay.arrive('192.0.2.20:5000', `203.0.113.10:${portOf(toBob)}`, rtp()),
  };
  return { session, talk };
}

t.test('port pairs: even below odd, random, each once, resting after release', async t => {
  const pairs = new PortPairs({ firstPort: 30001, lastPort: 30021, quarantineMs: 10_000 }, { random: seededRandom(3) });
  t.equal(pairs.total, 10, '30002–30021');
  const taken = Array.from({ length: 10 }, () => pairs.take(0));
  t.same([...taken].sort(), [30002, 30004, 30006, 30008, 30010, 30012, 30014, 30016, 30018, 30020]);
  t.notSame(taken, [...taken].sort(), 'not in order');
  t.equal(pairs.take(0), -1);
  pairs.release(0, 30004);
  t.equal(pairs.take(9999), -1, 'resting');
  t.same([pairs.inUse, pairs.resting], [9, 1]);
  t.equal(pairs.take(10_000), 30004);

  const first = (seed: number): number =>
    new PortPairs({ firstPort: 30000, lastPort: 39999, quarantineMs: 1 }, { random: seededRandom(seed) }).take(0);
  t.ok(new Set(Array.from({ length: 50 }, (_, i) => first(i))).size > 40, 'unpredictable');

  const seed = Number(process.env['SEED'] ?? 7);
  t.comment(`SEED=${seed}`);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(3000)), { maxLength: 200 }), steps => {
      const random: Random = seededRandom(steps.length);
      const p = new PortPairs({ firstPort: 40000, lastPort: 40015, quarantineMs: 5000 }, { random });
      const held: number[] = [];
      const restUntil = new Map<number, number>();
      let now = 0;
      for (const [take, ms] of steps) {
        now += ms;
        if (take) {
          const port = p.take(now);
          if (port < 0) {
            if (held.length + [...restUntil.values()].filter(u => u > now).length !== 8) return false;
            continue;
          }
          if (port % 2 !== 0 || held.includes(port) || (restUntil.get(port) ?? 0) > now) return false;
          held.push(port);
        } else if (held.length > 0) {
          const port = held.splice(random.u32() % held.length, 1)[0] as number;
          p.release(now, port);
          restUntil.set(port, now + 5000);
        }
        if (p.inUse !== held.length) return false;
      }
      return true;
    }),
    { seed, numRuns: 300 },
  );
});

t.test('ports run out: 503, nothing half-taken, and the next call after the rest gets in', async t => {
  const relay = new VirtualRelay({ ports: [30000, 30006] });
  const first = establish(relay);
  const second = establish(relay, 'second');
  t.same(second.refused, { rejected: 'ports-exhausted', status: 503, detail: 'stream 0' });
  t.equal(relay.hub.stats().pairsInUse, 2);
  second.session.close();
  first.session.close();
  const again = establish(relay, 'third');
  t.equal(again.refused?.status, 503, 'the ports rest');
  again.session.close();
  relay.pass(10_000);
  t.ok(establish(relay, 'fourth').talk);
});

t.test('a released port is deaf, and an old latch means nothing to its next owner', async t => {
  const relay = new VirtualRelay({ ports: [30000, 30003], quarantineMs: 0 });
  const one = establish(relay);
  one.talk?.a();
  one.session.close();
  t.equal(one.talk?.a(), undefined);
  t.equal(relay.hub.stats().noFlow, 1);
  const two = establish(relay, 'two');
  t.same(
    two.session.streams.map(s => [s.latched, s.counters.packets]),
    [
      [undefined, 0],
      [undefined, 0],
    ],
  );
});

t.test('what control wrote holds from the next batch on, however much it was and whoever reads', async t => {
  const table = FlowTable.create(['203.0.113.10', '203.0.113.11'], 30000, 30099);
  const [left, right, other] = [table.row(0, 30000), table.row(1, 30000), table.row(0, 30002)];
  const alice = { address: '198.51.100.7', port: 4000 };
  const bob = { address: '198.51.100.8', port: 5000 };
  let epoch = 0;
  const write = (row: number, peer: number, remote: Endpoint, flags: number = FLAG.valid | FLAG.sendToRemote): void => {
    const at = table.begin(row);
    table.words[at + ROW.peer] = peer + 1;
    table.words[at + ROW.epoch] = ++epoch;
    table.words[at + ROW.latchFloor] = epoch;
    table.setEndpoint(row, ROW.remote, remote);
    table.words[at + ROW.flags] = flags;
    table.commit(row);
  };
  const source = Endpoints.of(alice);
  const to = (f: Forwarder): string | undefined => {
    const packet = rtp();
    const out = f.forward(left, packet, 0, packet.length, source, 0, 1000);
    return out === right ? `${f.to.address(0)}:${f.to.port(0)}` : undefined;
  };
  const forwarder = new Forwarder(table, () => {});
  write(left, right, alice);
  write(right, left, bob);
  forwarder.startBatch();
  t.equal(to(forwarder), '198.51.100.8:5000');

  write(right, left, { ...bob, port: 5002 });
  t.equal(to(forwarder), '198.51.100.8:5000', 'a batch ends as it began');
  forwarder.startBatch();
  t.equal(to(forwarder), '198.51.100.8:5002', 'the row it leaves through');

  write(left, right, alice, 0);
  forwarder.startBatch();
  t.equal(to(forwarder), undefined, 'the row it came to');

  for (const others of [JOURNAL - 1, JOURNAL, JOURNAL + 1, 3 * JOURNAL]) {
    for (const flags of [FLAG.valid | FLAG.sendToRemote, 0]) {
      write(left, right, alice, flags);
      for (let k = 0; k < others; k++) write(other, right, alice);
      forwarder.startBatch();
      t.equal(to(forwarder), flags === 0 ? undefined : '198.51.100.8:5002', `followed by ${others} others`);
    }
  }

  write(left, right, alice);
  forwarder.startBatch();
  t.equal(to(forwarder), '198.51.100.8:5002', 'a copy is made');
  write(left, right, alice, 0);
  const next = new Forwarder(table, () => {});
  next.startBatch();
  t.equal(to(next), undefined, 'a thread that takes over trusts no copy of the one before');
});

t.test('the lower layer speaks plain messages', async t => {
  const addresses = relayAddresses({
    realms: [{ name: 'r', addresses: [{ bind: '10.0.0.1', advertise: '198.51.100.1' }] }],
    ports: [30000, 30099],
  });
  const table = FlowTable.create(['10.0.0.1'], 30000, 30099);
  const control = new RelayControl(
    { addresses, ports: [30000, 30099], quarantineMs: 0, table },
    { random: seededRandom(1), path: { opened() {}, closed() {} }, onEvent() {} },
  );
  const say = (c: RelayCommand): Record<string, unknown> => {
    t.same(JSON.parse(JSON.stringify(c)), c, `${c.do} survives a wire`);
    const reply = control.apply(0, JSON.parse(JSON.stringify(c)));
    t.same(JSON.parse(JSON.stringify(reply)), reply);
    return { ...reply };
  };
  const left = say({ do: 'allocate', address: 0, tag: 'x' });
  const right = say({ do: 'allocate', address: 0, tag: 'x' });
  t.match(left, { ok: true, side: 1, local: { address: '198.51.100.1' } }, 'what SDP carries');
  const side = Number(left['side']);
  const other = Number(right['side']);
  say({
    do: 'set-remote',
    side,
    rtp: { address: '192.0.2.1', port: 4000 },
    rtcp: null,
    mux: 'no',
    opaque: false,
    clockRate: 8000,
    policy: POLICY,
    reopen: false,
  });
  t.same(say({ do: 'connect', side, to: other }), { ok: true });
  t.same(say({ do: 'direction', side, speaks: true, hears: false }), { ok: true });
  t.match(say({ do: 'stats', side }), { ok: true, stats: { packets: 0 } });
  t.same(say({ do: 'release', side }), { ok: true });
  t.same(say({ do: 'release', side }), { ok: false, reason: 'media-no-flow' });
  t.same(say({ do: 'connect', side: other, to: 99 }), { ok: false, reason: 'media-no-flow' });
  t.equal(
    control.ownerOf({ address: '198.51.100.1', port: (right['local'] as { port: number }).port }),
    'x',
    'known by what it is advertised as',
  );
  t.equal(control.ownerOf({ address: '198.51.100.1', port: 29000 }), undefined);
});

t.test('inactivity: both directions, one direction, hold and return', async t => {
  const inactive = (relay: VirtualRelay): unknown[] =>
    relay.events
      .filter((e): e is Extract<RelayEvent, { kind: 'inactive' }> => e.kind === 'inactive')
      .map(e => [e.session, e.scope, e.legs, Math.round(e.silentMs / 1000)]);
  const talkFor = (relay: VirtualRelay, seconds: number, ...who: ((() => unknown) | undefined)[]): void => {
    for (let i = 0; i < seconds; i++) {
      for (const w of who) w?.();
      relay.pass(1000);
    }
  };

  const both = new VirtualRelay();
  const call = establish(both);
  talkFor(both, 120, call.talk?.a, call.talk?.b);
  t.same(inactive(both), [], 'control: media flows');
  talkFor(both, 62);
  t.same(inactive(both), [['call', 'both', ['a', 'b'], 60]]);
  talkFor(both, 300);
  t.equal(inactive(both).length, 1, 'once');
  const facts = both.events.find(e => e.kind === 'inactive');
  t.match(facts, {
    facts: [{ leg: 'a', counters: { packets: 120 }, latched: { address: '198.51.100.7' } }, { leg: 'b' }],
  });
  talkFor(both, 130, call.talk?.a, call.talk?.b);
  talkFor(both, 62);
  t.equal(inactive(both).length, 2, 'anew after media came back');

  const never = new VirtualRelay();
  establish(never);
  talkFor(never, 62);
  t.same(inactive(never), [['call', 'both', ['a', 'b'], 60]], 'a call that never had media');

  const one = new VirtualRelay();
  const half = establish(one);
  talkFor(one, 125, half.talk?.a);
  t.same(inactive(one), [['call', 'one', ['b'], 60]]);

  const held = new VirtualRelay();
  establish(held, 'call', ['a=sendonly']);
  talkFor(held, 600);
  t.same(inactive(held), [], 'who is on hold may be silent');

  const ended = new VirtualRelay();
  establish(ended).session.close();
  ended.pass(600_000);
  t.same(inactive(ended), []);
  t.equal(ended.hub.pollTimeout(), Number.POSITIVE_INFINITY, 'no timer outlives its session');
});

t.test('options that can not work are refused with a sentence', async t => {
  const open =
    (
      realms: { name: string; addresses: { bind: string; advertise?: string }[] }[],
      ports: [number, number] = [30000, 30099],
    ) =>
    () =>
      relayAddresses({ realms, ports });
  const at = (bind: string) => [{ name: 'r', addresses: [{ bind }] }];
  for (const [make, reason, message] of [
    [open([]), 'no-address', 'No realm has an address for media.'],
    [open(at('0.0.0.0')), 'bad-address', 'Realm r: media needs an address of its own; 0.0.0.0 means all of them.'],
    [open(at('eth0')), 'bad-address', 'Realm r: eth0 is not an IP address.'],
    [
      open([...at('10.0.0.1'), ...at('::ffff:10.0.0.1')]),
      'bad-address',
      'Realm r: 10.0.0.1 carries media for another realm already.',
    ],
    [
      open(at('10.0.0.1'), [80, 90]),
      'bad-ports',
      'Relay ports 80-90: give two ports between 1024 and 65535, the second higher.',
    ],
  ] as const) {
    try {
      make();
      t.fail(message);
    } catch (error) {
      t.ok(error instanceof RelayOptionsError && error.reason === reason && error.message === message, message);
    }
  }
  t.same(open(at('10.0.0.1'))(), [{ realm: 'r', bind: '10.0.0.1', advertise: '10.0.0.1', family: 4 }], 'control');
});
