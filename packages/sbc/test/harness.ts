import {
  type AskId,
  BATCH,
  type Endpoint,
  Endpoints,
  formatEndpoint,
  LISTENER_MASK,
  type Mono,
  parseEndpoint,
  type Reason,
  ReasonCounts,
  type Rx,
  seededRandom,
  type Tx,
  type Via,
} from '@drawbridge/core';
import {
  type MediaRelay,
  type MediaRelayOptions,
  FlowTable as MediaTable,
  type RelayEvent,
  RelayHub,
  relayAddresses,
} from '@drawbridge/media-relay';
import {
  answerChallenge,
  buildRequest,
  type FlowTable,
  H,
  MessageView,
  parseNameAddr,
  type Tap,
  type Transactions,
} from '@drawbridge/sip';
import type { Answer, Question } from '../src/asks.js';
import { assemble, type Parts } from '../src/assemble.js';
import type { Border } from '../src/border.js';
import { type Config, configSchema, freezeConfig } from '../src/config.js';
import { Domains } from '../src/domains.js';
import type { BorderEvent } from '../src/events.js';
import { HopList } from '../src/locate/hop-list.js';
import { type OpenedListener, Realms } from '../src/realms.js';
import type { Registrar } from '../src/registrar/registrar.js';
import { Subscribers, subscriberWrite } from '../src/subscribers.js';
import { Traces } from '../src/trace.js';
import type { TrunkWatch } from '../src/trunk/watch.js';

export const ACCESS_UDP = 0;
export const ACCESS_TCP = 1;
export const CORE_UDP = 2;
export const CORE_TCP = 3;
export const BORDER = '203.0.113.10';
export const BORDER_CORE = '10.0.0.1';
export const PBX = '10.0.0.5:5060';
export const PASSWORD = 'correct horse';

const LISTENERS: readonly OpenedListener[] = [
  {
    realm: 'access',
    transport: 'udp',
    bind: { address: BORDER, port: 5060 },
    advertise: { address: BORDER, port: 5060 },
  },
  {
    realm: 'access',
    transport: 'tcp',
    bind: { address: BORDER, port: 5060 },
    advertise: { address: BORDER, port: 5060 },
  },
  {
    realm: 'core',
    transport: 'udp',
    bind: { address: BORDER_CORE, port: 5060 },
    advertise: { address: BORDER_CORE, port: 5060 },
  },
  {
    realm: 'core',
    transport: 'tcp',
    bind: { address: BORDER_CORE, port: 5060 },
    advertise: { address: BORDER_CORE, port: 5060 },
  },
];
const REALMS = [
  { name: 'access', networks: ['0.0.0.0/0', '::/0'] },
  { name: 'core', networks: ['10.0.0.0/24'] },
];

/** One message on the wire, seen from the border. */
export interface Wire {
  readonly at: Mono;
  readonly direction: 'in' | 'out';
  readonly via: Via;
  readonly peer: string;
  readonly text: string;
}

type OfKind<K extends BorderEvent['kind'], E = BorderEvent> = E extends { readonly kind: infer Own }
  ? K extends Own
    ? E
    : never
  : never;

/** The networks and domains of the world, as a configuration names them. */
const CONFIGURED = {
  realms: { access: { bind: [BORDER] }, core: { bind: [BORDER_CORE] } },
  domains: { 'example.org': { kind: 'local' }, 'pbx.example.net': { kind: 'upstream', next: ['sip:10.0.0.5'] } },
};

/** A whole border in virtual time; its wires are arrays, its peers are scripts. */
export class BorderWorld {
  now: Mono = 1000;
  readonly config: Config;
  readonly counts = new ReasonCounts();
  readonly random = seededRandom(7);
  readonly realms: Realms;
  readonly flows: FlowTable;
  readonly transactions: Transactions;
  readonly domains: Domains;
  readonly subscribers = new Subscribers();
  readonly registrar: Registrar;
  readonly relay: RelayHub;
  /** The relay's flow table, for a forwarder of the test's own. */
  readonly mediaTable: MediaTable;
  readonly border: Border;
  readonly trunkWatch: TrunkWatch;
  readonly traces: Traces;
  readonly events: BorderEvent[] = [];
  /** Every message in the order of the wire, while `recording`. */
  readonly wires: Wire[] = [];
  recording = true;
  /** What left for somebody who isn't there. */
  readonly lost: Wire[] = [];
  /** Sees what leaves; true loses it. */
  loses: ((w: Wire) => boolean) | undefined;
  readonly phones = new Map<string, Phone>();
  /** What the name servers say; undefined: nothing, until the deadline. Without it questions stay in `events`. */
  dns: ((q: Question<'dns'>) => Answer<'dns'> | undefined) | undefined;
  /** What phones answer by themselves: never within the send that made them. */
  readonly soon: (() => void)[] = [];
  readonly #streams = new Map<Via, Endpoint>();
  readonly #tx: Tx;
  readonly #answers: AskId[] = [];
  /** Told after the turn that made them, as the composition root does. */
  readonly #relayEvents: RelayEvent[] = [];
  #serial = 0;
  #dialled = 100;

