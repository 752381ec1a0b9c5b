import type { AskId } from '@drawbridge/core';
import type { Store, StoreWrite } from '../store/store.js';

/** Batches on their way at most; what comes on top is answered as failed at once. */
const MAX_WAITING = 20_000;

export interface StoreWriterModules {
  readonly store: Store;
  answer(id: AskId, ok: boolean): void;
  /** One sentence per spell of trouble, and one when it is over. */
  onTrouble(sentence: string): void;
  onRecovered(): void;
}

/** Carries the core's batches to the store and the outcome back. */
export class StoreWriter {
  readonly #m: StoreWriterModules;
  commits = 0;
  failures = 0;
  waiting = 0;
  #failing = false;

  constructor(modules: StoreWriterModules) {
    this.#m = modules;
  }

  write(id: AskId, batch: readonly StoreWrite[]): void {
    if (this.waiting >= MAX_WAITING) {
      this.failures++;
      this.#trouble('the store is too slow for what is registered');
      // Never within the turn that asked.
      queueMicrotask(() => this.#m.answer(id, false));
      return;
    }
    this.waiting++;
    this.#m.store.write(batch).then(
      () => {
        this.waiting--;
        this.commits++;
        if (this.#failing) {
          this.#failing = false;
          this.#m.onRecovered();
        }
        this.#m.answer(id, true);
      },
      (error: unknown) => {
        this.waiting--;
        this.failures++;
        this.#trouble(error instanceof Error ? error.message : String(error));
        this.#m.answer(id, false);
      },
    );
  }

  #trouble(sentence: string): void {
    if (this.#failing) return;
    this.#failing = true;
    this.#m.onTrouble(sentence);
  }
}
