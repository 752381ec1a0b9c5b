import type { Mono, Tx } from '@drawbridge/core';
import { type DnsAnswer, type DnsQuestion, isDnsName, readAnswer } from './answer.js';
import { DnsCache, type DnsCacheOptions, keyOf } from './cache.js';

/** What came of questions, since the start. */
export interface DnsCounters {
  /** Answered from memory. */
  cached: number;
  records: number;
  /** There is no such name or record. */
  none: number;
  /** The server said that it can't or won't. */
  refused: number;
  malformed: number;
  /** Nobody answered. */
  failed: number;
  /** Not asked, since too many questions were open. */
  limit: number;
}

/** What the outside gives: a message, a word why there is none, or undefined when the deadline was over. */
export type DnsDelivery = { readonly message: Uint8Array } | { readonly failed: string } | undefined;

/** Called once, in a later turn. */
export type DnsDone = (now: Mono, answer: DnsAnswer, tx: Tx) => void;

export interface ResolverModules {
  /** Sends a question out; `done` comes once, in a later turn. False: too many are open, nothing was asked. */
  ask(now: Mono, q: DnsQuestion, done: (now: Mono, delivery: DnsDelivery, tx: Tx) => void): boolean;
}

/** Most that wait for the answer to one and the same question. */
const MOST_WAITING = 1000;

/** Questions over a cache: what is known is answered at once, the same question is under way only once. */
export class Resolver {
  readonly cache: DnsCache;
  readonly counters: DnsCounters = { cached: 0, records: 0, none: 0, refused: 0, malformed: 0, failed: 0, limit: 0 };
  readonly #m: ResolverModules;
  readonly #open = new Map<string, DnsDone[]>();

  constructor(options: Partial<DnsCacheOptions>, modules: ResolverModules) {
    this.cache = new DnsCache(options);
    this.#m = modules;
  }

  /** Questions under way. */
  get open(): number {
    return this.#open.size;
  }

  /** The answer when it is known, and then `done` is never called; undefined: `done` will get it. */
  query(now: Mono, q: DnsQuestion, done: DnsDone): DnsAnswer | undefined {
    const known = this.cache.get(now, q);
    if (known !== undefined) {
      this.counters.cached++;
      return known;
    }
    if (!isDnsName(q.name)) return nothing(now, 'this is no name for the DNS');
    const key = keyOf(q);
    const waiting = this.#open.get(key);
    if (waiting !== undefined) {
      if (waiting.length >= MOST_WAITING) return this.#limit(now);
      waiting.push(done);
      return undefined;
    }
    if (!this.#m.ask(now, q, (at, delivery, tx) => this.#delivered(at, q, delivery, tx))) return this.#limit(now);
    this.#open.set(key, [done]);
    return undefined;
  }

  #limit(now: Mono): DnsAnswer {
    this.counters.limit++;
    return nothing(now, 'too many questions are under way');
  }

  #delivered(now: Mono, q: DnsQuestion, delivery: DnsDelivery, tx: Tx): void {
    const key = keyOf(q);
    const waiting = this.#open.get(key) ?? [];
    this.#open.delete(key);
    if (delivery === undefined || 'failed' in delivery) {
      this.counters.failed++;
      this.cache.failed(now, q, delivery?.failed ?? 'no name server answered');
    } else {
      const reading = readAnswer(delivery.message, q);
      this.counters[reading.kind]++;
      this.cache.put(now, q, reading);
    }
    const answer = this.cache.get(now, q) ?? nothing(now, 'it was forgotten at once');
    for (const done of waiting) done(now, answer, tx);
  }
}

function nothing(now: Mono, why: string): DnsAnswer {
  return { records: [], until: now + 1000, stale: false, why };
}
