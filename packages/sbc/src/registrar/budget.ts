import type { Mono } from '@drawbridge/core';

/** Shared, refilled by the clock, one second's worth deep. */
export class Budget {
  readonly #perSecond: number;
  #left: number;
  #at: Mono = 0;

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#left = perSecond;
  }

  take(now: Mono): boolean {
    this.#left = Math.min(this.#perSecond, this.#left + ((now - this.#at) * this.#perSecond) / 1000);
    this.#at = now;
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
