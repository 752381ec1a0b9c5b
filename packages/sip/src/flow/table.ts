import {
  type Endpoint,
  Endpoints,
  formatEndpoint,
  isStream,
  listenerOf,
  type Mono,
  type Tx,
  type Via,
} from '@drawbridge/core';
import { namesHost } from './certificate-names.js';
import { Flow, type FlowUser, isSecure, type Transport } from './flow.js';
import type { Tap } from './tap.js';

export interface FlowTableOptions {
  /** Most flows at once, held ones included. */
  readonly cap: number;
  /** A flow that nobody holds is forgotten this long after it was last seen, ms. */
  readonly idleMs: number;
}

export interface FlowTableModules {
  transportOf(via: Via): Transport;
  localOf(via: Via): Endpoint;
  /** Far end of an open (or just failed) stream: how a dialled flow learns which stream it became. */
  peerOf?(via: Via): Endpoint | undefined;
  /** A stream that we opened, so that its far end is where we dialled. */
  isDialled?(via: Via): boolean;
  /** Whom the verified certificate at the far end of a stream names. */
  namesOf?(via: Via): readonly string[];
  /** A stream that this listener dials to this endpoint must end at who owns this name. */
  expect?(via: Via, to: Endpoint, name: string): void;
  /** The way to a configured peer whose connection died before our response (RFC 3261 §18.2.2), by the sent-by of its Via. */
  wayBack?(now: Mono, flow: Flow, sentBy: string): Flow | undefined;
  /** Whoever is behind this stream has shown who he is: it may stay. */
  vouch?(via: Via): void;
  /** Key of the hash over addresses: random in production, so that nobody can aim at one chain. */
  readonly seed?: number;
  readonly tap?: Tap;
}

export type OnDead = (now: Mono, flow: Flow, tx: Tx) => void;

const NONE = -1;
/** Endpoints that one accepted stream may stand for. */
const MAX_ALIASES = 4;

/**
 * All flows of a shard. A flow is interned under (listener, peer address and port); its peer lives in a slot of
 * one pooled `Endpoints`. Two lists run through the slots: the chains of the hash, and — for flows that nobody
 * holds — the order in which they were last seen, which is the order of eviction.
 */
export class FlowTable {
  readonly #cap: number;
  readonly #idleMs: number;
  readonly #m: FlowTableModules;
  readonly #seed: number;
  readonly #peers: Endpoints;
  readonly #flows: (Flow | undefined)[] = [];
  readonly #generation: Uint32Array;
  readonly #heads: Int32Array;
  readonly #chain: Int32Array;
  readonly #older: Int32Array;
  readonly #newer: Int32Array;
  readonly #free: number[] = [];
  readonly #streams = new Map<Via, Flow>();
  /** Accepted flows that stand for a dialled one (RFC 5923), by listener and the endpoint they stand for. */
  readonly #aliases = new Map<string, Flow>();
  readonly #onDead: OnDead[] = [];
  readonly #scratch = new Endpoints(1);
  #oldest = NONE;
  #newest = NONE;
  #size = 0;
  #evicted = 0;

  constructor(options: FlowTableOptions, modules: FlowTableModules) {
    this.#cap = options.cap;
    this.#idleMs = options.idleMs;
    this.#m = modules;
    this.#seed = modules.seed ?? 0;
    this.#peers = new Endpoints(options.cap);
    this.#generation = new Uint32Array(options.cap);
    let buckets = 16;
    while (buckets < options.cap) buckets *= 2;
    this.#heads = new Int32Array(buckets).fill(NONE);
    this.#chain = new Int32Array(options.cap).fill(NONE);
    this.#older = new Int32Array(options.cap).fill(NONE);
    this.#newer = new Int32Array(options.cap).fill(NONE);
  }

  get size(): number {
    return this.#size;
  }

  /** Flows given up to make room or for idleness. */
  get evicted(): number {
    return this.#evicted;
  }

  localOf(flow: Flow): Endpoint {
    return this.#m.localOf(flow.via);
  }

  /** Told once for each flow that dies with its stream, before it is forgotten. */
  onDead(listener: OnDead): void {
    this.#onDead.push(listener);
  }

  /** The flow on which a message arrived, made if need be; undefined when every slot is held. */
  of(now: Mono, via: Via, peer: Endpoints, j: number): Flow | undefined {
    const known = this.find(via, peer, j);
    if (known !== undefined) {
      known.lastSeen = now;
      if (known.refs === 0) this.#touch(known.j);
      return known;
    }
    return this.#make(now, via, peer, j);
  }

  /** The same without making one and without marking it seen. */
  find(via: Via, peer: Endpoints, j: number): Flow | undefined {
    if (isStream(via)) return this.#streams.get(via);
    const f = this.#lookup(via, peer, j);
    return f !== undefined && f.via === via ? f : undefined;
  }

  byId(id: number): Flow | undefined {
    const f = this.#flows[id % this.#cap];
    return f !== undefined && f.id === id ? f : undefined;
  }

  hold(f: Flow): void {
    if (f.refs++ === 0 && f.alive) this.#unlinkAge(f.j);
  }

