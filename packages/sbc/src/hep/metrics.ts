import type { Metrics } from '@drawbridge/service';
import type { HepMirror } from './mirror.js';

export function registerHep(metrics: Metrics, mirror: HepMirror | undefined): void {
  metrics.counterFrom('drawbridge_hep_packets_total', 'Copies for the HEP collector', ['result'], () => [
    [{ result: 'sent' }, mirror?.counters.sent ?? 0],
    [{ result: 'lost' }, mirror?.counters.lost ?? 0],
    [{ result: 'too-long' }, mirror?.counters.tooLong ?? 0],
  ]);
}
