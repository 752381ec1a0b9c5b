import { Endpoints, type Mono, type TimerWheel } from '@drawbridge/core';
import type { Flow, FlowTable } from '@drawbridge/sip';
import type { StoreJournal } from '../journal.js';
import type { Realms } from '../realms.js';
import type { StoreWrite } from '../store/store.js';
import { Binding, type BindingFields } from './binding.js';
import type { Lease } from './lease.js';
import { readRecord, writeRecord } from './record.js';

export type BindingEvent =
  | { readonly kind: 'binding-made'; readonly binding: Binding }
  | { readonly kind: 'binding-refreshed' | 'binding-moved'; readonly binding: Binding; readonly sameCallId: boolean }
  /** The upstream doesn't answer for it any more: we do. */
  | { readonly kind: 'binding-grace'; readonly binding: Binding; readonly what: 'began' | 'ended' }
  | { readonly kind: 'binding-ended'; readonly binding: Binding; readonly why: 'removed' | 'expired' | 'flow-gone' };

export interface BindingsModules {
  readonly flows: FlowTable;
  readonly realms: Realms;
  readonly wheel: TimerWheel;
  readonly journal: StoreJournal;
  wall(): number;
  /** What an upstream granted before a restart. */
  leased(until: Mono, granted: number, user: string): Lease;
  onEvent(now: Mono, e: BindingEvent): void;
}

/** The location table: all bindings of a shard by AoR, by opaque user and by flow. Its changes collect in a batch that the caller commits. */
export class Bindings {
  readonly #m: BindingsModules;
  readonly #byAor = new Map<string, Binding[]>();
  readonly #byOpaque = new Map<string, Binding>();
  readonly #byFlow = new Map<number, Binding[]>();
  readonly #expire = (now: Mono, b: Binding): void => {
    this.#unlink(b);
    this.#m.journal.put([{ key: keyOf(b), value: null }]);
    this.#m.onEvent(now, { kind: 'binding-ended', binding: b, why: 'expired' });
  };

  constructor(modules: BindingsModules) {
    this.#m = modules;
  }

  get size(): number {
    return this.#byOpaque.size;
  }

  all(): IterableIterator<Binding> {
    return this.#byOpaque.values();
  }

  /** Every binding of an AoR, dead flows included, in the order of registration. */
  of(aor: string): readonly Binding[] {
    return this.#byAor.get(aor) ?? NONE;
  }

  byOpaque(user: string): Binding | undefined {
    return this.#byOpaque.get(user);
  }

  byFlow(flow: Flow): readonly Binding[] {
    return this.#byFlow.get(flow.id) ?? NONE;
  }

  /** The change is in the table at once; the record goes onto `batch`. */
  add(now: Mono, fields: BindingFields, batch: StoreWrite[]): Binding {
    const old = this.#byOpaque.get(fields.opaque);
    if (old !== undefined) this.#unlink(old);
    const b = new Binding(fields, this.#expire);
    this.#link(b);
    batch.push(this.#record(now, b));
    this.#m.onEvent(now, { kind: 'binding-made', binding: b });
    return b;
  }

  /** A re-registration of the same contact; true when it moved to another flow. */
  refresh(now: Mono, b: Binding, fields: BindingFields, batch: StoreWrite[]): boolean {
    const moved = b.flow !== fields.flow;
    const sameCallId = b.callId === fields.callId;
    if (moved) {
      this.#leaveFlow(b);
      b.flow = fields.flow;
      b.registered = fields.registered;
      this.#joinFlow(b);
    }
    b.renew(fields);
    this.#m.wheel.arm(b, b.expires);
    batch.push(this.#record(now, b));
    this.#m.onEvent(now, { kind: moved ? 'binding-moved' : 'binding-refreshed', binding: b, sameCallId });
    return moved;
  }

  remove(now: Mono, b: Binding, why: 'removed' | 'flow-gone', batch: StoreWrite[]): void {
    if (this.#byOpaque.get(b.opaque) !== b) return;
    this.#unlink(b);
    batch.push({ key: keyOf(b), value: null });
    this.#m.onEvent(now, { kind: 'binding-ended', binding: b, why });
  }

  /**
   * Takes records back at start. UDP flows are made again from listener and peer; a stream died with the old
   * process, so its bindings go. Returns what was kept and what was not.
   */
  restore(
    now: Mono,
    records: Iterable<{ readonly key: string; readonly value: unknown }>,
    restored: (b: Binding) => void,
  ): { kept: number; dropped: number } {
    const batch: StoreWrite[] = [];
    let kept = 0;
    const wall = this.#m.wall();
    for (const { key, value } of records) {
      const r = readRecord(value);
      const left = r === undefined ? 0 : r.expiresAt - wall;
      const listener =
        r === undefined || left <= 0 || r.transport !== 'udp' ? undefined : this.#m.realms.find(r.realm, 'udp', r.bind);
      const peer = new Endpoints(1);
      if (r === undefined || listener === undefined || !peer.set(0, r.peer)) {
        batch.push({ key, value: null });
        continue;
      }
      const flow = this.#m.flows.of(now, listener.via, peer, 0);
      if (flow === undefined) {
        batch.push({ key, value: null });
        continue;
      }
      flow.proven = true;
      const lease =
        r.lease === undefined ? undefined : this.#m.leased(now + (r.lease[0] - wall), r.lease[1], r.lease[2]);
      const b = new Binding({ ...r.fields, flow, expires: now + left, registered: now, lease }, this.#expire);
      this.#link(b);
      restored(b);
      kept++;
    }
    const dropped = batch.length;
    for (let at = 0; at < dropped; at += 1000) this.#m.journal.put(batch.slice(at, at + 1000));
    return { kept, dropped };
  }

  #record(now: Mono, b: Binding): StoreWrite {
    const listener = this.#m.realms.listener(b.flow.via);
    return { key: keyOf(b), value: writeRecord(b, listener, this.#m.wall() + (b.expires - now)) };
  }

  #link(b: Binding): void {
    this.#byOpaque.set(b.opaque, b);
    const list = this.#byAor.get(b.aor);
    if (list === undefined) this.#byAor.set(b.aor, [b]);
    else list.push(b);
    this.#joinFlow(b);
    this.#m.wheel.arm(b, b.expires);
  }

  #unlink(b: Binding): void {
    this.#byOpaque.delete(b.opaque);
    drop(this.#byAor, b.aor, b);
    this.#leaveFlow(b);
    this.#m.wheel.cancel(b);
  }

  #joinFlow(b: Binding): void {
    this.#m.flows.hold(b.flow);
    const list = this.#byFlow.get(b.flow.id);
    if (list === undefined) this.#byFlow.set(b.flow.id, [b]);
    else list.push(b);
  }

  #leaveFlow(b: Binding): void {
    drop(this.#byFlow, b.flow.id, b);
    this.#m.flows.release(b.flow);
  }
}

const NONE: readonly Binding[] = [];
export const BINDING_PREFIX = 'binding/';

function keyOf(b: Binding): string {
  return BINDING_PREFIX + b.opaque;
}

function drop<K>(index: Map<K, Binding[]>, key: K, b: Binding): void {
  const list = index.get(key);
  if (list === undefined) return;
  const at = list.indexOf(b);
  if (at >= 0) list.splice(at, 1);
  if (list.length === 0) index.delete(key);
}
