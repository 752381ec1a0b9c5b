import type { Metrics } from '@drawbridge/service';
import type { DnsCounters } from '@drawbridge/sip';
import type { Locator } from './locator.js';

const RESULTS = [
  'cached',
  'records',
  'none',
  'refused',
  'malformed',
  'failed',
  'limit',
] as const satisfies (keyof DnsCounters)[];

/** Labels are closed sets and configured names: nobody on the wire can make a series. */
export function locateMetrics(metrics: Metrics, locator: Locator, now: () => number): void {
  metrics.counterFrom('drawbridge_dns_queries_total', 'Questions to the DNS, by what came of them', ['result'], () =>
    RESULTS.map(result => [{ result }, locator.hops.counters[result] + locator.onDemand.counters[result]] as const),
  );
  metrics.gaugeFrom('drawbridge_dns_cache_entries', 'Answers of the DNS remembered', ['for'], () => [
    [{ for: 'hops' }, locator.hops.cache.size],
    [{ for: 'routing' }, locator.onDemand.cache.size],
  ]);
  metrics.gaugeFrom('drawbridge_dns_open', 'Questions to the DNS under way', [], () => [
    [{}, locator.hops.open + locator.onDemand.open],
  ]);
  metrics.gaugeFrom('drawbridge_next_hops', 'Next hops of configured peers', ['peer', 'state'], function* () {
    const at = now();
    for (const list of locator.lists) {
      const down = list.all.filter(n => list.isDown(at, n)).length;
      yield [{ peer: list.name, state: 'up' }, list.all.length - down];
      yield [{ peer: list.name, state: 'down' }, down];
    }
  });
}
