import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { type Endpoint, Endpoints, familyOf, type ListenerSink, type Rx } from '@drawbridge/core';
import { KernelError, openUdp, SocketError, type UdpListener } from 'node-dgram-raw';
import t from 'tap';
import { Gathering } from '../src/path/gathering.js';
import {
  COUNT,
  type DataPath,
  FLAG,
  FlowTable,
  HEADER_F64,
  type PathEvent,
  type PathKind,
  ROW,
} from '../src/path/path.js';
import { openDataPath } from '../src/path/shell/open.js';
import type { SteeredPath } from '../src/path/shell/steered.js';

const FIRST = 20_100;
const LAST = 20_199;
const ADDRESSES = ['127.0.0.21', '127.0.0.22', '::1'];
const KINDS: readonly PathKind[] = ['steered', 'sockets', 'dgram'];
const descriptors = (): number => readdirSync('/proc/self/fd').length;

/** A path on a table that the test writes by hand, as control would. */
class Bench {
  readonly table = FlowTable.create(ADDRESSES, FIRST, LAST);
  readonly events: PathEvent[] = [];
  path!: DataPath;
  #wake: (() => void)[] = [];
  #epoch = 0;

  static async open(kind: PathKind | 'auto'): Promise<Bench> {
    const b = new Bench();
    b.table.f64[HEADER_F64.clockOffset] = Number(process.hrtime.bigint()) / 1e6 - performance.now();
    b.path = await openDataPath({
      addresses: ADDRESSES.map(bind => ({ realm: 'test', bind, advertise: bind, family: familyOf(bind) })),
      table: b.table,
      path: kind,
      onEvent: e => {
        b.events.push(e);
        for (const wake of b.#wake.splice(0)) wake();
      },
    });
    return b;
  }

  /** A socket path may report a failed send while its ports open: `row` tells whose event is meant. */
  async event(kind: PathEvent['kind'], row?: number): Promise<PathEvent> {
    for (;;) {
      const at = this.events.findIndex(e => e.kind === kind && (row === undefined || ('row' in e && e.row === row)));
      if (at >= 0) return this.events.splice(at, 1)[0] as PathEvent;
      await new Promise<void>(resolve => this.#wake.push(resolve));
    }
  }

  /** A counter of the thread's, once it is at least `n`, or as it stands after a while. */
  async counted(row: number, slot: number, n: number): Promise<number> {
    for (let k = 0; k < 2000 && this.table.count(row, slot) < n; k++)
      await new Promise(resolve => setTimeout(resolve, 5));
    return this.table.count(row, slot);
  }

  /** A valid row whose far end is `remote` and whose packets leave through `peer`. */
  row(row: number, peer: number, remote: Endpoint, flags = 0): void {
    const at = this.table.begin(row);
    const w = this.table.words;
    w[at + ROW.peer] = peer + 1;
    w[at + ROW.peerRtcp] = peer + 1;
    w[at + ROW.epoch] = ++this.#epoch;
    w[at + ROW.latchFloor] = this.#epoch;
    w[at + ROW.clockRate] = 8000;
    this.table.setEndpoint(row, ROW.remote, remote);
    w[at + ROW.flags] = FLAG.valid | FLAG.sendToRemote | FLAG.mux | flags;
    this.table.commit(row);
    this.path.opened(row);
  }

  end(row: number): void {
    const at = this.table.begin(row);
    this.table.words[at + ROW.flags] = 0;
    this.table.commit(row);
    this.path.closed(row);
  }
}

class Phone implements ListenerSink {
  readonly got: { text: string; from: string }[] = [];
  readonly udp: UdpListener;
  /** How many of `until`'s packets came; they may come late and are no part of `got`. */
  knocks = 0;
  #wake: (() => void) | undefined;

  private constructor(udp: UdpListener) {
    this.udp = udp;
    udp.start(0, this);
  }
  static async at(address: string): Promise<Phone> {
    return new Phone(await openUdp({ address, port: 0 }));
  }
  batch(rx: Rx): void {
    for (let i = 0; i < rx.count; i++) {
      const text = rx.bytes.toString('latin1', rx.at[i]!, rx.at[i]! + rx.len[i]!);
      if (text === KNOCK) this.knocks++;
      else this.got.push({ text, from: `${rx.peer.address(i)} ${rx.peer.port(i)}` });
    }
    this.#wake?.();
  }
  flow(): void {}
  send(to: Endpoint, ...texts: string[]): void {
    const at = Endpoints.of(to);
    for (const text of texts) this.udp.text(0, at, 0, text);
    this.udp.flush();
  }
  async count(n: number): Promise<Phone['got']> {
    while (this.got.length < n) {
      await new Promise<void>(resolve => {
        this.#wake = resolve;
      });
    }
    return this.got;
  }
}

/** A valid RTP packet of the given payload length; sequence number and payload tell packets apart. */
function rtp(seq: number, payload = 160, mark = 'x'): string {
  const b = Buffer.alloc(12, 0);
  b[0] = 0x80;
  b.writeUInt16BE(seq & 0xffff, 2);
  b.writeUInt32BE((seq * 160) >>> 0, 4);
  b.writeUInt32BE(0x1234, 8);
  return b.toString('latin1') + mark.repeat(payload);
}

/** The packet that asks whether a flow is open yet; always the same sequence number, so that nothing counts as lost. */
const KNOCK = rtp(1, 20, 'knock');

/** One packet after another until one is through: a socket path opens its ports in its own time. */
async function until(phone: Phone, target: Endpoint, heard: Phone): Promise<void> {
  const before = heard.knocks;
  while (heard.knocks === before) {
    phone.send(target, KNOCK);
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}

/** What the kernel answers to a datagram for this port: an ICMP error, or nothing within the time of an answer elsewhere. */
async function refuses(from: Socket, to: Endpoint): Promise<boolean> {
  from.connect(to.port, to.address);
  await once(from, 'connect');
  const refused = once(from, 'error').then(
    () => true,
    () => true,
  );
  from.send(rtp(1));
  const answer = await Promise.race([refused, new Promise<boolean>(resolve => setTimeout(() => resolve(false), 150))]);
  from.disconnect();
  return answer;
}

for (const kind of KINDS) {
  t.test(`${kind}: says what it is and why`, async t => {
    const b = await Bench.open(kind);
    t.same(b.path.paths, [
      { kind, because: 'asked for' },
      { kind, because: 'asked for' },
      { kind, because: 'asked for' },
    ]);
    await b.path.close();
  });

  const pairs = [
    ['127.0.0.1', 0, '127.0.0.3', 1],
    ['127.0.0.1', 0, '::1', 2],
    ['::1', 2, '::1', 2],
  ] as const;
  for (const [a, aAddress, c, cAddress] of pairs) {
    t.test(`${kind}: carries ${a} ↔ ${c} both ways, from the port each side was told`, async t => {
      const b = await Bench.open(kind);
      const left = await Phone.at(a);
      const right = await Phone.at(c);
      t.teardown(() => Promise.all([b.path.close(), left.udp.close(), right.udp.close()]));
      const L = b.table.row(aAddress, FIRST + 10);
      const R = b.table.row(cAddress, FIRST + 20);
      const toL = { address: ADDRESSES[aAddress] as string, port: FIRST + 10 };
      const toR = { address: ADDRESSES[cAddress] as string, port: FIRST + 20 };
      b.row(L, R, left.udp.local);
      b.row(R, L, right.udp.local);
      await until(left, toL, right);
      await until(right, toR, left);
      const errors = b.table.f64[HEADER_F64.sendErrors];

      const odd = [0, 1, 2, 3, 5, 160, 161, 162, 163, 1000, 1460].map((n, i) => rtp(100 + i, n, '\u00ff'));
      left.send(toL, ...odd);
      right.send(toR, rtp(7, 20, 'b'));
      t.same(
        await right.count(odd.length),
        odd.map(text => ({ text, from: `${toR.address} ${toR.port}` })),
      );
      t.same(await left.count(1), [{ text: rtp(7, 20, 'b'), from: `${toL.address} ${toL.port}` }]);
      const early = b.table.count(R, COUNT.sendFailed);
      t.equal(b.table.count(L, COUNT.packets), odd.length + right.knocks + early, 'counted once each');
      t.equal(b.table.count(L, COUNT.wrongSource), 0);
      t.equal(b.table.f64[HEADER_F64.sendErrors], errors, 'nothing failed once the flow was open');
    });
  }

  t.test(`${kind}: a burst arrives whole and in order, and is counted`, async t => {
    const b = await Bench.open(kind);
    const left = await Phone.at('127.0.0.1');
    const right = await Phone.at('127.0.0.3');
    t.teardown(() => Promise.all([b.path.close(), left.udp.close(), right.udp.close()]));
    const L = b.table.row(0, FIRST);
    const R = b.table.row(1, FIRST);
    b.row(L, R, left.udp.local);
    b.row(R, L, right.udp.local);
    const toL = { address: '127.0.0.21', port: FIRST };
    await until(left, toL, right);
    const packets = Array.from({ length: 600 }, (_, i) => rtp(1000 + i, 10));
    for (let i = 0; i < packets.length; i += 100) {
      left.send(toL, ...packets.slice(i, i + 100));
      await right.count(Math.min(packets.length, i + 100));
    }
    t.same(
      right.got.map(g => g.text),
      packets,
    );
    t.ok((await b.counted(R, COUNT.sent, 600)) >= 600);
    t.ok(b.table.f64[HEADER_F64.batches]! > 0);
  });

  t.test(`${kind}: a stranger gets nothing through and moves nothing`, async t => {
    const b = await Bench.open(kind);
    const left = await Phone.at('127.0.0.1');
    const right = await Phone.at('127.0.0.3');
    const stranger = await Phone.at('127.0.0.66');
    t.teardown(() => Promise.all([b.path.close(), left.udp.close(), right.udp.close(), stranger.udp.close()]));
    const L = b.table.row(0, FIRST + 2);
    const R = b.table.row(1, FIRST + 2);
    b.row(L, R, left.udp.local);
    b.row(R, L, right.udp.local);
    const toL = { address: '127.0.0.21', port: FIRST + 2 };
    const toR = { address: '127.0.0.22', port: FIRST + 2 };
    await until(left, toL, right);
    t.same({ ...(await b.event('latched')), epoch: 0 }, { kind: 'latched', row: L, epoch: 0, moved: false });
    stranger.send(toL, rtp(50, 5, 'S'), rtp(51, 5, 'S'));
    const refused = await b.event('refused', L);
    t.match(refused, { kind: 'refused', row: L, reason: 'media-wrong-source', from: stranger.udp.local });
    right.send(toR, rtp(60, 5, 'R'));
    t.equal((await left.count(1))[0]?.text, rtp(60, 5, 'R'), 'the left phone still gets its packets');
    left.send(toL, rtp(61, 5, 'L'));
    t.same(
      (await right.count(1)).map(g => g.text),
      [rtp(61, 5, 'L')],
      'control: the right source passes, and nothing of the stranger came before it',
    );
    t.equal(b.table.count(L, COUNT.wrongSource), 2);
    t.equal(stranger.got.length, 0);
  });

  t.test(`${kind}: a port nobody holds answers as the kernel does, and one that ended does so again`, async t => {
    const b = await Bench.open(kind);
    const left = await Phone.at('127.0.0.1');
    const right = await Phone.at('127.0.0.3');
    const probe = createSocket('udp4');
    probe.bind(0, '127.0.0.1');
    await once(probe, 'listening');
    probe.on('error', () => {});
    t.teardown(() => Promise.all([b.path.close(), left.udp.close(), right.udp.close(), probe.close()]));
    const L = b.table.row(0, FIRST + 4);
    const R = b.table.row(1, FIRST + 4);
    const toL = { address: '127.0.0.21', port: FIRST + 4 };
    t.equal(await refuses(probe, toL), true);
    b.row(L, R, left.udp.local);
    b.row(R, L, right.udp.local);
    await until(left, toL, right);
    t.equal(await refuses(probe, toL), false, 'control: an open port does not');
    b.end(L);
    b.end(R);
    let again = await refuses(probe, toL);
    for (let k = 0; k < 20 && !again; k++) again = await refuses(probe, toL);
    t.equal(again, true);
    b.table.clear(L);
    b.table.clear(R);
    b.row(L, R, left.udp.local);
    b.row(R, L, right.udp.local);
    await until(left, toL, right);
  });

  t.test(`${kind}: a target the kernel can't reach is counted and reported once; other flows go on`, async t => {
    const b = await Bench.open(kind);
    const left = await Phone.at('127.0.0.1');
    const right = await Phone.at('127.0.0.3');
    t.teardown(() => Promise.all([b.path.close(), left.udp.close(), right.udp.close()]));
    const L = b.table.row(0, FIRST + 6);
    const R = b.table.row(1, FIRST + 6);
    const L2 = b.table.row(0, FIRST + 8);
    const R2 = b.table.row(1, FIRST + 8);
    b.row(L, R, left.udp.local);
    // The other family than the row's own address: there is no way to send that.
    b.row(R, L, { address: '2001:db8::9', port: 4000 });
    b.row(L2, R2, left.udp.local);
    b.row(R2, L2, right.udp.local);
    await until(left, { address: '127.0.0.21', port: FIRST + 8 }, right);
    for (let k = 0; k < 3; k++) {
      left.send({ address: '127.0.0.21', port: FIRST + 6 }, rtp(k));
      left.send({ address: '127.0.0.21', port: FIRST + 8 }, rtp(k));
    }
    t.match(await b.event('refused', R), { reason: 'media-send-failed' });
    t.equal((await right.count(3)).length, 3);
    t.equal(await b.counted(R, COUNT.sendFailed, 3), 3);
    t.equal(b.events.filter(e => e.kind === 'refused' && e.row === R).length, 0);
  });

  t.test(`${kind}: a thread that dies is replaced once, and flows live on`, async t => {
    const b = await Bench.open(kind);
    const left = await Phone.at('127.0.0.1');
    const right = await Phone.at('127.0.0.3');
    t.teardown(() => Promise.all([b.path.close(), left.udp.close(), right.udp.close()]));
    const L = b.table.row(0, FIRST + 12);
    const R = b.table.row(1, FIRST + 12);
    b.row(L, R, left.udp.local);
    b.row(R, L, right.udp.local);
    const toL = { address: '127.0.0.21', port: FIRST + 12 };
    await until(left, toL, right);
    const before = b.table.count(L, COUNT.packets);
    const { thread } = b.path as SteeredPath;
    await thread.worker?.terminate();
    t.match(await b.event('restarted'), { detail: String });
    await until(left, toL, right);
    t.ok(b.table.count(L, COUNT.packets) > before, 'the counters go on where they were');
    await thread.worker?.terminate();
    t.match(await b.event('stopped'), { detail: /not started a second time/ });
  });

  t.test(`${kind}: close leaves no descriptor and no thread`, async t => {
    const warm = await Bench.open(kind);
    await warm.path.close();
    const before = descriptors();
    const b = await Bench.open(kind);
    for (let k = 0; k < 10; k++)
      b.row(b.table.row(0, FIRST + k), b.table.row(1, FIRST + k), { address: '127.0.0.1', port: 9 });
    const left = await Phone.at('127.0.0.1');
    b.row(b.table.row(0, FIRST + 30), b.table.row(0, FIRST + 32), left.udp.local);
    b.row(b.table.row(0, FIRST + 32), b.table.row(0, FIRST + 30), left.udp.local);
    await until(left, { address: '127.0.0.21', port: FIRST + 30 }, left);
    await left.udp.close();
    t.ok(descriptors() > before, 'control: a path does cost descriptors');
    await b.path.close();
    t.equal(descriptors(), before);
  });
}

t.test('auto takes the steered path where it works', async t => {
  const b = await Bench.open('auto');
  t.equal(b.path.paths[0]?.kind, 'steered');
  t.equal(b.path.paths[0]?.because, 'sk_lookup and raw sockets work here');
  await b.path.close();
});

t.test('an address of another machine is refused in words, whatever the path', async t => {
  const table = FlowTable.create(['203.0.113.5'], FIRST, LAST);
  const open = (path: PathKind | 'auto') =>
    openDataPath({
      addresses: [{ realm: 'x', bind: '203.0.113.5', advertise: '203.0.113.5', family: 4 }],
      table,
      path,
      onEvent: () => {},
    });
  for (const path of ['steered', 'auto'] as const) {
    const error = await open(path).then(
      p => p.close(),
      (e: unknown) => e,
    );
    t.ok(error instanceof SocketError || error instanceof KernelError);
    t.match(error, { reason: 'address-not-available', message: /203\.0\.113\.5 is not an address of this machine/ });
  }
});

t.test('gathering starts with the load and ends with it', async t => {
  const g = new Gathering(0);
  t.equal(g.note(1, 5), 0);
  let now = 0;
  const run = (perSecond: number): number => {
    let wait = 0;
    for (let k = 0; k < 50; k++) {
      now += 10;
      wait = g.note(perSecond / 100, now);
    }
    return wait;
  };
  t.equal(run(5000), 0);
  t.equal(run(20_000), 100);
  t.equal(run(200_000), 200);
  t.equal(run(100), 0);
});
