import { connect, createServer, type Server, type Socket } from 'node:net';
import {
  type Endpoint,
  Endpoints,
  type FlowChange,
  type FlowId,
  isStream,
  type ListenerSink,
  listenerOf,
  type Rx,
} from '@drawbridge/core';
import { SocketError } from 'node-dgram-raw';
import t from 'tap';
import { FRAME, Framer } from '../src/flow/framer.js';
import { openStreamListener, type StreamListener, type StreamListenerOptions } from '../src/index.js';

const VIA = 3;

/** Everything a listener says, and promises of what it will say. */
class Heard implements ListenerSink {
  readonly messages: string[] = [];
  readonly vias: FlowId[] = [];
  readonly batches: number[] = [];
  readonly flows: [FlowId, FlowChange, Endpoint | undefined][] = [];
  listener: StreamListener | undefined;
  onMessage: ((text: string, via: FlowId, rx: Rx, i: number) => void) | undefined;
  #waiting: { ready: () => boolean; resolve: () => void }[] = [];

  batch(rx: Rx): void {
    this.batches.push(rx.count);
    for (let i = 0; i < rx.count; i++) {
      const text = rx.bytes.toString('latin1', rx.at[i], rx.at[i]! + rx.len[i]!);
      this.messages.push(text);
      this.vias.push(rx.via[i]!);
      this.onMessage?.(text, rx.via[i]!, rx, i);
    }
    this.listener?.flush();
    this.#wake();
  }

  flow(flow: FlowId, what: FlowChange): void {
    this.flows.push([flow, what, this.listener?.peerOf(flow)]);
    this.#wake();
  }

  until(ready: () => boolean): Promise<void> {
    if (ready()) return Promise.resolve();
    return new Promise(resolve => this.#waiting.push({ ready, resolve }));
  }

  #wake(): void {
    this.#waiting = this.#waiting.filter(w => {
      if (w.ready()) w.resolve();
      return !w.ready();
    });
  }
}

async function open(options: Partial<StreamListenerOptions> = {}): Promise<{ listener: StreamListener; heard: Heard }> {
  const listener = await openStreamListener({ address: '127.0.0.1', port: 0, ...options });
  const heard = new Heard();
  heard.listener = listener;
  listener.start(VIA, heard);
  return { listener, heard };
}

async function dial(
  to: Endpoint,
): Promise<{ socket: Socket; got: () => string; closed: Promise<void>; until: (text: string) => Promise<void> }> {
  const socket = connect(to.port, to.address);
  await new Promise<void>(resolve => socket.once('connect', resolve).once('error', () => resolve()));
  let got = '';
  const waiting: { text: string; resolve: () => void }[] = [];
  socket.on('data', chunk => {
    got += chunk.toString('latin1');
    for (const w of waiting) if (got.includes(w.text)) w.resolve();
  });
  socket.on('error', () => {});
  const closed = new Promise<void>(resolve => socket.once('close', () => resolve()));
  return {
    socket,
    closed,
    got: () => got,
    until: text => new Promise(resolve => (got.includes(text) ? resolve() : waiting.push({ text, resolve }))),
  };
}

const sip = (n: number, body = '', length: string = String(body.length)): string =>
  `OPTIONS sip:a@example.org SIP/2.0\r\nCSeq: ${n} OPTIONS\r\nContent-Length: ${length}\r\n\r\n${body}`;

