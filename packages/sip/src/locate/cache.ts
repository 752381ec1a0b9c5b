import type { Mono } from '@drawbridge/core';
import type { DnsAnswer, DnsQuestion, DnsReading, DnsRecord } from './answer.js';

export interface DnsCacheOptions {
  /** Most questions remembered; the one asked longest ago goes first. */
  readonly cap: number;
  /** Bounds on every time to live, ms. */
  readonly floorMs: number;
  readonly ceilingMs: number;
  /** Longest that "there is none" is believed, ms (RFC 2308 §5); without SOA it is believed for `floorMs`. */
  readonly negativeMs: number;
  /** How long the last good answer serves while nobody gives a newer one, ms (RFC 8767). */
  readonly staleMs: number;
  /** First and longest wait after a failure, ms; it doubles in between. */
  readonly retryMs: number;
  readonly retryMaxMs: number;
}

export const DNS_CACHE_DEFAULTS: DnsCacheOptions = {
  cap: 4096,
  floorMs: 5000,
  ceilingMs: 3_600_000,
  negativeMs: 300_000,
  staleMs: 86_400_000,
  retryMs: 1000,
  retryMaxMs: 60_000,
};

interface Entry {
  records: readonly DnsRecord[];
  /** When the records (or their absence) came; NaN: never. */
  good: Mono;
  until: Mono;
  why: string;
  /** Failures in a row since the last answer. */
  failures: number;
}

/** Answers by question, as long as they may be believed. Bounded; time is an argument. */
export class DnsCache {
  readonly #o: DnsCacheOptions;
  readonly #entries = new Map<string, Entry>();

  constructor(options: Partial<DnsCacheOptions> = {}) {
    this.#o = { ...DNS_CACHE_DEFAULTS, ...options };
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Undefined: unknown or run out, so it must be asked. */
  get(now: Mono, q: DnsQuestion): DnsAnswer | undefined {
    const e = this.#entries.get(keyOf(q));
    if (e === undefined || now >= e.until) return undefined;
    if (e.failures === 0) return { records: e.records, until: e.until, stale: false, why: e.why };
    const serves = e.records.length > 0 && now - e.good < this.#o.staleMs;
    return { records: serves ? e.records : [], until: e.until, stale: serves, why: e.why };
  }

  /** What a message said. */
  put(now: Mono, q: DnsQuestion, reading: DnsReading): void {
    const { floorMs, ceilingMs, negativeMs } = this.#o;
    if (reading.kind === 'malformed') return this.failed(now, q, 'the answer was malformed');
    if (reading.kind === 'refused') return this.failed(now, q, `the name server answered ${reading.why}`);
    const none = reading.kind === 'none';
    const ms = reading.ttlS === undefined ? 0 : reading.ttlS * 1000;
    const ttl = Math.max(floorMs, Math.min(ms, none ? negativeMs : ceilingMs));
    this.#keep(q, {
      records: none ? [] : reading.records,
      good: now,
      until: now + ttl,
      why: none ? reading.why : '',
      failures: 0,
    });
  }

  /** Nobody answered, or nobody could. */
  failed(now: Mono, q: DnsQuestion, why: string): void {
    const before = this.#entries.get(keyOf(q));
    const failures = (before?.failures ?? 0) + 1;
    const wait = Math.min(this.#o.retryMaxMs, this.#o.retryMs * 2 ** Math.min(failures - 1, 16));
    const records = before?.records ?? [];
    this.#keep(q, { records, good: before?.good ?? Number.NaN, until: now + wait, why, failures });
  }

  #keep(q: DnsQuestion, entry: Entry): void {
    const key = keyOf(q);
    this.#entries.delete(key);
    if (this.#entries.size >= this.#o.cap) {
      const oldest = this.#entries.keys().next();
      if (oldest.done !== true) this.#entries.delete(oldest.value);
    }
    this.#entries.set(key, entry);
  }
}

/** Name and type as one string. */
export function keyOf(q: DnsQuestion): string {
  return `${q.type} ${q.name}`;
}
