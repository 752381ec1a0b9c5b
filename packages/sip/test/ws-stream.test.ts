import { connect as connectPlain, type Socket } from 'node:net';
import { Endpoints, type FlowId, type ListenerSink, type Rx } from '@drawbridge/core';
import t from 'tap';
import { WebSocket } from 'ws';
import {
  checkFrame,
  FRAME,
  openStreamListener,
  type StreamListener,
  type StreamListenerOptions,
} from '../src/index.js';
import { authority } from './certificates.js';

const VIA = 4;
const HERE = '127.0.0.1';
const head = (n: number, length = ''): string =>
  `OPTIONS sip:a@example.org SIP/2.0\r\nVia: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK${n}\r\n${length}\r\n`;
const OK = 'SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n';

class Sink implements ListenerSink {
  readonly messages: string[] = [];
  readonly batches: number[] = [];
  readonly vias: FlowId[] = [];
  readonly flows: [FlowId, string][] = [];
  reply = OK;
  readonly #listener: StreamListener;
  #waiting: { ready: () => boolean; resolve: () => void }[] = [];
  constructor(listener: StreamListener) {
    this.#listener = listener;
    listener.start(VIA, this);
  }
  batch(rx: Rx): void {
    this.batches.push(rx.count);
    for (let i = 0; i < rx.count; i++) {
      this.messages.push(rx.bytes.toString('latin1', rx.at[i], rx.at[i]! + rx.len[i]!));
      this.vias.push(rx.via[i]!);
      this.#listener.text(rx.via[i]!, rx.peer, i, this.reply);
    }
    this.#listener.flush();
    this.#wake();
  }
  flow(flow: FlowId, what: string): void {
    this.flows.push([flow, what]);
    this.#wake();
  }
  until(ready: () => boolean): Promise<void> {
    return ready() ? Promise.resolve() : new Promise(resolve => this.#waiting.push({ ready, resolve }));
  }
  #wake(): void {
    const done = this.#waiting.filter(w => w.ready());
    this.#waiting = this.#waiting.filter(w => !done.includes(w));
    for (const w of done) w.resolve();
  }
}

async function open(o: Partial<StreamListenerOptions> = {}): Promise<{ listener: StreamListener; sink: Sink }> {
  const listener = await openStreamListener({ address: HERE, port: 0, transport: 'ws', ...o });
  return { listener, sink: new Sink(listener) };
}

interface Client {
  readonly ws: WebSocket;
  readonly opened: Promise<boolean>;
  /** Status of the refusal, 0 when there was none. */
  status: number;
  readonly closed: Promise<number>;
  readonly got: { text: string; binary: boolean }[];
  received(n: number): Promise<void>;
}

function dial(listener: StreamListener, protocols: string[] = ['sip'], ca?: string): Client {
  const scheme = listener.transport;
  const ws = new WebSocket(`${scheme}://${HERE}:${listener.local.port}/`, protocols, ca === undefined ? {} : { ca });
  const waiting: { n: number; resolve: () => void }[] = [];
  const c: Client = {
    ws,
    got: [],
    status: 0,
    opened: new Promise(resolve => {
      ws.once('open', () => resolve(true));
      ws.once('close', () => resolve(false));
    }),
    closed: new Promise(resolve => ws.once('close', code => resolve(code))),
    received: n => (c.got.length >= n ? Promise.resolve() : new Promise(resolve => waiting.push({ n, resolve }))),
  };
  ws.on('error', () => {});
  ws.on('unexpected-response', (request, response) => {
    c.status = response.statusCode ?? 0;
    request.destroy();
    ws.terminate();
  });
  ws.on('message', (data, binary) => {
    c.got.push({ text: (data as Buffer).toString('latin1'), binary });
    for (const w of waiting) if (c.got.length >= w.n) w.resolve();
  });
  return c;
}

t.test('a frame is a message: text or binary, with its length said rightly or not at all', async t => {
  const { listener, sink } = await open();
  t.teardown(() => listener.close());
  t.match(listener.name, /^ws:/);
  const c = dial(listener);
  t.ok(await c.opened);
  t.equal(c.ws.protocol, 'sip');
  const messages = [head(1), head(2, 'Content-Length: 0\r\n'), `${head(3, 'l: 4\r\n')}v=0\n`, `${head(4)}no length`];
  for (const [i, m] of messages.entries()) c.ws.send(Buffer.from(m), { binary: i % 2 === 1 });
  await c.received(4);
  t.same(sink.messages, messages);
  t.same(sink.batches, [1, 1, 1, 1]);
  t.same(c.got[0], { text: OK, binary: false });
  sink.reply = 'SIP/2.0 200 \xff\r\n\r\n';
  c.ws.send(head(5));
  await c.received(5);
  t.same(c.got[4], { text: sink.reply, binary: true }, 'what is no UTF-8 is no text frame');
  sink.reply = 'SIP/2.0 200 \xc3\xa9\r\n\r\n';
  c.ws.send(head(6));
  await c.received(6);
  t.same(c.got[5], { text: sink.reply, binary: false });
  c.ws.close();
  t.equal(await c.closed, 1005);
  await sink.until(() => sink.flows.length === 2);
  t.same(
    sink.flows.map(([, what]) => what),
    ['opened', 'closed'],
  );
  t.equal(listener.streams, 0);
});

