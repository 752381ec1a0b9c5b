import type { Metrics } from '@drawbridge/service';
import { monotonicNow } from '@drawbridge/service';
import type { Routing } from '../route/routing.js';
import { FAILURES } from './trunk.js';
import type { Trunks } from './trunks.js';

/** Series per trunk: the names stand in the configuration, so nobody on the wire can make one. */
export function registerTrunkMetrics(metrics: Metrics, trunks: Trunks, routing: Routing): void {
  const all = trunks.all.map(t => ({ t, labels: { trunk: t.name } }));
  metrics.gaugeFrom('drawbridge_trunk_up', 'Whether a next hop of the trunk can be used', ['trunk'], () =>
    all.map(({ t, labels }) => [labels, t.up(monotonicNow()) ? 1 : 0] as const),
  );
  metrics.gaugeFrom('drawbridge_trunk_calls', 'Calls under way on the trunk, both directions', ['trunk'], () =>
    all.map(({ t, labels }) => [labels, t.active] as const),
  );
  metrics.counterFrom(
    'drawbridge_trunk_calls_total',
    'Calls sent to the trunk and received from it',
    ['trunk', 'direction'],
    () =>
      all.flatMap(({ t }) => [
        [{ trunk: t.name, direction: 'in' }, t.calls.in] as const,
        [{ trunk: t.name, direction: 'out' }, t.calls.out] as const,
      ]),
  );
  metrics.counterFrom(
    'drawbridge_trunk_failures_total',
    'Calls that failed at the trunk, by class of the final response or by what came instead',
    ['trunk', 'class'],
    () => all.flatMap(({ t }) => FAILURES.map(f => [{ trunk: t.name, class: f }, t.failures.get(f) ?? 0] as const)),
  );
  metrics.counterFrom('drawbridge_trunk_full_total', 'Calls that found the trunk at one of its limits', ['trunk'], () =>
    all.map(({ t, labels }) => [labels, t.full] as const),
  );
  metrics.gaugeFrom(
    'drawbridge_trunk_rtt_seconds',
    'Round trip of the last OPTIONS, of the fastest next hop',
    ['trunk'],
    () =>
      all.flatMap(({ t, labels }) => {
        const rtts = t.hops.all.map(h => t.health(h).rtt).filter(r => r !== undefined);
        return rtts.length === 0 ? [] : [[labels, Math.min(...rtts) / 1000] as const];
      }),
  );
  metrics.gaugeFrom(
    'drawbridge_trunk_registered',
    'Whether our registration with the trunk holds (only trunks that want one)',
    ['trunk'],
    () => all.flatMap(({ t, labels }) => (t.registered === undefined ? [] : [[labels, t.registered ? 1 : 0] as const])),
  );
  metrics.gaugeFrom('drawbridge_emergency_calls', 'Emergency calls under way', [], () => [
    [{}, routing.emergencies.active],
  ]);
}
