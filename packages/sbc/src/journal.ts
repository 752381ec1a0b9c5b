import { type AskId, type Mono, type TimerWheel, type Tx, Waiting } from '@drawbridge/core';
import type { StoreWrite } from './store/store.js';

export type Committed = (now: Mono, ok: boolean, tx: Tx | undefined) => void;

/**
 * How a core writes to the Store without awaiting it: the batch leaves as a question, the commit comes back
 * as its answer. A missing answer counts as a failed write at its deadline.
 */
export class StoreJournal {
  readonly #pending = new Map<AskId, PendingCommit>();
  readonly #m: JournalModules;
  readonly #o: { readonly cap: number; readonly deadlineMs: number };

  constructor(options: { readonly cap: number; readonly deadlineMs: number }, modules: JournalModules) {
    this.#o = options;
    this.#m = modules;
  }

  get waiting(): number {
    return this.#pending.size;
  }

  /** No room for another commit: ask before changing what would need one. */
  get full(): boolean {
    return this.#pending.size >= this.#o.cap;
  }

  /** `done` is called once, in a later turn. False: too many commits wait already, nothing was asked and `done` is never called. */
  commit(now: Mono, batch: readonly StoreWrite[], done: Committed): boolean {
    if (this.full) return false;
    const id = this.#m.ask(batch);
    const waits = new PendingCommit(id, done, (at, expired) => {
      if (this.#pending.delete(expired.id)) expired.done(at, false, undefined);
    });
    this.#pending.set(id, waits);
    this.#m.wheel.arm(waits, now + this.#o.deadlineMs);
    return true;
  }

  /** A write nobody waits for (a refresh, an expiry). */
  put(batch: readonly StoreWrite[]): void {
    this.#m.ask(batch);
  }

  /** False when the answer belongs to nobody here (a `put`, or one past its deadline). */
  answered(now: Mono, id: AskId, ok: boolean, tx: Tx): boolean {
    const waits = this.#pending.get(id);
    if (waits === undefined) return false;
    this.#pending.delete(id);
    this.#m.wheel.cancel(waits);
    waits.done(now, ok, tx);
    return true;
  }
}

export interface JournalModules {
  /** Mints an id and sends the batch to the shell, which answers it once. */
  ask(batch: readonly StoreWrite[]): AskId;
  readonly wheel: TimerWheel;
}

class PendingCommit extends Waiting {
  readonly id: AskId;
  readonly done: Committed;
  readonly #late: (now: Mono, w: PendingCommit) => void;

  constructor(id: AskId, done: Committed, late: (now: Mono, w: PendingCommit) => void) {
    super();
    this.id = id;
    this.done = done;
    this.#late = late;
  }

  override onDue(now: Mono): void {
    this.#late(now, this);
  }
}
