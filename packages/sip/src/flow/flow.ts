import type { Endpoints, Mono, Tx, Via } from '@drawbridge/core';

export const TRANSPORTS = ['udp', 'tcp', 'tls', 'ws', 'wss'] as const;
export type Transport = (typeof TRANSPORTS)[number];

/** What a `sips:` URI may go over (RFC 3261 §26.2.2; RFC 7118 §5.3 for `wss`). */
export function isSecure(transport: Transport): boolean {
  return transport === 'tls' || transport === 'wss';
}

/** Opened by clients only: whoever is behind one is reached over it or not at all (RFC 7118 §5). */
export function isWebSocket(transport: Transport): boolean {
  return transport === 'ws' || transport === 'wss';
}

const NOBODY: readonly string[] = [];

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
  /** The peer opened it; the port at its far end says nothing about who listens there. */
  readonly accepted: boolean;
  /** Whom the peer's verified certificate names (RFC 5922); empty on all flows but authenticated TLS ones. */
  certificateNames: readonly string[] = NOBODY;
  alive = true;
  /** The peer has shown that it receives what we send there (echoed a nonce, completed a handshake). */
  proven = false;
  /** When something last arrived from there. */
  lastSeen: Mono;
  /** How many bindings, dialogs and transactions hold it. */
  refs = 0;
  /** @internal Under which endpoints it stands for a flow that we would dial. */
  aliases: readonly string[] = NOBODY;
  #address = '';
  /** @internal */
  users: FlowUser | undefined = undefined;

  constructor(id: number, via: Via, peer: Endpoints, j: number, transport: Transport, accepted: boolean, now: Mono) {
    this.id = id;
    this.via = via;
    this.peer = peer;
    this.j = j;
    this.transport = transport;
    this.accepted = accepted;
    this.lastSeen = now;
  }

  /** The peer's, as text; kept, since every description and event of a call wants it. */
  get address(): string {
    if (this.#address === '') this.#address = this.peer.address(this.j);
    return this.#address;
  }
}
