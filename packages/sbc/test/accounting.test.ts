import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { BatchSink } from '../src/accounting/batch.js';
import { Ledger } from '../src/accounting/ledger.js';
import { postLines } from '../src/accounting/shell/http.js';
import { configSchema } from '../src/config.js';

const OPTIONS = { most: 3, gatherMs: 100, pauseMs: 1000, longestPauseMs: 4000, retryForMs: 10_000 };

/** A server that may be away, on a clock that only sleeping moves. */
class Server {
  now = 0;
  away = false;
  readonly batches: string[][] = [];
  readonly tries: number[] = [];
  readonly sink = new BatchSink(OPTIONS, {
    now: () => this.now,
    sleep: async ms => {
      this.now += ms;
    },
    send: async lines => {
      this.tries.push(this.now);
      if (this.away) throw new Error('away');
      this.batches.push([...lines]);
    },
  });
}

async function settled(): Promise<void> {
  for (let n = 0; n < 200; n++) await Promise.resolve();
}

t.test('lines leave in batches and in order', async t => {
  const s = new Server();
  const done: string[] = [];
  for (const line of ['1', '2', '3', '4']) s.sink.write(line, error => done.push(`${line} ${error?.message ?? 'ok'}`));
  await settled();
  t.strictSame(s.batches, [['1', '2', '3'], ['4']]);
  t.strictSame(done, ['1 ok', '2 ok', '3 ok', '4 ok']);
});

t.test('a server that is away: tried again with growing pauses, nothing lost, nothing twice', async t => {
  const s = new Server();
  s.away = true;
  const done: string[] = [];
  s.sink.write('1', () => done.push('1'));
  while (s.tries.length < 4) await Promise.resolve();
  s.away = false;
  await settled();
  t.strictSame(s.tries.slice(0, 4), [100, 1200, 3300, 7400], 'pauses of 1, 2 and 4 s, each with 100 ms of gathering');
  t.strictSame([s.batches, done], [[['1']], ['1']]);
});

t.test('away for longer than a record is kept: the record is lost, and its successor is not', async t => {
  const s = new Server();
  s.away = true;
  const done: string[] = [];
  s.sink.write('old', error => done.push(`old ${error?.message ?? 'ok'}`));
  while (s.now < 8000) await Promise.resolve();
  s.sink.write('young', error => done.push(`young ${error?.message ?? 'ok'}`));
  while (done.length === 0) await Promise.resolve();
  s.away = false;
  await settled();
  t.strictSame(done, ['old away', 'young ok']);
  t.strictSame(s.batches, [['young']]);
});

t.test('at the end what waits gets one more try', async t => {
  const s = new Server();
  s.away = true;
  const done: string[] = [];
  s.sink.write('1', error => done.push(error?.message ?? 'ok'));
  await s.sink.close();
  t.strictSame(done, ['away']);
});

t.test('a ledger has a cap, says its trouble once a spell, and counts', async t => {
  const said: string[] = [];
  const open: ((error: Error | undefined) => void)[] = [];
  const ledger = new Ledger(
    'http',
    { cap: 2 },
    { sink: { write: (_line, done) => open.push(done) }, onTrouble: sentence => said.push(sentence) },
  );
  for (const line of ['1', '2', '3', '4']) ledger.write(line);
  t.strictSame(
    [ledger.waiting, ledger.lost, said],
    [2, 2, ['call records are lost: the server at cdr.http.url does not take them fast enough']],
  );
  for (const done of open.splice(0)) done(undefined);
  t.strictSame([ledger.waiting, ledger.written], [0, 2]);
  ledger.write('5');
  open.pop()?.(new Error('the server answered 500'));
  t.equal(said.length, 2, 'a new spell of trouble');
  t.match(said[1], /answered 500.*look at the server behind cdr\.http\.url/);
});

t.test('HTTP: JSON lines in one POST; anything but 2xx in time is a failure', async t => {
  const seen: { body: string; type: string | undefined; key: unknown }[] = [];
  let status = 204;
  let answers = true;
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', chunk => {
      body += String(chunk);
    });
    request.on('end', () => {
      seen.push({ body, type: request.headers['content-type'], key: request.headers['x-key'] });
      if (answers) response.writeHead(status, status === 302 ? { location: '/elsewhere' } : {}).end();
    });
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const to = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/cdr`,
    headers: { 'X-Key': 'k' },
    timeout: 200,
  };
  await postLines(to, ['{"a":1}\n', '{"b":2}\n']);
  t.strictSame(seen, [{ body: '{"a":1}\n{"b":2}\n', type: 'application/x-ndjson', key: 'k' }]);
  status = 500;
  await t.rejects(postLines(to, ['x']), { message: 'the server answered 500' });
  status = 302;
  await t.rejects(postLines(to, ['x']), 'records go where the configuration says and nowhere else');
  answers = false;
  await t.rejects(postLines(to, ['x']), { name: 'TimeoutError' });
});

t.test('configuration', async t => {
  t.strictSame(configSchema.parse({}).cdr, { file: 'var/cdr.jsonl' });
  t.match(configSchema.parse({ cdr: { redis: { url: 'redis://127.0.0.1' } } }).cdr, {
    redis: { stream: 'drawbridge:cdr', maxLength: 1_000_000, retryFor: 600_000 },
  });
  t.notOk(configSchema.safeParse({ cdr: { http: { url: 'file:///etc/passwd' } } }).success);
  t.notOk(configSchema.safeParse({ cdr: { redis: { url: 'http://127.0.0.1' } } }).success);
  t.ok(configSchema.safeParse({ hep: { to: 'udp:127.0.0.1:9060' } }).success);
  t.notOk(configSchema.safeParse({ hep: { to: 'homer.example:9060' } }).success);
});
