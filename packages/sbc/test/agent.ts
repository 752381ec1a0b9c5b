import {
  type Endpoint,
  Endpoints,
  type Mono,
  own,
  type Random,
  ReasonCounts,
  TimerWheel,
  type Tx,
  Waiting,
} from '@drawbridge/core';
import {
  answerChallenge,
  buildRequest,
  type ClientTransaction,
  type ClientUser,
  Dialog,
  type Flow,
  FlowTable,
  H,
  MATCH,
  MessageView,
  parseNameAddr,
  type ServerTransaction,
  type ServerUser,
  Transactions,
} from '@drawbridge/sip';
import { endpoint, PASSWORD } from './harness.js';

const DOMAIN = 'example.org';
const NOBODY: ServerUser = { onCancel() {}, onAckMissing() {} };

/** What is to happen in one call. Times in ms. */
export interface Script {
  /** The callee answers this long after the INVITE with that status; 0: never. */
  readonly answerAfter: number;
  readonly status: number;
  /** The caller cancels this long after its INVITE; 0: it waits. */
  readonly cancelAfter: number;
  /** Who hangs up, and how long after the answer. */
  readonly by: 'caller' | 'callee';
  readonly talkFor: number;
  /** Who renegotiates, and how long after the answer; 0: nobody. */
  readonly holdAfter: number;
  readonly holdBy: 'caller' | 'callee';
}

/** How a call looks from one end. */
export type Outcome = 'pending' | 'talking' | 'talked' | 'cancelled' | `failed ${number}` | 'unanswered';

/** A user agent that keeps to RFC 3261 with timers of its own: it repeats, acknowledges again and gives up as a phone does. */
export class Agent {
  readonly user: string;
  readonly at: Endpoint;
  readonly wheel: TimerWheel;
  readonly transactions: Transactions;
  readonly flows: FlowTable;
  readonly random: Random;
  readonly calls = new Map<string, AgentCall>();
  readonly #border: Endpoint;
  readonly #view = new MessageView();
  readonly tx: Tx;
  now: Mono;
  registered = false;
  /** What its callers have in mind for a call, by the subject that crosses the border. */
  script: ((subject: string) => Script) | undefined;
  #cseq = 0;

  constructor(o: {
    user: string;
    at: string;
    border: string;
    now: Mono;
    random: Random;
    send(from: Endpoint, text: string): void;
  }) {
    this.user = o.user;
    this.at = endpoint(o.at);
    this.#border = endpoint(o.border);
    this.random = o.random;
    this.now = o.now;
    this.wheel = new TimerWheel(o.now);
    this.flows = new FlowTable({ cap: 8, idleMs: 1e9 }, { transportOf: () => 'udp', localOf: () => this.at });
    this.transactions = new Transactions(
      { maxServer: 100_000, maxClient: 100_000 },
      { wheel: this.wheel, flows: this.flows, random: o.random, counts: new ReasonCounts() },
    );
    this.tx = {
      text: (_via, _to, _j, text) => {
        o.send(this.at, text);
        return true;
      },
      inPlace: () => false,
    };
    this.transactions.use(this.tx);
  }

  get aor(): string {
    return `sip:${this.user}@${DOMAIN}`;
  }

  get contact(): string {
    return `<sip:${this.user}@${this.at.address}:${this.at.port}>`;
  }