  /** `next`: hops of the upstream domain, `udp:10.0.0.5:5060`. */
  constructor(
    o: {
      config?: object;
      relay?: Partial<MediaRelayOptions>;
      next?: readonly string[];
      /** Further sockets, behind the four that are always there. */
      listeners?: readonly OpenedListener[];
      streams?: Parts['streams'];
      /** What sees every message, made from the world's own. */
      taps?: (own: Tap, modules: { realms: Realms; callerOf(callId: string): string | undefined }) => Tap;
    } = {},
  ) {
    this.config = freezeConfig(configSchema.parse({ ...CONFIGURED, ...o.config }));
    this.realms = new Realms(REALMS, [...LISTENERS, ...(o.listeners ?? [])]);
    this.traces = new Traces({ wall: () => 1_700_000_000_000 + this.now, realms: this.realms });
    const core = this.realms.listener(CORE_UDP);
    this.domains = new Domains(
      [
        { kind: 'local', name: 'example.org' },
        {
          kind: 'upstream',
          name: 'pbx.example.net',
          next: new HopList(
            {
              name: 'pbx.example.net',
              uris: (o.next ?? [`udp:${PBX}`]).map(hop =>
                hop.startsWith('sip') ? hop : `sip:${hop.slice(4)};transport=${hop.slice(0, 3)}`,
              ),
              realm: core.realm,
            },
            { realms: this.realms, random: this.random },
          ),
        },
      ],
      this.realms,
    );
    for (const user of ['alice', 'bob', 'carol']) {
      const w = subscriberWrite(user, 'example.org', { password: PASSWORD });
      this.subscribers.apply(w.key, w.value);
    }
    const media: MediaRelayOptions = {
      realms: [
        { name: 'access', addresses: [{ bind: BORDER }] },
        { name: 'core', addresses: [{ bind: BORDER_CORE }] },
      ],
      ports: [30000, 31999],
      quarantineMs: 0,
      ...o.relay,
    };
    const addresses = relayAddresses(media);
    this.mediaTable = MediaTable.create(
      addresses.map(a => a.bind),
      media.ports[0],
      media.ports[1],
    );
    this.relay = new RelayHub(media, addresses, this.mediaTable, {
      now: () => this.now,
      random: seededRandom(8),
      onEvent: e => this.#relayEvents.push(e),
      path: { paths: addresses.map(() => ({ kind: 'dgram', because: 'virtual' })), opened() {}, closed() {} },
    });
    const relay = { session: (s: { id: string }) => this.relay.session(s.id) } as unknown as MediaRelay;
    const made = assemble(this.config, {
      realms: this.realms,
      domains: this.domains,
      subscribers: this.subscribers,
      relay,
      random: this.random,
      counts: this.counts,
      traces: this.traces,
      tap: o.taps?.(this.traces, { realms: this.realms, callerOf: id => this.traces.callerOf(id) }) ?? this.traces,
      keys: { names: new Uint8Array(32).fill(9), nonce: new Uint8Array(32).fill(1), tag: new Uint8Array(16).fill(7) },
      now: this.now,
      wall: () => 1_700_000_000_000 + this.now,
      peerOf: via => this.#streams.get(via),
      ...(o.streams === undefined ? {} : { streams: o.streams }),
    });
    this.border = made.border;
    this.trunkWatch = made.watch;
    this.flows = made.flows;
    this.transactions = made.transactions;
    this.registrar = made.registrar;
    this.#tx = {
      text: (via, to, j, text) => {
        const w: Wire = { at: this.now, direction: 'out', via, peer: formatEndpoint(to.get(j)), text };
        if (this.recording) this.wires.push(w);
        if (this.loses?.(w) === true) return true;
        const phone = this.phones.get(key(via, w.peer));
        if (phone === undefined) this.lost.push(w);
        else {
          if (this.realms.listener(via).transport !== 'udp' && via <= LISTENER_MASK) this.#dial(phone, via, w.peer);
          phone.hear(text);
        }
        return true;
      },
      inPlace: () => false,
    };
    this.transactions.use(this.#tx);
  }

