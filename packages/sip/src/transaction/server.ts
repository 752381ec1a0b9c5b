import { type Endpoints, type Mono, own, type Reason, randomToken, type Tx, type Via } from '@drawbridge/core';
import type { Flow } from '../flow/flow.js';
import { buildReply } from '../message/reply.js';
import type { MessageView } from '../message/view.js';
import type { TransactionContext } from './context.js';
import {
  INVITE_SERVER,
  type Machine,
  NON_INVITE_SERVER,
  type ServerAction,
  type ServerEvent,
  type ServerState,
} from './machine.js';
import { Transaction } from './transaction.js';
import type { ServerUser } from './user.js';

export interface ReplyParts {
  /** Instead of the transaction's own To tag. */
  readonly toTag?: string | undefined;
  /** Further header lines, each with its CRLF. */
  readonly headers?: string | undefined;
  readonly contentType?: string | undefined;
  readonly body?: string | undefined;
  readonly phrase?: string | undefined;
  /** Counted. */
  readonly reason?: Reason | undefined;
  /** The whole reply, from `write`; then the other parts but `reason` are of no effect. */
  readonly written?: string | undefined;
}

/** An INVITE whose user neither replies nor gives up for this long gets a 500 from the layer itself. */
const ABANDONED_MS = 15 * 60_000;

/** One request of a peer's and our replies (RFC 3261 §17.2); `machine.ts` holds the theory. */
export class ServerTransaction extends Transaction {
  state: ServerState;
  /** The whole request while replies can still be made from it, '' afterwards. */
  request: string;
  /** @internal Under which the layer keeps it. */ readonly key: string;
  /** @internal Call-ID, From tag and CSeq: what merged requests and a CANCEL have in common with it. */
  readonly identity: string;
  /** Under what a merged copy would be found; '' for a request inside a dialog. */
  merge = '';
  /** @internal It opened no dialog yet, so that a merged copy can be told (§8.2.2.2). */ readonly initial: boolean;
  readonly #user: ServerUser;
  readonly #machine: Machine<ServerState, ServerEvent, ServerAction>;
  readonly #openedAt: Mono;
  #toTag: string;
  #reply = '';
  #acknowledged = false;
  /** The user knows that this flow is gone. */
  #errorOn: Flow | undefined = undefined;

  /** @internal by `Transactions.openServer` */
  constructor(
    ctx: TransactionContext,
    now: Mono,
    m: MessageView,
    key: string,
    branch: string,
    identity: string,
    flow: Flow,
    user: ServerUser,
  ) {
    super(ctx, own(m.method), branch, flow);
    const invite = m.method === 'INVITE';
    this.#machine = invite ? INVITE_SERVER : NON_INVITE_SERVER;
    this.state = invite ? 'proceeding' : 'trying';
    this.request = m.text;
    this.key = key;
    this.identity = identity;
    this.#toTag = '';
    this.initial = m.toTag === '';
    this.#user = user;
    this.#openedAt = now;
    this.endAt(now + (invite ? ABANDONED_MS : 64 * ctx.t1), 'Z');
  }

