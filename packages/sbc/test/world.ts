import {
  type AskId,
  type Endpoint,
  Endpoints,
  formatEndpoint,
  type Mono,
  parseEndpoint,
  ReasonCounts,
  seededRandom,
  TimerWheel,
  type Tx,
  type Via,
} from '@drawbridge/core';
import {
  answerChallenge,
  buildReply,
  buildRequest,
  DigestServer,
  FlowTable,
  H,
  MATCH,
  MessageView,
  type ServerUser,
  statelessTag,
  Transactions,
} from '@drawbridge/sip';
import { Authenticator } from '../src/authenticate/authenticator.js';
import { type Config, configSchema, freezeConfig } from '../src/config.js';
import { Domains } from '../src/domains.js';
import { IdentityPolicy } from '../src/identity/policy.js';
import { type Inbound, NOBODY } from '../src/inbound.js';
import { StoreJournal } from '../src/journal.js';
import { HopList } from '../src/locate/hop-list.js';
import { type OpenedListener, Realms } from '../src/realms.js';
import type { BindingEvent } from '../src/registrar/bindings.js';
import { Registrar } from '../src/registrar/registrar.js';
import { Routing } from '../src/route/routing.js';
import { MemoryStore } from '../src/store/memory.js';
import type { StoreWrite } from '../src/store/store.js';
import { Subscribers, subscriberWrite } from '../src/subscribers.js';
import { NO_TRUNK_PARTS, Trunks } from '../src/trunk/trunks.js';

export interface Sent {
  readonly at: Mono;
  readonly via: Via;
  readonly to: string;
  readonly text: string;
}

export const ACCESS_UDP = 0;
export const ACCESS_TCP = 1;
export const CORE_UDP = 2;
export const PBX = '10.0.0.5:5060';
export const PBX_TWO = '10.0.0.6:5060';
const LISTENERS: readonly OpenedListener[] = [
  {
    realm: 'access',
    transport: 'udp',
    bind: { address: '203.0.113.10', port: 5060 },
    advertise: { address: '203.0.113.10', port: 5060 },
  },
  {
    realm: 'access',
    transport: 'tcp',
    bind: { address: '203.0.113.10', port: 5060 },
    advertise: { address: '203.0.113.10', port: 5060 },
  },
  {
    realm: 'core',
    transport: 'udp',
    bind: { address: '10.0.0.1', port: 5060 },
    advertise: { address: '10.0.0.1', port: 5060 },
  },
];
const REALMS = [
  { name: 'access', networks: ['0.0.0.0/0', '::/0'] },
  { name: 'core', networks: ['10.0.0.0/24'] },
];
const PASSWORD = 'correct horse';
const TAG_KEY = new Uint8Array(16).fill(7);

/** Registrar and authentication in virtual time, between wires that are arrays. */
export class World {
  now: Mono = 1000;
  readonly epoch = 1_700_000_000_000;
  readonly config: Config;
  readonly counts = new ReasonCounts();
  readonly random = seededRandom(42);
  readonly wheel: TimerWheel;
  readonly flows: FlowTable;
  readonly transactions: Transactions;
  readonly realms: Realms;
  readonly domains: Domains;
  readonly subscribers = new Subscribers();
  readonly journal: StoreJournal;
  readonly registrar: Registrar;
  readonly authenticator: Authenticator;
  readonly store: MemoryStore;
  readonly sent: Sent[] = [];
  readonly events: BindingEvent[] = [];
  /** Batches that nobody has committed yet, when `autoCommit` is off. */
  readonly asked: { id: AskId; batch: readonly StoreWrite[] }[] = [];
  autoCommit = true;
  /** Sees what leaves; true keeps it out of `sent`. */
  onSend: ((s: Sent) => boolean) | undefined;
  /** What far ends do next: never within the send that made them do it. */
  readonly soon: (() => void)[] = [];
  readonly #streams = new Map<Via, Endpoint>();
  readonly #view = new MessageView();
  readonly #tx: Tx;
  #asks = 0;
  #answers: { id: AskId; ok: boolean }[] = [];
  #serial = 0;
  #cseq = 0;

