import {
  checkKey,
  type Store,
  type StoreChange,
  StoreError,
  type StoreOpened,
  type StoreRecord,
  type StoreWrite,
  Watchers,
} from './store.js';

interface Kept {
  /** JSON text: what comes out is a copy, as from a disk. */
  readonly json: string;
  readonly version: number;
}

/** A store that ends with the process: for tests, and for `store.kind: memory`. */
export class MemoryStore implements Store {
  readonly opened: StoreOpened = { path: 'memory' };
  readonly #records = new Map<string, Kept>();
  readonly #watchers = new Watchers();
  #version = 0;
  #closed = false;

  async *load(prefix = ''): AsyncIterable<StoreRecord> {
    this.#check();
    const keys = [...this.#records.keys()].filter(key => key.startsWith(prefix)).sort(byBytes);
    for (const key of keys) {
      const kept = this.#records.get(key);
      if (kept !== undefined) yield { key, value: JSON.parse(kept.json), version: kept.version };
    }
  }

  async write(batch: readonly StoreWrite[]): Promise<void> {
    this.#check();
    if (batch.length === 0) return;
    // All or nothing: what can't be written throws before anything is.
    const encoded: (string | undefined)[] = [];
    for (const { key, value } of batch) {
      checkKey(key);
      encoded.push(value === null ? undefined : JSON.stringify(value));
    }
    const version = ++this.#version;
    batch.forEach(({ key }, i) => {
      const json = encoded[i];
      if (json === undefined) this.#records.delete(key);
      else this.#records.set(key, { json, version });
    });
    if (this.#watchers.size > 0) batch.forEach(({ key }, i) => void this.#watchers.tell(key, encoded[i], version));
  }

  delete(key: string): Promise<void> {
    return this.write([{ key, value: null }]);
  }

  async find(key: string): Promise<StoreRecord | undefined> {
    this.#check();
    checkKey(key);
    const kept = this.#records.get(key);
    return kept === undefined ? undefined : { key, value: JSON.parse(kept.json), version: kept.version };
  }

  watch(changed: (change: StoreChange) => void, prefix = ''): () => void {
    this.#watchers.add(changed, prefix);
    return () => this.#watchers.delete(changed);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#watchers.clear();
  }

  #check(): void {
    if (this.#closed) throw new StoreError('closed', 'The store is closed.');
  }
}

/** The order of UTF-8 bytes, which every store keeps. */
function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
