import type { Config } from '../config.js';
import { MemoryStore } from '../store/memory.js';
import { openLmdbStore } from '../store/shell/lmdb.js';
import { type Store, StoreError } from '../store/store.js';

/** The configured store, or one in memory with a warning: phones can register again, a border that won't start helps nobody. */
export async function openStore(o: Config['store'], warn: (sentence: string) => void): Promise<Store> {
  if (o.kind === 'memory') return new MemoryStore();
  try {
    const store = await openLmdbStore(o.path);
    if (store.opened.recovered !== undefined) warn(store.opened.recovered);
    return store;
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    warn(`${error.message} Until then registrations and subscribers live in memory only and end with this process.`);
    return new MemoryStore();
  }
}
