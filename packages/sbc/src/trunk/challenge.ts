import type { Mono, Tx } from '@drawbridge/core';
import {
  type ClientTransaction,
  type ClientUser,
  H,
  headerLine,
  MessageView,
  parseAuth,
  Splice,
  type Transactions,
} from '@drawbridge/sip';
import type { Keeper } from '../decide/plan.js';
import type { Outgoing } from '../send/send.js';

/** What of a leg a repeated request changes. */
export interface Numbered {
  readonly dialog?: { localSeq: number } | undefined;
  inviteSeq: number;
  /** The credentials that its INVITE got through with, for the ACK (RFC 3261 §22.1). */
  credential: string;
}

/**
 * One request toward a trunk: its keeper hears how it went, and a challenge that is this trunk's to give is answered
 * with the same request once more: CSeq one higher, a new branch (RFC 3261 §22.2). Once, and again when the nonce was
 * stale; whoever sent it hears only of what comes then.
 */
export class Attended implements ClientUser {
  readonly #transactions: Transactions;
  readonly #keeper: Keeper;
  readonly #leg: Numbered | undefined;
  readonly #r: Outgoing;
  #text: string;
  #tries = 0;

  constructor(transactions: Transactions, keeper: Keeper, leg: Numbered | undefined, r: Outgoing, text: string) {
    this.#transactions = transactions;
    this.#keeper = keeper;
    this.#leg = leg;
    this.#r = r;
    this.#text = text;
  }

  onResponse(now: Mono, ct: ClientTransaction, m: MessageView, tx: Tx): void {
    this.#keeper.heard(now, ct.flow, m);
    if ((m.status === 401 || m.status === 407) && !ct.cancelling && this.#again(now, ct, m, tx)) return;
    this.#r.user.onResponse(now, ct, m, tx);
  }

  onTimeout(now: Mono, ct: ClientTransaction, tx: Tx): void {
    // A callee that rang and was cancelled says nothing of its trunk.
    if (!ct.cancelling) this.#keeper.lost(now, ct.flow, 'timeout', ct.method);
    this.#r.user.onTimeout(now, ct, tx);
  }

  onTransportError(now: Mono, ct: ClientTransaction, tx: Tx): void {
    this.#keeper.lost(now, ct.flow, 'transport', ct.method);
    this.#r.user.onTransportError(now, ct, tx);
  }

  #again(now: Mono, ct: ClientTransaction, challenge: MessageView, tx: Tx): boolean {
    if (this.#tries > 1 || (this.#tries === 1 && !isStale(challenge))) return false;
    const sent = new MessageView();
    if (sent.parse(this.#text) !== undefined) return false;
    const line = this.#keeper.credentials(challenge, { method: sent.method, uri: sent.uri, body: sent.body });
    if (line === undefined) return false;
    this.#tries++;
    const leg = this.#leg;
    const cseq = (sent.toTag === '' ? sent.cseq : Math.max(sent.cseq, leg?.dialog?.localSeq ?? 0)) + 1;
    const branch = this.#transactions.newBranch();
    const { method } = sent;
    const splice = new Splice(sent)
      .replace(sent.first(H.via), headerLine('Via', (sent.list(H.via)[0] ?? '').replace(sent.branch, branch)))
      .replace(sent.first(H.cseq), headerLine('CSeq', `${cseq} ${method}`));
    for (const h of [H.authorization, H.proxyAuthorization])
      for (let i = sent.first(h); i >= 0; i = sent.next(i)) splice.remove(i);
    const text = splice.append(line).build();
    const again = this.#transactions.request(
      now,
      { method, text, branch, flow: ct.flow, user: this, timerC: this.#r.timerC, timeoutMs: this.#r.timeoutMs },
      tx,
    );
    if (again === undefined) return false;
    this.#text = text;
    again.tag = ct.tag;
    if (leg !== undefined) {
      if (leg.dialog !== undefined && sent.toTag !== '') leg.dialog.localSeq = cseq;
      if (method === 'INVITE') {
        leg.inviteSeq = cseq;
        leg.credential = line;
      }
    }
    this.#r.replaced?.(again);
    return true;
  }
}

/** Whether a challenge says that only the nonce had aged. */
export function isStale(m: MessageView): boolean {
  const h = m.status === 407 ? H.proxyAuthenticate : H.wwwAuthenticate;
  for (let i = m.first(h); i >= 0; i = m.next(i)) {
    if (parseAuth(m.value(i))?.params.get('stale')?.toLowerCase() === 'true') return true;
  }
  return false;
}
