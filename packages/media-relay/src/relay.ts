import {
  type Family,
  type Mono,
  PrefixSet,
  type Random,
  ReasonCounts,
  TimerWheel,
  type Waiting,
} from '@drawbridge/core';
import { CodecFilter, type CodecRules } from './anchor/codecs.js';
import { type MediaRelayOptions, type RelayEvent, RelayOptionsError, type RelayStats } from './api.js';
import type { RelayCommand, RelayReply, SideEvent } from './control/command.js';
import { RelayControl } from './control/control.js';
import type { DataPath, FlowTable, PathEvent, PathKind, RelayAddress } from './path/path.js';
import { MediaSession } from './session.js';

export interface HubModules {
  now(): Mono;
  readonly random: Random;
  onEvent(event: RelayEvent): void;
  readonly path: Pick<DataPath, 'opened' | 'closed' | 'paths'>;
}

/** Separates the parts of a tag; a Call-ID can't hold it. */
const TAG = '\n';

/** All sessions of a relay over one control layer: the pure part of `MediaRelay`. */
export class RelayHub {
  readonly addresses: readonly RelayAddress[];
  readonly random: Random;
  readonly deny: PrefixSet;
  readonly sites: readonly PrefixSet[];
  readonly maxStreams: number;
  readonly inactivityMs: number;
  readonly latch: { windowMs: number; prefix4: number; prefix6: number; handover: boolean; handoverMs: number };
  readonly reasons = new ReasonCounts();
  readonly #control: RelayControl;
  readonly #modules: HubModules;
  readonly #sessions = new Map<string, MediaSession>();
  readonly #wheel: TimerWheel;
  readonly #codecs: ReadonlyMap<string, CodecRules>;
  readonly #filters = new Map<string, CodecFilter>();
  readonly #sendMode: ReadonlyMap<string, 'auto' | 'source' | 'sdp'>;

  constructor(options: MediaRelayOptions, addresses: readonly RelayAddress[], table: FlowTable, modules: HubModules) {
    this.addresses = addresses;
    this.random = modules.random;
    this.deny = prefixes(options.deny ?? []);
    this.sites = Object.values(options.sites ?? {}).map(prefixes);
    this.maxStreams = options.maxStreams ?? 32;
    this.inactivityMs = options.inactivityMs ?? 60_000;
    const latch = options.latch ?? {};
    this.latch = {
      windowMs: latch.windowMs ?? 5000,
      prefix4: latch.prefix4 ?? 32,
      prefix6: latch.prefix6 ?? 128,
      handover: latch.handover !== 'never',
      handoverMs: latch.handoverMs ?? 1000,
    };
    this.#codecs = new Map(options.realms.flatMap(r => (r.codecs === undefined ? [] : [[r.name, r.codecs] as const])));
    this.#sendMode = new Map(options.realms.map(r => [r.name, r.sendBeforeLatch ?? 'auto']));
    this.#modules = modules;
    this.#wheel = new TimerWheel(modules.now(), 100);
    this.#control = new RelayControl(
      { addresses, ports: options.ports, quarantineMs: options.quarantineMs ?? 10_000, table },
      { random: modules.random, path: modules.path, onEvent: e => this.#sideEvent(e) },
    );
  }

  now(): Mono {
    return this.#modules.now();
  }

