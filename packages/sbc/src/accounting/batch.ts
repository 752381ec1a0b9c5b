import type { LineSink } from './ledger.js';

export interface BatchOptions {
  /** Lines in one batch at most. */
  readonly most: number;
  /** How long lines gather, ms. */
  readonly gatherMs: number;
  /** First pause after a failure, ms; doubles up to `longestPauseMs`. */
  readonly pauseMs: number;
  readonly longestPauseMs: number;
  /** A line that could not be delivered for that long is lost. */
  readonly retryForMs: number;
}

export interface BatchModules {
  /** Delivers all of them or rejects; has a deadline of its own. */
  send(lines: readonly string[]): Promise<void>;
  /** Monotonic ms. */
  now(): number;
  sleep(ms: number): Promise<void>;
}

interface Waiting {
  readonly line: string;
  readonly since: number;
  readonly done: (error: Error | undefined) => void;
}

/** Lines to a server that may be away for a while: in order, in batches, tried again, given up one by one by age. */
export class BatchSink implements LineSink {
  readonly #o: BatchOptions;
  readonly #m: BatchModules;
  #lines: Waiting[] = [];
  #busy: Promise<void> | undefined;
  #closing = false;

  constructor(options: BatchOptions, modules: BatchModules) {
    this.#o = options;
    this.#m = modules;
  }

  write(line: string, done: (error: Error | undefined) => void): void {
    this.#lines.push({ line, since: this.#m.now(), done });
    this.#busy ??= this.#pump().finally(() => {
      this.#busy = undefined;
    });
  }

  /** What still waits gets one more try. */
  async close(): Promise<void> {
    this.#closing = true;
    await this.#busy;
  }

  async #pump(): Promise<void> {
    let pause = this.#o.pauseMs;
    while (this.#lines.length > 0) {
      if (!this.#closing) await this.#m.sleep(this.#o.gatherMs);
      const batch = this.#lines.slice(0, this.#o.most);
      const failure = await this.#m.send(batch.map(w => w.line)).then(
        () => undefined,
        (error: unknown) => (error instanceof Error ? error : new Error(String(error))),
      );
      if (failure === undefined) {
        pause = this.#o.pauseMs;
        this.#lines.splice(0, batch.length);
        for (const w of batch) w.done(undefined);
        continue;
      }
      const oldest = this.#closing ? Number.POSITIVE_INFINITY : this.#m.now() - this.#o.retryForMs;
      const kept = this.#lines.findIndex(w => w.since > oldest);
      for (const w of this.#lines.splice(0, kept < 0 ? this.#lines.length : kept)) w.done(failure);
      if (this.#lines.length > 0) await this.#m.sleep(pause);
      pause = Math.min(pause * 2, this.#o.longestPauseMs);
    }
  }
}
