import { type Mono, own, type Random } from '@drawbridge/core';
import { type Flow, H, type MessageView, parseAuth } from '@drawbridge/sip';
import type { Config } from '../config.js';
import { hasPush } from '../push/contact.js';
import type { Binding } from './binding.js';
import { Budget } from './budget.js';
import { sameContact, type Wanted } from './request.js';

/** What an upstream has granted to one contact, and what stands in the way of answering for it. */
export interface Lease {
  until: Mono;
  /** ms. */
  granted: number;
  /** Digest user name that the upstream accepted, '' when it asked for none. */
  user: string;
  /** With less than this left, ms, the next refresh goes upstream: about half, not the same for all. */
  turn: number;
  /** Answers in a row that refused credentials. */
  refusals: number;
  /** The upstream did not answer the last refresh: kept by us. */
  grace: boolean;
}

export interface LeasesModules {
  readonly random: Random;
  onGrace(now: Mono, b: Binding, what: 'began' | 'ended'): void;
}

/** So many refusals in a row are the upstream's last word: the first may only have meant an old nonce. */
const LAST_WORD = 2;
/** While an upstream is down, one REGISTER in so long is let through to it. */
const PROBE_MS = 15_000;

/**
 * When a refresh of an upstream's phone is answered here. The upstream's 200 was given for one contact over one flow; as
 * long as both stay what they were, and it still has time left, a REGISTER says nothing that the upstream doesn't know.
 */
export class Leases {
  readonly #o: Config['registrar'];
  readonly #m: LeasesModules;
  readonly #budget: Budget;
  /** REGISTERs that the upstream has not answered yet, by AoR. */
  readonly #underWay = new Map<string, number>();
  /** Domains whose upstream failed, until when it is spared. */
  readonly #down = new Map<string, Mono>();
  /** Seconds that an upstream has called too brief everything below. */
  readonly #shortest = new Map<string, number>();
  readonly #graced = new Set<Binding>();
  /** REGISTERs answered here, sent on, and answered in place of an upstream that failed. */
  readonly counts = { local: 0, forwarded: 0, bridged: 0 };

  constructor(options: Config['registrar'], modules: LeasesModules) {
    this.#o = options;
    this.#m = modules;
    this.#budget = new Budget(options.upstreamRate);
  }

  /** Bindings that live although their upstream doesn't answer. */
  get inGrace(): number {
    return this.#graced.size;
  }

  get on(): boolean {
    return this.#o.upstreamExpires !== false;
  }