  get flow(): Flow {
    const flow = this.flows.dialled(this.now, 0, this.#border);
    if (flow === undefined) throw new Error('no flow');
    return flow;
  }

  via(branch: string): { transport: string; sentBy: string; branch: string } {
    return { transport: 'udp', sentBy: `${this.at.address}:${this.at.port}`, branch };
  }

  advance(until: Mono): void {
    for (let due = this.wheel.pollTimeout(); due <= until; due = this.wheel.pollTimeout()) {
      this.now = Math.max(this.now, due);
      this.transactions.use(this.tx);
      this.wheel.advance(this.now);
    }
    this.now = Math.max(this.now, until);
  }

  receive(now: Mono, text: string): void {
    this.advance(now);
    // The border keeps the mapping of its NAT open.
    if (text.trim() === '') return;
    const m = this.#view;
    const fault = m.parse(text);
    if (fault !== undefined) throw new Error(`${fault}: ${text}`);
    const peer = Endpoints.of(this.#border);
    if (!m.isRequest) {
      if (this.transactions.matchResponse(this.now, m, 0, peer, 0, this.tx)) return;
      // A 2xx that comes again after its transaction has gone.
      if (m.cseqMethod === 'INVITE' && m.status >= 200 && m.status < 300) this.calls.get(m.callId)?.again(m);
      return;
    }
    const match = this.transactions.matchRequest(this.now, m, 0, peer, 0, this.tx);
    if (match === MATCH.cancel) this.transactions.matched?.cancelled(this.now, m, 0, peer, 0, this.tx);
    else if (match === MATCH.ack) this.calls.get(m.callId)?.acknowledged(m);
    else if (match === MATCH.new) this.#request(m);
  }

  register(): void {
    const callId = `reg-${this.user}`;
    const send = (headers: string): void => {
      const branch = this.transactions.newBranch();
      const text = buildRequest({
        method: 'REGISTER',
        uri: `sip:${DOMAIN}`,
        via: this.via(branch),
        maxForwards: 70,
        from: `<${this.aor}>;tag=r`,
        to: `<${this.aor}>`,
        callId,
        cseq: ++this.#cseq,
        contact: this.contact,
        headers: `Expires: 3600\r\n${headers}`,
      });
      this.request('REGISTER', text, branch, m => {
        if (m.status === 401) send(this.credentials(m, 'REGISTER', `sip:${DOMAIN}`));
        else this.registered = m.status === 200;
      });
    };
    send('');
  }

  credentials(m: MessageView, method: string, uri: string): string {
    const known = { realm: DOMAIN, user: this.user, password: PASSWORD };
    return answerChallenge(m, { method, uri }, known, this.random) ?? '';
  }

  request(method: string, text: string, branch: string, done: (m: MessageView) => void, lost?: () => void): void {
    const user: ClientUser = {
      onResponse: (_now, _ct, m) => {
        if (m.status >= 200) done(m);
      },
      onTimeout: () => lost?.(),
      onTransportError: () => lost?.(),
    };
    this.transactions.request(this.now, { method, text, branch, flow: this.flow, user }, this.tx);
  }

  call(subject: string, to: string, script: Script): AgentCall {
    const call = new AgentCall(this, 'caller', script, `${subject}@${this.user}`);
    this.calls.set(call.callId, call);
    call.invite(subject, to, '');
    return call;
  }

  /** A moment later, in virtual time. */
  after(ms: number, what: () => void): Later {
    const later = new Later(what);
    this.wheel.arm(later, this.now + ms);
    return later;
  }

  #request(m: MessageView): void {
    const known = this.calls.get(m.callId);
    if (m.method === 'OPTIONS') return this.answer(m, 200);
    if (m.toTag === '') {
      if (m.method !== 'INVITE') return this.answer(m, 405);
      const subject = m.get(H.subject);
      const script = this.script?.(subject);
      if (script === undefined) return this.answer(m, 480);
      const call = new AgentCall(this, 'callee', script, m.callId);
      this.calls.set(call.callId, call);
      return call.invited(m);
    }
    if (known === undefined || !known.asked(m)) this.answer(m, 481);
  }

  answer(m: MessageView, status: number): void {
    this.transactions.openServer(this.now, m, this.flow, NOBODY, this.tx)?.reply(this.now, status, {}, this.tx);
  }
}

class Later extends Waiting {
  readonly #what: () => void;
  constructor(what: () => void) {
    super();
    this.#what = what;
  }
  override onDue(): void {
    this.#what();
  }
}

/** One end of one call. */
export class AgentCall implements ClientUser, ServerUser {
  readonly agent: Agent;
  readonly role: 'caller' | 'callee';
  readonly script: Script;
  readonly callId: string;
  readonly tag: string;
  outcome: Outcome = 'pending';
  /** A dialog that nobody has ended yet. */
  open = false;
  subject = '';
  /** Re-INVITEs that came through. */
  renegotiated = 0;
  #dialog: Dialog | undefined = undefined;
  #st: ServerTransaction | undefined = undefined;
  #ct: ClientTransaction | undefined = undefined;
  #to = '';
  #seq = 0;
  /** Our ACKs by CSeq, for when a 2xx comes again. */
  readonly #acks = new Map<number, string>();
  /** 2xx of ours that wait for their ACK, by CSeq. */
  readonly #unacked = new Map<number, ServerTransaction>();
  #cancelled = false;
  #hangUpThen = false;
  #ackMissing = false;
  #ending = false;

