import {
  type Endpoint,
  Endpoints,
  listenerOf,
  type Mono,
  type Random,
  ReasonCounts,
  seededRandom,
  TimerWheel,
  type Tx,
  type Via,
} from '@drawbridge/core';
import {
  buildRequest,
  type ClientTransaction,
  type ClientUser,
  type Flow,
  FlowTable,
  MATCH,
  type Match,
  MessageView,
  type ServerTransaction,
  type ServerUser,
  type TransactionOptions,
  Transactions,
  type Transport,
} from '../src/index.js';

/** What happened at a side, in order: `time what …`. */
export type Diary = string[];

/** One transaction layer with virtual time: its user writes a diary and does what the test hung in. */
export class Side implements ClientUser, ServerUser {
  now: Mono = 0;
  readonly name: string;
  readonly local: Endpoint;
  readonly wheel = new TimerWheel(0, 10);
  readonly counts = new ReasonCounts();
  readonly flows: FlowTable;
  readonly transactions: Transactions;
  readonly diary: Diary = [];
  readonly sent: { readonly at: Mono; readonly via: Via; readonly to: Endpoint; readonly text: string }[] = [];
  readonly tx: Tx;
  readonly view = new MessageView();
  /** What `tx.text` answers. */
  accepts = true;
  onSend: ((to: Endpoint, text: string) => void) | undefined;
  onNew: ((m: MessageView, flow: Flow) => void) | undefined;
  onAck: ((m: MessageView, st: ServerTransaction | undefined) => void) | undefined;
  onAnswer: ((ct: ClientTransaction, m: MessageView) => void) | undefined;
  onCancelled: ((st: ServerTransaction) => void) | undefined;

  constructor(
    name: string,
    address: string,
    transport: Transport,
    random: Random,
    options: Partial<TransactionOptions> = {},
  ) {
    this.name = name;
    this.local = { address, port: 5060 };
    this.flows = new FlowTable(
      { cap: 1000, idleMs: 60_000 },
      {
        transportOf: () => transport,
        localOf: () => this.local,
        peerOf: via => (transport === 'tcp' && listenerOf(via) === 0 ? this.streamPeer : undefined),
      },
    );
    this.transactions = new Transactions(
      { maxServer: 1000, maxClient: 1000, ...options },
      {
        wheel: this.wheel,
        flows: this.flows,
        random,
        counts: this.counts,
      },
    );
    this.tx = {
      text: (via, to, j, text) => {
        if (!this.accepts) return false;
        const peer = to.get(j);
        this.sent.push({ at: this.now, via, to: peer, text });
        this.onSend?.(peer, text);
        return true;
      },
      inPlace: () => false,
    };
  }

  streamPeer: Endpoint | undefined;

  /** Fires timers up to and including `until`. */
  advance(until: Mono): void {
    for (;;) {
      const due = this.wheel.pollTimeout();
      if (due > until) break;
      this.now = due;
      this.transactions.use(this.tx);
      this.wheel.advance(due);
    }
    this.now = until;
  }

  /** A message arrives; how a request was matched, or whether a response was ours. */
  receive(text: string, from: Endpoint, via: Via = 0): Match | boolean {
    const m = this.view;
    const fault = m.parse(text);
    if (fault !== undefined) throw new Error(`${fault}: ${text}`);
    const peer = Endpoints.of(from);
    if (!m.isRequest) return this.transactions.matchResponse(this.now, m, via, peer, 0, this.tx);
    const match = this.transactions.matchRequest(this.now, m, via, peer, 0, this.tx);
    const matched = this.transactions.matched;
    if (match === MATCH.new && this.onNew !== undefined) {
      const flow = this.flows.of(this.now, via, peer, 0);
      if (flow !== undefined) this.onNew(m, flow);
    } else if (match === MATCH.ack) this.onAck?.(m, matched);
    else if (match === MATCH.cancel) matched?.cancelled(this.now, m, via, peer, 0, this.tx);
    return match;
  }

  open(m: MessageView, flow: Flow, trying = true): ServerTransaction {
    const st = this.transactions.openServer(this.now, m, flow, this, this.tx, trying);
    if (st === undefined) throw new Error('transaction limit');
    return st;
  }

  /** Sends a request of its own; its serial makes Call-ID and CSeq. */
  request(
    method: string,
    to: Endpoint,
    o: { cseq?: number; timeoutMs?: number; timerC?: number; routes?: string[]; callId?: string } = {},
  ): ClientTransaction {
    const flow = this.flows.dialled(this.now, 0, to);
    if (flow === undefined) throw new Error('no flow');
    const branch = this.transactions.newBranch();
    const ct = this.transactions.request(
      this.now,
      {
        method,
        branch,
        flow,
        user: this,
        text: requestText(method, branch, { transport: flow.transport, sentBy: `${this.local.address}:5060`, ...o }),
        ...(o.timeoutMs === undefined ? {} : { timeoutMs: o.timeoutMs }),
        ...(o.timerC === undefined ? {} : { timerC: o.timerC }),
      },
      this.tx,
    );
    if (ct === undefined) throw new Error('transaction limit');
    return ct;
  }

