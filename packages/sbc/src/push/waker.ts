import { type Mono, type TimerWheel, type Tx, Waiting } from '@drawbridge/core';
import { parseUri } from '@drawbridge/sip';
import type { Asks } from '../asks.js';
import type { LateTargets, Onward, Target } from '../decide/plan.js';
import type { Binding } from '../registrar/binding.js';
import type { BindingEvent } from '../registrar/bindings.js';
import { hasPush, type PushAddress, pushOf } from './contact.js';

/** What the operator's gateway is asked to do. */
export interface PushRequest extends PushAddress {
  readonly reason: 'call' | 'refresh';
  readonly aor: string;
}

/** The gateway's HTTP status, or why there is none. */
export type PushAnswer = { readonly status: number } | { readonly failed: string };

export interface PushEvent {
  readonly kind: 'push-sent' | 'push-failed';
  readonly at: Mono;
  readonly binding: Binding;
  readonly provider: string;
  readonly reason: PushRequest['reason'];
  /** HTTP status or a sentence, '' without. */
  readonly detail: string;
}

export interface WakerOptions {
  readonly providers: Readonly<Record<string, { readonly timeout: number }>>;
  readonly wait: number;
  readonly max: number;
  /** Silence after which a mapping that nobody has measured counts as gone, ms. */
  readonly unknownPatience: number;
}

export interface WakerModules {
  readonly asks: Asks;
  readonly wheel: TimerWheel;
  tx(): Tx;
  /** Longest silence the phone's NAT has survived and shortest it has not, ms, where known. */
  patience(b: Binding): { readonly goodMs: number; readonly badMs: number | undefined } | undefined;
  targetOf(b: Binding): Target;
  onEvent(e: PushEvent): void;
}

/** What woke with a REGISTER gets its call after the 200 to that. */
const AFTER_REGISTER_MS = 50;
/** RFC 8599 §5.5: a phone that waits for a push to refresh gets it this long before its binding ends. */
const REFRESH_BEFORE_MS = 120_000;
/** A second call within this time of a push does not send another. */
const ONE_PUSH_MS = 5000;

/** Wakes phones that sleep: sends pushes through the operator's gateway, and lets calls wait for the REGISTER that follows. */
export class Waker {
  readonly #o: WakerOptions;
  readonly #m: WakerModules;
  readonly #names: readonly string[];
  /** Who waits for a phone of an AoR. */
  readonly #waiting = new Map<string, Set<Sleeper>>();
  #waiters = 0;
  #pushing = 0;
  readonly #pushed = new Map<Binding, Mono>();
  readonly #refreshers = new Map<Binding, Refresher>();
  readonly counts = { call: 0, refresh: 0, failed: 0, woke: 0, unheard: 0, full: 0 };

  constructor(options: WakerOptions, modules: WakerModules) {
    this.#names = Object.keys(options.providers);
    this.#o = options;
    this.#m = modules;
  }

  get providers(): readonly string[] {
    return this.#names;
  }

  /** Calls and messages that wait. */
  get waiting(): number {
    return this.#waiters;
  }

