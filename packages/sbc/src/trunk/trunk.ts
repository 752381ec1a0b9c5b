import { formatEndpoint, type Mono, own, PrefixSet, type Random, type Reason } from '@drawbridge/core';
import { type AnsweredRequest, answerChallenge, type Flow, H, type MessageView, parseAuth } from '@drawbridge/sip';
import type { Keeper } from '../decide/plan.js';
import type { HopList, NextHop } from '../locate/hop-list.js';
import type { TrunkConfig } from './config.js';
import { HopHealth } from './hop-health.js';
import { TokenBucket } from './token-bucket.js';

/** Secrets of one trunk, read where the configuration says. */
export interface TrunkSecrets {
  readonly register?: string | undefined;
  readonly auth?: string | undefined;
}

export type Failure = '3xx' | '4xx' | '5xx' | '6xx' | 'timeout' | 'transport';
export const FAILURES: readonly Failure[] = ['3xx', '4xx', '5xx', '6xx', 'timeout', 'transport'];

export interface TrunkModules {
  readonly hops: HopList;
  readonly secrets: TrunkSecrets;
  readonly random: Random;
  /** A hop went down or came back. */
  onChange(now: Mono, trunk: Trunk, hop: string, up: boolean): void;
}

/** One configured trunk: who belongs to it, whether it lives, and what is under way on it. */
export class Trunk {
  readonly name: string;
  readonly o: TrunkConfig;
  /** Host of Request-URIs toward it. */
  readonly host: string;
  /** Calls under way, both directions. */
  active = 0;
  readonly calls = { in: 0, out: 0 };
  readonly failures = new Map<Failure, number>(FAILURES.map(f => [f, 0]));
  /** Calls that went elsewhere, or nowhere, because it was full. */
  full = 0;
  /** Undefined: it doesn't register. */
  registered: boolean | undefined = undefined;
  /** Realm of its registrar's own challenges. */
  learntRealm: string | undefined = undefined;
  readonly #m: TrunkModules;
  readonly #from: PrefixSet | undefined;
  readonly #rate: TokenBucket | undefined;
  readonly #health = new Map<string, HopHealth>();
  readonly #perCaller = new Map<string, number>();

  constructor(name: string, o: TrunkConfig, modules: TrunkModules) {
    this.name = name;
    this.o = o;
    this.#m = modules;
    this.host = o.host ?? hostOf(o.next[0] ?? '');
    const from = o.from === undefined ? undefined : PrefixSet.parse(o.from);
    this.#from = from instanceof PrefixSet ? from : undefined;
    this.#rate = o.maxCallsPerSecond === undefined ? undefined : new TokenBucket(o.maxCallsPerSecond);
    if (o.register !== undefined) this.registered = false;
  }

  /** User part of the contact that we register with it. */
  get contactUser(): string | undefined {
    const { register } = this.o;
    return register?.contactUser ?? register?.account ?? register?.user;
  }

  get networks(): PrefixSet | undefined {
    return this.#from;
  }

  get hops(): HopList {
    return this.#m.hops;
  }

  health(hop: NextHop): HopHealth {
    return this.#of(hopKey(hop));
  }

  /** Those that may be tried, best first; with `anyway` the others come after them. */
  usable(now: Mono, anyway = false): NextHop[] {
    const all = this.hops.current(now);
    const live = all.filter(h => this.health(h).usable(now));
    const sure = live.filter(h => !this.health(h).doubtful(now));
    const list = sure.length === live.length ? live : [...sure, ...live.filter(h => !sure.includes(h))];
    return anyway ? [...list, ...all.filter(h => !live.includes(h))] : list;
  }

  up(now: Mono): boolean {
    return this.hops.all.some(h => this.health(h).usable(now));
  }

  /** No further call in either direction; counted. */
  isFull(): boolean {
    const { maxCalls } = this.o;
    const full = maxCalls !== undefined && this.active >= maxCalls;
    if (full) this.full++;
    return full;
  }

