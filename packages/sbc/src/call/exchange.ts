import type { Mono, Reason, Tx } from '@drawbridge/core';
import {
  type ClientTransaction,
  type ClientUser,
  H,
  headerLine,
  type MessageView,
  type ServerTransaction,
} from '@drawbridge/sip';
import { anchor, isAnchored } from '../anchor/anchor.js';
import { refuseBody } from '../anchor/body.js';
import { ALLOW_LINE, hide, type Trust } from '../hide/hide.js';
import type { Inbound } from '../inbound.js';
import { send, sendAck } from '../send/send.js';
import type { Shard } from '../shard.js';
import { type Leg, sharesUpstream } from './leg.js';
import { lackedSessionId, ownSessionId } from './session-id.js';
import { minSeOf, NO_TIMER, type TimerAsk, timerAsk, timerHeard, timerReply, timerRequest } from './session-timer.js';
import { hopsLeft } from './setup.js';
import { statusAcross } from './status.js';

/** Methods that carry or may carry an offer. */
const NEGOTIATES: ReadonlySet<string> = new Set<Negotiating>(['INVITE', 'UPDATE', 'PRACK']);
type Negotiating = 'INVITE' | 'UPDATE' | 'PRACK';

/**
 * One request inside a dialog on its way across: received on `from`, sent on `to`, its response carried back. INVITE
 * and UPDATE renegotiate media, the rest crosses with what the allow-lists let through.
 */
export class Exchange implements ClientUser {
  readonly shard: Shard;
  readonly from: Leg;
  readonly to: Leg;
  readonly method: string;
  readonly #st: ServerTransaction;
  #ct: ClientTransaction | undefined = undefined;
  #delayed = false;
  /** What the INVITE or UPDATE says about session timers. */
  #timer: TimerAsk = NO_TIMER;
  /** Header lines that were written for the other side: a PRACK's RAck, what a REFER names. */
  readonly #lines: string;
  /** `Subscription-State: terminated` or `Expires: 0` crossed: the owner ends after this. */
  readonly #last: boolean;

  private constructor(
    shard: Shard,
    from: Leg,
    to: Leg,
    method: string,
    st: ServerTransaction,
    last: boolean,
    lines: string,
  ) {
    this.shard = shard;
    this.from = from;
    this.to = to;
    this.method = method;
    this.#last = last;
    this.#lines = lines;
    this.#st = st;
  }

  /** Undefined when it could be started; otherwise the status and reason to answer statelessly. */
  static start(
    shard: Shard,
    inbound: Inbound,
    from: Leg,
    to: Leg,
    lines = '',
  ): { readonly status: number; readonly reason: Reason } | undefined {
    const { now, m, via, peer, j, tx } = inbound;
    const { method } = m;
    const busy = method === 'INVITE' ? overlap(from, to) : method === 'UPDATE' ? pendingUpdate(from) : undefined;
    if (busy !== undefined) return busy;
    const flow = shard.m.flows.of(now, via, peer, j);
    if (flow === undefined) return { status: 503, reason: 'queue-full' };
    let exchange: Exchange | undefined;
    const st = shard.m.transactions.openServer(
      now,
      m,
      flow,
      {
        onCancel: (at, of, cancel, out) => exchange?.onCancel(at, of, cancel, out),
        onAckMissing: (at, of, out) => exchange?.onAckMissing(at, of, out),
      },
      tx,
    );
    if (st === undefined) return { status: 503, reason: 'transaction-limit' };
    exchange = new Exchange(shard, from, to, method, st, from.call.media === undefined && endsOwner(m), lines);
    if (method === 'UPDATE') from.updateIn = st;
    exchange.#forward(now, m, tx);
    return undefined;
  }