  constructor(
    o: { config?: object; store?: MemoryStore; now?: Mono; secondHop?: boolean; streams?: Map<Via, Endpoint> } = {},
  ) {
    this.now = o.now ?? 1000;
    this.store = o.store ?? new MemoryStore();
    this.config = freezeConfig(configSchema.parse(o.config ?? {}));
    this.wheel = new TimerWheel(this.now);
    this.realms = new Realms(REALMS, LISTENERS);
    this.flows = new FlowTable(
      { cap: 1000, idleMs: 60_000 },
      {
        transportOf: via => this.realms.listener(via).transport,
        localOf: via => this.realms.listener(via).bind,
        peerOf: via => this.#streams.get(via),
      },
    );
    this.transactions = new Transactions(
      { maxServer: 1000, maxClient: 1000 },
      { wheel: this.wheel, flows: this.flows, random: this.random, counts: this.counts },
    );
    const core = this.realms.listener(CORE_UDP);
    const uris = o.secondHop === true ? ['sip:10.0.0.5', 'sip:10.0.0.6'] : ['sip:10.0.0.5'];
    const next = new HopList({ name: 'pbx.example.net', uris, realm: core.realm }, this);
    this.domains = new Domains(
      [
        { kind: 'local', name: 'example.org' },
        { kind: 'upstream', name: 'pbx.example.net', next },
      ],
      this.realms,
    );
    for (const user of ['alice', 'bob']) {
      const w = subscriberWrite(user, 'example.org', { password: PASSWORD });
      this.subscribers.apply(w.key, w.value);
    }
    this.journal = new StoreJournal(
      { cap: 100, deadlineMs: 5000 },
      {
        wheel: this.wheel,
        ask: batch => {
          const id = ++this.#asks;
          if (this.autoCommit) {
            void this.store.write(batch);
            this.#answers.push({ id, ok: true });
          } else this.asked.push({ id, batch });
          return id;
        },
      },
    );
    this.registrar = new Registrar(
      { registrar: this.config.registrar, keepalive: this.config.keepalive, secret: new Uint8Array(32).fill(9) },
      {
        realms: this.realms,
        domains: this.domains,
        flows: this.flows,
        transactions: this.transactions,
        wheel: this.wheel,
        journal: this.journal,
        random: this.random,
        counts: this.counts,
        wall: () => this.epoch + this.now,
        onEvent: (_now, e) => this.events.push(e),
      },
    );
    this.flows.onDead((now, flow) => this.registrar.onFlowDead(now, flow));
    const digest = new DigestServer(
      {
        secretKeys: [new Uint8Array(32).fill(1)],
        nonceLifetimeMs: 300_000,
        algorithms: this.config.auth.algorithms,
        qop: this.config.auth.qop,
      },
      { random: this.random, wall: () => this.epoch + this.now },
    );
    const { realms, random } = this;
    const trunks = new Trunks(this.config.trunks, NO_TRUNK_PARTS, { realms, random, onChange() {} });
    const routing = new Routing(this.config, { trunks, random, wall: () => this.epoch + this.now, files: new Map() });
    this.authenticator = new Authenticator(
      { auth: this.config.auth, methods: this.config.methods },
      {
        digestOf: () => digest,
        domains: this.domains,
        registrar: this.registrar,
        subscribers: this.subscribers,
        identity: new IdentityPolicy(this.config, this.domains),
        trunks,
        routing,
      },
    );
    this.#tx = {
      text: (via, to, j, text) => {
        const s = { at: this.now, via, to: formatEndpoint(to.get(j)), text };
        if (this.onSend?.(s) !== true) this.sent.push(s);
        return true;
      },
      inPlace: () => false,
    };
    this.transactions.use(this.#tx);
  }

