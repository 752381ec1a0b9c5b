import type { Reason } from '@drawbridge/core';

/** Which message carries (or could carry) a session description. */
export type Carrier =
  | 'INVITE' | '1xx' | '1xx-reliable' | '2xx' | 'non-2xx' | 'ACK' | 'PRACK' | 'PRACK-2xx' | 'UPDATE' | 'UPDATE-2xx' | 'UPDATE-non-2xx';
export type SdpRole = 'offer' | 'answer' | 'preview' | 'none';
export type OfferAnswerState = 'idle' | 'offer-in' | 'offer-out' | 'stable';

export class OfferAnswer {
  state: OfferAnswerState = 'idle';
  note(_direction: 'in' | 'out', _carrier: Carrier, _hasSdp: boolean): SdpRole | Reason {
    throw new Error('not written yet');
  }
  rollback(): void {}
}
