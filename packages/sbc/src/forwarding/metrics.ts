import type { Metrics } from '@drawbridge/service';
import type { Forwarder } from './chain.js';

const NONE = {};

/** How often calls were sent on, and why. */
export function registerForwardingMetrics(metrics: Metrics, f: Forwarder): void {
  metrics.counterFrom(
    'drawbridge_forwarded_total',
    'Calls sent on by the wish of their callee; stopped: too many steps, or back to somebody',
    ['why'],
    () => Object.entries(f.counts).map(([why, n]) => [{ why }, n] as const),
  );
  metrics.gaugeFrom('drawbridge_forwarding_subscribers', 'Subscribers with rules for their calls', [], () => [
    [NONE, f.table.size],
  ]);
}