  constructor(agent: Agent, role: 'caller' | 'callee', script: Script, callId: string) {
    this.agent = agent;
    this.role = role;
    this.script = script;
    this.callId = callId;
    this.tag = `${role}-${agent.random.u32()}`;
  }

  invite(subject: string, to: string, headers: string): void {
    const { agent, script } = this;
    this.subject = subject;
    this.#to = to;
    const branch = agent.transactions.newBranch();
    const text = buildRequest({
      method: 'INVITE',
      uri: to,
      via: agent.via(branch),
      maxForwards: 70,
      from: `<${agent.aor}>;tag=${this.tag}`,
      to: `<${to}>`,
      callId: this.callId,
      cseq: ++this.#seq,
      contact: agent.contact,
      headers: `Subject: ${subject}\r\n${headers}`,
      contentType: 'application/sdp',
      body: this.#sdp('sendrecv'),
    });
    this.#ct = agent.transactions.request(
      agent.now,
      { method: 'INVITE', text, branch, flow: agent.flow, user: this, timerC: 0 },
      agent.tx,
    );
    if (headers !== '' && script.cancelAfter > 0)
      agent.after(script.cancelAfter, () => {
        if (this.outcome !== 'pending') return;
        this.#cancelled = true;
        this.#ct?.cancel(agent.now, agent.tx);
      });
  }

  onResponse(_now: Mono, ct: ClientTransaction, m: MessageView): void {
    if (m.status < 200) return;
    if (m.status === 407 && this.#seq === 1)
      return this.invite(this.subject, this.#to, this.agent.credentials(m, 'INVITE', this.#to));
    if (ct !== this.#ct) return;
    if (m.status < 300) return this.#answered(m);
    this.outcome = this.#cancelled && m.status === 487 ? 'cancelled' : `failed ${m.status}`;
  }

  onTimeout(): void {
    this.outcome = this.#cancelled ? 'cancelled' : 'unanswered';
  }

  onTransportError(): void {
    this.outcome = 'unanswered';
  }

  #answered(m: MessageView): void {
    const { agent } = this;
    if (this.#dialog !== undefined) return this.again(m);
    this.#dialog = Dialog.asClient(
      {
        callId: this.callId,
        localTag: this.tag,
        localUri: `<${agent.aor}>`,
        remoteUri: `<${this.#to}>`,
        localSeq: this.#seq,
      },
      m,
      agent.flow,
    );
    this.open = true;
    this.#acknowledge(this.#seq);
    if (this.#cancelled) {
      this.outcome = 'cancelled';
      this.hangUp();
      return;
    }
    this.outcome = 'talking';
    this.#talk();
  }

  /** A 2xx that came again. */
  again(m: MessageView): void {
    const ack = this.#acks.get(m.cseq);
    if (ack !== undefined) this.agent.tx.text(0, this.agent.flow.peer, this.agent.flow.j, ack);
  }

  #acknowledge(cseq: number): void {
    const { agent } = this;
    const ack = this.#dialog?.request('ACK', { via: agent.via(agent.transactions.newBranch()), cseq }) ?? '';
    this.#acks.set(cseq, ack);
    agent.transactions.ack(agent.now, agent.flow, ack, agent.tx);
  }

  /** What both do once they talk. */
  #talk(): void {
    const { script, agent } = this;
    if (script.by === this.role) agent.after(script.talkFor, () => this.hangUp());
    if (script.holdAfter > 0 && script.holdBy === this.role) agent.after(script.holdAfter, () => this.#hold());
  }

  hangUp(): void {
    const { agent } = this;
    if (!this.open || this.#dialog === undefined || this.#ending) return;
    // §15: a callee waits for the ACK, or until it has waited long enough.
    if (this.#unacked.size > 0 && !this.#ackMissing) {
      this.#hangUpThen = true;
      return;
    }
    this.#ending = true;
    const branch = agent.transactions.newBranch();
    const text = this.#dialog.request('BYE', { via: agent.via(branch) });
    const over = (): void => this.#over();
    agent.request('BYE', text, branch, over, over);
  }

  #over(): void {
    this.open = false;
    if (this.outcome === 'talking') this.outcome = 'talked';
  }

  #hold(): void {
    const { agent } = this;
    if (!this.open || this.#dialog === undefined || this.#ending) return;
    const branch = agent.transactions.newBranch();
    const text = this.#dialog.request('INVITE', {
      via: agent.via(branch),
      contact: agent.contact,
      contentType: 'application/sdp',
      body: this.#sdp('sendonly'),
    });
    const seq = this.#dialog.localSeq;
    const user: ClientUser = {
      onResponse: (_now, _ct, m) => {
        if (m.status < 200) return;
        if (m.status < 300) {
          if (!this.#acks.has(seq)) {
            this.renegotiated++;
            this.#acknowledge(seq);
          } else this.again(m);
        } else if (m.status === 491 || m.status === 500) agent.after(2100, () => this.#hold());
      },
      onTimeout: () => {},
      onTransportError: () => {},
    };
    agent.transactions.request(
      agent.now,
      { method: 'INVITE', text, branch, flow: agent.flow, user, timerC: 0 },
      agent.tx,
    );
  }

