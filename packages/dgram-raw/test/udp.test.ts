import { Socket } from 'node:dgram';
import { readdirSync } from 'node:fs';
import { Endpoints, type ListenerSink, type Rx } from '@drawbridge/core';
import t from 'tap';
import { BatchUdp } from '../src/batch.js';
import { openUdp, SocketError, type UdpListener, type UdpOptions } from '../src/index.js';
import { type Libc, loadLibc } from '../src/libc.js';

interface Got {
  readonly text: string;
  readonly from: string;
  readonly to: string;
  readonly via: number;
}

/** Collects what arrives and wakes whoever waits for it. */
class Inbox implements ListenerSink {
  readonly got: Got[] = [];
  readonly batches: number[] = [];
  onBatch: (rx: Rx) => void = () => {};
  #wake: (() => void) | undefined;

  batch(rx: Rx): void {
    this.batches.push(rx.count);
    for (let i = 0; i < rx.count; i++) {
      const at = rx.at[i]!;
      this.got.push({
        text: rx.bytes.latin1Slice(at, at + rx.len[i]!),
        from: `${rx.peer.address(i)} ${rx.peer.port(i)}`,
        to: `${rx.local.address(i)} ${rx.local.port(i)}`,
        via: rx.via[i]!,
      });
    }
    this.onBatch(rx);
    this.#wake?.();
  }
  flow(): void {}

  async count(n: number): Promise<Got[]> {
    while (this.got.length < n) {
      await new Promise<void>(resolve => {
        this.#wake = resolve;
      });
    }
    return this.got;
  }
}

declare module 'node:buffer' {
  interface Buffer {
    latin1Slice(start: number, end: number): string;
  }
}

const where = (l: UdpListener) => `${l.local.address} ${l.local.port}`;