  release(f: Flow): void {
    if (f.refs === 0) throw new Error('flow released more often than held');
    if (--f.refs > 0) return;
    if (f.alive) this.#linkNewest(f.j);
    else this.#forget(f);
  }

  /** `user.flowDied` is called when the flow dies, until `unwatch`. */
  watch(f: Flow, user: FlowUser): void {
    user.flowPrev = undefined;
    user.flowNext = f.users;
    if (f.users !== undefined) f.users.flowPrev = user;
    f.users = user;
  }

  unwatch(f: Flow, user: FlowUser): void {
    if (user.flowPrev !== undefined) user.flowPrev.flowNext = user.flowNext;
    else if (f.users === user) f.users = user.flowNext;
    if (user.flowNext !== undefined) user.flowNext.flowPrev = user.flowPrev;
    user.flowNext = undefined;
    user.flowPrev = undefined;
  }

  /** Whom the certificate behind a stream names, known before there is a flow. */
  namesOf(via: Via): readonly string[] {
    return isStream(via) ? (this.#m.namesOf?.(via) ?? []) : [];
  }

  /** Whoever sent this over a stream is known by now: it is exempt from the deadline for strangers. */
  vouch(via: Via): void {
    if (isStream(via)) this.#m.vouch?.(via);
  }

  /** Where a response goes whose connection has died; undefined: nowhere. Nobody but configured peers is dialled. */
  wayBack(now: Mono, f: Flow, sentBy: string): Flow | undefined {
    return this.#m.wayBack?.(now, f, sentBy);
  }

  /**
   * RFC 5923 §5: what we would dial at `to` may go over this accepted flow, to a name that its certificate proves. Without
   * such a certificate anybody could draw another's requests to himself, so then nothing is noted.
   */
  alias(f: Flow, to: Endpoint): boolean {
    if (!f.accepted || !f.alive || f.certificateNames.length === 0) return false;
    const key = aliasKey(f.via, to);
    const known = this.#aliases.get(key);
    if (known?.alive && known !== f) return false;
    if (known === f) return true;
    if (f.aliases.length >= MAX_ALIASES) return false;
    this.#aliases.set(key, f);
    f.aliases = [...f.aliases, key];
    return true;
  }

  /**
   * A flow for what we send first: UDP from that listener, or a stream that the listener opens on the first
   * send (or has opened already). `name`: whom the far end's certificate must name, on a TLS listener.
   * Undefined when every slot is held, or when the open stream there belongs to somebody else.
   */
  dialled(now: Mono, via: Via, to: Endpoint, name?: string): Flow | undefined {
    if (!this.#scratch.set(0, to)) return undefined;
    if (name !== undefined && isSecure(this.#m.transportOf(via))) {
      const alias = this.#aliases.size === 0 ? undefined : this.#aliases.get(aliasKey(via, to));
      if (alias?.alive && namesHost(alias.certificateNames, name)) return alias;
      this.#m.expect?.(via, to, name);
    }
    const known = this.#lookup(via, this.#scratch, 0);
    if (known !== undefined) {
      if (name !== undefined && isStream(known.via) && !this.#isOf(known, name)) return undefined;
      if (known.refs === 0) this.#touch(known.j);
      return known;
    }
    return this.#make(now, via, this.#scratch, 0);
  }

  /** A stream has opened: the flow that waited for it takes its `via`. */
  streamOpened(now: Mono, via: Via): Flow | undefined {
    const to = this.#m.peerOf?.(via);
    if (to === undefined || !this.#scratch.set(0, to)) return undefined;
    const f = this.#lookup(via, this.#scratch, 0);
    if (f === undefined || isStream(f.via)) return undefined;
    f.via = via;
    f.lastSeen = now;
    f.proven = true;
    f.certificateNames = this.namesOf(via);
    this.#streams.set(via, f);
    return f;
  }

  /** A stream has closed or could not be opened: its flow is dead and whoever waits on it hears so. */
  streamClosed(now: Mono, via: Via, tx: Tx): Flow | undefined {
    let f = this.#streams.get(via);
    if (f === undefined) {
      const to = this.#m.peerOf?.(via);
      if (to === undefined || !this.#scratch.set(0, to)) return undefined;
      f = this.#lookup(via, this.#scratch, 0);
      if (f === undefined || isStream(f.via)) return undefined;
    }
    this.#kill(now, f, tx);
    return f;
  }

  /** The one way out for what belongs to a flow. False: refused, or the flow is dead. */
  send(now: Mono, f: Flow, text: string, tx: Tx): boolean {
    if (!f.alive) return false;
    return this.reply(now, f.via, f.peer, f.j, text, tx);
  }

  /** The way out for stateless replies: back to where a message came from, no flow made. */
  reply(now: Mono, via: Via, peer: Endpoints, j: number, text: string, tx: Tx): boolean {
    const sent = tx.text(via, peer, j, text);
    if (sent) this.#m.tap?.message(now, 'out', via, peer, j, text);
    return sent;
  }

  /** Forgets what nobody holds and has been silent for `idleMs`; at most `budget` a call. */
  sweep(now: Mono, budget = 1024): void {
    for (let n = 0; n < budget && this.#oldest !== NONE; n++) {
      const f = this.#flows[this.#oldest];
      if (f === undefined || now - f.lastSeen < this.#idleMs) return;
      this.#evict(f);
    }
  }

  #kill(now: Mono, f: Flow, tx: Tx): void {
    f.alive = false;
    this.#unindex(f);
    if (f.refs === 0) this.#unlinkAge(f.j);
    // Held while the listeners are told: one of them may release the last hold.
    f.refs++;
    for (let user = f.users; user !== undefined; user = f.users) {
      this.unwatch(f, user);
      user.flowDied(now, tx);
    }
    for (const listener of this.#onDead) listener(now, f, tx);
    if (--f.refs === 0) this.#forget(f);
  }

  #make(now: Mono, via: Via, peer: Endpoints, j: number): Flow | undefined {
    let slot = this.#free.pop();
    if (slot === undefined && this.#flows.length < this.#cap) {
      slot = this.#flows.length;
      this.#flows.push(undefined);
    }
    if (slot === undefined) {
      const oldest = this.#oldest === NONE ? undefined : this.#flows[this.#oldest];
      if (oldest === undefined) return undefined;
      this.#evict(oldest);
      slot = this.#free.pop();
      if (slot === undefined) return undefined;
    }
    const generation = (this.#generation[slot]! + 1) >>> 0;
    this.#generation[slot] = generation;
    this.#peers.copy(slot, peer, j);
    const accepted = isStream(via) && this.#m.isDialled?.(via) !== true;
    const f = new Flow(generation * this.#cap + slot, via, this.#peers, slot, this.#m.transportOf(via), accepted, now);
    this.#flows[slot] = f;
    const h = this.#bucket(via, peer, j);
    this.#chain[slot] = this.#heads[h]!;
    this.#heads[h] = slot;
    if (isStream(via)) {
      // A finished TCP handshake has shown the return path.
      f.proven = true;
      f.certificateNames = this.namesOf(via);
      this.#streams.set(via, f);
    }
    this.#linkNewest(slot);
    this.#size++;
    return f;
  }

  #bucket(via: Via, peer: Endpoints, j: number): number {
    return peer.hash(j, this.#seed ^ Math.imul(listenerOf(via) + 1, 0x9e3779b1)) & (this.#heads.length - 1);
  }

  /** Plain TCP has no names to compare. */
  #isOf(f: Flow, name: string): boolean {
    return !isSecure(f.transport) || namesHost(f.certificateNames, name);
  }

  /** By listener and peer: UDP, or the stream that we dialled there. Whoever dialled us from there is another matter. */
  #lookup(via: Via, peer: Endpoints, j: number): Flow | undefined {
    const listener = listenerOf(via);
    for (let s = this.#heads[this.#bucket(via, peer, j)]!; s !== NONE; s = this.#chain[s]!) {
      const f = this.#flows[s];
      if (f !== undefined && !f.accepted && listenerOf(f.via) === listener && this.#peers.equal(s, peer, j)) return f;
    }
    return undefined;
  }

  #evict(f: Flow): void {
    this.#evicted++;
    this.#unindex(f);
    this.#unlinkAge(f.j);
    f.alive = false;
    this.#forget(f);
  }

  #unindex(f: Flow): void {
    for (const key of f.aliases) if (this.#aliases.get(key) === f) this.#aliases.delete(key);
    if (isStream(f.via)) this.#streams.delete(f.via);
    const h = this.#bucket(f.via, this.#peers, f.j);
    let before = NONE;
    for (let s = this.#heads[h]!; s !== NONE; before = s, s = this.#chain[s]!) {
      if (s !== f.j) continue;
      if (before === NONE) this.#heads[h] = this.#chain[s]!;
      else this.#chain[before] = this.#chain[s]!;
      return;
    }
  }

  #forget(f: Flow): void {
    // An evicted flow that somebody held afterwards has lost its slot already.
    if (this.#flows[f.j] !== f) return;
    this.#flows[f.j] = undefined;
    this.#free.push(f.j);
    this.#size--;
  }

  #touch(slot: number): void {
    if (this.#newest === slot) return;
    this.#unlinkAge(slot);
    this.#linkNewest(slot);
  }

  #linkNewest(slot: number): void {
    this.#older[slot] = this.#newest;
    this.#newer[slot] = NONE;
    if (this.#newest === NONE) this.#oldest = slot;
    else this.#newer[this.#newest] = slot;
    this.#newest = slot;
  }

  #unlinkAge(slot: number): void {
    const older = this.#older[slot]!;
    const newer = this.#newer[slot]!;
    if (older === NONE) this.#oldest = newer;
    else this.#newer[older] = newer;
    if (newer === NONE) this.#newest = older;
    else this.#older[newer] = older;
  }
}

function aliasKey(via: Via, to: Endpoint): string {
  return `${listenerOf(via)} ${formatEndpoint(to)}`;
}
