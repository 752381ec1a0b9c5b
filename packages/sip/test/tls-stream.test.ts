import { readdirSync } from 'node:fs';
import { connect as connectPlain, type Socket } from 'node:net';
import { type ConnectionOptions, connect, createServer, type TLSSocket } from 'node:tls';
import { type Endpoint, Endpoints, type FlowId, type ListenerSink, type Rx } from '@drawbridge/core';
import t from 'tap';
import { openStreamListener, type StreamListener, type StreamListenerOptions } from '../src/index.js';
import { type Authority, authority, type Issued } from './certificates.js';

const VIA = 2;
const HERE = '127.0.0.1';
const OPTIONS = 'OPTIONS sip:a@example.org SIP/2.0\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n';
const OK = 'SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n';

/** Answers every message with OK and waits for what a test waits for. */
class Answering implements ListenerSink {
  readonly messages: string[] = [];
  readonly vias: FlowId[] = [];
  readonly flows: [FlowId, string][] = [];
  readonly #listener: StreamListener;
  #waiting: { ready: () => boolean; resolve: () => void }[] = [];
  constructor(listener: StreamListener) {
    this.#listener = listener;
    listener.start(VIA, this);
  }
  batch(rx: Rx): void {
    for (let i = 0; i < rx.count; i++) {
      const text = rx.bytes.toString('latin1', rx.at[i], rx.at[i]! + rx.len[i]!);
      this.messages.push(text);
      this.vias.push(rx.via[i]!);
      if (!text.startsWith('SIP/2.0')) this.#listener.text(rx.via[i]!, rx.peer, i, OK);
    }
    this.#listener.flush();
    this.#wake();
  }
  flow(flow: FlowId, what: string): void {
    this.flows.push([flow, what]);
    this.#wake();
  }
  until(ready: () => boolean): Promise<void> {
    if (ready()) return Promise.resolve();
    return new Promise(resolve => this.#waiting.push({ ready, resolve }));
  }
  #wake(): void {
    const done = this.#waiting.filter(w => w.ready());
    this.#waiting = this.#waiting.filter(w => !done.includes(w));
    for (const w of done) w.resolve();
  }
}

async function open(
  own: Issued,
  o: Partial<StreamListenerOptions> = {},
  tls: { ca?: string; clientCertificates?: 'none' | 'request' | 'require' } = {},
): Promise<{ listener: StreamListener; sink: Answering }> {
  const { ca, ...rest } = tls;
  const listener = await openStreamListener({
    address: HERE,
    port: 0,
    transport: 'tls',
    tls: { material: { certificate: own.certificate, key: own.key, ca }, ...rest },
    ...o,
  });
  return { listener, sink: new Answering(listener) };
}

interface Client {
  readonly socket: TLSSocket;
  readonly secure: Promise<boolean>;
  readonly closed: Promise<void>;
  answers(n: number): Promise<void>;
}

function dial(at: Endpoint, ca: Authority, o: ConnectionOptions = {}): Client {
  const socket = connect({ host: at.address, port: at.port, ca: ca.certificate, servername: 'border.example', ...o });
  let got = '';
  const waiting: { n: number; resolve: () => void }[] = [];
  socket.on('data', chunk => {
    got += chunk.toString('latin1');
    const n = got.split(OK).length - 1;
    for (const w of waiting) if (n >= w.n) w.resolve();
  });
  socket.on('error', () => {});
  const closed = new Promise<void>(resolve => socket.once('close', () => resolve()));
  return {
    socket,
    closed,
    secure: new Promise(resolve => {
      socket.once('secureConnect', () => resolve(true));
      socket.once('close', () => resolve(false));
    }),
    answers: n => new Promise(resolve => (got.split(OK).length - 1 >= n ? resolve() : waiting.push({ n, resolve }))),
  };
}

const descriptors = (): number => readdirSync('/proc/self/fd').length;

t.test('a message over TLS, its answer, and the flow that opened and closed around them', async t => {
  const ca = await authority();
  const own = await ca.issue({ names: [['dns', 'border.example']] });
  const { listener, sink } = await open(own);
  t.teardown(() => listener.close());
  t.match(listener.name, /^tls:127\.0\.0\.1:\d+$/);
  const c = dial(listener.local, ca);
  t.ok(await c.secure);
  c.socket.write(OPTIONS + OPTIONS);
  await c.answers(2);
  t.same(sink.messages, [OPTIONS, OPTIONS]);
  const via = sink.vias[0] ?? 0;
  t.same(listener.namesOf(via), [], 'a client without a certificate is nobody');
  c.socket.destroy();
  await sink.until(() => sink.flows.length === 2);
  t.same(sink.flows, [
    [via, 'opened'],
    [via, 'closed'],
  ]);
  t.equal(listener.streams, 0);
  t.equal(listener.counters.unopened, 0);
});

