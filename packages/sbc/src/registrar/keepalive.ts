import { type Mono, type Random, randomToken, type TimerWheel, type Tx, Waiting } from '@drawbridge/core';
import {
  buildRequest,
  type ClientTransaction,
  type ClientUser,
  type FlowTable,
  type MessageView,
  parseUri,
  type Transactions,
} from '@drawbridge/sip';
import type { Realms } from '../realms.js';
import type { Binding } from './binding.js';
import type { BindingEvent } from './bindings.js';
import { type NatBounds, NatPatience } from './nat.js';

/** First question after a registration: does this phone answer OPTIONS at all? */
const FIRST_MS = 2000;
/** An OPTIONS and its retransmissions at 0.5, 1.5 and 3.5 s. */
const ANSWER_MS = 5000;
/** T1: what is answered before the first repetition. */
const FIRST_ONLY_MS = 500;
/** Unanswered questions, while no answer ever came, until a phone counts as one that doesn't answer. */
const MUTE_AFTER = 2;
/** Failures in a row that a returning phone confirms as a lost mapping even when its port is the same. */
const CONFIRM_AFTER = 2;

export interface KeepaliveModules {
  readonly wheel: TimerWheel;
  readonly flows: FlowTable;
  readonly transactions: Transactions;
  readonly realms: Realms;
  readonly random: Random;
}

/** For the API and the table of bindings. */
export interface KeepaliveFacts {
  readonly how: 'options' | 'crlf' | 'unknown';
  readonly intervalMs: number;
  /** Longest silence that was survived, shortest that was not (undefined: none yet), and whether the search goes on. */
  readonly goodMs: number;
  readonly badMs: number | undefined;
  readonly searching: boolean;
}

/**
 * Keeps the NAT mappings of registered phones open and finds out how seldom that can be done.
 *
 * Only silence is measured: whatever arrives from a flow (calls, REGISTERs, the phone's own CRLF) restarts its gap,
 * and a phone that keeps its mapping alive by itself is never asked. Streams, and phones that are not behind a NAT,
 * get a CRLF at the longest interval.
 */
export class Keepalive {
  readonly #o: NatBounds;
  readonly #m: KeepaliveModules;
  readonly #nats = new Map<string, NatPatience>();
  readonly #pingers = new Map<Binding, Pinger>();

  constructor(bounds: NatBounds, modules: KeepaliveModules) {
    this.#o = bounds;
    this.#m = modules;
  }

  get size(): number {
    return this.#pingers.size;
  }

  /** NAT addresses under observation. */
  get nats(): number {
    return this.#nats.size;
  }

  onBinding(now: Mono, e: BindingEvent): void {
    if (e.kind === 'binding-ended') return this.#end(e.binding);
    if (e.kind === 'binding-grace') return;
    const known = this.#pingers.get(e.binding);
    if (known === undefined) return this.#begin(now, e.binding);
    const moved = e.kind === 'binding-moved';
    known.registered(now, moved, e.kind !== 'binding-made' && e.sameCallId);
    if (moved && natKey(e.binding) !== known.nat.key) this.#rehome(known);
  }

  /** A binding from the store: nobody knows how long its mapping has been idle, so it is asked soon, but not all at once. */
  restored(now: Mono, b: Binding): void {
    this.#begin(now, b, (this.#m.random.u32() % 1000) * (this.#o.min / 2000));
  }

  facts(b: Binding): KeepaliveFacts | undefined {
    return this.#pingers.get(b)?.facts();
  }

  #begin(now: Mono, b: Binding, after = FIRST_MS): void {
    const p = new Pinger(b, this.#nat(b), this.#o, this.#m);
    this.#pingers.set(b, p);
    p.begin(now, after);
  }

