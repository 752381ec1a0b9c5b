import type { Mono, Random } from '@drawbridge/core';

/**
 * Port pairs of one relay address: even RTP port, odd RTCP port above it (RFC 3550 §11). Taken in random order
 * (RFC 6056 §3.3.1, so that a port can't be guessed) and left alone for a while after release, so that late packets
 * of one call never reach the next. Every call is O(1).
 */
export class PortPairs {
  readonly total: number;
  readonly #firstEven: number;
  readonly #restMs: number;
  readonly #random: Random;
  readonly #free: Uint32Array;
  #freeCount: number;
  readonly #resting: Uint32Array;
  readonly #restUntil: Float64Array;
  #restHead = 0;
  #restCount = 0;

  constructor(options: { firstPort: number; lastPort: number; quarantineMs: number }, modules: { random: Random }) {
    this.#firstEven = options.firstPort + (options.firstPort & 1);
    this.total = Math.max(0, (options.lastPort - this.#firstEven + 1) >> 1);
    this.#restMs = options.quarantineMs;
    this.#random = modules.random;
    this.#free = Uint32Array.from({ length: this.total }, (_, i) => i);
    this.#freeCount = this.total;
    this.#resting = new Uint32Array(this.total);
    this.#restUntil = new Float64Array(this.total);
  }

  get inUse(): number {
    return this.total - this.#freeCount - this.#restCount;
  }
  get resting(): number {
    return this.#restCount;
  }

  /** The even port of a pair, or -1 when every pair is taken or resting. */
  take(now: Mono): number {
    this.#wake(now);
    if (this.#freeCount === 0) return -1;
    const at = Math.floor((this.#random.u32() / 0x1_0000_0000) * this.#freeCount);
    const pair = this.#free[at]!;
    this.#free[at] = this.#free[--this.#freeCount]!;
    return this.#firstEven + pair * 2;
  }

  release(now: Mono, port: number): void {
    this.#wake(now);
    const at = (this.#restHead + this.#restCount++) % this.total;
    this.#resting[at] = (port - this.#firstEven) >> 1;
    this.#restUntil[at] = now + this.#restMs;
  }

  #wake(now: Mono): void {
    while (this.#restCount > 0 && this.#restUntil[this.#restHead]! <= now) {
      this.#free[this.#freeCount++] = this.#resting[this.#restHead]!;
      this.#restHead = (this.#restHead + 1) % this.total;
      this.#restCount--;
    }
  }
}