t.test('a length that cannot be trusted ends a TLS stream behind the last good message', async t => {
  const ca = await authority();
  const own = await ca.issue({ names: [['dns', 'border.example']] });
  const { listener, sink } = await open(own);
  t.teardown(() => listener.close());
  for (const bad of ['4294967328', '-1', '0x10', '0'.repeat(400), '0\r\nl: 0', '0, 0']) {
    const before = sink.messages.length;
    const c = dial(listener.local, ca);
    t.ok(await c.secure);
    const head = OPTIONS.replace(/Content-Length: *\d+/, `Content-Length: ${bad}`);
    t.not(head, OPTIONS);
    c.socket.write(OPTIONS + head + OPTIONS);
    await c.closed;
    t.same(sink.messages.slice(before), [OPTIONS, head], bad.slice(0, 20));
  }
});

t.test('we dial only whom the certificate names', async t => {
  const ca = await authority();
  const other = await authority('Another Authority');
  const own = await ca.issue({ names: [['dns', 'border.example']] });
  const { listener, sink } = await open(own, {}, { ca: ca.certificate });
  t.teardown(() => listener.close());
  const cases: [string, Issued, string, boolean][] = [
    ['DNS name', await ca.issue({ names: [['dns', 'proxy.example']] }), 'proxy.example', true],
    ['sip URI', await ca.issue({ names: [['url', 'sip:example.org']] }), 'Example.ORG', true],
    ['address', await ca.issue({ names: [['ip', HERE]] }), HERE, true],
    ['another name', await ca.issue({ names: [['dns', 'other.example']] }), 'proxy.example', false],
    ['wildcard', await ca.issue({ names: [['dns', '*.example']] }), 'proxy.example', false],
    ['NUL', await ca.issue({ names: [['dns', 'proxy.example\0.attacker']] }), 'proxy.example', false],
    [
      'common name beside a SAN',
      await ca.issue({ cn: 'proxy.example', names: [['dns', 'x.example']] }),
      'proxy.example',
      false,
    ],
    ['foreign authority', await other.issue({ names: [['dns', 'proxy.example']] }), 'proxy.example', false],
    ['expired', await ca.issue({ names: [['dns', 'proxy.example']], forMs: -1000 }), 'proxy.example', false],
  ];
  for (const [what, theirs, name, good] of cases) {
    const server = createServer({ cert: theirs.certificate, key: theirs.key }, s => s.on('error', () => {}).resume());
    server.on('tlsClientError', () => {});
    await new Promise<void>(resolve => server.listen(0, HERE, resolve));
    const at = { address: HERE, port: (server.address() as { port: number }).port };
    const from = sink.flows.length;
    t.notOk(listener.text(VIA, Endpoints.of(at), 0, OPTIONS), `${what}: nobody has said who is there`);
    listener.expect(at, name);
    t.ok(listener.text(VIA, Endpoints.of(at), 0, OPTIONS));
    listener.flush();
    await sink.until(() => sink.flows.length > from);
    const [via, happened] = sink.flows[from] ?? [0, ''];
    t.equal(happened, good ? 'opened' : 'error', what);
    if (good) {
      t.ok(listener.namesOf(via).includes(name.toLowerCase()), `${what}: the flow knows who is there`);
      t.ok(listener.isDialled(via));
      listener.hangUp(via);
      await sink.until(() => sink.flows.length > from + 1);
    }
    // It listens until the end: the port of another would be one that has a name already.
    t.teardown(() => server.close());
  }
  t.equal(listener.streams, 0);
});

t.test('a connection that opens for two names must prove both; one that opens later only its own', async t => {
  const ca = await authority();
  const own = await ca.issue({ names: [['dns', 'border.example']] });
  const one = await ca.issue({ names: [['dns', 'one.example']] });
  const { listener, sink } = await open(own, {}, { ca: ca.certificate });
  t.teardown(() => listener.close());
  const server = createServer({ cert: one.certificate, key: one.key }, s => s.on('error', () => {}).resume());
  server.on('tlsClientError', () => {});
  await new Promise<void>(resolve => server.listen(0, HERE, resolve));
  t.teardown(() => new Promise(resolve => server.close(resolve)));
  const at = { address: HERE, port: (server.address() as { port: number }).port };
  const send = (name: string): boolean => {
    listener.expect(at, name);
    return listener.text(VIA, Endpoints.of(at), 0, OPTIONS);
  };
  t.ok(send('one.example'));
  t.ok(send('two.example'));
  await sink.until(() => sink.flows.length === 1);
  t.equal(sink.flows[0]?.[1], 'error', 'what is for two.example would have gone to one.example');
  t.ok(send('one.example'));
  await sink.until(() => sink.flows.length === 2);
  t.equal(sink.flows[1]?.[1], 'opened');
  listener.hangUp(sink.flows[1]?.[0] ?? 0);
  await sink.until(() => sink.flows.length === 3);
});