for (const mode of ['batch', 'dgram'] as const) {
  const open = (o: Partial<UdpOptions> = {}) => openUdp({ address: '127.0.0.1', port: 0, mode, ...o });

  t.test(`${mode}: says what it is`, async t => {
    const udp = await open();
    t.teardown(() => udp.close());
    t.equal(udp.path, mode);
    t.equal(udp.because, 'asked for');
    t.equal(udp.name, `udp:127.0.0.1:${udp.local.port}`);
    t.ok(udp.local.port > 0);
  });

  for (const address of ['127.0.0.1', '::1']) {
    t.test(`${mode}: echoes on ${address}, with both addresses and the listener's index`, async t => {
      const a = await open({ address });
      const b = await open({ address });
      t.teardown(() => Promise.all([a.close(), b.close()]));
      const atA = new Inbox();
      const atB = new Inbox();
      a.start(3, atA);
      b.start(4, atB);
      atB.onBatch = rx => {
        for (let i = 0; i < rx.count; i++) b.bytes(4, rx.peer, i, rx.bytes, rx.at[i]! + 1, rx.len[i]! - 1);
        b.flush();
      };
      t.equal(a.text(3, Endpoints.of(b.local), 0, 'xh\u00e9llo \u00ff\u0000'), true);
      a.flush();
      t.same(await atA.count(1), [{ text: 'h\u00e9llo \u00ff\u0000', from: where(b), to: where(a), via: 3 }]);
      t.same(atB.got, [{ text: 'xh\u00e9llo \u00ff\u0000', from: where(a), to: where(b), via: 4 }]);
      t.equal(b.counters.received, 1);
      t.equal(b.counters.receiveBatches, 1);
      t.equal(a.counters.sent, 1);
      t.equal(a.counters.refused, 0);
    });
  }

  t.test(`${mode}: keeps the order of a burst and gathers it into batches of at most 64`, async t => {
    const a = await open();
    const b = await open();
    t.teardown(() => Promise.all([a.close(), b.close()]));
    const inbox = new Inbox();
    b.start(0, inbox);
    const to = Endpoints.of(b.local);
    const want = Array.from({ length: 200 }, (_, i) => `message ${i}`);
    for (const m of want) t.ok(a.text(0, to, 0, m));
    a.flush();
    t.same(
      (await inbox.count(200)).map(g => g.text),
      want,
    );
    t.ok(Math.max(...inbox.batches) <= 64);
    t.ok(b.counters.receiveBatches < 100, `${b.counters.receiveBatches} batches`);
    t.equal(b.counters.received, 200);
  });

  t.test(`${mode}: carries the largest datagrams whole, and small ones beside them`, async t => {
    const a = await open({ sendBuffer: 1 << 20 });
    const b = await open();
    t.teardown(() => Promise.all([a.close(), b.close()]));
    const inbox = new Inbox();
    b.start(0, inbox);
    const to = Endpoints.of(b.local);
    const want = ['a'.repeat(65_507), 'small', 'b'.repeat(20_000), 'c'.repeat(65_507), '', 'end'];
    for (const m of want) t.ok(a.text(0, to, 0, m));
    a.flush();
    const got = await inbox.count(want.length);
    t.same(
      got.map(g => g.text.length),
      want.map(m => m.length),
    );
    t.ok(got.every((g, i) => g.text === want[i]));
    t.equal(b.counters.truncated, 0);
    t.equal(a.text(0, to, 0, 'd'.repeat(65_508)), false, 'one byte more than UDP over IPv4 carries');
    t.equal(a.counters.refused, 1);
  });

  t.test(`${mode}: drops and counts what is longer than the configured largest`, async t => {
    const a = await open();
    const b = await open({ largest: 100 });
    t.teardown(() => Promise.all([a.close(), b.close()]));
    const inbox = new Inbox();
    b.start(0, inbox);
    for (const n of [100, 101, 3000, 99]) a.text(0, Endpoints.of(b.local), 0, 'x'.repeat(n));
    a.flush();
    t.same(
      (await inbox.count(2)).map(g => g.text.length),
      [100, 99],
    );
    t.equal(b.counters.truncated, 2);
    t.equal(b.counters.received, 2);
  });

  t.test(`${mode}: a failed send is counted and the messages around it arrive`, async t => {
    const a = await open();
    const b = await open();
    t.teardown(() => Promise.all([a.close(), b.close()]));
    const inbox = new Inbox();
    b.start(0, inbox);
    // A loopback source may not leave the machine: EINVAL or ENETUNREACH; port 0 is refused by the kernel too.
    const to = Endpoints.of(b.local, { address: '203.0.113.1', port: 9 }, { address: '127.0.0.1', port: 0 });
    for (const [j, m] of [
      [0, 'first'],
      [1, 'lost'],
      [0, 'second'],
      [2, 'lost'],
      [0, 'third'],
    ] as const)
      t.equal(a.text(0, to, j, m), true);
    a.flush();
    t.same(
      (await inbox.count(3)).map(g => g.text),
      ['first', 'second', 'third'],
    );
    t.equal(a.counters.sendErrors, 2);
  });

  t.test(`${mode}: nobody at the far port is no error, and the socket goes on`, async t => {
    const a = await open();
    const gone = await open();
    const b = await open();
    await gone.close();
    t.teardown(() => Promise.all([a.close(), b.close()]));
    const inbox = new Inbox();
    a.start(0, new Inbox());
    b.start(0, inbox);
    for (let k = 0; k < 3; k++) {
      a.text(0, Endpoints.of(gone.local), 0, 'anyone?');
      a.flush();
      a.text(0, Endpoints.of(b.local), 0, `hello ${k}`);
      a.flush();
    }
    t.equal((await inbox.count(3)).length, 3);
  });

  t.test(`${mode}: refuses the other family and everything after close`, async t => {
    const a = await open();
    const b = await open();
    t.equal(a.text(0, Endpoints.of({ address: '::1', port: 9 }), 0, 'x'), false);
    t.equal(a.text(0, Endpoints.of(b.local), 0, 'x'), true, 'control: its own family is taken');
    await a.close();
    t.equal(a.text(0, Endpoints.of(b.local), 0, 'x'), false);
    a.flush();
    t.equal(a.counters.refused, 2);
    await a.close();
    await b.close();
    const again = await open({ port: b.local.port });
    t.equal(again.local.port, b.local.port, 'the port is free once close has resolved');
    await again.close();
  });

  t.test(`${mode}: closing inside a batch ends delivery`, async t => {
    const a = await open();
    const b = await open();
    t.teardown(() => a.close());
    const inbox = new Inbox();
    b.start(0, inbox);
    const closed = new Promise<void>(resolve => {
      inbox.onBatch = () => void b.close().then(resolve);
    });
    for (let k = 0; k < 130; k++) a.text(0, Endpoints.of(b.local), 0, String(k));
    a.flush();
    await closed;
    t.equal(inbox.batches.length, 1);
  });

  t.test(`${mode}: errors of opening say what to do`, async t => {
    const holder = await open();
    t.teardown(() => holder.close());
    const { port } = holder.local;
    const failure = async (o: Partial<UdpOptions>): Promise<SocketError> => {
      try {
        await (await open(o)).close();
      } catch (error) {
        if (error instanceof SocketError) return error;
        throw error;
      }
      throw new Error('opened');
    };
    const taken = await failure({ port });
    t.equal(taken.reason, 'address-in-use');
    t.equal(
      taken.message,
      `UDP port ${port} on 127.0.0.1 is taken; see who holds it with "ss -ulpn 'sport = :${port}'", then stop it or choose another port.`,
    );
    const elsewhere = await failure({ address: '203.0.113.77', port: 5060 });
    t.equal(elsewhere.reason, 'address-not-available');
    t.equal(elsewhere.code, 'EADDRNOTAVAIL');
    t.match(elsewhere.message, /^203\.0\.113\.77 is not an address of this machine; .*ip -br address/);
    t.equal((await failure({ address: 'border.example' })).reason, 'address-not-available');
    const beside = await open({ address: '127.0.0.2', port });
    t.equal(beside.local.port, port, 'control: the same port on another address is free');
    await beside.close();
  });

  t.test(`${mode}: an IPv6 socket leaves the IPv4 port alone`, async t => {
    const six = await open({ address: '::', port: 0 });
    t.teardown(() => six.close());
    const four = await open({ address: '0.0.0.0', port: six.local.port });
    t.equal(four.local.port, six.local.port);
    await four.close();
  });

  t.test(`${mode}: leaves no descriptor open`, async t => {
    const descriptors = () => readdirSync('/proc/self/fd').length;
    const warm = await open();
    warm.start(0, new Inbox());
    await warm.close();
    const before = descriptors();
    const many = await Promise.all(Array.from({ length: 20 }, () => open()));
    for (const l of many) l.start(0, new Inbox());
    t.ok(descriptors() >= before + 20, 'control: they do cost descriptors');
    await Promise.all(many.map(l => l.close()));
    await t.rejects(open({ address: '203.0.113.77' }), SocketError);
    t.equal(descriptors(), before);
  });
}

