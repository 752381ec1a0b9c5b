import { own } from '@drawbridge/core';

/** Counts below the highest that may still come, once each (reordered on the way). */
const WINDOW = 32;

interface Seen {
  highest: number;
  /** Bit k: `highest - k` was used. */
  used: number;
  readonly mintedAt: number;
}

/**
 * Which nonce counts were used (RFC 7616 §3.4, `nc`). An entry is made by the first valid credential, so that
 * guessing costs us nothing. When the table is full the oldest entry goes, and with it every nonce that is as old
 * or older and has no entry: forgetting must not allow a replay.
 */
export class NonceCounts {
  readonly #max: number;
  readonly #lifetimeMs: number;
  readonly #seen = new Map<string, Seen>();
  #floor = Number.NEGATIVE_INFINITY;

  constructor(max: number, lifetimeMs: number) {
    this.#max = max;
    this.#lifetimeMs = lifetimeMs;
  }

  get size(): number {
    return this.#seen.size;
  }

  /** Takes `nc` of a nonce whose credential was valid; false when it was used before, or may have been. */
  take(wall: number, nonce: string, mintedAt: number, nc: number): boolean {
    const seen = this.#seen.get(nonce);
    if (seen === undefined) {
      if (mintedAt <= this.#floor) return false;
      this.#makeRoom(wall);
      this.#seen.set(own(nonce), { highest: nc, used: 1, mintedAt });
      return true;
    }
    const ahead = nc - seen.highest;
    if (ahead > 0) {
      seen.used = ahead >= WINDOW ? 1 : ((seen.used << ahead) | 1) >>> 0;
      seen.highest = nc;
      return true;
    }
    if (ahead <= -WINDOW) return false;
    const bit = (1 << -ahead) >>> 0;
    if ((seen.used & bit) !== 0) return false;
    seen.used = (seen.used | bit) >>> 0;
    return true;
  }

  #makeRoom(wall: number): void {
    for (const [nonce, seen] of this.#seen) {
      const expired = wall - seen.mintedAt > this.#lifetimeMs;
      if (!expired && this.#seen.size < this.#max) return;
      this.#seen.delete(nonce);
      if (!expired && seen.mintedAt > this.#floor) this.#floor = seen.mintedAt;
    }
  }
}
