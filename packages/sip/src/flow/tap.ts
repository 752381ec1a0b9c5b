import type { Endpoints, Mono, Via } from '@drawbridge/core';

/** Sees every message once, as it is on the wire. The receive side is called by the parse stage, the send side by `FlowTable`. */
export interface Tap {
  message(now: Mono, direction: 'in' | 'out', via: Via, peer: Endpoints, j: number, text: string): void;
}
