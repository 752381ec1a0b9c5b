import { ENDPOINT_WORDS, type Endpoints, type Mono } from '@drawbridge/core';

/** Counters; prefixes that fall together share one. */
const SLOTS = 4096;

/**
 * At most so many per window and source prefix (IPv4 /24, IPv6 /48), in fixed memory: what answers sources that have proven
 * nothing. Two halves of time, so that no span of one window's length sees more than the limit.
 */
export class PrefixBudget {
  readonly #limit: number;
  readonly #windowMs: number;
  readonly #seed: number;
  #now = new Uint8Array(SLOTS);
  #before = new Uint8Array(SLOTS);
  #window = -1;

  /** `limit`: 1 … 255. `seed`: random, so that nobody can aim at somebody else's counter. */
  constructor(limit: number, windowMs: number, seed: number) {
    this.#limit = limit;
    this.#windowMs = windowMs;
    this.#seed = seed;
  }

  take(now: Mono, peer: Endpoints, i: number): boolean {
    const window = Math.floor(now / this.#windowMs);
    if (window !== this.#window) this.#turn(window);
    const slot = this.#slot(peer, i);
    if (this.#now[slot]! + this.#before[slot]! >= this.#limit) return false;
    this.#now[slot]!++;
    return true;
  }

  #turn(window: number): void {
    [this.#now, this.#before] = [this.#before, this.#now];
    this.#now.fill(0);
    if (window !== this.#window + 1) this.#before.fill(0);
    this.#window = window;
  }

  #slot(peer: Endpoints, i: number): number {
    const at = i * ENDPOINT_WORDS;
    const w = peer.words;
    const v4 = peer.family(i) === 4;
    let h = Math.imul(this.#seed ^ (v4 ? w[at + 3]! >>> 8 : w[at]!), 0x9e3779b1);
    if (!v4) h = Math.imul(h ^ (h >>> 15) ^ (w[at + 1]! >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return (h ^ (h >>> 16)) & (SLOTS - 1);
  }
}
