import type { Mono } from './contract.js';

/**
 * What waits on a wheel: subclass it, or keep one per timer. Intrusive, so that arming costs no allocation.
 */
export abstract class Waiting {
  /** @internal */ declare wheelNext: Waiting | undefined;
  /** @internal */ declare wheelPrev: Waiting | undefined;
  /** @internal slot + 1 while armed, 0 when not */ declare wheelSlot: number;
  /** @internal */ declare wheelDue: Mono;

  /** Assigned, not declared as fields: V8 defines a field of more than four kinds of objects by a call into its runtime, each time. */
  constructor() {
    this.wheelNext = undefined;
    this.wheelPrev = undefined;
    this.wheelSlot = 0;
    this.wheelDue = 0;
  }

  abstract onDue(now: Mono): void;
}

const SLOTS = 1024;

/**
 * Hashed timer wheel for many objects with one deadline each: arm, re-arm and cancel in O(1), resolution
 * one tick. A deadline further away than one turn stays in its slot and is looked at once per turn.
 */
export class TimerWheel {
  readonly tick: number;
  readonly #heads = new Array<Waiting | undefined>(SLOTS).fill(undefined);
  /** Everything due at or before this tick has fired. */
  #at: number;
  /** The last tick that was asked for: what is armed for it or earlier fires at the next one. */
  #floor: number;
  #armed = 0;
  /** Earliest tick that may hold something due; a lower bound. */
  #next = Number.POSITIVE_INFINITY;

  constructor(now: Mono, tickMs = 10) {
    this.tick = tickMs;
    this.#at = Math.floor(now / tickMs);
    this.#floor = this.#at;
  }

  get size(): number {
    return this.#armed;
  }

  /** Re-arms what is armed. `Infinity` is never: the same as cancelling. */
  arm(w: Waiting, due: Mono): void {
    if (Number.isNaN(due)) throw new TypeError('a deadline is a number of milliseconds');
    if (w.wheelSlot !== 0) this.#unlink(w);
    if (due === Number.POSITIVE_INFINITY) return;
    const t = Math.max(Math.ceil(due / this.tick), this.#floor + 1);
    const slot = t % SLOTS;
    const head = this.#heads[slot];
    w.wheelDue = t;
    w.wheelSlot = slot + 1;
    w.wheelPrev = undefined;
    w.wheelNext = head;
    if (head !== undefined) head.wheelPrev = w;
    this.#heads[slot] = w;
    if (this.#armed++ === 0 || t < this.#next) this.#next = t;
  }

  cancel(w: Waiting): void {
    if (w.wheelSlot !== 0) this.#unlink(w);
  }

  armed(w: Waiting): boolean {
    return w.wheelSlot !== 0;
  }

  /** O(1) and a lower bound: an early call finds nothing due and moves the bound on. */
  pollTimeout(): Mono {
    return this.#armed === 0 ? Number.POSITIVE_INFINITY : this.#next * this.tick;
  }

  /** Fires what is due, at most `budget` objects; true when more is due right now. What an `onDue` arms waits a tick at least. */
  advance(now: Mono, budget = 1024): boolean {
    const until = Math.floor(now / this.tick);
    let left = budget;
    if (until > this.#floor) this.#floor = until;
    if (this.#armed === 0) {
      if (until > this.#at) this.#at = until;
      this.#next = Number.POSITIVE_INFINITY;
      return false;
    }
    // After a long pause every slot is looked at once, not once per tick that passed.
    let t = Math.max(this.#at + 1, Math.min(this.#next, until + 1), until - SLOTS + 1);
    for (; t <= until; t++) {
      const slot = t % SLOTS;
      let w = this.#heads[slot];
      while (w !== undefined) {
        const following: Waiting | undefined = w.wheelNext;
        if (w.wheelDue <= until) {
          if (left-- <= 0) {
            this.#at = t - 1;
            this.#next = t;
            return true;
          }
          this.#unlink(w);
          // onDue may arm and cancel others: start the slot again rather than trust `following`.
          w.onDue(now);
          w = this.#heads[slot];
          if (w !== undefined && w.wheelDue > until) w = skipLater(w, until);
          continue;
        }
        w = following;
      }
    }
    if (until > this.#at) this.#at = until;
    this.#next = this.#armed === 0 ? Number.POSITIVE_INFINITY : this.#firstOccupied(this.#at + 1);
    return false;
  }

  #firstOccupied(from: number): number {
    for (let t = from; t < from + SLOTS; t++) if (this.#heads[t % SLOTS] !== undefined) return t;
    return from;
  }

  #unlink(w: Waiting): void {
    const slot = w.wheelSlot - 1;
    if (w.wheelPrev !== undefined) w.wheelPrev.wheelNext = w.wheelNext;
    else this.#heads[slot] = w.wheelNext;
    if (w.wheelNext !== undefined) w.wheelNext.wheelPrev = w.wheelPrev;
    w.wheelNext = undefined;
    w.wheelPrev = undefined;
    w.wheelSlot = 0;
    this.#armed--;
  }
}

function skipLater(w: Waiting, until: number): Waiting | undefined {
  let at: Waiting | undefined = w;
  while (at !== undefined && at.wheelDue > until) at = at.wheelNext;
  return at;
}