  /** Methods and statuses sent, with their times: `0 INVITE`, `500 200`. */
  get log(): string[] {
    return this.sent.map(s => `${s.at} ${kind(s.text)}`);
  }

  onResponse(now: Mono, ct: ClientTransaction, m: MessageView): void {
    this.diary.push(`${now} ${m.status}`);
    this.onAnswer?.(ct, m);
  }
  onTimeout(now: Mono): void {
    this.diary.push(`${now} timeout`);
  }
  onTransportError(now: Mono): void {
    this.diary.push(`${now} transport-error`);
  }
  onCancel(now: Mono, st: ServerTransaction): void {
    this.diary.push(`${now} cancel`);
    this.onCancelled?.(st);
  }
  onAckMissing(now: Mono): void {
    this.diary.push(`${now} ack-missing`);
  }
}

export function kind(text: string): string {
  return text.startsWith('SIP/2.0 ') ? text.slice(8, 11) : text.slice(0, text.indexOf(' '));
}

export interface RequestText {
  readonly cseq?: number;
  readonly callId?: string;
  readonly transport?: string;
  readonly sentBy?: string;
  readonly toTag?: string;
  readonly fromTag?: string;
  readonly routes?: string[];
  readonly uri?: string;
}

export function requestText(method: string, branch: string, o: RequestText = {}): string {
  return buildRequest({
    method,
    uri: o.uri ?? 'sip:bob@example.org',
    via: { transport: o.transport ?? 'udp', sentBy: o.sentBy ?? '192.0.2.1:5060', branch },
    maxForwards: 70,
    from: `<sip:alice@example.org>;tag=${o.fromTag ?? 'a1'}`,
    to: `<sip:bob@example.org>${o.toTag === undefined ? '' : `;tag=${o.toTag}`}`,
    callId: o.callId ?? 'call-1',
    cseq: o.cseq ?? 1,
    ...(o.routes === undefined ? {} : { routes: o.routes }),
  });
}

/** The reply of a peer to what a side sent. */
export function replyTo(request: string, status: number, o: { toTag?: string; method?: string } = {}): string {
  const lines = request.split('\r\n').filter(l => /^(Via|From|Call-ID|To|CSeq):/.test(l));
  const tagged = lines.map(l =>
    l.startsWith('To:') && status > 100 && !l.includes(';tag=') ? `${l};tag=${o.toTag ?? 'b1'}` : l,
  );
  return `SIP/2.0 ${status} X\r\n${tagged.join('\r\n')}\r\nContent-Length: 0\r\n\r\n`;
}

interface InFlight {
  readonly due: Mono;
  readonly to: Side;
  readonly from: Endpoint;
  readonly text: string;
}

/** Two sides and a wire between them that loses, repeats and reorders as its seed says. */
export class Network {
  now: Mono = 0;
  readonly a: Side;
  readonly b: Side;
  lost = 0;
  carried = 0;
  readonly #queue: InFlight[] = [];
  readonly #random: Random;
  readonly #loss: number;

  constructor(seed: number, o: { loss: number; options?: Partial<TransactionOptions> } = { loss: 0 }) {
    this.#random = seededRandom(seed);
    this.#loss = o.loss;
    this.a = new Side('a', '192.0.2.1', 'udp', this.#random, o.options);
    this.b = new Side('b', '192.0.2.2', 'udp', this.#random, o.options);
    this.#wire(this.a, this.b);
    this.#wire(this.b, this.a);
  }

  #wire(from: Side, to: Side): void {
    from.onSend = (_to, text) => {
      const copies = this.#chance(0.05 * (this.#loss > 0 ? 1 : 0)) ? 2 : 1;
      for (let i = 0; i < copies; i++) {
        if (this.#chance(this.#loss)) {
          this.lost++;
          continue;
        }
        this.carried++;
        this.#queue.push({
          due: from.now + 5 + (this.#loss > 0 ? this.#random.u32() % 200 : 5),
          to,
          from: from.local,
          text,
        });
      }
    };
  }

  #chance(p: number): boolean {
    return p > 0 && this.#random.u32() / 2 ** 32 < p;
  }

  run(until: Mono): void {
    for (;;) {
      let next: InFlight | undefined;
      for (const e of this.#queue) if (next === undefined || e.due < next.due) next = e;
      const due = Math.min(
        next?.due ?? Number.POSITIVE_INFINITY,
        this.a.wheel.pollTimeout(),
        this.b.wheel.pollTimeout(),
      );
      if (due > until) break;
      this.a.advance(due);
      this.b.advance(due);
      if (next !== undefined && next.due <= due) {
        this.#queue.splice(this.#queue.indexOf(next), 1);
        next.to.receive(next.text, next.from);
      }
    }
    this.a.advance(until);
    this.b.advance(until);
    this.now = until;
  }
}