t.test('two messages in a frame, a length that lies, no head: the stream ends', async t => {
  const { listener, sink } = await open();
  t.teardown(() => listener.close());
  const bad: [string, string, number][] = [
    ['two at once', head(1, 'Content-Length: 0\r\n') + head(2, 'Content-Length: 0\r\n'), 1],
    ['too long', head(1, 'Content-Length: 9\r\n'), 1],
    ['too short', `${head(1, 'Content-Length: 1\r\n')}12`, 1],
    ['said twice', head(1, 'Content-Length: 0\r\nl: 0\r\n'), 1],
    ['no end of head', 'OPTIONS sip:a SIP/2.0\r\n', 0],
    ['a word', 'hello', 0],
  ];
  for (const [what, frame, told] of bad) {
    const before = sink.messages.length;
    const c = dial(listener);
    await c.opened;
    c.ws.send(frame);
    c.ws.send(head(9));
    t.equal(await c.closed, 1000, what);
    t.equal(sink.messages.length - before, told, `${what}: answered at most, and nothing behind it read`);
  }
  t.equal(listener.counters.framingFaults, bad.length);
  const c = dial(listener);
  await c.opened;
  c.ws.send(head(1));
  await c.received(1);
  c.ws.terminate();
});

t.test('without the subprotocol sip there is no upgrade, and a web browser is told what this is', async t => {
  const { listener, sink } = await open();
  t.teardown(() => listener.close());
  const none = dial(listener, []);
  t.notOk(await none.opened);
  t.equal(none.status, 400);
  const other = dial(listener, ['xmpp']);
  t.notOk(await other.opened);
  t.equal(other.status, 400);
  const among = dial(listener, ['xmpp', 'sip']);
  t.ok(await among.opened);
  t.equal(among.ws.protocol, 'sip');
  among.ws.terminate();
  const response = await fetch(`http://${HERE}:${listener.local.port}/`);
  t.equal(response.status, 426);
  await sink.until(() => sink.flows.length === 2);
  t.equal(sink.flows.length, 2, 'the core heard of the one that opened');
});

t.test('fragments make one message; too many bytes or fragments end the stream', async t => {
  const { listener, sink } = await open({ maxHead: 2000, maxBody: 3000 });
  t.teardown(() => listener.close());
  const c = dial(listener);
  await c.opened;
  const text = `${head(1)}${'x'.repeat(2500)}`;
  for (let i = 0; i < text.length; i += 500) c.ws.send(text.slice(i, i + 500), { fin: i + 500 >= text.length });
  await c.received(1);
  t.same(sink.messages, [text]);
  c.ws.send('x'.repeat(5001));
  t.equal(await c.closed, 1009, 'oversized');
  const long = dial(listener);
  await long.opened;
  for (let i = 0; i < 20; i++) long.ws.send('x'.repeat(400), { fin: false });
  t.equal(await long.closed, 1009, 'oversized in pieces');
  const many = dial(listener);
  await many.opened;
  for (let i = 0; i < 1500; i++) many.ws.send('x', { fin: false });
  t.equal(await many.closed, 1008, 'in too many pieces');
  t.equal(sink.messages.length, 1);
  while (listener.streams > 0) await new Promise(resolve => setImmediate(resolve));
});

t.test('pings, Pongs and CRLFs keep a stream; an unfinished frame and silence end it', async t => {
  const { listener } = await open({ idleMs: 500, messageDeadlineMs: 400 });
  t.teardown(() => listener.close());
  const pinging = dial(listener);
  const crlf = dial(listener);
  const silent = dial(listener);
  const partial = dial(listener);
  await Promise.all([pinging.opened, crlf.opened, silent.opened, partial.opened]);
  let pongs = 0;
  pinging.ws.on('pong', data => {
    if (data.toString() === 'are you there') pongs++;
  });
  const beat = setInterval(() => {
    pinging.ws.ping('are you there');
    crlf.ws.send('\r\n\r\n');
  }, 100);
  partial.ws.send(head(1), { fin: false });
  const more = setInterval(() => {
    if (partial.ws.readyState === WebSocket.OPEN) partial.ws.send('x', { fin: false });
  }, 50);
  await Promise.all([silent.closed, partial.closed]);
  clearInterval(more);
  await crlf.received(3);
  t.same(crlf.got[0], { text: '\r\n', binary: false });
  t.ok(pongs >= 3);
  while (listener.streams > 2) await new Promise(resolve => setImmediate(resolve));
  t.equal(listener.streams, 2);
  t.equal(listener.counters.deadlines, 2);
  clearInterval(beat);
  pinging.ws.terminate();
  crlf.ws.terminate();
});