  #end(b: Binding): void {
    const p = this.#pingers.get(b);
    if (p === undefined) return;
    this.#pingers.delete(b);
    p.end();
    this.#leave(p);
  }

  #rehome(p: Pinger): void {
    this.#leave(p);
    p.nat = this.#nat(p.binding);
  }

  #nat(b: Binding): NatPatience {
    const key = natKey(b);
    let nat = this.#nats.get(key);
    if (nat === undefined) {
      nat = new NatPatience(key, this.#o);
      this.#nats.set(key, nat);
    }
    nat.users++;
    return nat;
  }

  #leave(p: Pinger): void {
    const { nat } = p;
    if (nat.prober === p) nat.prober = undefined;
    if (--nat.users > 0) return;
    // Forgotten with its last binding, unless that very binding has already moved behind the same address.
    if (this.#nats.get(nat.key) === nat) this.#nats.delete(nat.key);
  }
}

function natKey(b: Binding): string {
  return `${b.flow.transport} ${b.flow.peer.address(b.flow.j)}`;
}

/** One binding's clock. */
class Pinger extends Waiting implements ClientUser {
  readonly binding: Binding;
  nat: NatPatience;
  readonly #o: NatBounds;
  readonly #m: KeepaliveModules;
  /** Behind a NAT as far as we can see: the contact isn't where the packets come from. */
  #natted: boolean;
  /** The contact that `#natted` was found with: a refresh mostly writes the same. */
  #contact: string;
  #how: 'options' | 'crlf' | 'unknown' = 'unknown';
  /** Silence that is allowed now. */
  #gap = 0;
  /** Silence before the question that is open, or that failed. */
  #asked = 0;
  #askedAt: Mono = 0;
  #open: ClientTransaction | undefined = undefined;
  #failures = 0;
  #suspect = 0;

  constructor(b: Binding, nat: NatPatience, bounds: NatBounds, modules: KeepaliveModules) {
    super();
    this.binding = b;
    this.nat = nat;
    this.#o = bounds;
    this.#m = modules;
    this.#natted = isNatted(b);
    this.#contact = b.contact;
  }

  begin(now: Mono, after: number): void {
    if (!this.#asks) {
      this.#how = 'crlf';
      this.#gap = this.#o.max;
      this.#m.wheel.arm(this, now + this.#gap);
      return;
    }
    this.#gap = after;
    this.#m.wheel.arm(this, now + after);
  }

  end(): void {
    this.#m.wheel.cancel(this);
    this.#open = undefined;
  }

