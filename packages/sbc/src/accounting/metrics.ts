import type { Metrics } from '@drawbridge/service';
import { LEDGERS, type Ledger } from './ledger.js';

export function registerAccounting(metrics: Metrics, ledgers: readonly Ledger[]): void {
  const of = (read: (l: Ledger) => number) => (kind: Ledger['name']) => {
    const ledger = ledgers.find(l => l.name === kind);
    return ledger === undefined ? 0 : read(ledger);
  };
  const written = of(l => l.written);
  const lost = of(l => l.lost);
  const waiting = of(l => l.waiting);
  metrics.counterFrom('drawbridge_cdr_total', 'Call records, by where they go', ['to', 'result'], () =>
    LEDGERS.flatMap(to => [
      [{ to, result: 'written' }, written(to)] as const,
      [{ to, result: 'lost' }, lost(to)] as const,
    ]),
  );
  metrics.gaugeFrom('drawbridge_cdr_waiting', 'Call records that wait to be written', ['to'], () =>
    LEDGERS.map(to => [{ to }, waiting(to)] as const),
  );
}
