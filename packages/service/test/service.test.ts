import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { Masked, maskAddress, maskUser } from '@drawbridge/core';
import { Hono } from 'hono';
import { SocketError } from 'node-dgram-raw';
import t from 'tap';
import {
  createLogger,
  Health,
  type LoggerOptions,
  Metrics,
  onStopSignal,
  startAdmin,
  systemRandom,
  untilZero,
} from '../src/index.js';

function logged(o: LoggerOptions, write: (log: ReturnType<typeof createLogger>) => void): string {
  let text = '';
  write(createLogger({ ...o, to: { write: line => void (text += line) } }));
  return text;
}

t.test('a line is one JSON object with level, time, message and facts', async t => {
  const text = logged({}, log => log.child({ call: 'c1' }).warn({ reason: 'busy', n: 3 }, 'call ended'));
  t.ok(text.endsWith('\n'));
  const { time, ...line } = JSON.parse(text) as Record<string, unknown>;
  t.same(line, { level: 'warn', call: 'c1', reason: 'busy', n: 3, msg: 'call ended' });
  t.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  t.equal(
    logged({ level: 'warn' }, log => log.info('quiet')),
    '',
  );
  t.not(
    logged({ level: 'info' }, log => log.info('control')),
    '',
  );
});

t.test('personal values are masked wherever they stand, and plain only where the operator wants it', async t => {
  const write = (log: ReturnType<typeof createLogger>): void => {
    log
      .child({ user: maskUser('alice') })
      .info({ peer: { address: maskAddress('192.0.2.17') }, list: [maskUser('bob99')] }, 'registered');
  };
  const masked = logged({}, write);
  t.notMatch(masked, /alice|192\.0\.2\.17|bob99/);
  t.match(masked, /"user":"a…e"/);
  t.match(masked, /"address":"192\.0\.2\.x"/);
  t.match(masked, /"list":\["b…9"\]/);
  const plain = logged({ personal: 'plain' }, write);
  t.match(plain, /"user":"alice".*"address":"192\.0\.2\.17".*"list":\["bob99"\]/, 'control: the values were there');
  t.ok(maskUser('x') instanceof Masked);
});

t.test('credentials never show, under their names or inside a message', async t => {
  const message = [
    'REGISTER sip:example.org SIP/2.0',
    'Authorization: Digest username="alice",',
    '  nonce="n", response="0123456789abcdef"',
    'proxy-authorization : Digest response="fedcba9876543210"',
    'Via: SIP/2.0/UDP 192.0.2.1',
    '',
  ].join('\r\n');
  for (const personal of ['masked', 'plain'] as const) {
    const text = logged({ personal }, log => {
      log.info(
        { password: 'hunter2', nested: { ha1: 'deadbeef', authorization: 'Basic Zm9v' }, raw: message },
        `sent ${message}`,
      );
      log.error(new Error(`refused: response="0123456789abcdef" password=hunter2`));
    });
    t.notMatch(text, /hunter2|deadbeef|Zm9v|0123456789abcdef|fedcba9876543210/, personal);
    t.match(text, /\[redacted\]/);
    t.match(text, /Via: SIP\/2\.0\/UDP 192\.0\.2\.1/, 'control: the rest of the message is there');
  }
});

t.test('odd facts are logged, never thrown', async t => {
  const loop: Record<string, unknown> = {};
  loop.self = loop;
  const cause = new Error('inner');
  const text = logged({}, log => {
    log.info({ loop, big: 10n, none: undefined, fn: () => 1, date: new Date(0), long: 'x'.repeat(10_000) }, 'odd');
    log.error({ err: new SocketError('address-in-use', 'taken') }, 'failed');
    log.error(new Error('outer', { cause }));
  });
  const lines = text
    .trimEnd()
    .split('\n')
    .map(l => JSON.parse(l) as Record<string, unknown>);
  t.equal(lines.length, 3);
  t.equal(lines[0]?.big, '10');
  t.ok(String(lines[0]?.long).length < 5000, 'long text is cut');
  t.match(lines[1]?.err, { type: 'SocketError', message: 'taken', reason: 'address-in-use' });
  t.match(JSON.stringify(lines[2]), /inner/);
});