  /** One message from the wire, and everything that follows from it at once. */
  receive(text: string, from: string, via: Via = ACCESS_UDP): void {
    const peer = Endpoints.of(parseEndpoint(from) as Endpoint);
    const m = this.#view;
    const known = this.flows.find(via, peer, 0);
    if (known !== undefined) this.registrar.seen(this.now, known);
    if (text.trim() === '' || m.parse(text) !== undefined) return;
    if (!m.isRequest) this.transactions.matchResponse(this.now, m, via, peer, 0, this.#tx);
    else if (this.transactions.matchRequest(this.now, m, via, peer, 0, this.#tx) === MATCH.new)
      this.#request(m, via, peer);
    this.#drain();
  }

  #request(m: MessageView, via: Via, peer: Endpoints): void {
    const inbound: Inbound = {
      now: this.now,
      m,
      via,
      peer,
      j: 0,
      realm: this.realms.of(via),
      identity: NOBODY,
      trustedEdge: false,
      flow: this.flows.find(via, peer, 0),
      tx: this.#tx,
    };
    const verdict = this.authenticator.authenticate(inbound);
    if (verdict.do === 'reply') {
      const text = buildReply(m, verdict.status, {
        peer,
        j: 0,
        toTag: statelessTag(m, TAG_KEY),
        ...(verdict.headers === undefined ? {} : { headers: verdict.headers }),
      });
      this.flows.reply(this.now, via, peer, 0, text, this.#tx);
      this.counts.add(verdict.reason);
      return;
    }
    if (m.method === 'ACK' || m.method === 'CANCEL') return;
    const flow = this.flows.of(this.now, via, peer, 0);
    if (flow === undefined) return;
    const st = this.transactions.openServer(this.now, m, flow, NO_USER, this.#tx);
    if (st === undefined) return;
    inbound.flow = flow;
    const domain = this.domains.lookup(
      m.uri
        .slice(m.uri.indexOf(':') + 1)
        .replace(/^.*@/, '')
        .replace(/[;:].*$/, ''),
    );
    if (m.method === 'REGISTER' && domain !== undefined) this.registrar.register(inbound, domain, st);
    else st.reply(this.now, 200, {}, this.#tx);
  }

  /** Answers the oldest waiting commit. */
  commit(ok = true): void {
    const next = this.asked.shift();
    if (next === undefined) throw new Error('nothing to commit');
    if (ok) void this.store.write(next.batch);
    this.#answers.push({ id: next.id, ok });
    this.#drain();
  }

  #drain(): void {
    for (let a = this.#answers.shift(); a !== undefined; a = this.#answers.shift())
      this.journal.answered(this.now, a.id, a.ok, this.#tx);
    for (let f = this.soon.shift(); f !== undefined; f = this.soon.shift()) f();
  }

  /** Lets time pass, timer by timer. */
  advance(ms: number): void {
    const until = this.now + ms;
    for (;;) {
      const due = this.wheel.pollTimeout();
      if (due > until) break;
      this.now = Math.max(this.now, due);
      this.wheel.advance(this.now);
      this.#drain();
    }
    this.now = until;
    this.wheel.advance(this.now);
    this.#drain();
  }

  stream(via: Via, from: string): Via {
    this.#streams.set(via, parseEndpoint(from) as Endpoint);
    return via;
  }

  closeStream(via: Via): void {
    this.flows.streamClosed(this.now, via, this.#tx);
    this.#drain();
  }

  /** What left since the last call. */
  take(): Sent[] {
    return this.sent.splice(0);
  }

  request(o: RequestLine): string {
    const n = ++this.#serial;
    return buildRequest({
      method: o.method ?? 'REGISTER',
      uri: o.uri ?? 'sip:example.org',
      via: { transport: 'UDP', sentBy: '192.168.1.5:5060', branch: `z9hG4bK-${n}` },
      maxForwards: 70,
      from: o.from ?? `<sip:${o.user ?? 'alice'}@example.org>;tag=f${n}`,
      to: o.to ?? `<sip:${o.user ?? 'alice'}@example.org>`,
      callId: o.callId ?? 'call-1',
      cseq: o.cseq ?? ++this.#cseq,
      headers: `${(o.contacts ?? []).map(c => `Contact: ${c}\r\n`).join('')}${o.headers ?? ''}`,
    });
  }

  /** A request with the challenge that it gets answered; the final answer, or undefined when none has left yet. */
  ask(o: RequestLine, from: string, via: Via = ACCESS_UDP): MessageView | undefined {
    const mark = this.sent.length;
    this.receive(this.request(o), from, via);
    const first = this.#answer(mark);
    if (first === undefined || (first.status !== 401 && first.status !== 407)) return first;
    const line = answerChallenge(
      first,
      { method: o.method ?? 'REGISTER', uri: o.uri ?? 'sip:example.org' },
      { realm: 'example.org', user: o.authUser ?? o.user ?? 'alice', password: o.password ?? PASSWORD },
      this.random,
    );
    const then = this.sent.length;
    this.receive(
      this.request({
        ...o,
        ...(o.cseq === undefined ? {} : { cseq: o.cseq + 1 }),
        headers: `${o.headers ?? ''}${line ?? ''}`,
      }),
      from,
      via,
    );
    return this.#answer(then);
  }

  /** The final response to the last request, wherever it went. */
  #answer(mark: number): MessageView | undefined {
    const last = this.sent
      .slice(mark)
      .filter(s => s.text.startsWith('SIP/2.0 '))
      .at(-1);
    return last === undefined ? undefined : parsed(last.text);
  }
}

export interface RequestLine {
  readonly method?: string;
  readonly uri?: string;
  readonly user?: string;
  readonly authUser?: string;
  readonly password?: string;
  readonly from?: string;
  readonly to?: string;
  readonly callId?: string;
  /** Of the request without credentials; the one with them takes the next. */
  readonly cseq?: number;
  readonly contacts?: readonly string[];
  readonly headers?: string;
}

const NO_USER: ServerUser = { onCancel() {}, onAckMissing() {} };

export function parsed(text: string): MessageView {
  const m = new MessageView();
  const fault = m.parse(text);
  if (fault !== undefined) throw new Error(`${fault}: ${text}`);
  return m;
}

export function contactsOf(m: MessageView | undefined): string[] {
  return m === undefined ? [] : m.list(H.contact);
}
