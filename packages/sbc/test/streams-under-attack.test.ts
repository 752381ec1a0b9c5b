import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createLogger, systemRandom } from '@drawbridge/service';
import { answerChallenge, buildRequest, H, MessageView } from '@drawbridge/sip';
import t from 'tap';
import { compose, type Running } from '../src/compose.js';
import { configSchema, freezeConfig } from '../src/config.js';

/*
 * Attacks on streams against a whole border on real sockets. ROUNDS=1000 TLS_ROUNDS=100 DRIPS=5000 is the full measure.
 */

const ROUNDS = Number(process.env.ROUNDS ?? 250);
const TLS_ROUNDS = Number(process.env.TLS_ROUNDS ?? 50);
const DRIPS = Number(process.env.DRIPS ?? 500);
t.setTimeout(300_000);
const PASSWORD = 'correct horse';
const folder = mkdtempSync(join(tmpdir(), 'drawbridge-streams-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
setFlagsFromString('--expose_gc');
const collect = runInNewContext('gc') as () => void;

interface Stage {
  readonly border: Running;
  port(transport: string): number;
  metric(name: string): Promise<number>;
}

async function stage(limits: object): Promise<Stage> {
  // What the transports' own tests make certificates with; it is built beside this file.
  const certificates = (await import(new URL('../../../sip/dist/test/certificates.js', import.meta.url).href)) as {
    authority(): Promise<{ issue(o: object): Promise<{ certificate: string; key: string }> }>;
  };
  const own = await (await certificates.authority()).issue({ names: [['dns', 'border.example']] });
  const files = { certificate: join(folder, 'border.pem'), key: join(folder, 'border.key') };
  writeFileSync(files.certificate, own.certificate);
  writeFileSync(files.key, own.key, { mode: 0o600 });
  const config = freezeConfig(
    configSchema.parse({
      realms: {
        loop: { bind: ['127.0.0.1'], sip: { udp: 0, tcp: 0, tls: 0 }, tls: files, networks: ['127.0.0.0/8'] },
      },
      domains: { 'example.org': { kind: 'local' } },
      auth: { trustRegisteredFlow: true },
      registrar: { maxContacts: 50 },
      calls: { perSubscriber: 10_000 },
      media: { ports: [26_000, 29_999], path: 'dgram' },
      store: { kind: 'memory' },
      cdr: { file: join(folder, 'cdr.jsonl') },
      admin: { listen: '127.0.0.1:0' },
      timers: { t1: '50ms' },
      limits,
    }),
  );
  const border = await compose(config, {
    log: createLogger({ level: 'silent', personal: 'plain', to: process.stderr }),
    progress: () => {},
    credentialsPath: join(folder, 'credentials.json'),
  });
  const base = border.adminUrl ?? '';
  const added = await fetch(`${base}/api/v1/subscribers`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(['alice', 'bob'].map(user => ({ user, domain: 'example.org', password: PASSWORD }))),
  });
  if (!added.ok) throw new Error(await added.text());
  return {
    border,
    port: transport => border.status().listeners.find(l => l.transport === transport)?.bind.port ?? 0,
    async metric(name) {
      const text = await (await fetch(`${base}/metrics`)).text();
      const values = text.split('\n').filter(line => line.startsWith(name) && /[ {]/.test(line.charAt(name.length)));
      return values.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
    },
  };
}

let serial = 0;
function request(
  o: { method: string; user: string; transport: string; cseq: number; callId: string; at: string },
  headers = '',
): string {
  const to = o.method === 'REGISTER' ? o.user : 'bob';
  return buildRequest({
    method: o.method,
    uri: o.method === 'INVITE' ? 'sip:bob@example.org' : 'sip:example.org',
    via: { transport: o.transport, sentBy: o.at, branch: `z9hG4bK-${++serial}` },
    maxForwards: 70,
    from: `<sip:${o.user}@example.org>;tag=${o.callId}`,
    to: `<sip:${to}@example.org>`,
    callId: o.callId,
    cseq: o.cseq,
    contact: `<sip:${o.user}@${o.at}>`,
    headers,
  });
}

/** Whole messages without a body, as they arrive. */
function messages(socket: Socket, hear: (m: MessageView) => void): void {
  let text = '';
  socket.on('data', chunk => {
    text += chunk.toString('latin1');
    for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
      const m = new MessageView();
      if (m.parse(text.slice(0, end + 4)) === undefined) hear(m);
      text = text.slice(end + 4);
    }
  });
}

/** A REGISTER with what its challenge asks for. */
async function register(
  user: string,
  transport: string,
  send: (text: string) => void,
  next: () => Promise<MessageView>,
) {
  const callId = `reg-${++serial}`;
  const at = `127.0.0.1:${10_000 + (serial % 50_000)}`;
  send(request({ method: 'REGISTER', user, transport, cseq: 1, callId, at }));
  const line = answerChallenge(
    await next(),
    { method: 'REGISTER', uri: 'sip:example.org' },
    { realm: 'example.org', user, password: PASSWORD },
    systemRandom,
  );
  send(request({ method: 'REGISTER', user, transport, cseq: 2, callId, at }, line ?? ''));
  const ok = await next();
  if (ok.status !== 200) throw new Error(ok.text);
}

/** What came, one by one. */
function inbox(): { hear(m: MessageView): void; next(): Promise<MessageView> } {
  const came: MessageView[] = [];
  let waits: (() => void) | undefined;
  return {
    hear(m) {
      came.push(m);
      waits?.();
    },
    async next() {
      while (came.length === 0)
        await new Promise<void>(resolve => {
          waits = resolve;
        });
      return came.shift() as MessageView;
    },
  };
}

/** Bob, on UDP: busy whoever calls. */
async function bobIsBusy(s: Stage): Promise<{ invites(): number; close(): void }> {
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const box = inbox();
  let invites = 0;
  const send = (text: string): void => socket.send(Buffer.from(text, 'latin1'), s.port('udp'), '127.0.0.1');
  socket.on('message', bytes => {
    const m = new MessageView();
    if (m.parse(bytes.toString('latin1')) !== undefined) return;
    if (!m.isRequest) return box.hear(m);
    if (m.method === 'ACK') return;
    if (m.method === 'INVITE') invites++;
    send(
      `SIP/2.0 ${m.method === 'INVITE' ? '486 Busy Here' : '200 OK'}\r\nVia: ${m.get(H.via)}\r\nFrom: ${m.get(H.from)}\r\nTo: ${m.get(H.to)};tag=b\r\nCall-ID: ${m.callId}\r\nCSeq: ${m.cseq} ${m.method}\r\nContent-Length: 0\r\n\r\n`,
    );
  });
  await register('bob', 'UDP', send, box.next);
  return { invites: () => invites, close: () => socket.close() };
}

t.test(
  `24: ten INVITEs, then a reset, ${ROUNDS} times over TCP and ${TLS_ROUNDS} over TLS`,
  { timeout: 300_000 },
  async t => {
    const s = await stage({ streamsPerAddress: 500 });
    t.teardown(() => s.border.stop(0));
    const bob = await bobIsBusy(s);
    t.teardown(() => bob.close());
    let most = 0;
    const attack = async (transport: 'tcp' | 'tls'): Promise<void> => {
      const raw = connect(s.port(transport), '127.0.0.1');
      raw.on('error', () => {});
      const socket =
        transport === 'tls'
          ? connectTls({ socket: raw, servername: 'border.example', rejectUnauthorized: false })
          : raw;
      socket.on('error', () => {});
      await once(socket, transport === 'tls' ? 'secureConnect' : 'connect');
      const box = inbox();
      messages(socket, box.hear);
      const name = transport.toUpperCase();
      await register('alice', name, text => void socket.write(text, 'latin1'), box.next);
      let ten = '';
      const callId = `call-${++serial}`;
      for (let i = 0; i < 10; i++)
        ten += request({
          method: 'INVITE',
          user: 'alice',
          transport: name,
          cseq: 1,
          callId: `${callId}-${i}`,
          at: '127.0.0.1:9',
        });
      socket.write(ten, 'latin1');
      // The first 100 says that they have arrived; the others are on their way.
      await box.next();
      raw.resetAndDestroy();
    };
    const rounds = async (n: number, transport: 'tcp' | 'tls'): Promise<void> => {
      let left = n;
      const worker = async (): Promise<void> => {
        while (left-- > 0) await attack(transport);
      };
      await Promise.all([worker(), worker(), worker(), worker()]);
      most = Math.max(most, await s.metric('drawbridge_transactions'));
    };
    /** All of it over, by the border's own account. */
    const over = async (): Promise<void> => {
      while ((await s.metric('drawbridge_transactions')) > 0 || (await s.metric('drawbridge_calls')) > 0)
        await new Promise(resolve => setTimeout(resolve, 100));
    };
    const heap = (): number => {
      collect();
      collect();
      return process.memoryUsage().heapUsed;
    };
    await rounds(200, 'tcp');
    await rounds(40, 'tls');
    await over();
    const before = heap();
    await rounds(ROUNDS, 'tcp');
    await rounds(TLS_ROUNDS, 'tls');
    t.ok(most > 0, `the detector sees transactions: ${most} at the end of the attack`);
    await over();
    const grown = heap() - before;
    t.comment(`${bob.invites()} INVITEs reached the callee; heap ${(grown / 1024).toFixed(0)} KiB more than before`);
    t.ok(bob.invites() > (ROUNDS + TLS_ROUNDS) * 2, `${bob.invites()} calls began`);
    t.equal(await s.metric('drawbridge_transactions'), 0);
    t.equal(await s.metric('drawbridge_calls'), 0);
    t.equal(await s.metric('drawbridge_bindings'), 1, 'bob alone is registered');
    // 3,000 calls that each left 3 KiB would be more.
    t.ok(grown < 8 * 1024 * 1024, `${(grown / 1024).toFixed(0)} KiB`);
    const socket = connect(s.port('tcp'), '127.0.0.1');
    const box = inbox();
    messages(socket, box.hear);
    await register('alice', 'TCP', text => void socket.write(text, 'latin1'), box.next);
    t.pass('and the next one is served');
    socket.destroy();
  },
);

t.test(
  `25: ${DRIPS} sockets that drip, 4 that don’t read: whoever is registered is answered`,
  { timeout: 300_000 },
  async t => {
    const s = await stage({
      authenticateWithin: '3s',
      streamsPerAddress: 100,
      streamsPerNetwork: 1000,
      streams: 10_000,
    });
    t.teardown(() => s.border.stop(0));
    const udp = await bobIsBusy(s);
    t.teardown(() => udp.close());
    const good = connect(s.port('tcp'), '127.0.0.1');
    const goodBox = inbox();
    messages(good, goodBox.hear);
    await once(good, 'connect');
    await register('alice', 'TCP', text => void good.write(text, 'latin1'), goodBox.next);
    let goodClosed = false;
    good.on('close', () => {
      goodClosed = true;
    });
    const took = async (): Promise<number> => {
      const from = performance.now();
      good.write(
        request({
          method: 'OPTIONS',
          user: 'alice',
          transport: 'TCP',
          cseq: 1,
          callId: `o-${++serial}`,
          at: '127.0.0.1:9',
        }),
        'latin1',
      );
      if ((await goodBox.next()).status !== 200) throw new Error('not answered');
      return performance.now() - from;
    };
    const quiet: number[] = [];
    for (let i = 0; i < 200; i++) quiet.push(await took());

    // Four who have proven themselves, ask much and never read.
    for (let i = 0; i < 4; i++) {
      const socket = connect({ port: s.port('tcp'), host: '127.0.0.1', localAddress: '127.0.9.1' });
      socket.on('error', () => {});
      await once(socket, 'connect');
      const box = inbox();
      messages(socket, box.hear);
      await register('alice', 'TCP', text => void socket.write(text, 'latin1'), box.next);
      socket.removeAllListeners('data');
      socket.pause();
      const asked = request({
        method: 'OPTIONS',
        user: 'alice',
        transport: 'TCP',
        cseq: 1,
        callId: `n-${i}`,
        at: '127.0.0.1:9',
      });
      socket.write(asked.repeat(30_000), 'latin1');
    }
    // So many that send a message byte by byte and never finish, from addresses that keep to the caps.
    const text = request({
      method: 'OPTIONS',
      user: 'alice',
      transport: 'TCP',
      cseq: 1,
      callId: 'drip',
      at: '127.0.0.1:9',
    });
    const drips: Socket[] = [];
    for (let i = 0; i < DRIPS; i++) {
      const tls = i % 4 === 0;
      const socket = connect({
        port: s.port(tls ? 'tls' : 'tcp'),
        host: '127.0.0.1',
        localAddress: `127.0.${10 + Math.floor(i / 200)}.${1 + (i % 5)}`,
      });
      socket.on('error', () => {});
      drips.push(socket);
    }
    let at = 0;
    const dripping = setInterval(() => {
      const byte = text[at++ % text.length] ?? 'x';
      for (const socket of drips) if (socket.writable) socket.write(byte, 'latin1');
    }, 200);
    const under: number[] = [];
    let going = true;
    const watching = setInterval(async () => {
      going = (await s.metric('drawbridge_streams')) > 1;
    }, 500);
    while (going) {
      under.push(await took());
      await new Promise(resolve => setTimeout(resolve, 10));
    }
    clearInterval(watching);
    clearInterval(dripping);
    const figures = (list: number[]): string => {
      const sorted = [...list].sort((a, b) => a - b);
      const part = (p: number): string => (sorted[Math.floor((sorted.length - 1) * p)] ?? 0).toFixed(1);
      return `${list.length} answered, median ${part(0.5)} ms, 99 % ${part(0.99)} ms, longest ${part(1)} ms`;
    };
    t.comment(`before: ${figures(quiet)}`);
    t.comment(`under attack: ${figures(under)} (attackers share the process and its CPU)`);
    t.ok(under.length > 50, `${under.length} answered meanwhile, all of them`);
    t.equal(goodClosed, false, 'the registered stream is left alone');
    t.equal(await s.metric('drawbridge_bindings'), 2, 'alice’s stream and bob');
    t.equal(await s.metric('drawbridge_streams'), 1, 'every attacker has been cut off');
    t.equal(await s.metric('drawbridge_streams_cut_total'), 4, 'those who don’t read by their deadline');
    t.ok((await s.metric('drawbridge_sends_refused_total')) > 0, 'what was asked for and not read was kept by nobody');
    good.destroy();
  },
);