t.test('on a terminal a line is one plain line, whatever the wire put into it', async t => {
  const text = logged({ form: 'plain' }, log => {
    log.info(
      { call: 'c1', text: 'two words', evil: '\u001b[2J\r\nforged: line' },
      'call\u001b]0;x\u0007 started\r\nforged line',
    );
    log.error({ err: new Error('boom') }, 'failed');
  });
  const lines = text.trimEnd().split('\n');
  t.equal(lines.length, 2);
  t.match(lines[0], /^\d\d:\d\d:\d\d\.\d{3} info {2}call\\u001b/);
  t.match(lines[0], / {2}call=c1 text="two words" evil="/);
  t.notMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f]/);
  t.match(lines[1], /error failed {2}error=boom/);
});

t.test('metrics read what cores count, at the scrape and only then', async t => {
  const metrics = new Metrics();
  t.teardown(() => metrics.close());
  const counts = new Float64Array([0, 0]);
  let reads = 0;
  metrics.counterFrom('drawbridge_dropped_total', 'Datagrams dropped', ['reason'], () => {
    reads++;
    return [
      [{ reason: 'too-short' }, counts[0]!],
      [{ reason: 'banned' }, counts[1]!],
    ] as const;
  });
  metrics.gaugeFrom('drawbridge_calls', 'Calls under way', [], () => [[{}, 7]]);
  metrics.counterFrom('drawbridge_broken_total', 'A collector with a bug', [], () => {
    throw new Error('a bug');
  });
  const histogram = metrics.histogram('drawbridge_setup_seconds', 'Set-up time', ['kind'], [0.1, 1]);
  histogram.observe({ kind: 'call' }, 0.5);
  t.equal(reads, 0);
  const first = await metrics.text();
  t.match(first, /^drawbridge_dropped_total\{reason="too-short"\} 0$/m, 'zero series exist from the start');
  counts[0] = 5;
  const second = await metrics.text();
  t.match(second, /^drawbridge_dropped_total\{reason="too-short"\} 5$/m);
  t.match(await metrics.text(), /^drawbridge_dropped_total\{reason="too-short"\} 5$/m, 'a scrape adds nothing');
  t.match(second, /^# TYPE drawbridge_dropped_total counter$/m);
  t.match(second, /^drawbridge_calls 7$/m);
  t.match(second, /^drawbridge_setup_seconds_bucket\{le="1",kind="call"\} 1$/m);
  t.match(second, /^drawbridge_event_loop_delay_seconds\{quantile="0.99"\} /m);
  t.match(second, /^process_cpu_user_seconds_total /m);
  t.match(
    await metrics.text(),
    /^drawbridge_metrics_read_faults_total [1-9]/m,
    'a broken collector is counted, the scrape goes on',
  );
});

async function admin(o: { health?: Health; routes?: Hono; names?: string[] } = {}) {
  const metrics = new Metrics();
  const served = await startAdmin({ listen: '127.0.0.1:0', metrics, health: o.health ?? new Health(), ...o });
  t.teardown(async () => {
    await served.close();
    metrics.close();
  });
  return served;
}

t.test('the admin server answers metrics, health, readiness and the routes it was given', async t => {
  const health = new Health();
  const routes = new Hono()
    .get('/api/v1/status', c => c.json({ hello: 'world' }))
    .get('/broken', () => {
      throw new Error('a bug');
    });
  const { url, address } = await admin({ health, routes });
  t.match(address, { address: '127.0.0.1' });
  const metrics = await fetch(`${url}/metrics`);
  t.equal(metrics.status, 200);
  t.match(metrics.headers.get('content-type'), /^text\/plain; version=0\.0\.4/);
  t.match(await metrics.text(), /process_resident_memory_bytes/);
  t.match(await (await fetch(`${url}/healthz`)).json(), { status: 'ok' });

  const ready = async () => {
    const r = await fetch(`${url}/readyz`);
    return [r.status, await r.json()];
  };
  t.same(await ready(), [503, { ready: false, parts: [] }], 'nothing has reported yet');
  health.set('store', true, 'lmdb');
  health.set('udp:127.0.0.1:5060', false, 'the port is taken');
  t.same(await ready(), [
    503,
    {
      ready: false,
      parts: [
        { part: 'store', ok: true, detail: 'lmdb' },
        { part: 'udp:127.0.0.1:5060', ok: false, detail: 'the port is taken' },
      ],
    },
  ]);
  health.remove('udp:127.0.0.1:5060');
  t.equal((await ready())[0], 200);

  t.same(await (await fetch(`${url}/api/v1/status`)).json(), { hello: 'world' });
  const missing = await fetch(`${url}/nowhere`);
  t.same([missing.status, await missing.json()], [404, { error: 'nothing at /nowhere' }]);
  const broken = await fetch(`${url}/broken`);
  t.same([broken.status, await broken.json()], [500, { error: 'a bug' }]);
});

t.test('a web page elsewhere cannot use the admin API', async t => {
  const routes = new Hono().post('/api/v1/drain', c => c.json({ ok: true }));
  const { url, address } = await admin({ routes, names: ['border.example'] });
  const post = async (headers: Record<string, string>): Promise<number> => {
    const { request } = await import('node:http');
    const r = request({ host: '127.0.0.1', port: address.port, path: '/api/v1/drain', method: 'POST', headers });
    r.end();
    const [response] = await once(r, 'response');
    response.resume();
    return response.statusCode;
  };
  t.equal((await fetch(`${url}/api/v1/drain`, { method: 'POST' })).status, 200, 'control');
  t.equal(await post({ host: 'localhost:8080' }), 200);
  t.equal(await post({ host: '[::1]:8080' }), 200);
  t.equal(await post({ host: 'border.example' }), 200, 'a name of its own');
  t.equal(await post({ host: 'evil.example' }), 403, 'a name that was made to resolve here');
  t.equal(await post({ host: 'localhost', origin: 'http://localhost' }), 200);
  t.equal(await post({ host: '127.0.0.1', origin: 'http://evil.example' }), 403, 'a page of another origin');
  t.equal(await post({ host: '127.0.0.1', origin: 'null' }), 403);
});

t.test('an admin port that cannot be had is a sentence that says what to do', async t => {
  const blocker = createServer().listen(0, '127.0.0.1');
  await once(blocker, 'listening');
  t.teardown(() => blocker.close());
  const { port } = blocker.address() as AddressInfo;
  const metrics = new Metrics();
  t.teardown(() => metrics.close());
  const refused = async (listen: string): Promise<unknown> =>
    startAdmin({ listen, metrics, health: new Health() }).then(
      () => undefined,
      (e: unknown) => e,
    );
  const taken = await refused(`127.0.0.1:${port}`);
  t.ok(taken instanceof SocketError);
  t.match(taken, {
    reason: 'address-in-use',
    message: `Another program listens on 127.0.0.1:${port}: stop it, or give admin.listen another port.`,
  });
  t.match(await refused('192.0.2.1:8080'), {
    reason: 'address-not-available',
    message: /is not an address of this machine/,
  });
  t.ok((await refused('nowhere')) instanceof TypeError);
});

t.test('the first signal stops, its echo is ignored, failure to stop is exit 1', async t => {
  const codes: number[] = [];
  let stops = 0;
  let ended: () => void = () => {};
  const off = onStopSignal(
    async signal => {
      t.equal(signal, 'SIGTERM');
      stops++;
      await new Promise<void>(resolve => {
        ended = resolve;
      });
    },
    { withinMs: 60_000, exit: code => void codes.push(code) },
  );
  process.emit('SIGTERM', 'SIGTERM');
  process.emit('SIGINT', 'SIGINT');
  t.same([stops, codes], [1, []]);
  ended();
  await new Promise(resolve => setImmediate(resolve));
  t.same(codes, [0]);
  off();
  const off2 = onStopSignal(() => Promise.reject(new Error('stuck')), {
    withinMs: 60_000,
    exit: code => void codes.push(code),
  });
  process.emit('SIGINT', 'SIGINT');
  await new Promise(resolve => setImmediate(resolve));
  t.same(codes, [0, 1]);
  off2();
  const exited = new Promise<number>(resolve =>
    onStopSignal(() => new Promise(() => {}), { withinMs: 5, exit: resolve }),
  );
  process.emit('SIGTERM', 'SIGTERM');
  const alive = setInterval(() => {}, 1000);
  t.equal(await exited, 1, 'the deadline');
  clearInterval(alive);
});

t.test('draining ends when nothing is left, or at its deadline', async t => {
  let left = 3;
  t.equal(await untilZero(() => left--, { withinMs: 10_000, everyMs: 1 }), true);
  t.equal(await untilZero(() => 1, { withinMs: 5, everyMs: 1 }), false);
});

t.test('the system gives random words and bytes', async t => {
  const words = new Set(Array.from({ length: 1000 }, () => systemRandom.u32()));
  t.ok(words.size > 990);
  t.equal(systemRandom.bytes(16).length, 16);
});