t.test('client certificates: unasked, asked, required', async t => {
  const ca = await authority();
  const other = await authority('Another Authority');
  const own = await ca.issue({ names: [['dns', 'border.example']] });
  const trunk = await ca.issue({ names: [['dns', 'trunk.example']] });
  const stranger = await other.issue({ names: [['dns', 'trunk.example']] });
  const seen = async (mode: 'none' | 'request' | 'require', shown?: Issued): Promise<readonly string[] | 'refused'> => {
    const { listener, sink } = await open(own, {}, { ca: ca.certificate, clientCertificates: mode });
    const c = dial(listener.local, ca, shown === undefined ? {} : { cert: shown.certificate, key: shown.key });
    c.socket.write(OPTIONS);
    await Promise.race([c.answers(1), c.closed]);
    const names = sink.vias[0] === undefined ? 'refused' : listener.namesOf(sink.vias[0]);
    c.socket.destroy();
    await listener.close();
    return names;
  };
  t.same(await seen('none', trunk), []);
  t.same(await seen('request', trunk), ['trunk.example']);
  t.same(await seen('request', stranger), [], 'a foreign authority proves nothing');
  t.same(await seen('request'), []);
  t.same(await seen('require', trunk), ['trunk.example']);
  t.equal(await seen('require', stranger), 'refused');
  t.equal(await seen('require'), 'refused');
});

t.test(
  '200 renewals under 200 connections: old ones live, new ones see the new certificate, no descriptor is lost',
  async t => {
    const ca = await authority();
    const first = await ca.issue({ names: [['dns', 'border.example']] });
    const second = await ca.issue({ names: [['dns', 'border.example']] });
    const { listener } = await open(first, { maxPerAddress: 300 });
    t.teardown(() => listener.close());
    const before = descriptors();
    const old = Array.from({ length: 200 }, () => dial(listener.local, ca));
    t.equal((await Promise.all(old.map(c => c.secure))).filter(Boolean).length, 200);
    t.ok(descriptors() >= before + 400, 'the count sees connections');
    for (let i = 0; i < 200; i++) listener.renew(i % 2 === 0 ? first : second);
    t.throws(() => listener.renew({ certificate: first.certificate, key: second.key }), 'a key of another certificate');
    t.throws(() => listener.renew({ certificate: 'rubbish', key: second.key }));
    for (const c of old) c.socket.write(OPTIONS);
    await Promise.all(old.map(c => c.answers(1)));
    const fresh = dial(listener.local, ca);
    t.ok(await fresh.secure);
    t.same(fresh.socket.getPeerX509Certificate()?.raw, Buffer.from(second.der));
    t.same(old[0]?.socket.getPeerX509Certificate()?.raw, Buffer.from(first.der));
    for (const c of [...old, fresh]) c.socket.destroy();
    await Promise.all([...old, fresh].map(c => c.closed));
    while (listener.streams > 0) await new Promise(resolve => setImmediate(resolve));
    t.equal(descriptors(), before);
  },
);

t.test('handshakes that stall, speak no TLS or break off are ended and leave nothing', async t => {
  const ca = await authority();
  const own = await ca.issue({ names: [['dns', 'border.example']] });
  const { listener, sink } = await open(own, { handshakeMs: 200 });
  t.teardown(() => listener.close());
  const before = descriptors();
  const gone: Promise<void>[] = [];
  const plain = (say: string | undefined, then?: (s: Socket) => void): void => {
    const s = connectPlain(listener.local.port, HERE, () => {
      if (say !== undefined) s.write(say);
      then?.(s);
    });
    s.on('error', () => {});
    s.resume();
    gone.push(new Promise(resolve => s.once('close', () => resolve())));
  };
  plain(undefined);
  plain('\x16\x03\x01\x02');
  plain(OPTIONS);
  for (let i = 0; i < 20; i++) plain('\x16\x03\x01', s => s.resetAndDestroy());
  await Promise.all(gone);
  while (listener.streams > 0) await new Promise(resolve => setTimeout(resolve, 10));
  t.equal(descriptors(), before);
  t.equal(listener.counters.unopened, listener.counters.accepted);
  t.ok(listener.counters.deadlines >= 2);
  t.same(sink.flows, [], 'the core never heard of them');
  const c = dial(listener.local, ca);
  t.ok(await c.secure, 'the control');
  c.socket.destroy();
});

