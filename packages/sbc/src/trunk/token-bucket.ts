import type { Mono } from '@drawbridge/core';

/** `perSecond` on average, one second's worth at once (one at least). */
export class TokenBucket {
  readonly #perSecond: number;
  readonly #most: number;
  #tokens: number;
  #at: Mono = 0;

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#most = Math.max(1, perSecond);
    this.#tokens = this.#most;
  }

  has(now: Mono): boolean {
    this.#tokens = Math.min(this.#most, this.#tokens + ((now - this.#at) * this.#perSecond) / 1000);
    this.#at = now;
    return this.#tokens >= 1;
  }

  take(now: Mono): boolean {
    if (!this.has(now)) return false;
    this.#tokens--;
    return true;
  }
}
