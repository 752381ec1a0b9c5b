import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import { createServer as createSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLogger } from '@drawbridge/service';
import t from 'tap';
import type { Command } from '../src/commands/command.js';
import { forward } from '../src/commands/forward.js';
import { subscribers } from '../src/commands/subscribers.js';
import { compose, type Running } from '../src/compose.js';
import { type Config, configSchema, freezeConfig } from '../src/config.js';
import { pushSection } from '../src/push/config.js';
import { askGateway } from '../src/push/shell/gateway.js';

const folder = mkdtempSync(join(tmpdir(), 'drawbridge-forwarding-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

async function freePort(): Promise<number> {
  const s = createSocket().listen(0, '127.0.0.1');
  await once(s, 'listening');
  const at = s.address();
  s.close();
  await once(s, 'close');
  return typeof at === 'object' && at !== null ? at.port : 0;
}

function start(c: Config): Promise<Running> {
  return compose(c, { log: createLogger({ level: 'silent', to: process.stderr }), progress: () => {} });
}

async function run(command: Command, c: Config, words: readonly string[]): Promise<{ code: number; said: string }> {
  let said = '';
  const say = (text: string): void => {
    said += `${text}\n`;
  };
  const code = await command({
    config: c,
    source: 'test',
    words,
    json: false,
    password: 'secret',
    print: say,
    complain: say,
  });
  return { code, said };
}

t.test('rules by API and command, kept over a restart', async t => {
  const c = freezeConfig(
    configSchema.parse({
      realms: { loop: { bind: ['127.0.0.1'], sip: { udp: 0, tcp: 0 }, networks: ['127.0.0.0/8'] } },
      domains: { 'example.org': { kind: 'local' } },
      media: { ports: [26000, 26099], path: 'dgram' },
      store: { path: join(folder, 'store') },
      cdr: { file: false },
      admin: { listen: `127.0.0.1:${await freePort()}` },
      forwarding: { 'bob@example.org': { busy: 'configured' } },
    }),
  );
  const first = await start(c);
  const url = `${first.adminUrl ?? ''}/api/v1/subscribers/bob@example.org/forwarding`;
  const ask = async (method: string, body?: string, type = 'application/json') => {
    const r = await fetch(url, { method, ...(body === undefined ? {} : { body, headers: { 'content-type': type } }) });
    return { status: r.status, body: (await r.json()) as unknown };
  };
  t.same(await ask('GET'), { status: 200, body: { busy: 'configured', dnd: false } });
  t.match(await ask('PUT', '{"dnd":true}'), { status: 404, body: { error: /no subscriber bob/ } });
  await run(subscribers, c, ['add', 'bob@example.org']);
  t.same(await ask('PUT', '{"dnd":true}'), { status: 200, body: { dnd: true } });
  t.match(await ask('PUT', '{"dnd":"yes"}'), { status: 400, body: { error: /^dnd: / } });
  t.match(await ask('PUT', '{"dndd":true}'), { status: 400 });
  t.match(await ask('PUT', '{"busy":"a b\\r\\nX: y"}'), { status: 400, body: { error: /^busy: expected a user/ } });
  t.match(await ask('PUT', '{', 'application/json'), { status: 400 });
  t.match(await ask('PUT', '{"dnd":true}', 'text/plain'), { status: 415 });
  t.same(await ask('GET'), { status: 200, body: { dnd: true } }, 'as it was');

  t.match(await run(forward, c, ['bob@example.org', 'no-answer', 'carol', '15']), {
    code: 0,
    said: /bob@example\.org\n {2}does not want to be disturbed\n {2}no answer after 15 s: to carol\n/,
  });
  t.match(await run(forward, c, ['bob@example.org', 'dnd', 'off']), { code: 0, said: /no answer after 15 s/ });
  t.match(await run(forward, c, ['bob@example.org', 'sometimes', 'carol']), { code: 2, said: /no-answer TARGET/ });
  const metrics = await (await fetch(`${first.adminUrl ?? ''}/metrics`)).text();
  t.match(metrics, /^drawbridge_forwarding_subscribers 1$/m);
  t.match(metrics, /^drawbridge_forwarded_total\{why="busy"\} 0$/m);
  t.match(metrics, /^drawbridge_upstream_registers_total\{answered="here"\} 0$/m);
  t.match(metrics, /^drawbridge_push_waiting 0$/m);
  await first.stop(0);

  const second = await start(c);
  t.same(await ask('GET'), { status: 200, body: { dnd: false, noAnswer: { to: 'carol', seconds: 15 } } });
  t.match(await run(forward, c, ['bob@example.org', 'reset']), { code: 0, said: /busy: to configured/ });
  await second.stop(0);
});

t.test('the push gateway: what it is asked, and what comes of its answers', async t => {
  const seen: { headers: IncomingMessage['headers']; body: string }[] = [];
  let status = 202;
  const server = createServer((req, res) => {
    let body = '';
    req.on('data', (chunk: Buffer) => {
      body += chunk.toString();
    });
    req.on('end', () => {
      seen.push({ headers: req.headers, body });
      if (status === 0) return;
      res.writeHead(status, status === 302 ? { location: '/elsewhere' } : {});
      res.end('ignored');
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const at = server.address();
  const port = typeof at === 'object' && at !== null ? at.port : 0;
  const config = pushSection.parse({
    providers: {
      apns: {
        url: `http://127.0.0.1:${port}/wake`,
        headers: { Authorization: 'Bearer secret-word' },
        timeout: '300ms',
      },
      gone: { url: `http://127.0.0.1:${await freePort()}/`, headers: { Authorization: 'Bearer secret-word' } },
    },
  });
  const q = { provider: 'apns', prid: 'p', param: '', reason: 'call' as const, aor: 'bob@example.org' };
  t.same(await askGateway(config, q), { status: 202 });
  t.equal(seen[0]?.headers.authorization, 'Bearer secret-word');
  t.same(JSON.parse(seen[0]?.body ?? ''), q);
  status = 410;
  t.same(await askGateway(config, q), { status: 410 });
  status = 302;
  t.match(await askGateway(config, q), { failed: /redirect/i }, 'it is not followed');
  t.equal(seen.length, 3);
  status = 0;
  t.match(await askGateway(config, q), { failed: /timeout/ });
  const gone = await askGateway(config, { ...q, provider: 'gone' });
  t.match(gone, { failed: /ECONNREFUSED|connect/ });
  t.notMatch(JSON.stringify(gone), /secret-word/);
  t.match(pushSection.safeParse({ providers: { apns: { url: 'ftp://x/' } } }), { success: false });
  t.match(pushSection.safeParse({ providers: { apns: { url: 'https://x/', headers: { A: 'b\r\nC: d' } } } }), {
    success: false,
  });
});