t.test('auto takes the batched path where it works', async t => {
  const udp = await openUdp({ address: '127.0.0.1', port: 0 });
  t.equal(udp.path, 'batch');
  t.equal(udp.because, 'recvmmsg and sendmmsg work here');
  await udp.close();
});

t.test('DSCP is set on what leaves', async t => {
  const libc = (await loadLibc()) as Libc;
  const value = Buffer.alloc(4);
  const length = Buffer.from([4, 0, 0, 0]);
  const seen: number[] = [];
  const watching: Libc = {
    ...libc,
    sendmmsg: (fd, v, n, f) => {
      libc.getsockopt(fd, 0, 1, value, length);
      seen.push(value.readInt32LE(0));
      return libc.sendmmsg(fd, v, n, f);
    },
  };
  for (const dscp of [26, undefined]) {
    const udp = new BatchUdp(watching, { address: '127.0.0.1', port: 0, ...(dscp !== undefined && { dscp }) }, '');
    udp.text(0, Endpoints.of(udp.local), 0, 'x');
    udp.flush();
    await udp.close();
  }
  t.same(seen, [26 << 2, 0]);
});

t.test('batch: a full kernel queue keeps order, refuses at the cap, and goes on when it drains', async t => {
  const libc = (await loadLibc()) as Libc;
  const EAGAIN = 11;
  let full = false;
  const scripted: Libc = {
    ...libc,
    sendmmsg: (fd, v, n, f) => (full ? -1 : libc.sendmmsg(fd, v, Math.min(n, 10), f)),
    errno: () => (full ? EAGAIN : libc.errno()),
  };
  const a = new BatchUdp(scripted, { address: '127.0.0.1', port: 0 }, '');
  const b = await openUdp({ address: '127.0.0.1', port: 0 });
  t.teardown(() => Promise.all([a.close(), b.close()]));
  const inbox = new Inbox();
  a.start(0, new Inbox());
  b.start(0, inbox);
  const to = Endpoints.of(b.local);
  let taken = 0;
  full = true;
  for (let k = 0; k < 300; k++) if (a.text(0, to, 0, `m${k}`)) taken++;
  t.equal(taken, 256);
  t.equal(a.counters.refused, 44);
  t.equal(a.counters.sent, 0);
  t.equal(a.counters.sendErrors, 0);
  full = false;
  const got = await inbox.count(256);
  t.same(
    got.map(g => g.text),
    Array.from({ length: 256 }, (_, k) => `m${k}`),
  );
  t.equal(a.text(0, to, 0, 'after'), true);
  a.flush();
  await inbox.count(257);
});

t.test('dgram: a full queue refuses and counts', async t => {
  const a = await openUdp({ address: '127.0.0.1', port: 0, mode: 'dgram' });
  const to = Endpoints.of(a.local);
  const real = Socket.prototype.getSendQueueCount;
  t.teardown(() => {
    Socket.prototype.getSendQueueCount = real;
    return a.close();
  });
  t.equal(a.text(0, to, 0, 'x'), true);
  Socket.prototype.getSendQueueCount = () => 256;
  t.equal(a.text(0, to, 0, 'x'), false);
  t.equal(a.counters.refused, 1);
});
