import type { Mono } from './contract.js';

/** What waits on a wheel: subclass it, or keep one per timer. Its place there is made when it is first armed, and kept. */
export abstract class Waiting {
  /** @internal */ declare wheelPlace: Place | undefined;

  /** Assigned, not declared as a field: V8 defines a field of more than four kinds of objects by a call into its runtime, each time. */
  constructor() {
    this.wheelPlace = undefined;
  }

  abstract onDue(now: Mono): void;
}

/**
 * One object's place on a wheel. Of one kind, whatever waits there: the wheel's lists were a third of the cost of its
 * callers while it looked at the waiting objects themselves, of which there are more kinds than V8 inlines.
 */
class Place {
  readonly waiting: Waiting;
  next: Place | undefined = undefined;
  prev: Place | undefined = undefined;
  /** Slot + 1 while armed, 0 when not. */
  slot = 0;
  due: Mono = 0;

  constructor(waiting: Waiting) {
    this.waiting = waiting;
  }

  /** Nothing that waits is told in a log or an answer through its place: that leads back to it. */
  toJSON(): undefined {
    return undefined;
  }
}

const SLOTS = 1024;

/**
 * Hashed timer wheel for many objects with one deadline each: arm, re-arm and cancel in O(1), resolution
 * one tick. A deadline further away than one turn stays in its slot and is looked at once per turn.
 */
export class TimerWheel {
  readonly tick: number;
  readonly #heads = new Array<Place | undefined>(SLOTS).fill(undefined);
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
    let p = w.wheelPlace;
    if (p !== undefined && p.slot !== 0) this.#unlink(p);
    if (due === Number.POSITIVE_INFINITY) return;
    if (p === undefined) {
      p = new Place(w);
      w.wheelPlace = p;
    }
    const t = Math.max(Math.ceil(due / this.tick), this.#floor + 1);
    const slot = t % SLOTS;
    const head = this.#heads[slot];
    p.due = t;
    p.slot = slot + 1;
    p.prev = undefined;
    p.next = head;
    if (head !== undefined) head.prev = p;
    this.#heads[slot] = p;
    if (this.#armed++ === 0 || t < this.#next) this.#next = t;
  }

  cancel(w: Waiting): void {
    const p = w.wheelPlace;
    if (p !== undefined && p.slot !== 0) this.#unlink(p);
  }

  armed(w: Waiting): boolean {
    const p = w.wheelPlace;
    return p !== undefined && p.slot !== 0;
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
      let p = this.#heads[slot];
      while (p !== undefined) {
        const following: Place | undefined = p.next;
        if (p.due <= until) {
          if (left-- <= 0) {
            this.#at = t - 1;
            this.#next = t;
            return true;
          }
          this.#unlink(p);
          // onDue may arm and cancel others: start the slot again rather than trust `following`.
          p.waiting.onDue(now);
          p = this.#heads[slot];
          if (p !== undefined && p.due > until) p = skipLater(p, until);
          continue;
        }
        p = following;
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

  #unlink(p: Place): void {
    if (p.prev !== undefined) p.prev.next = p.next;
    else this.#heads[p.slot - 1] = p.next;
    if (p.next !== undefined) p.next.prev = p.prev;
    p.next = undefined;
    p.prev = undefined;
    p.slot = 0;
    this.#armed--;
  }
}

function skipLater(p: Place, until: number): Place | undefined {
  let at: Place | undefined = p;
  while (at !== undefined && at.due > until) at = at.next;
  return at;
}