  /** Throws TypeError when a session of the name lives: our own fault. */
  session(id: string): MediaSession {
    if (this.#sessions.has(id)) throw new TypeError(`media session ${id} exists`);
    const made = new MediaSession(id, this);
    this.#sessions.set(id, made);
    return made;
  }

  get size(): number {
    return this.#sessions.size;
  }

  closed(session: MediaSession): void {
    this.#sessions.delete(session.id);
  }

  closeAll(): void {
    for (const s of [...this.#sessions.values()]) s.close();
  }

  /** Index of the relay address of a realm that faces a listener: the same address, else the same family, else any. */
  addressFor(realm: string, local: string): number {
    const same = this.addresses.findIndex(a => a.realm === realm && a.bind === local);
    if (same >= 0) return same;
    const family = this.addressOfFamily(realm, local.includes(':') ? 6 : 4);
    return family >= 0 ? family : this.addresses.findIndex(a => a.realm === realm);
  }
  addressOfFamily(realm: string, family: Family): number {
    return this.addresses.findIndex(a => a.realm === realm && a.family === family);
  }
  /** What two realms say of codecs; undefined when neither says anything. Offers come in the order of who gets them. */
  codecs(from: string, to: string, offer: boolean): CodecFilter | undefined {
    const rules = this.#codecs;
    if (rules.size === 0 || !(rules.has(from) || rules.has(to))) return undefined;
    const key = `${from} ${to} ${offer}`;
    let filter = this.#filters.get(key);
    if (filter === undefined) {
      filter = new CodecFilter([rules.get(from), rules.get(to)], offer ? rules.get(to) : undefined);
      this.#filters.set(key, filter);
    }
    return filter;
  }

  sendMode(realm: string): 'auto' | 'source' | 'sdp' {
    return this.#sendMode.get(realm) ?? 'auto';
  }
  pathOf(address: number): { readonly kind: PathKind; readonly because: string } {
    return this.#modules.path.paths[address] ?? { kind: 'dgram', because: '' };
  }

  apply(command: RelayCommand): RelayReply {
    return this.#control.apply(this.now(), command);
  }
  tag(session: string, leg: string, stream: number): string {
    return `${session}${TAG}${leg}${TAG}${stream}`;
  }
  /** Session that holds one of our relay ports; '' = nobody, undefined = the endpoint is not ours. */
  readonly ownerOf = (e: { address: string; port: number }): string | undefined => {
    const tag = this.#control.ownerOf(e);
    return tag?.split(TAG)[0];
  };

  arm(w: Waiting, due: Mono): void {
    this.#wheel.arm(w, due);
  }
  disarm(w: Waiting): void {
    this.#wheel.cancel(w);
  }
  pollTimeout(): Mono {
    return this.#wheel.pollTimeout();
  }
  handleTimeout(now: Mono): void {
    this.#wheel.advance(now);
  }

  emit(event: RelayEvent): void {
    this.#modules.onEvent(event);
  }

  /** What the data path reports, on the control thread. */
  pathEvent(e: PathEvent): void {
    if (e.kind === 'stopped') this.emit({ kind: 'stopped', detail: e.detail });
    else if (e.kind !== 'restarted') this.#control.pathEvent(e);
  }

  stats(): RelayStats {
    const pairs = this.#control.counts;
    const reasons = new Map([...this.reasons.entries()].filter(([, n]) => n > 0));
    for (const [reason, n] of this.#control.refusedPackets())
      if (n > 0) reasons.set(reason, (reasons.get(reason) ?? 0) + n);
    return {
      sessions: this.#sessions.size,
      pairsInUse: pairs.inUse,
      pairsResting: pairs.resting,
      pairsTotal: pairs.total,
      received: this.#control.header('received'),
      sent: this.#control.header('sent'),
      sendErrors: this.#control.header('sendErrors'),
      noFlow: this.#control.header('noFlow'),
      reasons,
    };
  }

  #sideEvent(e: SideEvent): void {
    const [session = '', leg = '', index = ''] = e.tag.split(TAG);
    const stream = Number(index);
    if (e.kind === 'rtcp') this.#sessions.get(session)?.reported(e.at, leg, stream, e.from, e.bytes);
    else if (e.kind === 'failed') this.emit({ kind: 'failed', session, leg, stream, detail: e.detail });
    else if (e.kind === 'latched') {
      this.emit({ kind: 'latched', session, leg, stream, component: e.component, from: e.from, moved: e.moved });
    } else {
      this.emit({ kind: 'refused', session, leg, stream, component: e.component, reason: e.reason, from: e.from });
    }
  }
}

function prefixes(list: readonly string[]): PrefixSet {
  const set = PrefixSet.parse(list);
  if (!(set instanceof PrefixSet))
    throw new RelayOptionsError('bad-prefix', `${set.bad} is not a network such as 10.0.0.0/8`);
  return set;
}
