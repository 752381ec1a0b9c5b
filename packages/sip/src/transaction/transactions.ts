import {
  type Endpoints,
  type Mono,
  own,
  type Random,
  type ReasonCounts,
  randomToken,
  type TimerWheel,
  type Tx,
  type Via,
} from '@drawbridge/core';
import type { Flow } from '../flow/flow.js';
import type { FlowTable } from '../flow/table.js';
import { H } from '../message/header-id.js';
import { MessageView } from '../message/view.js';
import { type ClientRequest, ClientTransaction } from './client.js';
import type { TransactionContext, TransactionTimers } from './context.js';
import { ServerTransaction } from './server.js';
import type { ClientUser, ServerUser } from './user.js';

/** What `matchRequest` found. */
export const MATCH = {
  /** Nothing known: a new request. */
  new: 0,
  /** A retransmission, or the ACK of a non-2xx: dealt with. */
  absorbed: 1,
  /** A CANCEL; `matched` is the INVITE that it wants ended. */
  cancel: 2,
  /** An ACK to a 2xx, or a stray one: look for a dialog. */
  ack: 3,
  /** Another copy of a request that is being served already (RFC 3261 §8.2.2.2): 482. */
  merged: 4,
  /** A CANCEL that ends nothing: 481. */
  strayCancel: 5,
} as const;
export type Match = (typeof MATCH)[keyof typeof MATCH];

export interface TransactionOptions extends Partial<TransactionTimers> {
  /** Most server and client transactions at once; more are refused as `transaction-limit`. */
  readonly maxServer: number;
  readonly maxClient: number;
  /** ms, more than 3 minutes (RFC 3261 §16.6 step 11); 0 = none. */
  readonly timerC?: number;
}

export interface TransactionModules {
  readonly wheel: TimerWheel;
  readonly flows: FlowTable;
  readonly random: Random;
  readonly counts: ReasonCounts;
}

const COOKIE = 'z9hG4bK';
const BRANCH_PARAM = ';branch=';
const BRANCH_END = ';,\r ';
const NOWHERE: Tx = { text: () => false, inPlace: () => false };
/** The transaction of a CANCEL has nobody to tell: the INVITE's own end says what came of it. */
const CANCEL_USER: ClientUser = { onResponse() {}, onTimeout() {}, onTransportError() {} };

/** All transactions of a shard. Messages come in through `match…`, work goes out through `openServer`, `request` and `ack`. */
export class Transactions {
  /** What the last `matchRequest` matched, until the next. */
  matched: ServerTransaction | undefined = undefined;
  readonly #servers = new Map<string, ServerTransaction>();
  readonly #byMerge = new Map<string, ServerTransaction>();
  readonly #clients = new Map<string, ClientTransaction>();
  readonly #maxServer: number;
  readonly #maxClient: number;
  readonly #ctx: TransactionContext;
  /** The view of the request in hand: a reply in the same turn needs no second parse. */
  #current: MessageView;
  /** The keys that `matchRequest` looked for, for the `openServer` that follows it. */
  readonly #asked = { text: '', key: '', merge: '', identity: '' };