t.test('many messages of one segment arrive as one batch, whole, with their stream and peer', async t => {
  const { listener, heard } = await open();
  t.teardown(() => listener.close());
  const c = await dial(listener.local);
  const local = { address: '127.0.0.1', port: c.socket.localPort };
  let peer: Endpoint | undefined;
  heard.onMessage = (_text, via, rx, i) => {
    peer = rx.peer.get(i);
    listener.text(via, rx.peer, i, 'SIP/2.0 200 OK\r\n\r\n');
  };
  c.socket.write(sip(1, 'v=0\r\n') + sip(2) + sip(3, '\r\n\r\n'));
  await heard.until(() => heard.messages.length === 3);
  t.same(heard.messages, [sip(1, 'v=0\r\n'), sip(2), sip(3, '\r\n\r\n')]);
  t.same(heard.batches, [3]);
  t.same(peer, local);
  const [via] = heard.vias;
  t.ok(via !== undefined && isStream(via) && listenerOf(via) === VIA);
  await c.until('SIP/2.0 200 OK\r\n\r\n'.repeat(3));
  c.socket.destroy();
  await heard.until(() => heard.flows.length === 2);
  t.same(heard.flows, [
    [via, 'opened', local],
    [via, 'closed', local],
  ]);
  t.equal(listener.peerOf(via ?? 0), undefined);
  t.equal(listener.streams, 0);
});

t.test('bytes that drip in make the same messages as bytes that come at once', async t => {
  const wire = `\r\n${sip(1, 'body')}\r\n\r\n${sip(2)}\r\n\r\n\r\n\r\n${sip(3, 'x'.repeat(3000))}`;
  const cut = (size: number): { messages: string[]; keepalives: number } => {
    const framer = new Framer({ maxHead: 1000, maxBody: 4000 });
    const out = { messages: [] as string[], keepalives: 0 };
    for (let i = 0; i < wire.length; i += size) {
      framer.push(Buffer.from(wire.slice(i, i + size), 'latin1'));
      for (let f = framer.next(); f !== FRAME.more; f = framer.next()) {
        if (f === FRAME.keepalive) out.keepalives++;
        else if (f === FRAME.message)
          out.messages.push(framer.bytes.toString('latin1', framer.at, framer.at + framer.length));
        else throw new Error('fault');
      }
    }
    t.notOk(framer.partial);
    return out;
  };
  const whole = { messages: [sip(1, 'body'), sip(2), sip(3, 'x'.repeat(3000))], keepalives: 3 };
  for (const size of [wire.length, 1, 2, 3, 5, 7, 64, 1000]) t.same(cut(size), whole, `in pieces of ${size}`);
});

t.test('a length that cannot be trusted ends the stream behind the last good message', async t => {
  const trailing = sip(9);
  const bad: Record<string, string> = {
    'past 2^32': sip(2, '', '4294967328'),
    negative: sip(2, '', '-1'),
    hex: sip(2, '', '0x10'),
    '400 digits': sip(2, '', '0'.repeat(400)),
    twice: sip(2).replace('CSeq', 'l: 0\r\nCSeq'),
    'twice, compact and folded': sip(2).replace('CSeq', 'L :\r\n 0\r\nCSeq'),
    absent: 'OPTIONS sip:a SIP/2.0\r\nCSeq: 2 OPTIONS\r\n\r\n',
    'a list': sip(2, '', '0, 0'),
    empty: sip(2, '', ''),
    'past our limit': sip(2, '', '65537'),
  };
  for (const [name, head] of Object.entries(bad)) {
    const { listener, heard } = await open();
    const c = await dial(listener.local);
    c.socket.write(sip(1) + head + trailing);
    await c.closed;
    t.same(heard.messages, [sip(1), head], name);
    t.equal(listener.counters.framingFaults, 1, name);
    await listener.close();
  }
  // Control: the same stream with good lengths gives every message and stays open.
  const { listener, heard } = await open();
  t.teardown(() => listener.close());
  const c = await dial(listener.local);
  c.socket.write(
    sip(1) +
      sip(2).replace('Content-Length', 'l') +
      sip(3).replace('Content-Length:', 'CONTENT-length\t:\r\n ') +
      trailing,
  );
  await heard.until(() => heard.messages.length === 4);
  t.equal(listener.counters.framingFaults, 0);
  t.equal(listener.streams, 1);
  c.socket.destroy();
});

