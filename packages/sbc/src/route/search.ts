import type { Mono, Reason, Tx } from '@drawbridge/core';
import type { LateTargets, Onward, Target } from '../decide/plan.js';
import type { TrunkUse } from '../trunk/trunk.js';

/** One place of a route: a trunk, or whoever is registered at an address. */
export interface Step {
  /** Undefined: nobody can be asked there now, for `refused` of the search. */
  targets(now: Mono, search: Search): readonly Target[] | undefined;
}

/** A place that must be asked for first. Its targets when they are known now; undefined: `found` gets them, once, in a later turn. */
export interface LateStep {
  begin(now: Mono, found: (now: Mono, targets: readonly Target[], tx: Tx) => void): readonly Target[] | undefined;
}

/** After these of a local address the next place of a route is tried. */
const LOCAL_GOES_ON: ReadonlySet<number> = new Set([404, 408, 480, 500, 503]);

/** Places of a route one after the other, each when the one before could not take the call. */
export class Search implements Onward {
  readonly #steps: readonly Step[];
  readonly #late: LateStep | undefined;
  #next = 0;
  #use: TrunkUse | undefined = undefined;
  /** What the late step knew at once. */
  #ready: readonly Target[] | undefined = undefined;
  /** Why the last place that was passed over could not be asked. */
  refused: Reason = 'no-route';

  constructor(steps: readonly Step[], late?: LateStep) {
    this.#steps = steps;
    this.#late = late;
  }

  get hasLate(): boolean {
    return this.#late !== undefined;
  }

  /** Whether there is anything behind the place that is being tried. */
  get hasMore(): boolean {
    return this.#next < this.#steps.length;
  }

  /** What the step in hand uses, told by the step. */
  uses(use: TrunkUse | undefined): void {
    this.#use = use;
  }

  next(now: Mono): readonly Target[] | undefined {
    while (this.#next < this.#steps.length) {
      const step = this.#steps[this.#next++];
      this.#use = undefined;
      const targets = step?.targets(now, this);
      if (targets !== undefined && targets.length > 0) return targets;
    }
    return undefined;
  }

  /** Everything that is left at once, each place the substitute of the one before: for requests that have no call. */
  chain(now: Mono): Target | undefined {
    const all: Target[] = [];
    for (let found = this.next(now); found !== undefined; found = this.next(now)) all.push(...found.slice(0, 1));
    let chained: Target | undefined;
    for (const target of all.reverse()) chained = behind(target, chained);
    return chained;
  }

  begin(now: Mono, late: LateTargets): boolean {
    this.#ready = this.#late?.begin(now, (at, targets, out) => {
      if (!late.wanted()) return;
      const ring = targets.length > 0 ? targets : this.next(at);
      if (ring !== undefined) late.ring(at, ring, out);
      late.done(at, out);
    });
    return this.#late !== undefined && this.#ready === undefined;
  }

  instead(now: Mono, status: number): readonly Target[] | undefined {
    const ready = this.#ready;
    this.#ready = undefined;
    if (ready !== undefined) return ready.length > 0 ? ready : this.next(now);
    return this.#goesOn(status) ? this.next(now) : undefined;
  }

  #goesOn(status: number): boolean {
    const use = this.#use;
    if (use === undefined) return LOCAL_GOES_ON.has(status);
    const { outcome } = use;
    if (outcome === undefined) return false;
    return typeof outcome === 'string' || outcome === 503 || use.trunk.o.failover.includes(outcome);
  }
}

/** `target` with its substitutes, and `last` behind them all. */
function behind(target: Target, last: Target | undefined): Target {
  if (last === undefined) return target;
  return { ...target, otherwise: target.otherwise === undefined ? last : behind(target.otherwise, last) };
}
