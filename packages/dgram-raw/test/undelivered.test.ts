import { createSocket } from 'node:dgram';
import { type Endpoint, Endpoints } from '@drawbridge/core';
import t from 'tap';
import { openUdp } from '../src/index.js';

/** A port of this machine where nobody listens. */
async function nobody(type: 'udp4' | 'udp6', address: string): Promise<Endpoint> {
  const socket = createSocket(type);
  await new Promise<void>(done => socket.bind(0, address, done));
  const { port } = socket.address();
  await new Promise<void>(done => socket.close(() => done()));
  return { address, port };
}

for (const [type, address] of [
  ['udp4', '127.0.0.1'],
  ['udp6', '::1'],
] as const) {
  t.test(`${type}: what ICMP sends back is heard, and harms no other datagram`, async t => {
    const socket = await openUdp({ address, port: 0 }).catch(() => undefined);
    if (socket === undefined) return t.pass(`no ${address} here`);
    if (socket.path !== 'batch') return t.pass(`no batched sockets here: ${socket.because}`);
    const gone = await nobody(type, address);
    const friend = createSocket(type);
    await new Promise<void>(done => friend.bind(0, address, done));
    t.teardown(async () => {
      friend.close();
      await socket.close();
    });
    let heard = 0;
    let ended = (): void => {};
    friend.on('message', () => void (++heard === 100 && ended()));
    const quoted: string[] = [];
    let told = (): void => {};
    const back: string[] = [];
    socket.start(7, {
      batch: rx => void back.push(rx.bytes.toString('latin1', rx.at[0], (rx.at[0] ?? 0) + (rx.len[0] ?? 0))),
      flow() {},
      undelivered(via, text) {
        quoted.push(`${via} ${text}`);
        told();
      },
    });
    const to = (e: Endpoint) => Endpoints.of(e);
    const good = to({ address, port: friend.address().port });
    const bad = to(gone);
    const all = new Promise<void>(done => {
      ended = done;
    });
    for (let i = 0; i < 100; i++) {
      if (i % 10 === 0) socket.text(7, bad, 0, `INVITE sip:${i}@gone SIP/2.0`);
      socket.text(7, good, 0, `hello ${i}`);
      if (i % 7 === 0) socket.flush();
    }
    socket.flush();
    await all;
    t.equal(heard, 100, 'everybody else got everything');
    while (quoted.length === 0)
      await new Promise<void>(done => {
        told = done;
      });
    t.match(quoted[0], /^7 INVITE sip:\d+@gone SIP\/2\.0$/, 'the beginning of what was sent');
    t.equal(socket.counters.sendErrors, 0);
    t.ok((socket.counters.undelivered ?? 0) > 0);
    // The socket is watched as before, for datagrams and for more errors.
    const before = quoted.length;
    for (let i = 0; quoted.length === before && i < 100; i++) {
      socket.text(7, bad, 0, 'again');
      socket.flush();
      await new Promise(done => setTimeout(done, 20));
    }
    t.equal(quoted.at(-1), '7 again');
    const answered = new Promise<void>(done => {
      const look = setInterval(() => {
        if (back.length === 0) return;
        clearInterval(look);
        done();
      }, 5);
    });
    friend.send('answer', socket.local.port, address);
    await answered;
    t.same(back, ['answer']);
  });
}