  /** Why no further call may go there now; undefined when one may, which is then counted by its keeper. */
  refuses(now: Mono, caller: string): Reason | undefined {
    if (this.isFull()) return 'trunk-limit';
    const { maxCallsPerCaller } = this.o;
    const enough = maxCallsPerCaller !== undefined && (this.#perCaller.get(caller) ?? 0) >= maxCallsPerCaller;
    if (!enough && this.#rate?.has(now) !== false) return undefined;
    this.full++;
    return 'trunk-limit';
  }

  /** One call more toward it. */
  take(now: Mono): void {
    this.#rate?.take(now);
  }

  heard(now: Mono, flow: Flow, m: MessageView): void {
    const key = flowKey(flow);
    const health = this.#known(key);
    if (health === undefined) return;
    const before = health.down;
    health.heard(now, m);
    if (health.down !== before) this.#m.onChange(now, this, key, before);
  }

  lost(now: Mono, flow: Flow): void {
    const key = flowKey(flow);
    if (this.#known(key)?.failed(now) === true) this.#m.onChange(now, this, key, false);
  }

  failure(f: Failure): void {
    this.failures.set(f, (this.failures.get(f) ?? 0) + 1);
  }

  /** RFC 3261 §22: only in the realm that is configured, or that the registrar itself has named. Never for a realm that somebody behind the trunk invents. */
  credentials(m: MessageView, request: AnsweredRequest): string | undefined {
    const { auth, register } = this.o;
    const realm = auth?.realm ?? register?.realm ?? this.learntRealm;
    const user = auth?.user ?? register?.user;
    const password = auth === undefined ? this.#m.secrets.register : this.#m.secrets.auth;
    if (realm === undefined || user === undefined || password === undefined) return undefined;
    return answerChallenge(m, request, { realm, user, password }, this.#m.random);
  }

  /** The same for a REGISTER of ours, whose challenge is the registrar's own. */
  registerCredentials(m: MessageView, request: AnsweredRequest): string | undefined {
    const { register } = this.o;
    const password = this.#m.secrets.register;
    if (register === undefined || password === undefined) return undefined;
    const realm = register.realm ?? realmOf(m);
    if (realm === undefined) return undefined;
    const line = answerChallenge(m, request, { realm, user: register.user, password }, this.#m.random);
    if (line !== undefined) this.learntRealm = realm;
    return line;
  }

  callerCount(caller: string, by: 1 | -1): void {
    const n = (this.#perCaller.get(caller) ?? 0) + by;
    if (n > 0) this.#perCaller.set(caller, n);
    else this.#perCaller.delete(caller);
  }

  /** Hops that are no more are forgotten, so that a changing DNS can't fill the table. */
  prune(): void {
    const keys = new Set(this.hops.all.map(hopKey));
    for (const key of this.#health.keys()) if (!keys.has(key)) this.#health.delete(key);
  }

  /** A call may have come from another of its addresses, of which nothing is kept. */
  #known(key: string): HopHealth | undefined {
    const known = this.#health.get(key);
    return known ?? (this.hops.all.some(h => hopKey(h) === key) ? this.#of(key) : undefined);
  }

  #of(key: string): HopHealth {
    let known = this.#health.get(key);
    if (known === undefined) {
      const options = this.o.options;
      known = new HopHealth(options === false ? 3 : options.failures, options === false);
      this.#health.set(key, known);
    }
    return known;
  }
}

/** One call's use of a trunk: counts while any of its legs is there. */
export class TrunkUse implements Keeper {
  readonly trunk: Trunk;
  /** How the last attempt ended, for whoever decides whether another trunk is tried. */
  outcome: number | 'timeout' | 'transport' | undefined = undefined;
  readonly #caller: string | undefined;
  readonly #also: { active: number } | undefined;
  #legs = 0;

  /** `caller`: counted for the limit per caller. `also`: a further count, that of emergency calls. */
  constructor(trunk: Trunk, caller?: string, also?: { active: number }) {
    this.trunk = trunk;
    // It outlives the message that it was read from.
    this.#caller = caller === undefined ? undefined : own(caller);
    this.#also = also;
  }

  legMade(): void {
    if (this.#legs++ > 0) return;
    this.trunk.active++;
    if (this.#caller !== undefined) this.trunk.callerCount(this.#caller, 1);
    if (this.#also !== undefined) this.#also.active++;
  }

  legGone(): void {
    if (--this.#legs > 0) return;
    this.trunk.active--;
    if (this.#caller !== undefined) this.trunk.callerCount(this.#caller, -1);
    if (this.#also !== undefined) this.#also.active--;
  }

  heard(now: Mono, flow: Flow, m: MessageView): void {
    this.trunk.heard(now, flow, m);
    if (m.status < 200) return;
    this.outcome = m.status;
    if (m.cseqMethod === 'INVITE' && m.status >= 300 && m.status !== 401 && m.status !== 407)
      this.trunk.failure(m.status >= 600 ? '6xx' : m.status >= 500 ? '5xx' : m.status >= 400 ? '4xx' : '3xx');
  }

  lost(now: Mono, flow: Flow, why: 'timeout' | 'transport', method: string): void {
    this.trunk.lost(now, flow);
    this.outcome = why;
    if (method === 'INVITE') this.trunk.failure(why);
  }

  credentials(m: MessageView, request: AnsweredRequest): string | undefined {
    return this.trunk.credentials(m, request);
  }
}

function realmOf(m: MessageView): string | undefined {
  const h = m.status === 407 ? H.proxyAuthenticate : H.wwwAuthenticate;
  for (let i = m.first(h); i >= 0; i = m.next(i)) {
    const auth = parseAuth(m.value(i));
    const realm = auth?.scheme === 'digest' ? auth.params.get('realm') : undefined;
    if (realm !== undefined && realm.length <= 256) return realm;
  }
  return undefined;
}

export function hopKey(hop: NextHop): string {
  return `${hop.transport} ${formatEndpoint(hop.endpoint)}`;
}

function flowKey(flow: Flow): string {
  return `${flow.transport} ${formatEndpoint(flow.peer.get(flow.j))}`;
}

/** `sip:[2001:db8::1]:5060;transport=tcp` → `[2001:db8::1]`. */
function hostOf(uri: string): string {
  return /^sips?:(\[[^\]]+\]|[^:;]+)/.exec(uri)?.[1] ?? '';
}
