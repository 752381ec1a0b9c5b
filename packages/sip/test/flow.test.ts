import { type Endpoint, Endpoints, seededRandom, type Tx, type Via } from '@drawbridge/core';
import t from 'tap';
import { type Flow, FlowTable, type FlowUser } from '../src/index.js';

const LOCAL: Endpoint = { address: '192.0.2.1', port: 5060 };
const at = (port: number, address = '198.51.100.7'): Endpoint => ({ address, port });

interface Sent {
  readonly via: Via;
  readonly to: Endpoint;
  readonly text: string;
}

function table(cap = 100, o: { refuse?: boolean; peerOf?: (via: Via) => Endpoint | undefined } = {}) {
  const sent: Sent[] = [];
  const tapped: string[] = [];
  const tx: Tx = {
    text(via, to, j, text) {
      if (o.refuse === true) return false;
      sent.push({ via, to: to.get(j), text });
      return true;
    },
    inPlace: () => false,
  };
  const flows = new FlowTable(
    { cap, idleMs: 1000 },
    {
      transportOf: via => ((via & 0xff) === 0 ? 'udp' : 'tcp'),
      localOf: () => LOCAL,
      seed: 7,
      ...(o.peerOf === undefined ? {} : { peerOf: o.peerOf }),
      tap: {
        message: (now, direction, via, peer, j, text) =>
          tapped.push(`${now} ${direction} ${via} ${peer.address(j)}:${peer.port(j)} ${text}`),
      },
    },
  );
  const of = (now: number, via: Via, e: Endpoint): Flow | undefined => flows.of(now, via, Endpoints.of(e), 0);
  return { flows, sent, tapped, tx, of };
}

t.test('a flow is one object per listener and peer, and nothing else', async t => {
  const { flows, of } = table();
  const a = of(1, 0, at(1000));
  t.equal(of(5, 0, at(1000)), a);
  t.equal(a?.lastSeen, 5);
  t.equal(of(5, 0, at(1000, '::ffff:198.51.100.7')), a, 'both spellings of one address');
  t.equal(a?.peer.address(a.j), '198.51.100.7');
  t.equal(a?.transport, 'udp');
  t.equal(flows.localOf(a as Flow), LOCAL);
  for (const other of [
    of(6, 2, at(1000)),
    of(6, 0, at(1001)),
    of(6, 0, at(1000, '198.51.100.8')),
    of(6, 0, at(1000, '2001:db8::7')),
  ]) {
    t.not(other, a);
  }
  t.equal(flows.size, 5);
  t.equal(flows.find(0, Endpoints.of(at(1000)), 0), a);
  t.equal(flows.find(0, Endpoints.of(at(4242)), 0), undefined);
  t.equal(a?.lastSeen, 5, 'finding is not seeing');
  t.equal(flows.byId(a?.id ?? -1), a);
});

t.test('at the cap the flow longest unseen goes, if nobody holds it; held ones stay', async t => {
  const { flows, of } = table(3);
  const a = of(1, 0, at(1)) as Flow;
  const b = of(2, 0, at(2)) as Flow;
  const c = of(3, 0, at(3)) as Flow;
  flows.hold(a);
  of(4, 0, at(2));
  const d = of(5, 0, at(4));
  t.ok(d);
  t.equal(flows.byId(c.id), undefined, 'c was seen before b');
  t.notOk(c.alive);
  t.equal(flows.byId(b.id), b);
  t.equal(flows.byId(a.id), a);
  flows.hold(b);
  flows.hold(d as Flow);
  t.equal(of(6, 0, at(5)), undefined, 'every slot is held');
  t.equal(flows.dialled(6, 0, at(5)), undefined);
  flows.release(b);
  const e = of(7, 0, at(5)) as Flow;
  t.equal(e.j, b.j, 'the slot is used again');
  t.not(e.id, b.id);
  t.equal(flows.byId(b.id), undefined, 'a stale id finds nothing');
  t.equal(flows.evicted, 2);
  t.throws(() => flows.release(b), /more often/);
});

t.test('sweep forgets what is idle and unheld', async t => {
  const { flows, of } = table();
  const held = of(0, 0, at(1)) as Flow;
  flows.hold(held);
  const idle = of(0, 0, at(2)) as Flow;
  const fresh = of(900, 0, at(3)) as Flow;
  flows.sweep(999);
  t.equal(flows.size, 3);
  flows.sweep(1000);
  t.same(
    [held, idle, fresh].map(f => flows.byId(f.id) === f),
    [true, false, true],
  );
  flows.sweep(5000);
  t.same(
    [held, fresh].map(f => flows.byId(f.id) === f),
    [true, false],
  );
  flows.release(held);
  flows.sweep(5001);
  t.equal(flows.size, 0);
});

