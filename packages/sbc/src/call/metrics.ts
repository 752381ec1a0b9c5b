import type { Metrics } from '@drawbridge/service';

/** What became of transfers; plain numbers, read at scrape. */
export class TransferCounts {
  /** Being carried out now. */
  underWay = 0;
  done = 0;
  failed = 0;
  /** REFERs that crossed instead. */
  relayed = 0;
  /** Parties whose place an INVITE with Replaces took. */
  replaced = 0;
}

export function registerTransferMetrics(metrics: Metrics, t: TransferCounts): void {
  metrics.gaugeFrom('drawbridge_transfers', 'Transfers that the border is carrying out', [], () => [[{}, t.underWay]]);
  metrics.counterFrom('drawbridge_transfers_total', 'Transfers by outcome', ['outcome'], () => [
    [{ outcome: 'done' }, t.done],
    [{ outcome: 'failed' }, t.failed],
    [{ outcome: 'relayed' }, t.relayed],
    [{ outcome: 'replaced' }, t.replaced],
  ]);
}
