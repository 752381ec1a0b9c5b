import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { open } from 'lmdb';
import t from 'tap';
import { MemoryStore } from '../src/store/memory.js';
import { openLmdbStore } from '../src/store/shell/lmdb.js';
import { KEY_MAX, type Store, type StoreChange, StoreError, type StoreRecord } from '../src/store/store.js';

const STORE = new URL('../src/store/shell/lmdb.js', import.meta.url).href;
const FILE = 'drawbridge-1.mdb';

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), 'drawbridge-store-'));
  t.teardown(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

async function all(store: Store, prefix?: string): Promise<StoreRecord[]> {
  const records: StoreRecord[] = [];
  for await (const record of store.load(prefix)) records.push(record);
  return records;
}

/** The reason of a `StoreError`; anything else fails the test. */
async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (e: unknown) => e,
  );
  return error instanceof StoreError ? error.reason : `not refused: ${String(error)}`;
}

const kinds: readonly { readonly kind: string; readonly make: () => Promise<Store> }[] = [
  { kind: 'memory', make: async () => new MemoryStore() },
  { kind: 'lmdb', make: () => openLmdbStore(folder()) },
];

for (const { kind, make } of kinds) {
  t.test(`${kind}: what is written is found, what is deleted is gone`, async t => {
    const store = await make();
    t.teardown(() => store.close());
    t.same(await all(store), []);
    t.equal(store.opened.recovered, undefined);
    await store.write([
      { key: 'b/alice', value: { contact: 'sip:alice@192.0.2.1', expires: 60 } },
      { key: 'b/bob', value: 'text' },
      { key: 's/carol', value: false },
      { key: 's/dave', value: 0 },
    ]);
    t.same((await store.find('b/alice'))?.value, { contact: 'sip:alice@192.0.2.1', expires: 60 });
    t.equal((await store.find('s/carol'))?.value, false);
    t.equal((await store.find('s/dave'))?.value, 0);
    t.equal(await store.find('b/nobody'), undefined);
    t.same(
      (await all(store)).map(r => r.key),
      ['b/alice', 'b/bob', 's/carol', 's/dave'],
    );
    t.same(
      (await all(store, 's/')).map(r => r.key),
      ['s/carol', 's/dave'],
    );
    await store.delete('b/bob');
    await store.delete('b/never');
    t.equal(await store.find('b/bob'), undefined);
    t.same(
      (await all(store, 'b/')).map(r => r.key),
      ['b/alice'],
    );
    await store.write([]);
  });

  t.test(`${kind}: versions rise with every batch and are one within a batch`, async t => {
    const store = await make();
    t.teardown(() => store.close());
    const version = async (key: string): Promise<number> => (await store.find(key))?.version ?? -1;
    await store.write([
      { key: 'a', value: 1 },
      { key: 'b', value: 1 },
    ]);
    const first = await version('a');
    t.equal(await version('b'), first);
    await store.write([{ key: 'a', value: 2 }]);
    t.ok((await version('a')) > first);
    t.equal(await version('b'), first, 'untouched');
    await Promise.all(Array.from({ length: 50 }, (_, i) => store.write([{ key: `c${i}`, value: i }])));
    const versions = (await all(store, 'c')).map(r => r.version);
    t.equal(new Set(versions).size, 50, 'concurrent batches are batches of their own');
  });

  t.test(`${kind}: the last write to a key wins, in a batch and over concurrent ones`, async t => {
    const store = await make();
    t.teardown(() => store.close());
    await store.write([
      { key: 'k', value: 'first' },
      { key: 'k', value: null },
      { key: 'k', value: 'last' },
    ]);
    t.equal((await store.find('k'))?.value, 'last');
    await Promise.all([
      store.write([{ key: 'k', value: 1 }]),
      store.delete('k'),
      store.write([{ key: 'k', value: 3 }]),
    ]);
    t.equal((await store.find('k'))?.value, 3);
  });

  t.test(`${kind}: a record is a copy, with JSON's eyes`, async t => {
    const store = await make();
    t.teardown(() => store.close());
    const given = { list: [1, { deep: 'ü ☎ \0 "' }], gone: undefined, __proto__: { evil: true } };
    await store.write([{ key: 'k', value: given }]);
    given.list.push(9);
    const one = await store.find('k');
    t.strictSame(one?.value, { list: [1, { deep: 'ü ☎ \0 "' }] });
    t.not(one?.value, (await store.find('k'))?.value);
  });

  t.test(`${kind}: any text is a key, in the order of its bytes; too long a one is refused`, async t => {
    const store = await make();
    t.teardown(() => store.close());
    const keys = ['1', '10', '2', 'A', '__proto__', 'a', 'a b', 'a/', 'a/b', 'constructor', 'ä', '☎', '😀'];
    await store.write(keys.map(key => ({ key, value: key })).reverse());
    t.same(
      (await all(store)).map(r => r.key),
      [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
    );
    for (const key of keys) t.equal((await store.find(key))?.value, key, key);
    await store.write([{ key: 'x'.repeat(KEY_MAX), value: 'longest' }]);
    t.equal((await store.find('x'.repeat(KEY_MAX)))?.value, 'longest');
    const refused = new StoreError(
      'key-too-long',
      `A key of the store has 1 to ${KEY_MAX} bytes, this one ${KEY_MAX + 1}.`,
    );
    await t.rejects(
      store.write([
        { key: 'fine', value: 1 },
        { key: 'x'.repeat(KEY_MAX + 1), value: 1 },
      ]),
      refused,
    );
    t.equal(await store.find('fine'), undefined, 'all or nothing');
    t.equal(await refusal(store.find('')), 'key-too-long');
  });

  t.test(`${kind}: loading walks any number of records once`, async t => {
    const store = await make();
    t.teardown(() => store.close());
    const count = 2500;
    await store.write(
      Array.from({ length: count }, (_, i) => ({ key: `b/${String(i).padStart(5, '0')}`, value: { i } })),
    );
    await store.write([
      { key: 'a', value: 1 },
      { key: 'c', value: 1 },
    ]);
    const records = await all(store, 'b/');
    t.equal(records.length, count);
    t.same(
      records.map(r => r.value),
      Array.from({ length: count }, (_, i) => ({ i })),
    );
    t.equal((await all(store)).length, count + 2);
  });

  t.test(`${kind}: a watcher hears every committed change in order, until it stops`, async t => {
    const store = await make();
    t.teardown(() => store.close());
    await store.write([{ key: 'before', value: 1 }]);
    const heard: StoreChange[] = [];
    const stop = store.watch(change => heard.push(change));
    const ofB: string[] = [];
    store.watch(change => ofB.push(change.key), 'b');
    await store.write([
      { key: 'a', value: { n: 1 } },
      { key: 'b', value: 2 },
    ]);
    await store.delete('a');
    t.same(
      heard.map(({ key, value }) => ({ key, value })),
      [
        { key: 'a', value: { n: 1 } },
        { key: 'b', value: 2 },
        { key: 'a', value: null },
      ],
    );
    t.ok((heard[2]?.version ?? 0) > (heard[0]?.version ?? 0));
    stop();
    await store.write([{ key: 'c', value: 3 }]);
    t.equal(heard.length, 3);
    t.same(ofB, ['b'], 'a prefix chooses');
  });

  t.test(`${kind}: closing commits what was given just before`, async t => {
    const store = await make();
    const written = [store.write([{ key: 'a', value: 1 }]), store.write([{ key: 'b', value: 2 }])];
    await store.close();
    await Promise.all(written);
    t.equal(await refusal(store.write([{ key: 'c', value: 3 }])), 'closed');
  });

  t.test(`${kind}: a closed store says so`, async t => {
    const store = await make();
    await store.close();
    await store.close();
    t.equal(await refusal(store.write([{ key: 'a', value: 1 }])), 'closed');
    t.equal(await refusal(store.find('a')), 'closed');
    t.equal(await refusal(all(store)), 'closed');
  });
}

t.test('lmdb: records outlive the process, versions go on rising', async t => {
  const dir = folder();
  const first = await openLmdbStore(dir);
  await first.write([{ key: 'b/alice', value: { n: 1 } }]);
  const before = (await first.find('b/alice'))?.version ?? 0;
  await first.close();
  const second = await openLmdbStore(dir);
  t.teardown(() => second.close());
  t.equal(second.opened.recovered, undefined);
  t.same(await all(second), [{ key: 'b/alice', value: { n: 1 }, version: before }]);
  await second.write([{ key: 'b/bob', value: 1 }]);
  t.ok(((await second.find('b/bob'))?.version ?? 0) > before);
});

t.test('lmdb: what tells other processes of changes is bounded over restarts too', async t => {
  const dir = folder();
  const logged = async (): Promise<number> => {
    const store = await openLmdbStore(dir);
    const writes: Promise<void>[] = [];
    for (let i = 0; i < 600; i++) {
      writes.push(store.write([{ key: 'k', value: i }]));
      // One transaction each.
      await new Promise(resolve => setImmediate(resolve));
    }
    await Promise.all(writes);
    await store.close();
    const db = open({ path: join(dir, FILE), noSubdir: true, encoding: 'string', useVersions: true, maxDbs: 1 });
    const lists = [...db.getKeys({})].filter(key => Array.isArray(key)).length;
    await db.close();
    return lists;
  };
  t.equal(await logged(), 600, 'control');
  t.equal(await logged(), 1000);
  t.equal(await logged(), 1000);
});

/** Runs lines of a module in a process of its own; `store` and `dir` are there. */
function child(dir: string, lines: string) {
  const code = `import { openLmdbStore } from ${JSON.stringify(STORE)}; const dir = process.argv[1];
    const store = await openLmdbStore(dir, { watchEveryMs: 20 }); ${lines}`;
  return spawn(process.execPath, ['--input-type=module', '-e', code, dir], { stdio: ['ignore', 'pipe', 'inherit'] });
}

t.test('lmdb: SIGKILL right after a write resolved loses nothing of it', async t => {
  const dir = folder();
  const writer = child(
    dir,
    `let i = 0; for (;;) { const n = i++; await store.write([{ key: 'b/' + n, value: { n } }, { key: 'twin/' + n, value: n }]);
      process.stdout.write(n + '\\n'); }`,
  );
  let said = '';
  await new Promise<void>(resolve => {
    writer.stdout.on('data', chunk => {
      said += chunk;
      if (said.split('\n').length > 200) {
        writer.kill('SIGKILL');
        writer.once('close', () => resolve());
      }
    });
  });
  t.equal(writer.signalCode, 'SIGKILL');
  const acknowledged = said.trimEnd().split('\n').length;
  const store = await openLmdbStore(dir);
  t.teardown(() => store.close());
  t.equal(store.opened.recovered, undefined);
  const kept = await all(store, 'b/');
  t.ok(kept.length >= acknowledged, `${kept.length} kept of ${acknowledged} acknowledged`);
  for (let n = 0; n < acknowledged; n++) if ((await store.find(`b/${n}`)) === undefined) t.fail(`b/${n} is lost`);
  t.equal((await all(store, 'twin/')).length, kept.length, 'a batch is there whole or not at all');
});

t.test('lmdb: a watcher hears what another process writes and deletes', async t => {
  const dir = folder();
  const store = await openLmdbStore(dir, { watchEveryMs: 20 });
  t.teardown(() => store.close());
  await store.write([{ key: 'old', value: 1 }]);
  const heard: StoreChange[] = [];
  const complete = new Promise<void>(resolve => {
    store.watch(change => heard.push(change) === 3 && resolve());
  });
  const other = child(
    dir,
    `await store.write([{ key: 'new', value: 'from outside' }]); await store.delete('old'); await store.close();`,
  );
  await new Promise(resolve => other.once('close', resolve));
  await store.write([{ key: 'own', value: 2 }]);
  // The store's own look-out doesn't keep a process alive.
  const alive = setInterval(() => {}, 1000);
  await complete;
  clearInterval(alive);
  t.same(
    heard.map(({ key, value }) => ({ key, value })).sort((a, b) => (a.key < b.key ? -1 : 1)),
    [
      { key: 'new', value: 'from outside' },
      { key: 'old', value: null },
      { key: 'own', value: 2 },
    ],
  );
});

t.test('lmdb: a file that cannot be read is moved aside, not deleted, and the store starts empty', async t => {
  const filled = async (): Promise<string> => {
    const dir = folder();
    const store = await openLmdbStore(dir);
    await store.write(Array.from({ length: 3000 }, (_, i) => ({ key: `k${i}`, value: 'x'.repeat(300) })));
    await store.close();
    return dir;
  };
  const noisy = async (byte: (i: number) => number): Promise<string> => {
    const dir = await filled();
    const bytes = readFileSync(join(dir, FILE));
    for (let i = 3 * 4096; i < bytes.length; i++) bytes[i] = byte(i);
    return put(dir, bytes);
  };
  const damages: readonly { readonly what: string; readonly make: () => Promise<string> }[] = [
    { what: 'another program wrote it', make: async () => put(folder(), Buffer.alloc(100_000, 'nonsense ')) },
    { what: 'three bytes', make: async () => put(folder(), Buffer.from('abc')) },
    {
      what: 'cut off',
      make: async () => {
        const dir = await filled();
        truncateSync(join(dir, FILE), 40_960);
        return dir;
      },
    },
    { what: 'noise in the middle', make: () => noisy(i => (i * 7) & 255) },
    { what: 'zeros in the middle', make: () => noisy(() => 0) },
  ];
  for (const { what, make } of damages) {
    const dir = await make();
    const damaged = readFileSync(join(dir, FILE));
    const store = await openLmdbStore(dir, { wall: () => Date.UTC(2026, 0, 2) });
    t.match(
      store.opened.recovered,
      /could not be read .* was moved to .*\.corrupt-2026-01-02T00-00-00-000Z; this one starts empty/,
      what,
    );
    t.same(await all(store), []);
    t.same(readFileSync(join(dir, `${FILE}.corrupt-2026-01-02T00-00-00-000Z`)), damaged, 'kept byte for byte');
    await store.write([{ key: 'a', value: 1 }]);
    await store.close();
    const again = await openLmdbStore(dir);
    t.equal(again.opened.recovered, undefined);
    t.equal((await again.find('a'))?.value, 1);
    await again.close();
  }
  const sound = await openLmdbStore(await filled());
  t.equal(sound.opened.recovered, undefined, 'control: a sound file stays');
  t.equal((await all(sound)).length, 3000);
  await sound.close();
});

function put(dir: string, bytes: Buffer): string {
  writeFileSync(join(dir, FILE), bytes);
  return dir;
}

t.test('lmdb: a place where nothing can be opened is a sentence, not a crash', async t => {
  const dir = folder();
  writeFileSync(join(dir, 'file'), 'not a folder');
  t.equal(await refusal(openLmdbStore(join(dir, 'file'))), 'failed');
  t.same(readdirSync(dir), ['file']);
  mkdirSync(join(dir, 'made', FILE), { recursive: true });
  const store = await openLmdbStore(join(dir, 'made'));
  t.match(store.opened.recovered, /could not be read/, 'a folder in its place moves aside too');
  await store.close();
});

const mounts = process.getuid?.() === 0 && spawnSync('unshare', ['-m', 'true']).status === 0;
t.test(
  'lmdb: a full disk is a typed failure, what was there stays',
  { skip: mounts ? false : 'needs root' },
  async t => {
    const dir = folder();
    const script = `
    import { openLmdbStore } from ${JSON.stringify(STORE)};
    const store = await openLmdbStore(process.argv[1]);
    await store.write([{ key: 'kept', value: 'yes' }]);
    let failed;
    const write = n => store.write([{ key: 'k' + n, value: 'x'.repeat(2000) }]).catch(e => { failed = e; });
    for (let i = 0; i < 400 && failed === undefined; i++) {
      // At once, in the next turn and in the one after, as registrations come.
      const all = [write(10 * i), write(10 * i + 1)];
      await new Promise(resolve => setImmediate(resolve));
      all.push(write(10 * i + 2), write(10 * i + 3));
      await new Promise(resolve => setImmediate(resolve));
      all.push(write(10 * i + 4));
      await Promise.all(all);
    }
    await new Promise(resolve => setTimeout(resolve, 50));
    const kept = await store.find('kept');
    console.log(JSON.stringify({ name: failed?.name, reason: failed?.reason, message: failed?.message, kept: kept?.value }));
    process.exit(0);`;
    const r = spawnSync(
      'unshare',
      [
        '-m',
        'sh',
        '-c',
        'mount -t tmpfs -o size=2m none "$1" && exec "$2" --input-type=module -e "$3" "$1"',
        'sh',
        dir,
        process.execPath,
        script,
      ],
      { encoding: 'utf8', timeout: 60_000 },
    );
    const said = JSON.parse(r.stdout.trim().split('\n').at(-1) || '{}') as Record<string, unknown>;
    t.equal(said.reason, 'disk-full', r.stderr);
    t.equal(said.name, 'StoreError');
    t.match(said.message, /^The disk that holds .* is full: free some space/);
    t.equal(said.kept, 'yes');
  },
);