t.test('every send is tapped once when it was taken, and not when it was refused', async t => {
  const { flows, of, tx, sent, tapped } = table();
  const f = of(1, 0, at(9)) as Flow;
  t.ok(flows.send(2, f, 'one', tx));
  t.ok(flows.reply(3, 0, Endpoints.of(at(10)), 0, 'two', tx));
  t.same(
    sent.map(s => s.text),
    ['one', 'two'],
  );
  t.same(tapped, ['2 out 0 198.51.100.7:9 one', '3 out 0 198.51.100.7:10 two']);
  const refusing = table(10, { refuse: true });
  t.notOk(refusing.flows.send(1, refusing.of(1, 0, at(9)) as Flow, 'one', refusing.tx));
  t.same(refusing.tapped, []);
});

t.test('a stream dies once and tells who waits; a UDP flow has no death', async t => {
  const { flows, of, tx } = table();
  const told: string[] = [];
  flows.onDead((now, f) => told.push(`${now} ${f.via}`));
  const via = 256 + 1;
  const f = of(1, via, at(1)) as Flow;
  t.ok(f.proven, 'a handshake proves the way back');
  t.equal(f.transport, 'tcp');
  const waiting = (name: string): FlowUser & { died: number } => ({
    died: 0,
    flowNext: undefined,
    flowPrev: undefined,
    flowDied() {
      this.died++;
      told.push(name);
    },
  });
  const [one, two, three] = [waiting('one'), waiting('two'), waiting('three')];
  for (const w of [one, two, three]) flows.watch(f, w);
  flows.unwatch(f, two);
  flows.hold(f);
  t.equal(flows.streamClosed(5, via, tx), f);
  t.same(told, ['three', 'one', '5 257']);
  t.notOk(f.alive);
  t.notOk(flows.send(6, f, 'late', tx));
  t.equal(flows.find(via, Endpoints.of(at(1)), 0), undefined);
  t.equal(flows.streamClosed(6, via, tx), undefined);
  t.equal(flows.size, 1, 'still held');
  flows.release(f);
  t.equal(flows.size, 0);
  t.equal(flows.streamClosed(7, 0, tx), undefined);
});

t.test('a dialled flow becomes the stream that it opened, or dies with it', async t => {
  let peer: Endpoint | undefined;
  const { flows, of, tx, sent } = table(10, { peerOf: () => peer });
  const f = flows.dialled(1, 1, at(5060)) as Flow;
  t.equal(f.via, 1);
  t.notOk(f.proven);
  t.equal(flows.dialled(1, 1, at(5060)), f);
  flows.send(1, f, 'INVITE', tx);
  t.equal(sent[0]?.via, 1);
  peer = at(5060);
  t.equal(flows.streamOpened(2, 257), f);
  t.equal(f.via, 257);
  t.ok(f.proven);
  t.equal(of(3, 257, at(5060)), f, 'what comes back over the stream is of the same flow');
  t.equal(flows.dialled(3, 1, at(5060)), f);
  t.equal(flows.streamClosed(4, 257, tx), f);
  const again = flows.dialled(5, 1, at(5060)) as Flow;
  t.not(again, f);
  t.equal(flows.streamClosed(6, 513, tx), again, 'an error before it opened');
  t.equal(flows.size, 0);
  const accepted = of(7, 769, at(5070)) as Flow;
  t.not(flows.dialled(8, 1, at(5070)), accepted, 'who came from there need not be who listens there');
  t.equal(flows.dialled(8, 1, { address: 'example.org', port: 1 }), undefined);
});

t.test('a random life keeps the table as a plain map would', async t => {
  const seed = Number(process.env['SEED'] ?? 4711);
  t.comment(`SEED=${seed}`);
  const random = seededRandom(seed);
  const { flows, of, tx } = table(64);
  const held = new Map<Flow, number>();
  for (let now = 1; now < 20_000; now++) {
    const roll = random.u32() % 10;
    const via = random.u32() % 3 === 0 ? 256 * (1 + (random.u32() % 40)) + 1 : 0;
    const e = at(via === 0 ? random.u32() % 100 : 10_000 + (via >> 8));
    if (roll < 6) {
      const f = of(now, via, e);
      if (f === undefined) continue;
      if (f.via !== via || f.peer.port(f.j) !== e.port || !f.alive || flows.byId(f.id) !== f)
        t.fail(`wrong flow at ${now}`);
      if (roll < 2 && held.size < 60) {
        flows.hold(f);
        held.set(f, (held.get(f) ?? 0) + 1);
      }
    } else if (roll < 8) {
      const [f, n] = [...held][random.u32() % Math.max(1, held.size)] ?? [undefined, 0];
      if (f === undefined) continue;
      if (f.alive && flows.byId(f.id) !== f) t.fail(`a held flow went at ${now}`);
      flows.release(f);
      if (n > 1) held.set(f, n - 1);
      else held.delete(f);
    } else if (roll === 8 && via !== 0) flows.streamClosed(now, via, tx);
    else flows.sweep(now);
    if (flows.size > 64) t.fail('over the cap');
  }
  for (const [f, n] of held) for (let i = 0; i < n; i++) flows.release(f);
  flows.sweep(1e9);
  for (let serial = 1; serial <= 40; serial++) flows.streamClosed(1e9, 256 * serial + 1, tx);
  t.equal(flows.size, 0);
});
