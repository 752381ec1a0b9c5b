import type { Endpoint, Mono } from '@drawbridge/core';
import type { Trunks } from './trunks.js';

/** What the API says of one trunk; plain data. */
export interface TrunkFacts {
  readonly name: string;
  readonly up: boolean;
  /** Absent where we don't register. */
  readonly registered?: boolean | undefined;
  readonly calls: number;
  readonly maxCalls?: number | undefined;
  readonly callsIn: number;
  readonly callsOut: number;
  readonly full: number;
  readonly failures: Readonly<Record<string, number>>;
  readonly hops: readonly {
    readonly transport: string;
    readonly endpoint: Endpoint;
    readonly up: boolean;
    /** In a row. */
    readonly failures: number;
    readonly rttMs?: number | undefined;
  }[];
}

export function trunkFacts(trunks: Trunks, now: Mono): TrunkFacts[] {
  return trunks.all.map(t => ({
    name: t.name,
    up: t.up(now),
    registered: t.registered,
    calls: t.active,
    maxCalls: t.o.maxCalls,
    callsIn: t.calls.in,
    callsOut: t.calls.out,
    full: t.full,
    failures: Object.fromEntries(t.failures),
    hops: t.hops.all.map(h => {
      const health = t.health(h);
      return {
        transport: h.transport,
        endpoint: h.endpoint,
        up: health.usable(now),
        failures: health.failures,
        rttMs: health.rtt,
      };
    }),
  }));
}
