import type { Mono } from '@drawbridge/core';
import { H, type MessageView, parseExpires } from '@drawbridge/sip';

/** A hop that failed comes after the others for so long, ms. */
const LAST_MS = 30_000;
/** No Retry-After keeps a hop away for longer, ms. */
const LONGEST_AWAY_MS = 600_000;

/** What is known of one next hop of a trunk: it is down after some failures in a row, until one success. */
export class HopHealth {
  /** Failures in a row. */
  failures = 0;
  down = false;
  /** Round trip of the last OPTIONS, ms. */
  rtt: number | undefined = undefined;
  #failedAt: Mono = Number.NEGATIVE_INFINITY;
  /** It asked to be left alone until then (RFC 3261 §21.5.4). */
  #awayUntil: Mono = Number.NEGATIVE_INFINITY;
  readonly #most: number;
  /** Nobody asks it by OPTIONS: it is tried again after a while. */
  readonly #unasked: boolean;

  constructor(most: number, unasked: boolean) {
    this.#most = most;
    this.#unasked = unasked;
  }

  usable(now: Mono): boolean {
    if (now < this.#awayUntil) return false;
    return !this.down || (this.#unasked && now - this.#failedAt >= LAST_MS);
  }

  /** Usable, but after those that have not failed lately. */
  doubtful(now: Mono): boolean {
    return this.failures > 0 && now - this.#failedAt < LAST_MS;
  }

  /** True: this changed whether it is down. */
  failed(now: Mono): boolean {
    this.failures++;
    this.#failedAt = now;
    if (this.down || this.failures < this.#most) return false;
    this.down = true;
    return true;
  }

  /** Any response shows that it lives; a 503 that it can't take more. True: this changed whether it is down. */
  heard(now: Mono, m: MessageView): boolean {
    if (m.status === 503) {
      const after = /^\s*(\d{1,9})/.exec(m.get(H.retryAfter))?.[1];
      if (after === undefined) return this.failed(now);
      this.#awayUntil = now + Math.min(parseExpires(after) * 1000, LONGEST_AWAY_MS);
      return false;
    }
    this.failures = 0;
    const changed = this.down;
    this.down = false;
    return changed;
  }
}
