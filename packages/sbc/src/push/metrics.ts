import type { Metrics } from '@drawbridge/service';
import type { Waker } from './waker.js';

const NONE = {};

/** Pushes to sleeping phones, and who waits for them. Zero without providers. */
export function registerPushMetrics(metrics: Metrics, waker: Waker | undefined): void {
  const counts = (): Waker['counts'] =>
    waker?.counts ?? { call: 0, refresh: 0, failed: 0, woke: 0, unheard: 0, full: 0 };
  metrics.counterFrom('drawbridge_push_total', 'Pushes asked of gateways, by what for', ['reason'], () => [
    [{ reason: 'call' }, counts().call],
    [{ reason: 'refresh' }, counts().refresh],
  ]);
  metrics.counterFrom(
    'drawbridge_push_outcome_total',
    'Pushes: the phone registered, the gateway refused or was silent, somebody waited in vain, there was no room',
    ['outcome'],
    () => [
      [{ outcome: 'woke' }, counts().woke],
      [{ outcome: 'failed' }, counts().failed],
      [{ outcome: 'unheard' }, counts().unheard],
      [{ outcome: 'full' }, counts().full],
    ],
  );
  metrics.gaugeFrom('drawbridge_push_waiting', 'Calls and messages that wait for a phone to wake', [], () => [
    [NONE, waker?.waiting ?? 0],
  ]);
}
