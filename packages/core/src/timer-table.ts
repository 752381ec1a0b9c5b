import type { Mono } from './contract.js';

/** A few kinds of timer of one object: `K` is a closed union, the table one number per kind. */
export class TimerTable<K extends string> {
  readonly #kinds: readonly K[];
  readonly #due: Float64Array;

  constructor(kinds: readonly K[]) {
    this.#kinds = kinds;
    this.#due = new Float64Array(kinds.length).fill(Number.POSITIVE_INFINITY);
  }

  set(kind: K, due: Mono): void {
    this.#due[this.#kinds.indexOf(kind)] = due;
  }

  stop(kind: K): void {
    this.set(kind, Number.POSITIVE_INFINITY);
  }

  get(kind: K): Mono {
    return this.#due[this.#kinds.indexOf(kind)] ?? Number.POSITIVE_INFINITY;
  }

  next(): Mono {
    let least = Number.POSITIVE_INFINITY;
    for (const d of this.#due) if (d < least) least = d;
    return least;
  }

  /** Takes the earliest kind that is due, or undefined. Call until it returns undefined. */
  take(now: Mono): K | undefined {
    let at = -1;
    for (let i = 0; i < this.#due.length; i++) {
      if (this.#due[i]! <= now && (at < 0 || this.#due[i]! < this.#due[at]!)) at = i;
    }
    if (at < 0) return undefined;
    this.#due[at] = Number.POSITIVE_INFINITY;
    return this.#kinds[at];
  }
}