t.test('a head without end is cut off at the limit, one below it is served', async t => {
  const { listener, heard } = await open({ maxHead: 2000 });
  t.teardown(() => listener.close());
  const good = await dial(listener.local);
  good.socket.write(sip(1).replace('CSeq', `X: ${'a'.repeat(1800)}\r\nCSeq`));
  await heard.until(() => heard.messages.length === 1);
  const bad = await dial(listener.local);
  bad.socket.write(`OPTIONS sip:a SIP/2.0\r\nX: ${'a'.repeat(2500)}`);
  await bad.closed;
  t.equal(heard.messages.length, 1);
  t.equal(listener.counters.framingFaults, 1);
  t.equal(listener.streams, 1);
  good.socket.destroy();
});

t.test('CRLFCRLF is answered with CRLF and told to nobody', async t => {
  const { listener, heard } = await open();
  t.teardown(() => listener.close());
  const c = await dial(listener.local);
  c.socket.write('\r\n\r\n');
  await c.until('\r\n');
  c.socket.write(`\r\n${sip(1)}`);
  await heard.until(() => heard.messages.length === 1);
  t.same(heard.messages, [sip(1)]);
  t.equal(c.got(), '\r\n');
  t.equal(listener.counters.keepalives, 1);
  c.socket.destroy();
});

t.test('an unfinished message and an idle stream meet their deadlines; a busy one does not', async t => {
  const { listener, heard } = await open({ messageDeadlineMs: 200, idleMs: 1200 });
  t.teardown(() => listener.close());
  const busy = await dial(listener.local);
  const beat = setInterval(() => busy.socket.write(sip(1)), 20);
  const head = await dial(listener.local);
  head.socket.write('OPTIONS sip:a SIP/2.0\r\n');
  const body = await dial(listener.local);
  body.socket.write(sip(2, '', '10'));
  const idle = await dial(listener.local);
  const drip = setInterval(() => body.socket.write('x'), 60);
  await Promise.all([head.closed, body.closed, idle.closed]);
  await heard.until(() => heard.flows.filter(f => f[1] === 'closed').length === 3);
  clearInterval(drip);
  t.equal(listener.counters.deadlines, 3);
  t.equal(listener.streams, 1);
  t.notOk(busy.socket.destroyed);
  clearInterval(beat);
  busy.socket.destroy();
  t.ok(heard.messages.length > 1);
});

t.test('caps turn away the stream too many and let the next in when one goes', async t => {
  const { listener, heard } = await open({ maxPerAddress: 2, maxStreams: 3 });
  t.teardown(() => listener.close());
  const a = await dial(listener.local);
  const b = await dial(listener.local);
  const c = await dial(listener.local);
  await c.closed;
  t.equal(listener.counters.turnedAway, 1);
  t.equal(listener.streams, 2);
  a.socket.destroy();
  await heard.until(() => heard.flows.some(f => f[1] === 'closed'));
  const d = await dial(listener.local);
  d.socket.write(sip(4));
  await heard.until(() => heard.messages.length === 1);
  t.same(heard.messages, [sip(4)]);
  for (const s of [b, d]) s.socket.destroy();
});

t.test('a peer that does not read is refused above the high-water mark, then cut off', async t => {
  const { listener, heard } = await open({ highWater: 100_000, stuckMs: 100 });
  t.teardown(() => listener.close());
  const c = await dial(listener.local);
  const reader = await dial(listener.local);
  await heard.until(() => heard.flows.length === 2);
  const [slow, fast] = heard.flows.map(f => f[0]) as [FlowId, FlowId];
  const to = new Endpoints(1);
  c.socket.pause();
  let accepted = 0;
  for (; accepted < 1000; accepted++) {
    if (!listener.text(slow, to, 0, 'x'.repeat(50_000))) break;
    listener.flush();
    await new Promise(resolve => setImmediate(resolve));
  }
  t.ok(accepted < 1000, `refused after ${accepted}`);
  t.equal(listener.counters.refused, 1);
  t.ok(listener.text(fast, to, 0, 'still served'));
  listener.flush();
  await reader.until('still served');
  await heard.until(() => heard.flows.some(f => f[0] === slow && f[1] === 'closed'));
  t.equal(listener.counters.deadlines, 1);
  c.socket.destroy();
  reader.socket.destroy();
});

