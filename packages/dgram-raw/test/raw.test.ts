import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Endpoints } from '@drawbridge/core';
import t from 'tap';
import { HEADROOM, type Libc, loadLibc, openRawSocket, openUdp, RawSender } from '../src/index.js';
import { pinned } from '../src/libc.js';

const INSIDE = 'DRAWBRIDGE_TEST_NAMESPACE';

async function libc(): Promise<Libc> {
  const loaded = await loadLibc();
  if (typeof loaded === 'string') throw new Error(loaded);
  return loaded;
}

/** Sends each payload raw from {address, 4000} to a socket on the same address; what arrived and what failed. */
async function carry(
  address: string,
  payloads: readonly Buffer[],
): Promise<{ got: { bytes: string; port: number }[]; sent: number[]; failed: number[] }> {
  const l = await libc();
  const fd = openRawSocket(l, address);
  const udp = await openUdp({ address, port: 0 });
  const stride = 66_048;
  const slab = pinned(payloads.length * stride);
  const sender = new RawSender(l, { fd, address, slab, batch: payloads.length });
  const got: { bytes: string; port: number }[] = [];
  const sent: number[] = [];
  const failed: number[] = [];
  const to = Endpoints.of(udp.local);
  payloads.forEach((p, i) => {
    p.copy(slab, i * stride + HEADROOM);
    sender.queue(i * stride + HEADROOM, p.length, 4000, to, 0, i);
  });
  const arrived = new Promise<void>(resolve => {
    udp.start(0, {
      batch(rx) {
        for (let i = 0; i < rx.count; i++)
          got.push({ bytes: rx.bytes.toString('hex', rx.at[i]!, rx.at[i]! + rx.len[i]!), port: rx.peer.port(i) });
        if (got.length === sent.length) resolve();
      },
      flow() {},
    });
  });
  sender.flush((tag, ok) => (ok ? sent : failed).push(tag));
  await arrived;
  await udp.close();
  l.close(fd);
  return { got, sent, failed };
}

if (process.env[INSIDE] !== undefined) {
  for (const address of ['127.0.0.1', '::1']) {
    t.test(`beyond the MTU an ordinary socket fragments: ${address}`, async t => {
      const payloads = [100, 1300, 5000, 100].map((n, i) => Buffer.alloc(n, i + 1));
      const { got, sent, failed } = await carry(address, payloads);
      t.same(failed, []);
      t.equal(sent.length, 4);
      t.same(got.map(g => g.bytes).sort(), payloads.map(p => p.toString('hex')).sort());
      t.ok(got.every(g => g.port === 4000));
    });
  }
} else {
  for (const address of ['127.0.0.1', '::1']) {
    t.test(`every checksum is right, odd lengths and carries included: ${address}`, async t => {
      const payloads: Buffer[] = [];
      for (let n = 0; n < 12; n++)
        payloads.push(Buffer.alloc(n, 0xff), Buffer.from(Array.from({ length: n }, (_, i) => (i * 89 + n) & 255)));
      // A payload that makes the sum come out at zero, which must be sent as 0xffff.
      for (let v = 0; v < 0x100; v++) payloads.push(Buffer.from([v, 0xff - v]));
      const { got, failed } = await carry(address, payloads);
      t.same(failed, []);
      t.same(
        got.map(g => g.bytes),
        payloads.map(p => p.toString('hex')),
      );
      t.ok(got.every(g => g.port === 4000));
    });
  }

  t.test('the other family is refused', async t => {
    const l = await libc();
    const fd = openRawSocket(l, '127.0.0.1');
    const sender = new RawSender(l, { fd, address: '127.0.0.1', slab: pinned(4096), batch: 4 });
    t.equal(sender.queue(HEADROOM, 10, 4000, Endpoints.of({ address: '::1', port: 9 }), 0, 0), false);
    t.equal(sender.queue(HEADROOM, 10, 4000, Endpoints.of({ address: '127.0.0.1', port: 9 }), 0, 0), true, 'control');
    sender.flush(() => {});
    l.close(fd);
  });

  t.test('the same in a namespace whose MTU is 1500', { skip: process.getuid?.() === 0 ? false : 'needs root' }, t => {
    const self = fileURLToPath(import.meta.url);
    const out = spawnSync(
      'unshare',
      ['-n', 'sh', '-c', `ip link set lo mtu 1500 up && exec ${process.execPath} ${self}`],
      {
        env: { ...process.env, [INSIDE]: '1' },
        encoding: 'utf8',
      },
    );
    t.equal(out.status, 0, out.stdout + out.stderr);
    t.end();
  });
}
