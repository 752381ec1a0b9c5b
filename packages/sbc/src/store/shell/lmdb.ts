import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, rmSync, statfsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { open, type RootDatabase } from 'lmdb';
import {
  checkKey,
  type Store,
  type StoreChange,
  StoreError,
  type StoreOpened,
  type StoreRecord,
  type StoreWrite,
  Watchers,
} from '../store.js';

/** The layout's version stands in the name: another layout is another file, and neither program harms the other's. */
const FILE = 'drawbridge-1.mdb';
/** Records have text keys; the store's own keys are numbers and lists, which sort before them. */
const VERSION = 0;
const LOG = 1;
/** Transactions that a watcher in another process may lag behind. */
const LOG_LENGTH = 1000;
const CHUNK = 1000;

export interface LmdbOptions {
  /** How often to look for what other processes committed, while somebody watches. */
  readonly watchEveryMs?: number;
  /** For the name under which a corrupt file is kept. */
  readonly wall?: () => number;
}

/**
 * Opens the store in `folder`, which is made when it isn't there. A file that can't be read is moved aside, the store
 * then starts empty and says so in `opened.recovered`. Rejects with a `StoreError` when nothing can be opened there.
 */
export async function openLmdbStore(folder: string, o: LmdbOptions = {}): Promise<Store> {
  const path = join(folder, FILE);
  let recovered: string | undefined;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (existsSync(path)) recovered = await proofRead(path, o.wall ?? Date.now);
    const db = open<string, Key>({
      path,
      noSubdir: true,
      encoding: 'string',
      useVersions: true,
      maxDbs: 1,
      // Else a failed commit also rejects a promise of lmdb's own that nobody holds, which would end the process.
      eventTurnBatching: false,
    });
    return new LmdbStore(db, recovered === undefined ? { path } : { path, recovered }, o.watchEveryMs ?? 1000);
  } catch (error) {
    throw failure(error, folder);
  }
}

/**
 * A damaged map kills the process that reads it, so a child reads it first, to the last record. Returns what happened
 * to a file that didn't survive this.
 */
async function proofRead(path: string, wall: () => number): Promise<string | undefined> {
  const child = spawn(process.execPath, [fileURLToPath(new URL('./lmdb-proof.js', import.meta.url)), path], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const said: Buffer[] = [];
  child.stderr.on('data', chunk => said.length < 16 && said.push(chunk as Buffer));
  const { code, signal } = await new Promise<{ code: number | null; signal: string | null }>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (c, s) => resolve({ code: c, signal: s }));
  });
  if (code === 0) return undefined;
  const words = Buffer.concat(said).toString().trim().split('\n').at(-1) ?? '';
  if (code === 3) throw Object.assign(new Error(words), { code: words.split(' ', 1)[0] });
  const aside = `${path}.corrupt-${new Date(wall()).toISOString().replace(/[:.]/g, '-')}`;
  renameSync(path, aside);
  rmSync(`${path}-lock`, { force: true });
  const why = signal === null ? words : `reading it ended in ${signal}`;
  return `The store ${path} could not be read (${why}). It was moved to ${aside}; this one starts empty, phones have to register again and subscribers to be imported again.`;
}

type Key = string | number | (number | string)[];

interface Encoded {
  readonly key: string;
  /** Undefined deletes. */
  readonly json: string | undefined;
  readonly version: number;
}

