import type { Metrics } from '@drawbridge/service';
import { ALG_KINDS, type AlgWatch } from './alg.js';
import type { Leases } from './lease.js';

const NONE = {};

/** What upstreams are spared, and what lives without them. */
export function registerLeaseMetrics(metrics: Metrics, leases: Leases): void {
  metrics.counterFrom(
    'drawbridge_upstream_registers_total',
    'REGISTERs to upstream domains: answered here, sent on, or answered in place of an upstream that failed',
    ['answered'],
    () => [
      [{ answered: 'here' }, leases.counts.local],
      [{ answered: 'upstream' }, leases.counts.forwarded],
      [{ answered: 'grace' }, leases.counts.bridged],
    ],
  );
  metrics.gaugeFrom('drawbridge_bindings_in_grace', 'Registered contacts whose upstream does not answer', [], () => [
    [NONE, leases.inGrace],
  ]);
}

/** Damage by routers: one series per kind, from the start. */
export function registerAlgMetrics(metrics: Metrics, alg: AlgWatch): void {
  metrics.counterFrom(
    'drawbridge_alg_findings_total',
    'Registrations on which a SIP ALG was found out, by what it did',
    ['kind'],
    () => ALG_KINDS.map(kind => [{ kind }, alg.counts.get(kind) ?? 0] as const),
  );
}
