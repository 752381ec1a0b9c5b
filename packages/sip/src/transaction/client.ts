import type { Mono, Tx } from '@drawbridge/core';
import type { Flow, FlowUser } from '../flow/flow.js';
import type { MessageView } from '../message/view.js';
import type { TransactionContext } from './context.js';
import { hopAck, hopCancel } from './hop-request.js';
import {
  type ClientAction,
  type ClientEvent,
  type ClientState,
  INVITE_CLIENT,
  type Machine,
  NON_INVITE_CLIENT,
} from './machine.js';
import { Transaction } from './transaction.js';
import type { ClientUser } from './user.js';

export interface ClientRequest {
  readonly method: string;
  /** The whole request, with `branch` on its top Via. Kept until the final response. */
  readonly text: string;
  /** From `Transactions.newBranch`. */
  readonly branch: string;
  readonly flow: Flow;
  readonly user: ClientUser;
  /** Instead of 64·T1 for timer B or F: for next hops that are to fail over sooner. */
  readonly timeoutMs?: number | undefined;
  /** Instead of the layer's timer C, ms; 0 = none (we are the UA of this INVITE). */
  readonly timerC?: number | undefined;
}

/** One request of ours and its responses (RFC 3261 §17.1); `machine.ts` holds the theory. */
export class ClientTransaction extends Transaction implements FlowUser {
  state: ClientState;
  /** @internal */ flowNext: FlowUser | undefined = undefined;
  /** @internal */ flowPrev: FlowUser | undefined = undefined;
  readonly #user: ClientUser;
  readonly #machine: Machine<ClientState, ClientEvent, ClientAction>;
  readonly #timerC: number;
  #text: string;
  /** The ACK to a non-2xx, to be sent again when that comes again. */
  #ack = '';
  /** Header lines of a CANCEL that waits for the first 1xx. */
  #cancelHeaders: string | undefined = undefined;
  #cancelSent = false;
  /** The user was told that it is over (timer C). */
  #over = false;

  /** @internal by `Transactions.request` */
  constructor(ctx: TransactionContext, now: Mono, r: ClientRequest) {
    super(ctx, r.method, r.branch, r.flow);
    const invite = r.method === 'INVITE';
    this.#machine = invite ? INVITE_CLIENT : NON_INVITE_CLIENT;
    this.state = invite ? 'calling' : 'trying';
    this.#user = r.user;
    this.#text = r.text;
    this.#timerC = r.timerC ?? ctx.timerC;
    this.endAt(now + (r.timeoutMs ?? 64 * ctx.t1), invite ? 'B' : 'F');
    if (!this.reliable) this.repeatAfter(now, ctx.t1);
    else ctx.flows.watch(r.flow, this);
  }