  phone(user: string, o: { at: string; inner?: string; via?: Via; domain?: string }): Phone {
    return new Phone(this, user, o);
  }

  /** One datagram (or framed message) from the wire. */
  receive(text: string, from: string, via: Via = ACCESS_UDP): void {
    if (this.recording) this.wires.push({ at: this.now, direction: 'in', via, peer: from, text });
    const bytes = Buffer.from(text, 'latin1');
    const peer = new Endpoints(BATCH);
    peer.set(0, endpoint(from));
    const local = new Endpoints(BATCH);
    local.set(0, this.realms.listener(via).bind);
    const rx: Rx = {
      count: 1,
      bytes,
      at: Uint32Array.of(0),
      len: Uint32Array.of(bytes.length),
      via: Uint32Array.of(via),
      peer,
      local,
    };
    this.border.handleBatch(this.now, rx, this.#tx);
    this.#drain();
  }

  /** Work from outside the wire (API): with the driver's Tx, as a turn of its own. */
  run(work: (now: Mono, tx: Tx) => void): void {
    work(this.now, this.#tx);
    this.#drain();
  }

  openStream(via: Via, from: string): Via {
    this.#streams.set(via, endpoint(from));
    this.border.handleFlow(this.now, via, 'opened', this.#tx);
    this.#drain();
    return via;
  }

  /** What a stream listener does with a message for somebody it has no stream to. */
  #dial(phone: Phone, listener: Via, peer: string): void {
    const via = (++this.#dialled << 8) | listener;
    this.phones.delete(key(listener, peer));
    phone.via = via;
    this.phones.set(key(via, peer), phone);
    this.soon.unshift(() => this.openStream(via, peer));
  }

  closeStream(via: Via): void {
    this.border.handleFlow(this.now, via, 'closed', this.#tx);
    this.#streams.delete(via);
    this.#drain();
  }

  /** Lets time pass, timer by timer. `until`: stop as soon as it is true. */
  pass(ms: number, until?: () => boolean): void {
    const end = this.now + ms;
    while (until?.() !== true) {
      const due = Math.min(this.border.pollTimeout(), this.relay.pollTimeout());
      if (due > end) break;
      this.now = Math.max(this.now, due);
      this.border.handleTimeout(this.now, this.#tx);
      this.relay.handleTimeout(this.now);
      this.#drain();
    }
    if (until?.() !== true) this.now = end;
  }

  /** Events of these kinds since the last call, newest last. */
  take<K extends BorderEvent['kind']>(kind: K): OfKind<K>[] {
    const found: OfKind<K>[] = [];
    for (let i = 0; i < this.events.length; ) {
      const e = this.events[i] as BorderEvent;
      if (e.kind === kind) {
        found.push(e as OfKind<K>);
        this.events.splice(i, 1);
      } else i++;
    }
    return found;
  }

  count(reason: Reason): number {
    return this.counts.get(reason);
  }

  serial(): number {
    return ++this.#serial;
  }

  #drain(): void {
    for (;;) {
      for (let e = this.border.pollEvent(); e !== undefined; e = this.border.pollEvent()) {
        if (e.kind === 'ask-store') this.#answers.push(e.id);
        else if (e.kind === 'ask' && e.asks === 'dns' && this.dns !== undefined) {
          const { id } = e;
          const answer = this.dns(e.question);
          if (answer !== undefined)
            this.soon.push(() => this.border.handleAnswer(this.now, id, { kind: 'answer', answer }, this.#tx));
        } else this.events.push(e);
      }
      const next = this.soon.shift();
      if (next !== undefined) {
        next();
        continue;
      }
      const e = this.#relayEvents.shift();
      if (e !== undefined) {
        this.border.onRelayEvent(this.now, e, this.#tx);
        continue;
      }
      const id = this.#answers.shift();
      if (id === undefined) return;
      this.border.handleAnswer(this.now, id, { kind: 'stored', ok: true }, this.#tx);
    }
  }
}

function key(via: Via, peer: string): string {
  return via > 255 ? `stream ${via}` : `${via} ${peer}`;
}

export function endpoint(text: string): Endpoint {
  const e = parseEndpoint(text);
  if (e === undefined) throw new Error(text);
  return e;
}

export function parsed(text: string): MessageView {
  const m = new MessageView();
  const fault = m.parse(text);
  if (fault !== undefined) throw new Error(`${fault}: ${text}`);
  return m;
}

/** A SIP user agent that does what the script says and nothing else. It lives behind a NAT: `at` is what the border sees, `inner` what it says. */
export class Phone {
  readonly world: BorderWorld;
  readonly user: string;
  readonly domain: string;
  readonly inner: string;
  readonly inbox: MessageView[] = [];
  at: string;
  via: Via;
  #cseq = 0;

  constructor(world: BorderWorld, user: string, o: { at: string; inner?: string; via?: Via; domain?: string }) {
    this.world = world;
    this.user = user;
    this.domain = o.domain ?? 'example.org';
    this.at = o.at;
    this.inner = o.inner ?? '192.168.77.5:5062';
    this.via = o.via ?? ACCESS_UDP;
    world.phones.set(key(this.via, this.at), this);
  }

  get aor(): string {
    return `sip:${this.user}@${this.domain}`;
  }
  get contact(): string {
    return `sip:${this.user}@${this.inner}`;
  }
  get transport(): string {
    return this.world.realms.listener(this.via).transport.toUpperCase();
  }

  /** The NAT gives it another mapping: the old one is dead. */
  moveTo(at: string): void {
    this.world.phones.delete(key(this.via, this.at));
    this.at = at;
    this.world.phones.set(key(this.via, at), this);
  }

  unplug(): void {
    this.world.phones.delete(key(this.via, this.at));
  }

  hear(text: string): void {
    if (text.trim() === '') return;
    const m = parsed(text);
    // The border's keepalive: it names no user.
    if (m.method === 'OPTIONS' && !m.get(H.from).includes('@')) this.world.soon.push(() => this.send(replyTo(m, 200)));
    else this.inbox.push(m);
  }

  send(text: string): void {
    this.world.receive(text, this.at, this.via);
  }

  /** The next message, which must be this method or status. */
  next(what: string | number): MessageView {
    const m = this.inbox.shift();
    if (m === undefined) throw new Error(`${this.user} waits for ${what}, nothing came`);
    if ((m.isRequest ? m.method : m.status) !== what)
      throw new Error(`${this.user} waits for ${what}, got:\n${m.text}`);
    return m;
  }

  /** What has arrived, as methods and statuses, and forgets it. */
  heard(): (string | number)[] {
    return this.inbox.splice(0).map(m => (m.isRequest ? m.method : m.status));
  }

  branch(): string {
    return `z9hG4bK-${this.user}-${this.world.serial()}`;
  }

  request(o: {
    method: string;
    uri: string;
    branch?: string;
    from?: string;
    to: string;
    callId?: string;
    cseq?: number;
    headers?: string;
    sdp?: string;
    body?: string;
    contentType?: string;
    maxForwards?: number;
    contact?: string | false;
    routes?: readonly string[];
  }): string {
    const body = o.sdp ?? o.body;
    return buildRequest({
      method: o.method,
      uri: o.uri,
      via: { transport: this.transport, sentBy: this.inner, branch: o.branch ?? this.branch() },
      maxForwards: o.maxForwards ?? 70,
      from: o.from ?? `<${this.aor}>;tag=f${this.world.serial()}`,
      to: o.to,
      callId: o.callId ?? `call-${this.world.serial()}@${this.inner}`,
      cseq: o.cseq ?? ++this.#cseq,
      ...(o.contact === false ? {} : { contact: o.contact ?? `<${this.contact}>` }),
      ...(o.routes === undefined ? {} : { routes: o.routes }),
      headers: o.headers ?? '',
      ...(body === undefined
        ? {}
        : { contentType: o.sdp === undefined ? (o.contentType ?? 'text/plain') : 'application/sdp', body }),
    });
  }

  /** A request outside a dialog with the challenge that it gets; its final reply stays in the inbox. Gives the CSeq and branch that got through. */
  ask(o: Parameters<Phone['request']>[0]): { readonly cseq: number; readonly branch: string } {
    const cseq = o.cseq ?? ++this.#cseq;
    const from = o.from ?? `<${this.aor}>;tag=f${this.world.serial()}`;
    const callId = o.callId ?? `call-${this.world.serial()}@${this.inner}`;
    const branch = this.branch();
    this.send(this.request({ ...o, cseq, from, callId, branch }));
    const first = this.inbox[0];
    if (first === undefined || (first.status !== 401 && first.status !== 407)) return { cseq, branch };
    this.inbox.shift();
    this.#cseq = cseq + 1;
    if (o.method === 'INVITE')
      this.send(
        this.request({ method: 'ACK', uri: o.uri, from, to: first.get(H.to), callId, cseq, branch, contact: false }),
      );
    const line = answerChallenge(
      first,
      { method: o.method, uri: o.uri },
      { realm: this.domain, user: this.user, password: PASSWORD },
      this.world.random,
    );
    const again = { cseq: cseq + 1, branch: o.branch ?? this.branch() };
    this.send(this.request({ ...o, ...again, from, callId, headers: `${o.headers ?? ''}${line ?? ''}` }));
    return again;
  }

  register(o: { headers?: string; contact?: string; callId?: string } = {}): this {
    this.ask({ method: 'REGISTER', uri: `sip:${this.domain}`, to: `<${this.aor}>`, ...o });
    this.next(200);
    return this;
  }

  /** An INVITE of a new call, past its challenge; the 100 is taken. */
  invite(
    to: string,
    o: { sdp?: string | false; headers?: string; from?: string; callId?: string; branch?: string } = {},
  ): Half {
    const half = new Half(this, {
      callId: o.callId ?? `call-${this.world.serial()}@${this.inner}`,
      localTag: `t${this.world.serial()}`,
      local: o.from ?? `<${this.aor}>`,
      remote: `<${to}>`,
      target: to,
      cseq: 1,
    });
    const sdp = o.sdp === undefined ? this.sdp() : o.sdp;
    const through = this.ask({
      method: 'INVITE',
      uri: to,
      from: `${half.local};tag=${half.localTag}`,
      to: half.remote,
      callId: half.callId,
      cseq: half.cseq,
      ...(o.branch === undefined ? {} : { branch: o.branch }),
      headers: o.headers ?? '',
      ...(sdp === false ? {} : { sdp }),
    });
    half.cseq = through.cseq;
    half.branch = through.branch;
    if (this.inbox[0]?.status === 100) this.inbox.shift();
    return half;
  }

  /** The called side of an INVITE that lies in the inbox. */
  called(): Half {
    const m = this.next('INVITE');
    const contact = parseNameAddr(m.list(H.contact)[0] ?? '')?.uri ?? '';
    const half = new Half(this, {
      callId: m.callId,
      localTag: `t${this.world.serial()}`,
      local: m.get(H.to),
      remote: withoutTag(m.get(H.from)),
      remoteTag: m.fromTag,
      target: contact,
      cseq: 100,
    });
    half.invite = m;
    return half;
  }

  /** What it says about its media. */
  sdp(o: { port?: number; version?: number; lines?: readonly string[]; at?: string } = {}): string {
    const at = o.at ?? endpoint(this.inner).address;
    return [
      'v=0',
      `o=${this.user} 4711 ${o.version ?? 1} IN IP4 ${at}`,
      's=-',
      `c=IN IP4 ${at}`,
      't=0 0',
      `m=audio ${o.port ?? 40000} RTP/AVP 0 101`,
      'a=rtpmap:0 PCMU/8000',
      'a=rtpmap:101 telephone-event/8000',
      ...(o.lines ?? []),
      '',
    ].join('\r\n');
  }
}

/** A bare response, as a stack would make it by itself. */
export function replyTo(m: MessageView, status: number): string {
  const vias = m
    .list(H.via)
    .map(v => `Via: ${v}\r\n`)
    .join('');
  return `SIP/2.0 ${status} Whatever\r\n${vias}From: ${m.get(H.from)}\r\nTo: ${m.get(H.to)}${m.toTag === '' ? ';tag=itself' : ''}\r\nCall-ID: ${m.callId}\r\nCSeq: ${m.cseq} ${m.method}\r\nContent-Length: 0\r\n\r\n`;
}

function withoutTag(value: string): string {
  return value.replace(/;tag=[^;]*/, '');
}

interface HalfParts {
  callId: string;
  localTag: string;
  local: string;
  remote: string;
  remoteTag?: string;
  target: string;
  cseq: number;
}

/** One phone's half of a dialog. */
export class Half {
  readonly phone: Phone;
  readonly callId: string;
  readonly localTag: string;
  readonly local: string;
  readonly remote: string;
  remoteTag: string;
  target: string;
  cseq: number;
  branch = '';
  invite: MessageView | undefined = undefined;

  constructor(phone: Phone, o: HalfParts) {
    this.phone = phone;
    this.callId = o.callId;
    this.localTag = o.localTag;
    this.local = o.local;
    this.remote = o.remote;
    this.remoteTag = o.remoteTag ?? '';
    this.target = o.target;
    this.cseq = o.cseq;
  }

  /** Takes tag and target from a response to the INVITE. */
  learn(m: MessageView): MessageView {
    this.remoteTag = m.toTag;
    const contact = parseNameAddr(m.list(H.contact)[0] ?? '')?.uri;
    if (contact !== undefined) this.target = contact;
    return m;
  }

  /** Waits for this response to the INVITE and learns from it. */
  expect(status: number): MessageView {
    return this.learn(this.phone.next(status));
  }

  /** Text of a request of this half. */
  text(
    method: string,
    o: {
      cseq?: number;
      branch?: string;
      sdp?: string;
      headers?: string;
      body?: string;
      contentType?: string;
      maxForwards?: number;
    } = {},
  ): string {
    const cseq = o.cseq ?? (method === 'ACK' ? this.cseq : ++this.cseq);
    return this.phone.request({
      method,
      uri: this.target,
      from: `${this.local};tag=${this.localTag}`,
      to: this.remoteTag === '' ? this.remote : `${this.remote};tag=${this.remoteTag}`,
      callId: this.callId,
      contact: method === 'INVITE' || method === 'UPDATE' ? `<${this.phone.contact}>` : false,
      ...o,
      cseq,
    });
  }

  send(method: string, o: Parameters<Half['text']>[1] = {}): void {
    this.phone.send(this.text(method, o));
  }

  /** CANCEL of the INVITE of this half. */
  cancel(headers = ''): void {
    this.phone.send(
      this.phone.request({
        method: 'CANCEL',
        uri: this.remote.slice(1, -1),
        branch: this.branch,
        from: `${this.local};tag=${this.localTag}`,
        to: this.remote,
        callId: this.callId,
        cseq: this.cseq,
        contact: false,
        headers,
      }),
    );
  }

  /** Text of a response to a request of the other side. */
  replyText(m: MessageView, status: number, o: { sdp?: string; headers?: string; tag?: string } = {}): string {
    const tag = m.toTag === '' && status > 100 ? `;tag=${o.tag ?? this.localTag}` : '';
    const contact = m.method === 'INVITE' && status < 300 ? `Contact: <${this.phone.contact}>\r\n` : '';
    const body = o.sdp ?? '';
    const vias = m
      .list(H.via)
      .map(v => `Via: ${v}\r\n`)
      .join('');
    return `SIP/2.0 ${status} Whatever\r\n${vias}From: ${m.get(H.from)}\r\nTo: ${m.get(H.to)}${tag}\r\nCall-ID: ${m.callId}\r\nCSeq: ${m.cseq} ${m.method}\r\n${contact}${o.headers ?? ''}${
      body === '' ? '' : 'Content-Type: application/sdp\r\n'
    }Content-Length: ${body.length}\r\n\r\n${body}`;
  }

  reply(m: MessageView, status: number, o: Parameters<Half['replyText']>[2] = {}): void {
    this.phone.send(this.replyText(m, status, o));
  }

  /** Response to the INVITE that made this half. */
  answer(status: number, o: Parameters<Half['replyText']>[2] = {}): void {
    if (this.invite !== undefined) this.reply(this.invite, status, o);
  }
}

/** Two registered phones, talking. */
export function talking(world: BorderWorld, o: { caller?: Phone; callee?: Phone } = {}): { alice: Half; bob: Half } {
  const caller = o.caller ?? world.phone('alice', { at: '198.51.100.1:5060', inner: '192.168.77.5:5062' }).register();
  const callee = o.callee ?? world.phone('bob', { at: '198.51.100.2:6060', inner: '172.16.5.9:5070' }).register();
  const alice = caller.invite(callee.aor);
  const bob = callee.called();
  bob.answer(180);
  alice.expect(180);
  bob.answer(200, { sdp: callee.sdp() });
  callee.next('ACK');
  alice.expect(200);
  alice.send('ACK');
  return { alice, bob };
}