  constructor(options: TransactionOptions, modules: TransactionModules) {
    this.#maxServer = options.maxServer;
    this.#maxClient = options.maxClient;
    const current = (): MessageView => this.#current;
    const view = new MessageView();
    this.#current = view;
    this.#ctx = {
      ...modules,
      t1: options.t1 ?? 500,
      t2: options.t2 ?? 4000,
      t4: options.t4 ?? 5000,
      timerC: options.timerC ?? 181_000,
      tx: NOWHERE,
      view(text) {
        if (current().text === text) return current();
        if (view.text !== text) view.parse(text);
        return view;
      },
      clientEnded: ct => this.#clients.delete(clientKey(ct.branch, ct.method)),
      serverEnded: st => this.#serverEnded(st),
      cancelFor: (now, invite, text) =>
        this.#open(now, {
          method: 'CANCEL',
          text,
          branch: invite.branch,
          flow: invite.flow,
          user: CANCEL_USER,
        }),
    };
  }

  /** The Tx of this turn, for timers that send: call it before the wheel advances. */
  use(tx: Tx): void {
    this.#ctx.tx = tx;
  }

  /** The Tx of the last turn. */
  get tx(): Tx {
    return this.#ctx.tx;
  }

  /** ms: RFC 3261 §17.1.1.1. */
  get t1(): number {
    return this.#ctx.t1;
  }

  get serverCount(): number {
    return this.#servers.size;
  }
  get clientCount(): number {
    return this.#clients.size;
  }

  /** 96 random bits behind the magic cookie. */
  newBranch(): string {
    return own(COOKIE + randomToken(this.#ctx.random, 16));
  }

  /**
   * Which transaction a request belongs to (§17.2.3). Retransmissions and ACKs to non-2xx finals are dealt with
   * here; the caller answers the rest and counts it.
   */
  matchRequest(now: Mono, m: MessageView, via: Via, peer: Endpoints, j: number, tx: Tx): Match {
    this.#ctx.tx = tx;
    this.#current = m;
    const method = m.method;
    const ofInvite = method === 'ACK' || method === 'CANCEL';
    const key = serverKey(m, ofInvite ? 'INVITE' : method);
    const st = this.#servers.get(key);
    this.matched = st;
    if (method === 'ACK') {
      if (st === undefined || st.state === 'accepted') return MATCH.ack;
      st.ack(now);
      return MATCH.absorbed;
    }
    if (method === 'CANCEL') {
      if (st?.cancelledBy(identityOf(m), peer, j)) return MATCH.cancel;
      this.matched = undefined;
      return MATCH.strayCancel;
    }
    if (st !== undefined) {
      st.repeated(now, via, peer, j);
      return MATCH.absorbed;
    }
    const asked = this.#asked;
    asked.text = m.text;
    asked.key = key;
    asked.identity = identityOf(m);
    asked.merge = mergeKey(m.uri, asked.identity);
    if (m.toTag === '') {
      this.matched = this.#byMerge.get(asked.merge);
      if (this.matched !== undefined && this.matched.method === method) return MATCH.merged;
      this.matched = undefined;
    }
    return MATCH.new;
  }

  /**
   * Opens the transaction of a request that `matchRequest` called new. An INVITE gets its 100 at once unless
   * `trying` is false; other methods get none (RFC 4320). Undefined when there are too many (counted).
   */
  openServer(
    now: Mono,
    m: MessageView,
    flow: Flow,
    user: ServerUser,
    tx: Tx,
    trying = true,
  ): ServerTransaction | undefined {
    const ctx = this.#ctx;
    ctx.tx = tx;
    if (this.#servers.size >= this.#maxServer) {
      ctx.counts.add('transaction-limit');
      return undefined;
    }
    const asked = this.#asked;
    if (asked.text !== m.text) {
      asked.text = m.text;
      asked.key = serverKey(m, m.method);
      asked.identity = identityOf(m);
      asked.merge = mergeKey(m.uri, asked.identity);
    }
    // One copy for all that is kept of the request's names; they are cut out of that.
    const all = own(`${asked.key}\n${asked.merge}`);
    const key = all.slice(0, asked.key.length);
    const identity = all.slice(all.length - asked.identity.length);
    const branch = key.startsWith(COOKIE) ? key.slice(0, m.branch.length) : own(m.branch);
    const st = new ServerTransaction(ctx, now, m, key, branch, identity, flow, user);
    this.#servers.set(key, st);
    if (st.initial) {
      st.merge = all.slice(asked.key.length + 1);
      this.#byMerge.set(st.merge, st);
    }
    if (trying && m.method === 'INVITE') st.reply(now, 100, {}, tx);
    return st;
  }

  /** False: no transaction of ours (RFC 6026 §8: dropped, counted as `stray-response`). */
  matchResponse(now: Mono, m: MessageView, _via: Via, _peer: Endpoints, _j: number, tx: Tx): boolean {
    this.#ctx.tx = tx;
    const ct = this.#clients.get(clientKey(m.branch, m.cseqMethod));
    if (ct !== undefined && ct.method === m.cseqMethod && ct.receive(now, m)) return true;
    this.#ctx.counts.add('stray-response');
    return false;
  }

  /**
   * The network says that a datagram of ours did not arrive (RFC 3261 §18.4). `quoted` is its beginning; only who has seen the
   * request knows the branch in it. A request that has been answered at all was heard: nothing happens. False: not ours.
   */
  undelivered(now: Mono, quoted: string, tx: Tx): boolean {
    const method = quoted.slice(0, quoted.indexOf(' '));
    const at = quoted.indexOf(BRANCH_PARAM);
    if (method === '' || at < 0 || !quoted.startsWith(' SIP/2.0\r\nVia:', quoted.indexOf(' ', method.length + 1)))
      return false;
    const from = at + BRANCH_PARAM.length;
    let to = from;
    while (to < quoted.length && !BRANCH_END.includes(quoted.charAt(to))) to++;
    // Cut off in its midst.
    if (to === quoted.length) return false;
    const ct = this.#clients.get(clientKey(quoted.slice(from, to), method));
    if (ct?.method !== method || (ct.state !== 'calling' && ct.state !== 'trying')) return false;
    ct.flowDied(now, tx);
    return true;
  }

  /** Sends a request and looks after it. Undefined when there are too many (counted). */
  request(now: Mono, r: ClientRequest, tx: Tx): ClientTransaction | undefined {
    this.#ctx.tx = tx;
    if (this.#clients.size >= this.#maxClient) {
      this.#ctx.counts.add('transaction-limit');
      return undefined;
    }
    return this.#open(now, r);
  }

  /** An ACK to a 2xx: no transaction, the dialog sends it again for every repetition of the 2xx (§13.2.2.4). */
  ack(now: Mono, flow: Flow, text: string, tx: Tx): void {
    this.#ctx.flows.send(now, flow, text, tx);
  }

  #open(now: Mono, r: ClientRequest): ClientTransaction {
    const ct = new ClientTransaction(this.#ctx, now, r);
    this.#clients.set(clientKey(r.branch, r.method), ct);
    ct.start(now);
    return ct;
  }

  #serverEnded(st: ServerTransaction): void {
    this.#servers.delete(st.key);
    if (st.initial && this.#byMerge.get(st.merge) === st) this.#byMerge.delete(st.merge);
  }
}

/** Branches of ours are unique but for the CANCEL, which shares its INVITE's. */
function clientKey(branch: string, method: string): string {
  return method === 'CANCEL' ? `${branch}\n` : branch;
}

/**
 * §17.2.3: branch, sent-by with port, method. Without the cookie (RFC 2543): Request-URI, Call-ID, CSeq number,
 * From tag and the top Via; the To tag is left out, since that of an ACK is ours.
 */
function serverKey(m: MessageView, method: string): string {
  const branch = m.branch;
  if (branch.length > COOKIE.length && branch.startsWith(COOKIE)) return `${branch}\n${m.sentBy}\n${method}`;
  const via = m.list(H.via)[0] ?? '';
  return `${m.uri}\n${via}\n${m.callId}\n${m.fromTag}\n${m.cseq}\n${method}`;
}

/**
 * What two copies of one request have in common (RFC 3261 §8.2.2.2). The Request-URI is part of it: a border is many
 * UASs behind one address, and a registrar upstream forks one INVITE to several of our contacts on purpose.
 */
function mergeKey(uri: string, identity: string): string {
  return `${uri} ${identity}`;
}

function identityOf(m: MessageView): string {
  return `${m.callId}\n${m.fromTag}\n${m.cseq}`;
}