  /** @internal */
  start(now: Mono): void {
    // The caller doesn't hold the transaction yet: a failure is told from the wheel.
    if (!this.#send(now, this.#text)) this.endAt(now, 'transport-error');
  }

  /** A CANCEL is out for it, or waits for the first provisional response. */
  get cancelling(): boolean {
    return this.#cancelSent || this.#cancelHeaders !== undefined;
  }

  /**
   * Ends an INVITE that has no final response: sends CANCEL as soon as a provisional response allows
   * (RFC 3261 §9.1). What follows is a final through `onResponse`, or `onTimeout` 64·T1 later.
   * `headers`: further lines of the CANCEL, each with CRLF. Nothing happens for other methods.
   */
  cancel(now: Mono, tx: Tx, headers = ''): void {
    this.ctx.tx = tx;
    if (this.cancelling) return;
    this.#cancelHeaders = headers;
    this.#step(now, 'cancel', undefined);
  }

  /** @internal A response with this transaction's branch and method. False: it has no business here. */
  receive(now: Mono, m: MessageView): boolean {
    const s = m.status;
    const event = s === 100 ? '100' : s < 200 ? '1xx' : s < 300 ? '2xx' : '3xx-6xx';
    if (this.#step(now, event, m)) return true;
    // A 2xx after a non-2xx final matches no machine (RFC 6026 §8.4); anything else is a repetition.
    if (event === '2xx' && this.method === 'INVITE') return false;
    this.ctx.counts.add('retransmission');
    return true;
  }

  /** @internal */
  flowDied(now: Mono, tx: Tx): void {
    this.ctx.tx = tx;
    this.#step(now, 'transport-error', undefined);
  }

  protected override onAgain(now: Mono): void {
    this.#step(now, this.method === 'INVITE' ? 'A' : 'E', undefined);
  }

  protected override onEnd(now: Mono, event: string): void {
    this.#step(now, event as ClientEvent, undefined);
  }

  protected override longest(): number {
    return this.method === 'INVITE' ? Number.POSITIVE_INFINITY : this.ctx.t2;
  }

  #step(now: Mono, event: ClientEvent, m: MessageView | undefined): boolean {
    const transition = this.#machine[this.state]?.[event];
    if (transition === undefined) return false;
    this.state = transition.to;
    const ended = transition.to === 'terminated';
    if (ended) this.#leave();
    try {
      for (const action of transition.do) this.#act(now, action, m);
    } finally {
      if (ended) this.ctx.flows.release(this.flow);
    }
    if (!ended) this.endIfDue(now);
    return true;
  }

  #act(now: Mono, action: ClientAction, m: MessageView | undefined): void {
    const ctx = this.ctx;
    switch (action) {
      case 'resend':
        this.#send(now, this.#text);
        return;
      case 'stopAgain':
        return this.stopRepeating();
      case 'slowAgain':
        if (!this.reliable) this.repeatAfter(now, ctx.t2);
        return;
      case 'armC':
        return this.endAt(this.#timerC > 0 ? now + this.#timerC : Number.POSITIVE_INFINITY, 'C');
      case 'restartC':
        if (!this.#cancelSent && this.#timerC > 0) this.endAt(now + this.#timerC, 'C');
        return;
      case 'armD':
        return this.endAt(this.reliable ? now : now + 64 * ctx.t1, 'D');
      case 'armK':
        this.#text = '';
        return this.endAt(this.reliable ? now : now + ctx.t4, 'K');
      case 'armM':
        this.#text = '';
        return this.endAt(now + 64 * ctx.t1, 'M');
      case 'noteCancel':
        return;
      case 'flushCancel':
        if (this.#cancelHeaders !== undefined) this.#sendCancel(now);
        return;
      case 'sendCancel':
        if (!this.#cancelSent) this.#sendCancel(now);
        return;
      case 'makeAck':
        if (m !== undefined) this.#ack = hopAck(ctx.view(this.#text), m);
        this.#text = '';
        this.#send(now, this.#ack);
        return;
      case 'resendAck':
        this.#send(now, this.#ack);
        return;
      case 'deliver':
        if (m !== undefined && !this.#over) this.#user.onResponse(now, this, m, ctx.tx);
        return;
      case 'deliver2xx':
        if (m !== undefined) this.#user.onResponse(now, this, m, ctx.tx);
        return;
      case 'timeout':
        if (this.#over) return;
        this.#over = true;
        this.#user.onTimeout(now, this, ctx.tx);
        return;
      case 'reportError':
        if (this.#over) return;
        this.#over = true;
        this.#user.onTransportError(now, this, ctx.tx);
        return;
    }
  }

  #sendCancel(now: Mono): void {
    this.#cancelSent = true;
    const text = hopCancel(this.ctx.view(this.#text), this.#cancelHeaders ?? '');
    this.endAt(now + 64 * this.ctx.t1, 'X');
    this.ctx.cancelFor(now, this, text);
  }

  /** A datagram that the queue refused counts as lost; a stream that refuses has failed. */
  #send(now: Mono, text: string): boolean {
    return this.ctx.flows.send(now, this.flow, text, this.ctx.tx) || !this.reliable;
  }

  #leave(): void {
    this.stopClocks();
    this.ctx.flows.unwatch(this.flow, this);
    this.ctx.clientEnded(this);
    this.#text = '';
    this.#ack = '';
  }
}