  /** Seconds to ask of an upstream for a phone that asks for `wanted`. */
  asked(domain: string, wanted: number): number {
    if (this.#o.upstreamExpires === false || wanted === 0) return wanted;
    return Math.max(wanted, Math.ceil(this.#o.upstreamExpires / 1000), this.#shortest.get(domain) ?? 0);
  }

  /** The upstream's 423 (RFC 3261 §21.4.17). */
  tooBrief(domain: string, seconds: number): void {
    if (seconds > 0 && seconds <= 86_400 * 7) this.#shortest.set(domain, seconds);
  }

  /** Seconds to grant the phone. */
  told(b: { readonly contact: string }, flow: Flow, wanted: number, leftMs: number): number {
    const left = Math.max(1, Math.floor(leftMs / 1000));
    if (!this.on) return left;
    const { udp, stream } = this.#o.downstreamExpires;
    const most = hasPush(b.contact) ? left : (flow.transport === 'udp' ? udp : stream) / 1000;
    return Math.max(1, Math.min(left, most, wanted));
  }

  /**
   * The bindings that a REGISTER merely refreshes: every contact of it is bound over this very flow, says what it said,
   * and comes in order within its Call-ID. Undefined: it asks for something else, and that is the upstream's to judge.
   */
  refreshed(m: MessageView, flow: Flow, known: readonly Binding[], wanted: Wanted): readonly Binding[] | undefined {
    if (!this.on || wanted.wildcard || wanted.contacts.length === 0 || !flow.alive || !flow.proven) return undefined;
    const user = userOf(m);
    const found: Binding[] = [];
    for (const c of wanted.contacts) {
      const b = known.find(k => sameContact(k, c));
      if (b?.lease === undefined || b.flow !== flow || c.seconds === 0) return undefined;
      if (b.contact !== c.contact || b.instance !== c.instance || b.params !== c.params || b.q !== c.q)
        return undefined;
      if (b.callId !== wanted.callId || wanted.cseq <= b.cseq) return undefined;
      if (user !== '' && user !== b.lease.user) return undefined;
      found.push(b);
    }
    return found;
  }

  /** Until when these may be answered for, or undefined when this REGISTER goes upstream. */
  answers(now: Mono, aor: string, domain: string, bindings: readonly Binding[]): 'lease' | 'grace' | undefined {
    // What is under way may remove or move what this one refreshes.
    if (this.#underWay.has(aor) || bindings.some(b => (b.lease?.refusals ?? 0) > 0)) return undefined;
    if (bindings.every(b => b.lease !== undefined && b.lease.until - now >= b.lease.turn)) return 'lease';
    const { udp, stream } = this.#o.downstreamExpires;
    const patient = bindings.every(b => this.end(b) - now > 2 * (b.flow.transport === 'udp' ? udp : stream));
    if (!patient) return undefined;
    const down = this.#down.get(domain);
    if (down !== undefined) {
      if (down > now) return 'grace';
      this.#down.set(domain, now + PROBE_MS);
    }
    return this.#budget.take(now) ? undefined : 'lease';
  }

  /** The last moment for which a binding may be answered for without its upstream. */
  end(b: Binding): Mono {
    return b.lease === undefined || b.lease.refusals >= LAST_WORD ? 0 : b.lease.until + this.#o.grace;
  }

  sent(aor: string): void {
    this.counts.forwarded++;
    this.#underWay.set(aor, (this.#underWay.get(aor) ?? 0) + 1);
  }

  /** The upstream has answered (`failed` false), or nobody has. */
  came(now: Mono, aor: string, domain: string, failed: boolean): void {
    const left = (this.#underWay.get(aor) ?? 0) - 1;
    if (left > 0) this.#underWay.set(aor, left);
    else this.#underWay.delete(aor);
    if (failed) this.#down.set(domain, now + PROBE_MS);
    else this.#down.delete(domain);
  }

  /** What the upstream's 200 grants. */
  granted(now: Mono, seconds: number, user: string): Lease | undefined {
    return this.on ? makeLease(now + seconds * 1000, seconds * 1000, user, this.#m.random) : undefined;
  }

  /** The upstream refused credentials for these; true when that was its last word. */
  refused(bindings: readonly Binding[]): boolean {
    let last = false;
    for (const { lease } of bindings) if (lease !== undefined && ++lease.refusals >= LAST_WORD) last = true;
    return last;
  }

  bridge(now: Mono, b: Binding): void {
    if (b.lease === undefined || b.lease.grace) return;
    b.lease.grace = true;
    this.#graced.add(b);
    this.#m.onGrace(now, b, 'began');
  }

  /** A binding has a new lease, or is gone. */
  settled(now: Mono, b: Binding): void {
    if (this.#graced.delete(b)) this.#m.onGrace(now, b, 'ended');
  }
}

/** Turns lie within a tenth around the half, so that phones that came at once don't come back at once. */
export function makeLease(until: Mono, granted: number, user: string, random: Random): Lease {
  const turn = granted * (0.45 + (random.u32() % 1024) / 10_240);
  return { until, granted, user, turn, refusals: 0, grace: false };
}

/** Digest user name of a REGISTER, owned; '' without credentials. */
export function userOf(m: MessageView): string {
  if (!m.has(H.authorization)) return '';
  const params = parseAuth(m.get(H.authorization))?.params;
  return own((params?.get('username') ?? params?.get('username*') ?? '?').slice(0, 128));
}