t.test('text to the listener itself dials once, queues a bounded number, and reuses the stream', async t => {
  const { listener, heard } = await open({ maxPending: 2 });
  t.teardown(() => listener.close());
  const { server, at, got, until } = await echoServer();
  t.teardown(() => new Promise(resolve => server.close(resolve)));
  const to = Endpoints.of(at);
  t.ok(listener.text(VIA, to, 0, 'one'));
  t.ok(listener.text(VIA, to, 0, 'two'));
  t.notOk(listener.text(VIA, to, 0, 'three'));
  await heard.until(() => heard.flows.length === 1);
  const [via] = heard.flows[0] as [FlowId, FlowChange, Endpoint];
  t.same(heard.flows, [[via, 'opened', at]]);
  t.ok(listener.text(VIA, to, 0, 'four'));
  t.ok(listener.text(via, to, 0, 'five'));
  listener.flush();
  await until('five');
  t.equal(got(), 'onetwofourfive');
  t.equal(listener.counters.dialled, 1);
  t.equal(listener.counters.refused, 1);
  listener.hangUp(via);
  await heard.until(() => heard.flows.length === 2);
  t.same(heard.flows[1], [via, 'closed', at]);
  t.notOk(listener.text(via, to, 0, 'late'));
});

t.test('what is sent to an endpoint is dialled there, never handed to whoever came from there', async t => {
  const { listener, heard } = await open();
  t.teardown(() => listener.close());
  const c = await dial(listener.local);
  await heard.until(() => heard.flows.length === 1);
  const [via] = heard.vias.length > 0 ? heard.vias : [heard.flows[0]?.[0] ?? 0];
  const from = Endpoints.of({ address: '127.0.0.1', port: c.socket.localPort ?? 0 });
  // Control: over the stream itself it arrives.
  t.ok(listener.text(via ?? 0, from, 0, 'yours'));
  listener.flush();
  await c.until('yours');
  t.ok(listener.text(VIA, from, 0, 'not yours'));
  listener.flush();
  // Nobody listens where the client came from.
  await heard.until(() => heard.flows.some(f => f[1] === 'error'));
  t.equal(c.got(), 'yours');
  c.socket.destroy();
});

t.test('a peer that refuses is an error of the flow, with its endpoint', async t => {
  const { listener, heard } = await open();
  t.teardown(() => listener.close());
  const { server, at } = await echoServer();
  await new Promise(resolve => server.close(resolve));
  t.ok(listener.text(VIA, Endpoints.of(at), 0, 'anyone'));
  await heard.until(() => heard.flows.length === 1);
  t.same(
    heard.flows.map(f => [f[1], f[2]]),
    [['error', at]],
  );
  t.equal(listener.streams, 0);
});

t.test('a taken port is a sentence that says what to do', async t => {
  const { listener } = await open();
  t.teardown(() => listener.close());
  const reasons = [];
  for (const at of [
    { address: '127.0.0.1', port: listener.local.port },
    { address: '192.0.2.77', port: 0 },
  ]) {
    const error = await openStreamListener(at).catch((e: unknown) => e);
    reasons.push(error instanceof SocketError ? [error.reason, error.message.includes('; see ')] : error);
  }
  t.same(reasons, [
    ['address-in-use', true],
    ['address-not-available', true],
  ]);
  const error = await openStreamListener({ address: 'nonsense', port: 0 }).catch((e: unknown) => e);
  t.ok(error instanceof SocketError);
});

async function echoServer(): Promise<{
  server: Server;
  at: Endpoint;
  got: () => string;
  until: (text: string) => Promise<void>;
}> {
  let got = '';
  const waiting: { text: string; resolve: () => void }[] = [];
  const server = createServer(socket => {
    socket.on('error', () => {});
    socket.on('data', chunk => {
      got += chunk.toString('latin1');
      for (const w of waiting) if (got.includes(w.text)) w.resolve();
    });
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no address');
  return {
    server,
    at: { address: '127.0.0.1', port: address.port },
    got: () => got,
    until: text => new Promise(resolve => (got.includes(text) ? resolve() : waiting.push({ text, resolve }))),
  };
}