  /** The phone came back with a REGISTER: that tells what a failure meant. */
  registered(now: Mono, moved: boolean, sameCallId: boolean): void {
    if (moved || this.#contact !== this.binding.contact) {
      this.#natted = isNatted(this.binding);
      this.#contact = this.binding.contact;
    }
    if (this.#suspect > 0) {
      // Another Call-ID is a phone that was restarted: it was away itself.
      if (sameCallId && (moved || this.#failures >= CONFIRM_AFTER)) this.nat.died(this.#suspect);
      this.#suspect = 0;
      this.#failures = 0;
    }
    if (this.nat.prober === this) this.nat.prober = undefined;
    if (this.#how === 'unknown') return;
    this.#plan(now);
  }

  facts(): KeepaliveFacts {
    const { good, bad } = this.nat;
    return {
      how: this.#how,
      intervalMs: Math.round(this.#asks && this.#how === 'options' ? this.nat.interval : this.#gap),
      goodMs: Math.round(good),
      badMs: bad === Number.POSITIVE_INFINITY ? undefined : Math.round(bad),
      searching: this.#asks && this.nat.next !== undefined,
    };
  }

  override onDue(now: Mono): void {
    const { flow } = this.binding;
    if (!flow.alive || this.#open !== undefined) return;
    const silent = now - flow.lastSeen;
    // Something arrived meanwhile: its gap has only begun. (Not while a phone is missing: then silence is all there is.)
    if (silent < this.#gap - this.#m.wheel.tick && this.#how !== 'unknown' && this.#failures === 0) {
      // A phone that isn't silent long enough leaves the search to others.
      if (this.nat.prober === this) {
        this.nat.prober = undefined;
        this.#gap = this.nat.interval;
      }
      this.#m.wheel.arm(this, Math.max(now, flow.lastSeen + this.#gap));
      return;
    }
    if (this.#how === 'crlf') {
      this.#m.flows.send(now, flow, flow.transport === 'udp' ? '\r\n\r\n' : '\r\n', this.#m.transactions.tx);
      this.#m.wheel.arm(this, now + this.#gap);
      return;
    }
    this.#asked = silent;
    this.#askedAt = now;
    this.#open = this.#ask(now);
    // No room for a transaction: the next turn tries again.
    if (this.#open === undefined) this.#m.wheel.arm(this, now + this.#o.min);
  }

  onResponse(now: Mono, ct: ClientTransaction, m: MessageView, _tx: Tx): void {
    if (ct !== this.#open || m.status < 200) return;
    this.#open = undefined;
    this.#how = 'options';
    // Proof is an answer to the first transmission. A repetition may have come in through a mapping that the phone had
    // just made anew, and after a failure the mapping may have been kept open by what failed.
    if (this.#failures === 0 && now - this.#askedAt < FIRST_ONLY_MS) this.nat.held(this.#asked);
    this.#failures = 0;
    this.#suspect = 0;
    if (this.nat.prober === this) this.nat.prober = undefined;
    // The answer is traffic, whoever else notes it.
    if (this.binding.flow.lastSeen < now) this.binding.flow.lastSeen = now;
    this.#plan(now);
  }

  onTimeout(now: Mono, ct: ClientTransaction, _tx: Tx): void {
    if (ct !== this.#open) return;
    this.#open = undefined;
    this.#failures++;
    if (this.#how === 'unknown') {
      if (this.#failures >= MUTE_AFTER) {
        this.#how = 'crlf';
        this.#failures = 0;
      }
    } else if (this.#suspect === 0) this.#suspect = this.#asked;
    this.#gap = this.#o.min;
    this.#m.wheel.arm(this, now + this.#gap);
  }

  onTransportError(now: Mono, ct: ClientTransaction, tx: Tx): void {
    this.onTimeout(now, ct, tx);
  }

  get #asks(): boolean {
    return this.#natted && this.binding.flow.transport === 'udp';
  }

  /** When to ask next: one phone per NAT goes a step further, the others stay where it is known to hold. */
  #plan(now: Mono): void {
    if (this.#open !== undefined) return;
    const next = this.nat.next;
    if (!this.#asks) this.#gap = this.#o.max;
    else if (this.#how === 'crlf') this.#gap = this.#o.min;
    else if (next !== undefined && this.nat.prober === undefined) {
      this.nat.prober = this;
      this.#gap = next;
    } else this.#gap = this.nat.prober === this ? (next ?? this.nat.interval) : this.nat.interval;
    this.#m.wheel.arm(this, Math.max(now, this.binding.flow.lastSeen + this.#gap));
  }

  #ask(now: Mono): ClientTransaction | undefined {
    const { binding: b } = this;
    const listener = this.#m.realms.listener(b.flow.via);
    const branch = this.#m.transactions.newBranch();
    const text = buildRequest({
      method: 'OPTIONS',
      uri: b.contact,
      via: { transport: listener.transport, sentBy: listener.sentBy, branch },
      maxForwards: 70,
      from: `<sip:${listener.sentBy}>;tag=${randomToken(this.#m.random, 16)}`,
      to: `<${b.contact}>`,
      callId: randomToken(this.#m.random, 20),
      cseq: 1,
      headers: 'Accept: application/sdp\r\n',
    });
    return this.#m.transactions.request(
      now,
      { method: 'OPTIONS', text, branch, flow: b.flow, user: this, timeoutMs: ANSWER_MS },
      this.#m.transactions.tx,
    );
  }
}

function isNatted(b: Binding): boolean {
  // Behind an edge of its own, which keeps the way to the phone open; ours leads to the edge.
  if (b.path.length > 0) return false;
  const { contact, flow } = b;
  const u = parseUri(contact);
  return u === undefined || u.host !== flow.peer.address(flow.j) || (u.port ?? 5060) !== flow.peer.port(flow.j);
}
