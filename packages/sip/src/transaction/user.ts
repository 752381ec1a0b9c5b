import type { Mono, Tx } from '@drawbridge/core';
import type { MessageView } from '../message/view.js';
import type { ClientTransaction } from './client.js';
import type { ServerTransaction } from './server.js';

/** Who opened a server transaction. */
export interface ServerUser {
  /** A matching CANCEL came while no final reply had been given; its own 200 is sent already. Reply 487 (RFC 3261 §9.2). */
  onCancel(now: Mono, st: ServerTransaction, m: MessageView, tx: Tx): void;
  /** 64·T1 went by after the final reply to an INVITE without an ACK (timer H, or L for a 2xx). */
  onAckMissing(now: Mono, st: ServerTransaction, tx: Tx): void;
  /** A reply could not be sent because its stream is gone; told once per stream. The transaction lives on. */
  onTransportError?(now: Mono, st: ServerTransaction, tx: Tx): void;
}

/** Who sent the request of a client transaction. */
export interface ClientUser {
  /** Every 1xx above 100, the final, and each 2xx after the first (retransmissions and other forks; RFC 6026). */
  onResponse(now: Mono, ct: ClientTransaction, m: MessageView, tx: Tx): void;
  /** Timer B, F or C, or 64·T1 after a CANCEL. After timer C a late 2xx is still delivered. */
  onTimeout(now: Mono, ct: ClientTransaction, tx: Tx): void;
  onTransportError(now: Mono, ct: ClientTransaction, tx: Tx): void;
}