t.test('an upgrade that stalls is ended, a frame without mask too', async t => {
  const { listener, sink } = await open({ handshakeMs: 200 });
  t.teardown(() => listener.close());
  const ended = (say: string): Promise<void> =>
    new Promise(resolve => {
      const s = connectPlain(listener.local.port, HERE, () => s.write(say));
      s.on('error', () => {}).resume();
      s.once('close', () => resolve());
    });
  await Promise.all([
    ended('GET / HTTP/1.1\r\nHost: x\r\n'),
    ended(''),
    ended('\0\0rubbish\r\n\r\n'),
    ended(`GET /${'x'.repeat(20_000)}`),
  ]);
  while (listener.streams > 0) await new Promise(resolve => setImmediate(resolve));
  t.same(sink.flows, []);
  t.equal(listener.counters.unopened, 4);
  const c = dial(listener);
  t.ok(await c.opened, 'the control');
  const raw = (c.ws as unknown as { _socket: Socket })._socket;
  raw.write(Buffer.concat([Buffer.from([0x81, 5]), Buffer.from('hello')]));
  t.equal(await c.closed, 1002);
});

t.test('pings to a peer that does not read do not pile up', async t => {
  const { listener, sink } = await open({ highWater: 100_000, stuckMs: 60_000 });
  t.teardown(() => listener.close());
  const c = dial(listener);
  await c.opened;
  const raw = (c.ws as unknown as { _socket: Socket })._socket;
  raw.pause();
  const rss = process.memoryUsage().arrayBuffers;
  for (let round = 0; round < 200; round++) {
    for (let i = 0; i < 1000; i++) c.ws.ping('x'.repeat(125));
    await new Promise(resolve => setImmediate(resolve));
  }
  await new Promise<void>(resolve => raw.write('', () => resolve()));
  while (listener.counters.keepalives < 200_000) await new Promise(resolve => setTimeout(resolve, 20));
  t.ok(process.memoryUsage().arrayBuffers - rss < 40_000_000, '26 MB of pongs were not kept');
  const [via] = sink.flows[0] ?? [0];
  let taken = 0;
  while (listener.text(via, Endpoints.of({ address: HERE, port: 1 }), 0, 'x'.repeat(50_000)) && taken < 100_000) {
    taken++;
    listener.flush();
    await new Promise(resolve => setImmediate(resolve));
  }
  t.ok(taken < 1000, 'the high-water mark holds for messages too');
  c.ws.terminate();
});

t.test('over TLS as well; nobody is dialled', async t => {
  const ca = await authority();
  const own = await ca.issue({ names: [['ip', HERE]] });
  const { listener, sink } = await open({ transport: 'wss', tls: { material: own } });
  t.teardown(() => listener.close());
  const c = dial(listener, ['sip'], ca.certificate);
  t.ok(await c.opened);
  c.ws.send(head(1));
  await c.received(1);
  t.same(sink.messages, [head(1)]);
  t.notOk(listener.text(VIA, Endpoints.of({ address: HERE, port: 5061 }), 0, OK));
  c.ws.terminate();
  await sink.until(() => sink.flows.length === 2);
  while (listener.streams > 0) await new Promise(resolve => setImmediate(resolve));
  t.equal(listener.streams, 0);
});

t.test('what a frame is', async t => {
  const limits = { maxHead: 100, maxBody: 10 };
  const check = (text: string): number => checkFrame(Buffer.from(text, 'latin1'), limits);
  t.equal(check(''), FRAME.more);
  t.equal(check('\r\n'), FRAME.more);
  t.equal(check('\r\n\r\n'), FRAME.keepalive);
  t.equal(check('A b\r\n\r\n'), FRAME.message);
  t.equal(check('A b\r\n\r\n0123456789'), FRAME.message);
  t.equal(check('A b\r\n\r\n01234567890'), FRAME.faultyHead);
  t.equal(check('A b\r\nContent-Length : 2\r\n\r\n01'), FRAME.message);
  t.equal(check('A b\r\nContent-Length: 4294967298\r\n\r\n01'), FRAME.faultyHead);
  t.equal(check(`A ${'b'.repeat(100)}\r\n\r\n`), FRAME.fault);
  t.equal(check('\r\nA'), FRAME.fault);
});