class LmdbStore implements Store {
  readonly opened: StoreOpened;
  readonly #db: RootDatabase<string, Key>;
  readonly #watchers = new Watchers();
  #gathered: Encoded[] = [];
  /** Lines of the log, oldest first: those that were there, and ours since. */
  readonly #logged: Key[];
  #committing: Promise<void> | undefined;
  readonly #writer = randomBytes(6).toString('hex');
  readonly #watchEveryMs: number;
  #version: number;
  #seen = 0;
  #poll: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(db: RootDatabase<string, Key>, opened: StoreOpened, watchEveryMs: number) {
    this.#db = db;
    this.opened = opened;
    this.#watchEveryMs = watchEveryMs;
    this.#version = this.#committed();
    this.#logged = [...db.getKeys({ start: [LOG], end: [LOG + 1] })];
  }

  async *load(prefix = ''): AsyncIterable<StoreRecord> {
    this.#check();
    // In chunks: a cursor held open over awaits would pin old pages.
    let from: string | undefined;
    for (;;) {
      const start = from ?? (prefix === '' ? [LOG + 1] : prefix);
      const chunk = [...this.#db.getRange({ start, exclusiveStart: from !== undefined, limit: CHUNK, versions: true })];
      for (const { key, value, version } of chunk) {
        if (typeof key !== 'string') continue;
        if (!key.startsWith(prefix)) return;
        from = key;
        yield { key, value: JSON.parse(value), version: version ?? 0 };
      }
      if (chunk.length < CHUNK) return;
    }
  }

  /** Batches of one turn share a transaction and a line of the log; each has its version. */
  async write(batch: readonly StoreWrite[]): Promise<void> {
    this.#check();
    if (batch.length === 0) return;
    // What can't be written throws before anything of its batch is gathered.
    const version = Math.max(this.#version, this.#committing === undefined ? this.#committed() : 0) + 1;
    const encoded = batch.map(({ key, value }): Encoded => {
      checkKey(key);
      return { key, json: value === null ? undefined : JSON.stringify(value), version };
    });
    this.#version = version;
    for (const e of encoded) this.#gathered.push(e);
    this.#committing ??= Promise.resolve().then(() => this.#commit());
    return this.#committing;
  }

  async #commit(): Promise<void> {
    const gathered = this.#gathered;
    this.#gathered = [];
    this.#committing = undefined;
    const version = gathered.at(-1)?.version ?? this.#version;
    const line: Key = [LOG, version, this.#writer];
    const forgotten = this.#logged.splice(0, this.#logged.push(line) - LOG_LENGTH);
    try {
      await this.#db.batch(() => {
        for (const { key, json, version } of gathered) {
          if (json === undefined) this.#db.remove(key);
          else this.#db.put(key, json, version);
        }
        this.#db.put(VERSION, String(version), version);
        this.#db.put(line, JSON.stringify(gathered.map(e => e.key)), version);
        for (const old of forgotten) this.#db.remove(old);
      });
    } catch (error) {
      throw failure(await underlying(error), this.opened.path);
    }
    for (const e of gathered) this.#watchers.tell(e.key, e.json, e.version);
  }

  delete(key: string): Promise<void> {
    return this.write([{ key, value: null }]);
  }

  async find(key: string): Promise<StoreRecord | undefined> {
    this.#check();
    checkKey(key);
    const entry = this.#db.getEntry(key);
    return entry === undefined ? undefined : { key, value: JSON.parse(entry.value), version: entry.version ?? 0 };
  }

  watch(changed: (change: StoreChange) => void, prefix = ''): () => void {
    if (this.#poll === undefined) {
      this.#seen = this.#committed();
      this.#poll = setInterval(() => this.#others(), this.#watchEveryMs).unref();
    }
    this.#watchers.add(changed, prefix);
    return () => {
      this.#watchers.delete(changed);
      if (this.#watchers.size === 0) this.#unwatch();
    };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#unwatch();
    // A write that fails tells its own caller.
    await this.#committing?.catch(() => {});
    this.#watchers.clear();
    await this.#db.close();
  }

  /** Tells what other processes wrote since the last look: the log names the keys, the records say what they are now. */
  #others(): void {
    const now = this.#committed();
    if (now === this.#seen) return;
    for (const { key, value, version } of [
      ...this.#db.getRange({ start: [LOG, this.#seen + 1], end: [LOG + 1], versions: true }),
    ]) {
      if (Array.isArray(key) && key[2] !== this.#writer) {
        for (const written of JSON.parse(value) as string[]) {
          const entry = this.#db.getEntry(written);
          this.#watchers.tell(written, entry?.value, version ?? 0);
        }
      }
    }
    this.#seen = now;
  }

  #committed(): number {
    return Number(this.#db.get(VERSION) ?? 0);
  }

  #unwatch(): void {
    clearInterval(this.#poll);
    this.#poll = undefined;
  }

  #check(): void {
    if (this.#closed) throw new StoreError('closed', 'The store is closed.');
  }
}

/** A failed commit rejects with a wrapper whose `commitError` is a promise of the reason, and that only by rejecting. */
async function underlying(error: unknown): Promise<unknown> {
  const { commitError } = error as { commitError?: Promise<never> };
  return commitError === undefined ? error : commitError.catch((reason: unknown) => reason);
}

/** MDB_MAP_FULL: the address space reserved for the file is used up, in effect a full disk. */
const MAP_FULL = -30792;

/** What lmdb and the file system say, as one of our reasons and a sentence. */
function failure(error: unknown, where: string): StoreError {
  if (error instanceof StoreError) return error;
  const { code, message } = error as { code?: unknown; message?: string };
  const is = (name: string, number: number): boolean => code === name || code === number || code === String(number);
  const full =
    is('ENOSPC', 28) || is('EDQUOT', 122) || is('MDB_MAP_FULL', MAP_FULL) || (is('EIO', 5) && noSpace(where));
  if (full) {
    return new StoreError(
      'disk-full',
      `The disk that holds ${where} is full: free some space. What was not written is kept in memory only.`,
      error,
    );
  }
  if (is('EACCES', 13) || is('EPERM', 1) || is('EROFS', 30)) {
    return new StoreError('permission', `This user may not write to ${where}: change its owner, or store.path.`, error);
  }
  return new StoreError('failed', `The store ${where} failed: ${message ?? String(error)}.`, error);
}

/** A write cut short by a full disk reaches us as an input/output error. */
function noSpace(where: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(existsSync(where) ? where : dirname(where));
    return bavail * bsize < 1_048_576;
  } catch {
    return false;
  }
}
