import { type Mono, type TimerWheel, type Tx, Waiting } from '@drawbridge/core';
import {
  type DnsAnswer,
  type DnsDone,
  type DnsQuestion,
  type Located,
  locate,
  Resolver,
  type ResolverModules,
  type SipUri,
} from '@drawbridge/sip';
import type { Asks } from '../asks.js';
import type { Outbox } from '../events.js';
import type { HopList } from './hop-list.js';

/** Where a configured peer is reached has changed, or could not be found out. */
export interface LocateEvent {
  readonly kind: 'hops-changed';
  readonly at: Mono;
  /** Both as configured. */
  readonly name: string;
  readonly uri: string;
  /** `udp 10.0.0.5:5060`, most preferred first. */
  readonly hops: readonly string[];
  readonly stale: boolean;
  /** Why there are none, or no newer ones; '' otherwise. */
  readonly why: string;
}

export interface LocatorModules {
  readonly asks: Asks;
  readonly wheel: TimerWheel;
  readonly outbox: Outbox;
}

/** Rounds of questions for one URI: NAPTR, SRV and addresses need three. */
const MOST_ROUNDS = 6;
/** A result is looked at again after this at the earliest. */
const SOONEST_MS = 500;
/** Answers kept for questions on demand; those of hop lists have a memory of their own, so that no caller can push them out. */
const ON_DEMAND_CAP = 4096;
/** Questions on demand under way at once. */
const ON_DEMAND_OPEN = 500;

/** Keeps hop lists resolved in the background, and asks the DNS on demand for whoever routes by it (ENUM, RFC 6116). */
export class Locator {
  readonly hops: Resolver;
  readonly onDemand: Resolver;
  readonly #m: LocatorModules;
  readonly #jobs = new Map<HopList, readonly Job[]>();

  constructor(options: { readonly deadlineMs: number }, modules: LocatorModules) {
    this.#m = modules;
    const ask: ResolverModules['ask'] = (now, q, done) =>
      modules.asks.ask(now, 'dns', q, options.deadlineMs, done) !== undefined;
    this.hops = new Resolver({}, { ask });
    this.onDemand = new Resolver(
      { cap: ON_DEMAND_CAP },
      { ask: (now, q, done) => this.onDemand.open < ON_DEMAND_OPEN && ask(now, q, done) },
    );
  }

  get lists(): Iterable<HopList> {
    return this.#jobs.keys();
  }

  /** URIs whose first result is still awaited. */
  get pending(): number {
    let n = 0;
    for (const jobs of this.#jobs.values()) for (const j of jobs) if (!j.known) n++;
    return n;
  }

  /** From now on the list is kept resolved. */
  keep(now: Mono, list: HopList): void {
    if (this.#jobs.has(list)) return;
    const jobs = list.named.map(({ place, uri, text }) => new Job(this, list, place, uri, text));
    this.#jobs.set(list, jobs);
    for (const job of jobs) job.run(now);
  }

  /** The configuration names it no more. */
  release(list: HopList): void {
    for (const job of this.#jobs.get(list) ?? []) job.end(this.#m.wheel);
    this.#jobs.delete(list);
  }

  /** The answer when it is known now, and then `done` is never called; undefined: `done` gets it once, in a later turn. */
  lookup(now: Mono, q: DnsQuestion, done: DnsDone): DnsAnswer | undefined {
    return this.onDemand.query(now, q, done);
  }

  /** @internal */
  rest(job: Job, until: Mono): void {
    this.#m.wheel.arm(job, until);
  }

  /** @internal */
  tell(e: LocateEvent): void {
    this.#m.outbox.push(e);
  }
}

/** One URI of one list: asks what is missing, round by round, rests until the first answer runs out, and begins again. */
class Job extends Waiting {
  known = false;
  readonly #locator: Locator;
  readonly #list: HopList;
  readonly #place: number;
  readonly #uri: SipUri;
  readonly #text: string;
  #open = 0;
  #rounds = 0;
  #ended = false;
  #said = '';

  constructor(locator: Locator, list: HopList, place: number, uri: SipUri, text: string) {
    super();
    this.#locator = locator;
    this.#list = list;
    this.#place = place;
    this.#uri = uri;
    this.#text = text;
  }

  override onDue(now: Mono): void {
    this.run(now);
  }

  end(wheel: TimerWheel): void {
    this.#ended = true;
    wheel.cancel(this);
  }

  run(now: Mono): void {
    const { hops } = this.#locator;
    for (; this.#rounds < MOST_ROUNDS; ) {
      const located = locate(this.#uri, this.#list.options, q => hops.cache.get(now, q));
      if (located.missing.length === 0) return this.#found(now, located);
      this.#rounds++;
      let refused = false;
      for (const q of located.missing) {
        const known = hops.query(now, q, this.#answered);
        if (known === undefined) this.#open++;
        else refused ||= hops.cache.get(now, q) === undefined;
      }
      if (this.#open > 0) return;
      if (refused) break;
    }
    this.#rounds = 0;
    this.#locator.rest(this, now + SOONEST_MS * 10);
  }

  readonly #answered = (now: Mono, _answer: DnsAnswer, _tx: Tx): void => {
    if (--this.#open === 0 && !this.#ended) this.run(now);
  };

  #found(now: Mono, located: Located): void {
    this.#rounds = 0;
    this.known = true;
    const changed = this.#list.update(this.#place, located);
    if (located.until !== Number.POSITIVE_INFINITY) this.#locator.rest(this, Math.max(located.until, now + SOONEST_MS));
    const facts = this.#list.facts(now)[this.#place];
    if (facts === undefined) return;
    const said = `${facts.stale} ${facts.why}`;
    if (!changed && said === this.#said) return;
    this.#said = said;
    this.#locator.tell({
      kind: 'hops-changed',
      at: now,
      name: this.#list.name,
      uri: this.#text,
      hops: facts.hops.map(h => `${h.transport} ${h.place}`),
      stale: facts.stale,
      why: facts.why,
    });
  }
}