  supports(provider: string): boolean {
    return Object.hasOwn(this.#o.providers, provider);
  }

  /** Its flow is gone, or silent for longer than its NAT remembers; and it can be woken. */
  asleep(now: Mono, b: Binding): boolean {
    if (b.flow.alive && (b.flow.transport !== 'udp' || now - b.flow.lastSeen <= this.#patience(b))) return false;
    return this.wakes(b);
  }

  /** Whether a binding outlives its flow. */
  wakes(b: Binding): boolean {
    return hasPush(b.contact) && this.supports(pushOf(parseUri(b.contact))?.provider ?? '');
  }

  /** The way of a request to those that sleep; undefined when nobody does, or when it can't wait for them. */
  onward(now: Mono, method: string, bindings: readonly Binding[]): Onward | undefined {
    if (method !== 'INVITE' && method !== 'MESSAGE') return undefined;
    const sleeping = bindings.filter(b => this.asleep(now, b));
    if (sleeping.length === 0) return undefined;
    return { begin: (at, late) => this.#begin(at, sleeping, late) };
  }

  onBinding(now: Mono, e: BindingEvent): void {
    if (e.kind === 'binding-grace') return;
    const { binding: b } = e;
    if (e.kind === 'binding-ended') {
      this.#pushed.delete(b);
      this.#refreshers.get(b)?.end();
      this.#refreshers.delete(b);
    } else {
      this.#planRefresh(now, b);
      if (this.#pushed.delete(b)) this.counts.woke++;
    }
    const waiting = this.#waiting.get(b.aor);
    if (waiting === undefined) return;
    for (const s of [...waiting]) s.heard(now, b, e.kind !== 'binding-ended');
  }

  #begin(now: Mono, sleeping: readonly Binding[], late: LateTargets): boolean {
    if (this.#waiters >= this.#o.max) this.#forgetUnwanted();
    const aor = sleeping[0]?.aor;
    if (aor === undefined || this.#waiters >= this.#o.max) {
      this.counts.full++;
      return false;
    }
    const asked = sleeping.filter(b => this.#push(now, b, 'call'));
    if (asked.length === 0) return false;
    const sleeper = new Sleeper(asked, late, this.#m, (s, unheard) => this.#leave(aor, s, unheard));
    let set = this.#waiting.get(aor);
    if (set === undefined) {
      set = new Set();
      this.#waiting.set(aor, set);
    }
    set.add(sleeper);
    this.#waiters++;
    this.#m.wheel.arm(sleeper, now + this.#o.wait);
    return true;
  }

  #leave(aor: string, s: Sleeper, unheard: boolean): void {
    if (unheard) this.counts.unheard++;
    const set = this.#waiting.get(aor);
    if (set?.delete(s) !== true) return;
    this.#waiters--;
    if (set.size === 0) this.#waiting.delete(aor);
  }

  /** Callers who gave up are noticed at the deadline, or when room is needed. */
  #forgetUnwanted(): void {
    for (const set of [...this.#waiting.values()]) for (const s of [...set]) s.leaveIfUnwanted();
  }

  /** False: nothing was sent, and nothing will come of it. */
  #push(now: Mono, b: Binding, reason: PushRequest['reason']): boolean {
    const address = pushOf(parseUri(b.contact));
    const provider = address === undefined ? undefined : this.#o.providers[address.provider];
    if (address === undefined || provider === undefined) return false;
    const before = this.#pushed.get(b);
    if (before !== undefined && now - before < ONE_PUSH_MS) return true;
    if (this.#pushing >= this.#o.max) {
      this.counts.full++;
      return false;
    }
    const tell = (at: Mono, kind: PushEvent['kind'], detail: string): void =>
      this.#m.onEvent({ kind, at, binding: b, provider: address.provider, reason, detail });
    const id = this.#m.asks.ask(now, 'push', { ...address, reason, aor: b.aor }, provider.timeout, (at, answer, tx) => {
      this.#pushing--;
      const ok = answer !== undefined && 'status' in answer && answer.status >= 200 && answer.status < 300;
      const detail = answer === undefined ? 'no answer' : 'status' in answer ? String(answer.status) : answer.failed;
      tell(at, ok ? 'push-sent' : 'push-failed', detail);
      if (ok) return;
      this.counts.failed++;
      this.#pushed.delete(b);
      for (const s of [...(this.#waiting.get(b.aor) ?? [])]) s.unreachable(at, b, tx);
    });
    if (id === undefined) {
      this.counts.full++;
      return false;
    }
    this.#pushing++;
    this.counts[reason]++;
    this.#pushed.set(b, now);
    return true;
  }

  #patience(b: Binding): number {
    const known = this.#m.patience(b);
    return known?.badMs ?? 2 * Math.max(known?.goodMs ?? 0, this.#o.unknownPatience);
  }

  /** A phone that doesn't say `+sip.pnsreg` can't wake by itself. */
  #planRefresh(now: Mono, b: Binding): void {
    let r = this.#refreshers.get(b);
    if (!this.wakes(b) || b.params.includes(';+sip.pnsreg')) {
      r?.end();
      this.#refreshers.delete(b);
      return;
    }
    if (r === undefined) {
      r = new Refresher(this.#m.wheel, at => {
        this.#push(at, b, 'refresh');
      });
      this.#refreshers.set(b, r);
    }
    const left = b.expires - now;
    r.begin(now + Math.max(left / 2, left - REFRESH_BEFORE_MS));
  }
}

class Refresher extends Waiting {
  readonly #wheel: TimerWheel;
  readonly #due: (now: Mono) => void;

  constructor(wheel: TimerWheel, due: (now: Mono) => void) {
    super();
    this.#wheel = wheel;
    this.#due = due;
  }

  begin(at: Mono): void {
    this.#wheel.arm(this, at);
  }

  end(): void {
    this.#wheel.cancel(this);
  }

  override onDue(now: Mono): void {
    this.#due(now);
  }
}

/** One call or message, and the phones it waits for. */
class Sleeper extends Waiting {
  readonly #late: LateTargets;
  readonly #m: WakerModules;
  readonly #left: (s: Sleeper, unheard: boolean) => void;
  readonly #asleep: Set<Binding>;
  /** Registered, and about to ring. */
  readonly #awake = new Set<Binding>();
  readonly #soon: Refresher;

  constructor(
    asleep: readonly Binding[],
    late: LateTargets,
    modules: WakerModules,
    left: (s: Sleeper, unheard: boolean) => void,
  ) {
    super();
    this.#asleep = new Set(asleep);
    this.#late = late;
    this.#m = modules;
    this.#left = left;
    this.#soon = new Refresher(modules.wheel, now => this.#ring(now));
  }

  /** The deadline: nobody waits for longer. */
  override onDue(now: Mono): void {
    this.#end(this.#late.wanted());
    this.#late.done(now, this.#m.tx());
  }

  heard(now: Mono, b: Binding, registered: boolean): void {
    if (!this.#asleep.delete(b)) return;
    if (registered) this.#awake.add(b);
    this.#soon.begin(now + AFTER_REGISTER_MS);
  }

  unreachable(now: Mono, b: Binding, tx: Tx): void {
    if (!this.#asleep.delete(b) || this.#asleep.size > 0 || this.#awake.size > 0) return;
    this.#end();
    this.#late.done(now, tx);
  }

  leaveIfUnwanted(): void {
    if (!this.#late.wanted()) this.#end();
  }

  #ring(now: Mono): void {
    const targets = [...this.#awake].filter(b => b.flow.alive).map(b => this.#m.targetOf(b));
    this.#awake.clear();
    if (!this.#late.wanted()) return this.#end();
    const tx = this.#m.tx();
    if (targets.length > 0) this.#late.ring(now, targets, tx);
    if (this.#asleep.size > 0) return;
    this.#end();
    this.#late.done(now, tx);
  }

  #end(unheard = false): void {
    this.#soon.end();
    this.#m.wheel.cancel(this);
    this.#left(this, unheard);
  }
}