  #forward(now: Mono, m: MessageView, tx: Tx): void {
    const { shard, from, to, method } = this;
    const { dialog } = to;
    if (dialog === undefined || dialog.state === 'ended') return this.#answer(now, 481, 'no-dialog', tx);
    let body = '';
    let contentType = '';
    if (NEGOTIATES.has(method)) {
      const anchored = anchor(from, to, m, method as Negotiating);
      if (!isAnchored(anchored)) return this.#answer(now, anchored.status, anchored.reason, tx, anchored.headers);
      ({ body, contentType } = anchored);
      this.#delayed = method === 'INVITE' && !anchored.sdp;
    } else if (m.bodyEnd > m.bodyStart) {
      const no = refuseBody(m, method, () => from.bodyRules(to));
      if (no !== undefined) return this.#answer(now, no.status, no.reason, tx, no.headers);
      body = m.contentType === 'message/sipfrag' ? statusLine(m.body) : m.body;
      contentType = m.get(H.contentType);
    }
    from.dialog?.refresh(m);
    const branch = shard.m.transactions.newBranch();
    const renegotiates = method === 'INVITE' || method === 'UPDATE';
    if (renegotiates) this.#timer = timerAsk(m);
    const text = dialog.request(method, {
      via: to.via(branch),
      maxForwards: hopsLeft(m),
      headers:
        (renegotiates ? ALLOW_LINE : this.#lines) +
        (renegotiates && dialog.state === 'confirmed' ? timerRequest(shard, to) : '') +
        lackedSessionId(to, m) +
        hide(m, {
          credentials: sharesUpstream(from, to),
          challenges: false,
          across: shard.m.identity.crossing(from, to),
        }),
      contact:
        renegotiates || method === 'SUBSCRIBE' || method === 'NOTIFY' || method === 'REFER' ? to.contact : undefined,
      contentType,
      body,
    });
    if (method === 'INVITE') {
      from.inviteIn = this.#st;
      to.inviteSeq = dialog.localSeq;
      to.ack = '';
    }
    const replaced = (ct: ClientTransaction): void => {
      if (to.inviteOut === this.#ct) to.inviteOut = ct;
      this.#ct = ct;
    };
    this.#ct = send(shard, now, to, { method, text, branch, user: this, timerC: 181_000, replaced }, tx);
    if (this.#ct === undefined) return this.#failed(now, 503, 'transaction-limit', '', tx);
    if (method === 'INVITE') to.inviteOut = this.#ct;
  }

  onResponse(now: Mono, _ct: ClientTransaction, m: MessageView, tx: Tx): void {
    if (m.status < 200) return;
    if (m.status >= 300) return this.#refused(now, m, tx);
    if (this.method === 'INVITE') return this.#inviteAccepted(now, m, tx);
    this.to.dialog?.refresh(m);
    let body = '';
    let contentType = '';
    if (this.method === 'UPDATE' || this.method === 'PRACK') {
      const anchored = anchor(this.to, this.from, m, `${this.method}-2xx`);
      if (!isAnchored(anchored)) return this.#answer(now, anchored.status, anchored.reason, tx);
      ({ body, contentType } = anchored);
      this.from.call.renegotiated?.(now);
    } else if (
      m.bodyEnd > m.bodyStart &&
      refuseBody(m, this.method, () => this.to.bodyRules(this.from)) === undefined
    ) {
      body = m.body;
      contentType = m.get(H.contentType);
    }
    const contact =
      this.method === 'UPDATE' || this.method === 'SUBSCRIBE' || this.method === 'REFER'
        ? headerLine('Contact', this.from.contact)
        : '';
    const timer = this.method === 'UPDATE' ? this.#refreshed(now, m) : '';
    this.#st.reply(now, m.status, { headers: contact + timer + hide(m, this.#trust(false)), contentType, body }, tx);
    this.#closed();
    if (this.#last) this.from.call.end(now, 'normal-clearing', this.from, tx);
  }

  onTimeout(now: Mono, _ct: ClientTransaction, tx: Tx): void {
    this.#lost(now, 'timeout', tx);
  }

  onTransportError(now: Mono, _ct: ClientTransaction, tx: Tx): void {
    this.#lost(now, 'transport-failed', tx);
  }

  onCancel(now: Mono, st: ServerTransaction, _m: MessageView, tx: Tx): void {
    st.reply(now, 487, { reason: 'cancelled' }, tx);
    this.from.inviteIn = undefined;
    this.#ct?.cancel(now, tx);
  }

  /** Our 2xx to a re-INVITE was never acknowledged. */
  onAckMissing(now: Mono, st: ServerTransaction, tx: Tx): void {
    if (st.state === 'completed' || this.from.unacked !== st) return;
    this.from.call.end(now, 'ack-missing', undefined, tx);
  }

  #inviteAccepted(now: Mono, m: MessageView, tx: Tx): void {
    const { shard, from, to } = this;
    if (to.inviteOut !== this.#ct) {
      if (to.ack !== '') sendAck(shard, now, to, to.ack, tx);
      return;
    }
    to.inviteOut = undefined;
    to.dialog?.refresh(m);
    if (from.inviteIn !== this.#st) {
      // The caller of this re-INVITE had given up: what its callee agreed to can't stand on one side only.
      this.#acknowledge(now, tx);
      return from.call.end(now, 'offer-answer-violation', undefined, tx);
    }
    from.inviteIn = undefined;
    const anchored = anchor(to, from, m, '2xx');
    if (!isAnchored(anchored)) {
      this.#acknowledge(now, tx);
      this.#st.reply(now, anchored.status, { reason: anchored.reason }, tx);
      return from.call.end(now, anchored.reason, undefined, tx);
    }
    from.unacked = this.#st;
    this.#st.reply(
      now,
      m.status,
      {
        headers:
          headerLine('Contact', from.contact) + ALLOW_LINE + this.#refreshed(now, m) + hide(m, this.#trust(false)),
        contentType: anchored.contentType,
        body: anchored.body,
      },
      tx,
    );
    if (this.#delayed) return;
    this.#acknowledge(now, tx);
    from.call.renegotiated?.(now);
  }

  #acknowledge(now: Mono, tx: Tx): void {
    const { to, shard } = this;
    if (to.dialog === undefined) return;
    const text = to.dialog.request('ACK', {
      via: to.via(shard.m.transactions.newBranch()),
      cseq: to.inviteSeq,
      headers: ownSessionId(to),
    });
    to.ack = sendAck(shard, now, to, text, tx);
  }

  /** A 2xx to INVITE or UPDATE refreshes both legs, each as it agreed (RFC 4028). */
  #refreshed(now: Mono, m: MessageView): string {
    const { shard, from, to } = this;
    if (to.dialog?.state !== 'confirmed' || from.dialog?.state !== 'confirmed') return '';
    timerHeard(shard, now, to, m);
    return timerReply(shard, now, from, this.#timer);
  }

  #refused(now: Mono, m: MessageView, tx: Tx): void {
    if (m.status === 422 && minSeOf(m) > this.to.minSe && this.shard.o.calls.sessionTimer !== false) {
      // The interval was ours, so it is not for the other side to change it: its next try goes with a longer one.
      this.to.minSe = minSeOf(m);
      return this.#failed(now, 500, 'request-pending', '', tx);
    }
    const challenges = sharesUpstream(this.from, this.to);
    const status = statusAcross(m.status, challenges);
    this.#failed(now, status, 'peer-rejected', hide(m, this.#trust(challenges && status === m.status)), tx);
    // RFC 3261 §12.2.1.2: these say that the dialog is gone at the other end.
    if ((m.status === 481 || m.status === 408) && this.to.dialog?.state === 'confirmed')
      this.from.call.end(now, 'peer-gone', this.to, tx);
  }