  invited(m: MessageView): void {
    const { agent, script } = this;
    const st = agent.transactions.openServer(agent.now, m, agent.flow, this, agent.tx);
    if (st === undefined) throw new Error('too many transactions');
    this.#st = st;
    const from = parseNameAddr(m.get(H.from));
    if (from === undefined) throw new Error('no From');
    const dialog = Dialog.asServer(m, this.tag, agent.flow);
    this.subject = own(m.get(H.subject));
    this.#dialog = dialog;
    st.reply(agent.now, 180, { toTag: this.tag, headers: `Contact: ${agent.contact}\r\n` }, agent.tx);
    if (script.answerAfter === 0) return;
    agent.after(script.answerAfter, () => {
      if (this.outcome !== 'pending') return;
      if (script.status >= 300) {
        this.outcome = `failed ${script.status}`;
        st.reply(agent.now, script.status, { toTag: this.tag }, agent.tx);
        return;
      }
      dialog.confirm();
      this.outcome = 'talking';
      this.open = true;
      this.#accept(st, dialog.remoteSeq, 'sendrecv');
      this.#talk();
    });
  }

  #accept(st: ServerTransaction, cseq: number, direction: string): void {
    const { agent } = this;
    this.#unacked.set(cseq, st);
    st.reply(
      agent.now,
      200,
      {
        toTag: this.tag,
        headers: `Contact: ${agent.contact}\r\n`,
        contentType: 'application/sdp',
        body: this.#sdp(direction),
      },
      agent.tx,
    );
  }

  onCancel(_now: Mono, st: ServerTransaction): void {
    if (this.outcome !== 'pending') return;
    this.outcome = 'cancelled';
    st.reply(this.agent.now, 487, { toTag: this.tag }, this.agent.tx);
  }

  /** RFC 3261 §13.3.1.4: nobody acknowledged the 2xx. */
  onAckMissing(_now: Mono, st: ServerTransaction): void {
    this.#ackMissing = true;
    for (const [, unacked] of this.#unacked) if (unacked === st) this.hangUp();
  }

  acknowledged(m: MessageView): void {
    const st = this.#unacked.get(m.cseq);
    this.#unacked.delete(m.cseq);
    st?.acknowledged(this.agent.now);
    if (this.#hangUpThen) this.hangUp();
  }

  /** A request inside the dialog; false when there is none. */
  asked(m: MessageView): boolean {
    const { agent } = this;
    const dialog = this.#dialog;
    if (dialog === undefined || !dialog.matches(m)) return false;
    if (m.method === 'BYE') {
      agent.answer(m, 200);
      if (this.#st !== undefined && this.outcome === 'pending') this.outcome = 'cancelled';
      this.#over();
      return true;
    }
    if (!this.open) return false;
    if (dialog.accepts(m) !== 'ok') {
      agent.answer(m, 500);
      return true;
    }
    if (m.method !== 'INVITE') {
      agent.answer(m, 200);
      return true;
    }
    const st = agent.transactions.openServer(agent.now, m, agent.flow, this, agent.tx);
    if (st !== undefined) this.#accept(st, m.cseq, 'recvonly');
    return true;
  }

  #sdp(direction: string): string {
    const { address } = this.agent.at;
    return `v=0\r\no=- 1 ${this.renegotiated + 1} IN IP4 ${address}\r\ns=-\r\nc=IN IP4 ${address}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=${direction}\r\n`;
  }
}
