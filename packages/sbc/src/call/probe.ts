import type { Mono, Tx } from '@drawbridge/core';
import type { ClientTransaction, ClientUser, MessageView } from '@drawbridge/sip';
import { send } from '../send/send.js';
import type { Shard } from '../shard.js';
import type { Leg } from './leg.js';

/** Five transmissions: whoever hears none of them is not there. */
const PATIENCE_MS = 8000;

/**
 * A leg whose media has stopped while the other side's goes on: a phone that died, or one that is only muted and sends
 * nothing. An OPTIONS inside the dialog tells the two apart (RFC 3261 §11, §12.2.1.2): any answer but 408 and 481 is life.
 */
export function probe(shard: Shard, now: Mono, leg: Leg, tx: Tx): void {
  const { dialog } = leg;
  if (dialog === undefined || dialog.state !== 'confirmed') return;
  const branch = shard.m.transactions.newBranch();
  const text = dialog.request('OPTIONS', { via: leg.via(branch) });
  send(shard, now, leg, { method: 'OPTIONS', text, branch, user: new Probe(leg), timeoutMs: PATIENCE_MS }, tx);
}

class Probe implements ClientUser {
  readonly #leg: Leg;

  constructor(leg: Leg) {
    this.#leg = leg;
  }

  onResponse(now: Mono, _ct: ClientTransaction, m: MessageView, tx: Tx): void {
    if (m.status === 408 || m.status === 481) this.#dead(now, tx);
  }

  onTimeout(now: Mono, _ct: ClientTransaction, tx: Tx): void {
    this.#dead(now, tx);
  }

  onTransportError(now: Mono, _ct: ClientTransaction, tx: Tx): void {
    this.#dead(now, tx);
  }

  /** BYE goes to both: the dead one may only have lost its network for a while. */
  #dead(now: Mono, tx: Tx): void {
    this.#leg.call.end(now, 'media-inactive', undefined, tx);
  }
}
