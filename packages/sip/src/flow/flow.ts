import type { Endpoints, Mono, Tx, Via } from '@drawbridge/core';

export type Transport = 'udp' | 'tcp';

/** What waits for something from one stream and must hear at once when that dies; an intrusive list, its head on the flow. */
export interface FlowUser {
  flowDied(now: Mono, tx: Tx): void;
  flowNext: FlowUser | undefined;
  flowPrev: FlowUser | undefined;
}

/**
 * One way to one peer: a UDP five-tuple as we see it from a listener, or one stream. Interned by `FlowTable`,
 * so that two flows are the same exactly when they are the same object.
 */
export class Flow {
  /** Unique over time: a stale id finds nothing. */
  readonly id: number;
  /** The listener (UDP, or a stream that is still to be dialled) or the stream. */
  via: Via;
  /** The peer is slot `j` of `peer`; valid while the flow is held. */
  readonly peer: Endpoints;
  readonly j: number;
  readonly transport: Transport;
  alive = true;
  /** The peer has shown that it receives what we send there (echoed a nonce, completed a handshake). */
  proven = false;
  /** When something last arrived from there. */
  lastSeen: Mono;
  /** How many bindings, dialogs and transactions hold it. */
  refs = 0;
  #address = '';
  /** @internal */
  users: FlowUser | undefined = undefined;

  constructor(id: number, via: Via, peer: Endpoints, j: number, transport: Transport, now: Mono) {
    this.id = id;
    this.via = via;
    this.peer = peer;
    this.j = j;
    this.transport = transport;
    this.lastSeen = now;
  }

  /** The peer's, as text; kept, since every description and event of a call wants it. */
  get address(): string {
    if (this.#address === '') this.#address = this.peer.address(this.j);
    return this.#address;
  }
}
