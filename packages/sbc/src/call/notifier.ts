import type { Mono, Tx } from '@drawbridge/core';
import {
  type ClientTransaction,
  type ClientUser,
  type Dialog,
  headerLine,
  type MessageView,
  reasonPhrase,
} from '@drawbridge/sip';
import { send } from '../send/send.js';
import type { Shard } from '../shard.js';
import type { Leg } from './leg.js';

/** How long a REFER's own subscription lasts (RFC 3515 §2.4.4); the transfer is over by then. */
export const REFER_SUBSCRIPTION_MS = 180_000;

/**
 * The subscription that a REFER makes (RFC 3515 §2.4.4): one NOTIFY per step, the last one says that it is over. It is a
 * usage of its own in the dialog and goes on when the call in it ends (RFC 5057).
 */
export class ReferNotifier implements ClientUser {
  readonly #shard: Shard;
  readonly #leg: Leg;
  readonly #dialog: Dialog;
  readonly #event: string;
  readonly #until: Mono;
  #said = 0;
  #over: boolean;

  /** `id`: the REFER's CSeq, when it isn't the dialog's first. `wanted`: false for `Refer-Sub: false`. */
  constructor(shard: Shard, leg: Leg, dialog: Dialog, o: { id: number | undefined; wanted: boolean; now: Mono }) {
    this.#shard = shard;
    this.#leg = leg;
    this.#dialog = dialog;
    this.#event = o.id === undefined ? 'refer' : `refer;id=${o.id}`;
    this.#until = o.now + REFER_SUBSCRIPTION_MS;
    this.#over = !o.wanted;
  }

  /** A provisional status; one that was said already isn't said again. */
  progress(now: Mono, status: number, tx: Tx): void {
    if (this.#over || status === this.#said) return;
    this.#said = status;
    const left = Math.max(0, Math.ceil((this.#until - now) / 1000));
    this.#notify(now, status, `active;expires=${left}`, tx);
  }

  done(now: Mono, status: number, tx: Tx): void {
    if (this.#over) return;
    this.#over = true;
    this.#notify(now, status, 'terminated;reason=noresource', tx);
  }

  /** A SUBSCRIBE for this subscription: seconds left, 0 once it ended (RFC 6665 §4.2.1); a NOTIFY follows it. */
  subscribed(now: Mono, ends: boolean, tx: Tx): void {
    if (this.#over) return;
    const status = this.#said === 0 ? 100 : this.#said;
    if (ends) {
      this.#over = true;
      this.#notify(now, status, 'terminated;reason=timeout', tx);
    } else {
      this.#said = 0;
      this.progress(now, status, tx);
    }
  }

  secondsLeft(now: Mono): number {
    return this.#over ? 0 : Math.max(0, Math.ceil((this.#until - now) / 1000));
  }

  /** RFC 6665 §4.2.2: a subscriber that doesn't know the subscription, or can't be reached, has none. */
  onResponse(_now: Mono, _ct: ClientTransaction, m: MessageView, _tx: Tx): void {
    if (m.status === 481) this.#over = true;
  }

  onTimeout(): void {
    this.#over = true;
  }

  onTransportError(): void {
    this.#over = true;
  }

  #notify(now: Mono, status: number, state: string, tx: Tx): void {
    const leg = this.#leg;
    const branch = this.#shard.m.transactions.newBranch();
    const text = this.#dialog.request('NOTIFY', {
      via: leg.via(branch),
      contact: leg.contact,
      headers: headerLine('Event', this.#event) + headerLine('Subscription-State', state),
      contentType: 'message/sipfrag;version=2.0',
      body: `SIP/2.0 ${status} ${reasonPhrase(status)}\r\n`,
    });
    send(this.#shard, now, leg, { method: 'NOTIFY', text, branch, user: this }, tx);
  }
}
