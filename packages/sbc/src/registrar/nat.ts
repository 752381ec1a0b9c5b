/** Bounds of the search, ms. */
export interface NatBounds {
  readonly min: number;
  readonly max: number;
  /** First gap that is tried. */
  readonly start: number;
}

/** One step of the search: the next gap is at most this much longer, so that what is found lies within 20 % below the truth. */
const STEP = 1.18;
/** Kept between a gap that held and the interval that is used: clocks, queues and the way there. */
const MARGIN = 0.98;

/**
 * What is known of one NAT's patience with idle UDP mappings, shared by all bindings behind its address. `good` is
 * the longest idle gap after which a phone still answered, `bad` the shortest after which the mapping was gone.
 *
 * A gap that proves too long costs one phone its reachability until it registers again, so the search goes up in
 * small steps and only ever with one phone per NAT.
 */
export class NatPatience {
  good = 0;
  bad = Number.POSITIVE_INFINITY;
  /** Who tries gaps longer than `good` just now. */
  prober: object | undefined = undefined;
  /** Bindings behind it. */
  users = 0;
  readonly #o: NatBounds;

  readonly key: string;

  constructor(key: string, bounds: NatBounds) {
    this.key = key;
    this.#o = bounds;
  }

  /** Interval that is known to hold. */
  get interval(): number {
    return Math.max(this.#o.min, this.good * MARGIN);
  }

  /** The next gap to try, or undefined when the search is over. */
  get next(): number | undefined {
    const { min, max, start } = this.#o;
    if (this.good >= max || this.bad <= min) return undefined;
    // Anything holds for less than the shortest interval: only from there on is it news.
    if (this.good < min * 0.95) return this.bad > start * STEP ? start : min;
    if (this.bad === Number.POSITIVE_INFINITY) return Math.min(max, this.good * STEP);
    return this.bad / this.good > STEP ? Math.max(min, Math.sqrt(this.good * this.bad)) : undefined;
  }

  /** A phone answered after this much silence. */
  held(gap: number): void {
    if (gap > this.good) this.good = Math.min(gap, this.#o.max);
    // The NAT was replaced, or the failure had another cause.
    if (this.good >= this.bad) this.bad = Number.POSITIVE_INFINITY;
  }

  /** A mapping was gone after this much silence. */
  died(gap: number): void {
    if (gap < this.bad) this.bad = gap;
    // What held before doesn't hold any more: start again below.
    if (this.good >= this.bad) this.good = 0;
  }
}