  /** For responses: from `to` back to `from`. */
  #trust(challenges: boolean): Trust {
    return { credentials: false, challenges, across: this.shard.m.identity.crossing(this.to, this.from) };
  }

  #lost(now: Mono, reason: Reason, tx: Tx): void {
    this.#failed(now, 408, reason, '', tx);
    // A callee that is still ringing has its INVITE's own clocks.
    if (this.to.dialog?.state !== 'confirmed') return;
    this.from.call.end(now, reason === 'timeout' ? 'peer-gone' : 'flow-gone', this.to, tx);
  }

  /** What was agreed before the failed request holds again (RFC 6141). */
  #failed(now: Mono, status: number, reason: Reason, headers: string, tx: Tx): void {
    const { from, to } = this;
    // What was refused is not what holds: the same again would be no refresh.
    from.said = '';
    if (this.method === 'INVITE') {
      if (to.inviteOut === this.#ct) to.inviteOut = undefined;
      // Its transaction has acknowledged the refusal: there is no 2xx that an ACK of ours belongs to.
      to.inviteSeq = 0;
      to.oa.note('in', 'non-2xx', false);
      from.oa.note('out', 'non-2xx', false);
      from.call.media?.rollback(to.id);
    } else if (this.method === 'UPDATE' || this.method === 'PRACK') {
      to.oa.note('in', `${this.method}-non-2xx`, false);
      from.oa.note('out', `${this.method}-non-2xx`, false);
      from.call.media?.rollback(to.id);
    }
    this.#answer(now, status, reason, tx, headers);
  }

  #closed(): void {
    if (this.from.updateIn === this.#st) this.from.updateIn = undefined;
  }

  #answer(now: Mono, status: number, reason: Reason, tx: Tx, headers = ''): void {
    if (this.from.inviteIn === this.#st) this.from.inviteIn = undefined;
    this.#closed();
    const retry =
      status === 500 && reason === 'request-pending'
        ? headerLine('Retry-After', String(this.shard.m.random.u32() % 11))
        : '';
    this.#st.reply(now, status, { headers: headers + retry, reason }, tx);
  }
}

/** RFC 3311 §5.2: the first UPDATE must have its answer before the second. */
export function pendingUpdate(from: Leg): { readonly status: number; readonly reason: Reason } | undefined {
  return from.updateIn === undefined ? undefined : { status: 500, reason: 'request-pending' };
}

/** Of a sipfrag only its status line crosses (RFC 3515 §5.1 asks for no more): the rest names hosts. */
function statusLine(fragment: string): string {
  const end = fragment.search(/[\r\n]/);
  const line = end < 0 ? fragment : fragment.slice(0, end);
  return /^SIP\/2\.0 [1-6]\d\d /.test(line) ? `${line}\r\n` : 'SIP/2.0 100 Trying\r\n';
}

/** RFC 3261 §14.1, §14.2: a second INVITE before the first was answered, and one that crosses ours or the ACK to ours. */
export function overlap(from: Leg, to: Leg): { readonly status: number; readonly reason: Reason } | undefined {
  if (from.inviteIn !== undefined) return { status: 500, reason: 'request-pending' };
  return from.inviteOut !== undefined ||
    to.inviteOut !== undefined ||
    to.inviteIn !== undefined ||
    to.unacked !== undefined
    ? { status: 491, reason: 'glare' }
    : undefined;
}

function endsOwner(m: MessageView): boolean {
  if (m.method === 'SUBSCRIBE') return m.get(H.expires).trim() === '0';
  return m.method === 'NOTIFY' && m.get(H.subscriptionState).trimStart().toLowerCase().startsWith('terminated');
}