t.test('who has not authenticated by the deadline is closed; who has, and who showed a certificate, stays', async t => {
  const ca = await authority();
  const own = await ca.issue({ names: [['dns', 'border.example']] });
  const trunk = await ca.issue({ names: [['dns', 'trunk.example']] });
  const { listener, sink } = await open(
    own,
    { authenticateMs: 300 },
    { ca: ca.certificate, clientCertificates: 'request' },
  );
  t.teardown(() => listener.close());
  const known = dial(listener.local, ca);
  known.socket.write(OPTIONS);
  await known.answers(1);
  listener.vouch(sink.vias[0] ?? 0);
  const certified = dial(listener.local, ca, { cert: trunk.certificate, key: trunk.key });
  t.ok(await certified.secure);
  const stranger = dial(listener.local, ca);
  stranger.socket.write(OPTIONS);
  await stranger.answers(1);
  const ping = setInterval(() => stranger.socket.write(OPTIONS), 50);
  await stranger.closed;
  clearInterval(ping);
  t.equal(listener.counters.strangers, 1, 'messages alone are no proof');
  known.socket.write(OPTIONS);
  certified.socket.write(OPTIONS);
  await Promise.all([known.answers(2), certified.answers(1)]);
  t.equal(listener.streams, 2);
  known.socket.destroy();
  certified.socket.destroy();
});

t.test('500 sockets that drip: whoever is registered is answered, and the dripping end at their deadline', async t => {
  const ca = await authority();
  const own = await ca.issue({ names: [['dns', 'border.example']] });
  for (const transport of ['tcp', 'tls'] as const) {
    const listener = await openStreamListener({
      address: HERE,
      port: 0,
      transport,
      tls: { material: own },
      maxPerAddress: 600,
      messageDeadlineMs: 1500,
      handshakeMs: 1500,
    });
    const sink = new Answering(listener);
    const before = descriptors();
    const c = transport === 'tls' ? dial(listener.local, ca) : undefined;
    const good = c?.socket ?? connectPlain(listener.local.port, HERE);
    let answers = 0;
    good.on('data', chunk => {
      answers += chunk.toString('latin1').split(OK).length - 1;
    });
    const closed: Promise<void>[] = [];
    const drip: Socket[] = [];
    for (let i = 0; i < 500; i++) {
      const s = connectPlain(listener.local.port, HERE);
      s.on('error', () => {});
      drip.push(s);
      closed.push(new Promise(resolve => s.once('close', () => resolve())));
    }
    let at = 0;
    const dripping = setInterval(() => {
      const c = OPTIONS[at++ % OPTIONS.length] ?? '\n';
      const hello = '\x16\x03\x01\x3f\xff'[at - 1] ?? '\0';
      for (const s of drip) if (s.writable) s.write(transport === 'tls' ? hello : c, 'latin1');
      good.write(OPTIONS);
    }, 100);
    await Promise.all(closed);
    clearInterval(dripping);
    await sink.until(() => sink.messages.length >= at);
    while (answers < at) await new Promise(resolve => good.once('data', resolve));
    t.equal(answers, at, `${transport}: each of ${at} answered`);
    t.ok(listener.counters.deadlines + listener.counters.unopened >= 500);
    while (listener.streams > 1) await new Promise(resolve => setImmediate(resolve));
    t.equal(listener.streams, 1, 'the good one is left');
    good.destroy();
    while (listener.streams > 0) await new Promise(resolve => setImmediate(resolve));
    while (descriptors() > before) await new Promise(resolve => setImmediate(resolve));
    t.equal(descriptors(), before);
    await listener.close();
  }
});

t.test('ten INVITEs, then a reset, a hundred times: no stream and no descriptor is left', async t => {
  const ca = await authority();
  const own = await ca.issue({ names: [['dns', 'border.example']] });
  const { listener, sink } = await open(own, { maxPerAddress: 200 });
  t.teardown(() => listener.close());
  const before = descriptors();
  const invite = OPTIONS.replaceAll('OPTIONS', 'INVITE');
  for (let round = 0; round < 100; round++) {
    const raw = connectPlain(listener.local.port, HERE);
    const c = dial(listener.local, ca, { socket: raw });
    await c.secure;
    c.socket.write(invite.repeat(10));
    await sink.until(() => sink.messages.length >= 10 * (round + 1));
    raw.resetAndDestroy();
  }
  await sink.until(() => sink.flows.filter(([, what]) => what === 'closed').length === 100);
  t.equal(sink.messages.length, 1000);
  t.equal(listener.streams, 0);
  while (descriptors() > before) await new Promise(resolve => setImmediate(resolve));
  t.equal(descriptors(), before);
});
