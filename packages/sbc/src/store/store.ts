/** Anything JSON can carry, at the top not null: `null` in a write deletes. */
export type StoreValue = object | string | number | boolean;

export interface StoreRecord {
  readonly key: string;
  /** As JSON gives it back: parse it with the schema of the record, it may be of an older version of the program. */
  readonly value: unknown;
  /** Of the batch that wrote it; rises over the whole store. */
  readonly version: number;
}

export interface StoreWrite {
  readonly key: string;
  readonly value: StoreValue | null;
}

/** A committed change; `value` is null when the record was deleted. */
export interface StoreChange {
  readonly key: string;
  readonly value: unknown;
  readonly version: number;
}

export interface StoreOpened {
  /** Where it lives, for tables and logs. */
  readonly path: string;
  /** The old store couldn't be read: a sentence that says why and where it was moved. This one started empty. */
  readonly recovered?: string;
}

/**
 * Asynchronous versioned journal beneath the shards' memory, which is the truth. Nothing on a hot path awaits it.
 * Every method may reject with a `StoreError`.
 */
export interface Store {
  readonly opened: StoreOpened;
  /** All records, or those whose key starts with `prefix`, in the order of their keys. */
  load(prefix?: string): AsyncIterable<StoreRecord>;
  /** All or nothing; resolves after the group commit, when the batch outlives this process. The last write to a key wins. */
  write(batch: readonly StoreWrite[]): Promise<void>;
  delete(key: string): Promise<void>;
  find(key: string): Promise<StoreRecord | undefined>;
  /** Every change committed from now on, by any process, in order, to keys that start with `prefix`; returns the way to stop. */
  watch(changed: (change: StoreChange) => void, prefix?: string): () => void;
  /** Commits what is under way first. */
  close(): Promise<void>;
}

/** Who watches what. */
export class Watchers {
  readonly #list = new Map<(change: StoreChange) => void, string>();

  get size(): number {
    return this.#list.size;
  }

  add(changed: (change: StoreChange) => void, prefix: string): void {
    this.#list.set(changed, prefix);
  }

  delete(changed: (change: StoreChange) => void): void {
    this.#list.delete(changed);
  }

  clear(): void {
    this.#list.clear();
  }

  /** `json` is read for those only who watch the key. */
  tell(key: string, json: string | undefined, version: number): void {
    for (const [changed, prefix] of this.#list)
      if (key.startsWith(prefix)) changed({ key, value: json === undefined ? null : JSON.parse(json), version });
  }
}

/** Longest key in bytes of UTF-8. */
export const KEY_MAX = 1024;

export type StoreFailure = 'disk-full' | 'permission' | 'in-use' | 'key-too-long' | 'closed' | 'failed';

/** What a store couldn't do, as a plain sentence that says what to do. */
export class StoreError extends Error {
  readonly reason: StoreFailure;

  constructor(reason: StoreFailure, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.name = 'StoreError';
    this.reason = reason;
  }
}

/** Throws a `StoreError` for a key that no store takes. */
export function checkKey(key: string): void {
  // Three bytes of UTF-8 per UTF-16 unit at most.
  if (key.length === 0 || (key.length * 3 > KEY_MAX && Buffer.byteLength(key) > KEY_MAX)) {
    throw new StoreError(
      'key-too-long',
      `A key of the store has 1 to ${KEY_MAX} bytes, this one ${Buffer.byteLength(key)}.`,
    );
  }
}