  /** The To tag of our replies above 100, minted once: 96 random bits. Of no effect where the request has one. */
  get toTag(): string {
    if (this.#toTag === '') this.#toTag = randomToken(this.ctx.random, 16);
    return this.#toTag;
  }

  /** A final reply has been given. */
  get answered(): boolean {
    return this.state !== 'proceeding' && this.state !== 'trying';
  }

  /**
   * Sends a provisional or final reply; a second final is ignored. A 2xx to an INVITE is repeated until
   * `acknowledged`, other finals to it until the ACK of this hop. Throws only on parts that could break a message.
   */
  reply(now: Mono, status: number, o: ReplyParts, tx: Tx): void {
    const ctx = this.ctx;
    ctx.tx = tx;
    const event = status < 200 ? 'reply-1xx' : status < 300 ? 'reply-2xx' : 'reply-3xx-6xx';
    if (this.#machine[this.state]?.[event] === undefined) return;
    if (o.reason !== undefined) ctx.counts.add(o.reason);
    if (this.method !== 'INVITE') {
      if (status < 200 && !this.#mayProvisional(now, status)) return;
      // RFC 4320 §4.2: a 408 to a non-INVITE only ever arrives too late. Silence says the same.
      if (status === 408) {
        this.#reply = '';
        this.#step(now, event);
        return;
      }
    }
    this.#reply = o.written ?? this.write(status, o);
    this.#step(now, event);
  }

  /** A reply as text, for later: to make it while the request is in hand saves reading that again. */
  write(status: number, o: ReplyParts): string {
    if (o.toTag !== undefined && this.#toTag === '') this.#toTag = o.toTag;
    const flow = this.flow;
    return buildReply(this.ctx.view(this.request), status, {
      phrase: o.phrase,
      peer: flow.peer,
      j: flow.j,
      toTag: status > 100 ? (o.toTag ?? this.toTag) : undefined,
      headers: o.headers,
      contentType: o.contentType,
      body: o.body,
    });
  }

  /** The dialog saw the ACK for the 2xx: no more repetitions, no `onAckMissing`. */
  acknowledged(now: Mono): void {
    if (this.state !== 'accepted') return;
    this.#acknowledged = true;
    this.#reply = '';
    this.request = '';
    this.#step(now, 'acknowledged');
  }

  /**
   * Answers the CANCEL that `matchRequest` matched: 200 hop by hop, with the To tag of the INVITE's replies
   * (RFC 3261 §9.2), then `onCancel` unless a final reply has been given already.
   */
  cancelled(now: Mono, m: MessageView, via: Via, peer: Endpoints, j: number, tx: Tx): void {
    this.ctx.tx = tx;
    this.ctx.flows.reply(now, via, peer, j, buildReply(m, 200, { peer, j, toTag: this.toTag }), tx);
    if (this.state === 'proceeding') this.#user.onCancel(now, this, m, tx);
  }

  /** @internal */
  repeated(now: Mono, via: Via, peer: Endpoints, j: number): void {
    this.ctx.counts.add('retransmission');
    const flow = this.flow;
    // A NAT that rebinds, or a new connection after the old one died: the same host goes on from there.
    if ((flow.via !== via || !flow.peer.equal(flow.j, peer, j)) && flow.peer.sameAddress(flow.j, peer, j)) {
      const moved = this.ctx.flows.of(now, via, peer, j);
      if (moved !== undefined) this.moveTo(moved);
    }
    this.#step(now, 'request');
  }

  /** @internal */
  ack(now: Mono): void {
    if (!this.#step(now, 'ACK')) this.ctx.counts.add('stray-ack');
  }

  /** @internal Same Call-ID, From tag, CSeq number and source address, whatever the port (a CANCEL to be believed). */
  cancelledBy(identity: string, peer: Endpoints, j: number): boolean {
    return this.identity === identity && this.flow.peer.sameAddress(this.flow.j, peer, j);
  }

  protected override onAgain(now: Mono): void {
    this.#step(now, 'G');
  }

  protected override onEnd(now: Mono, event: string): void {
    this.#step(now, event as ServerEvent);
  }

  protected override longest(): number {
    return this.ctx.t2;
  }

  /** RFC 4320 §4.1: no provisional but 100, and that only once the client's timer E has reached T2 (or on a stream). */
  #mayProvisional(now: Mono, status: number): boolean {
    if (status !== 100) return false;
    if (this.reliable) return true;
    let elapsed = 0;
    for (let e = this.ctx.t1; e < this.ctx.t2; e *= 2) elapsed += e;
    return now - this.#openedAt >= elapsed;
  }

  #step(now: Mono, event: ServerEvent): boolean {
    const transition = this.#machine[this.state]?.[event];
    if (transition === undefined) return false;
    this.state = transition.to;
    const ended = transition.to === 'terminated';
    if (ended) this.#leave();
    try {
      for (const action of transition.do) this.#act(now, action);
    } finally {
      if (ended) this.ctx.flows.release(this.flow);
    }
    if (!ended) this.endIfDue(now);
    return true;
  }

  #act(now: Mono, action: ServerAction): void {
    const ctx = this.ctx;
    switch (action) {
      case 'send':
        if (this.state === 'completed') this.request = '';
        this.#send(now);
        return;
      case 'resend':
        this.#send(now);
        return;
      case 'armZ':
        return this.endAt(now + ABANDONED_MS, 'Z');
      case 'armG':
        if (!this.reliable) this.repeatAfter(now, ctx.t1);
        return;
      case 'armG2xx':
        return this.repeatAfter(now, ctx.t1);
      case 'armH':
        return this.endAt(now + 64 * ctx.t1, 'H');
      case 'armI':
        this.#reply = '';
        return this.endAt(this.reliable ? now : now + ctx.t4, 'I');
      case 'armJ':
        return this.endAt(this.reliable ? now : now + 64 * ctx.t1, 'J');
      case 'armL':
        return this.endAt(now + 64 * ctx.t1, 'L');
      case 'stopAgain':
        return this.stopRepeating();
      case 'ackMissing':
        if (!this.#acknowledged) this.#user.onAckMissing(now, this, ctx.tx);
        return;
      case 'abandon':
        return this.reply(now, 500, { reason: 'internal-error' }, ctx.tx);
      case 'reportError':
        if (this.#errorOn === this.flow) return;
        this.#errorOn = this.flow;
        this.#user.onTransportError?.(now, this, ctx.tx);
        return;
    }
  }

  /** A datagram that the queue refused counts as lost; a stream that refuses has failed. */
  #send(now: Mono): void {
    if (this.#reply === '') return;
    if (this.reliable && !this.flow.alive) {
      const back = this.ctx.flows.wayBack(now, this.flow, this.#sentBy());
      if (back !== undefined) this.moveTo(back);
    }
    if (!this.ctx.flows.send(now, this.flow, this.#reply, this.ctx.tx) && this.reliable)
      this.#step(now, 'transport-error');
  }

  /** Of the request's Via, which is part of the key; '' for a branch of RFC 2543. */
  #sentBy(): string {
    return this.key.startsWith('z9hG4bK') ? (this.key.split('\n')[1] ?? '') : '';
  }

  #leave(): void {
    this.stopClocks();
    this.ctx.serverEnded(this);
    this.request = '';
    this.#reply = '';
  }
}
