import type { Endpoints, Mono, Random, ReasonCounts, TimerWheel, Via } from '@drawbridge/core';
import { type Flow, type FlowTable, FlowTokens, type ServerTransaction, type Transactions } from '@drawbridge/sip';
import type { Config } from '../config.js';
import type { Domain, Domains } from '../domains.js';
import type { Inbound } from '../inbound.js';
import type { StoreJournal } from '../journal.js';
import { pushLines } from '../push/contact.js';
import type { Waker } from '../push/waker.js';
import type { Realms } from '../realms.js';
import type { StoreWrite } from '../store/store.js';
import { AlgWatch } from './alg.js';
import type { Binding } from './binding.js';
import { type BindingEvent, Bindings } from './bindings.js';
import { Gruus } from './gruu.js';
import { Keepalive } from './keepalive.js';
import { Leases, makeLease } from './lease.js';
import { registerLocal } from './local.js';
import { UpstreamRegistrar } from './upstream.js';

export interface RegistrarOptions {
  readonly registrar: Config['registrar'];
  readonly keepalive: Config['keepalive'];
  /** Keys the opaque users, and the Call-IDs toward upstreams; kept in the store, so that both survive a restart. */
  readonly secret: Uint8Array;
}

export interface RegistrarModules {
  readonly realms: Realms;
  readonly domains: Domains;
  readonly flows: FlowTable;
  readonly transactions: Transactions;
  readonly wheel: TimerWheel;
  readonly journal: StoreJournal;
  readonly random: Random;
  readonly counts: ReasonCounts;
  /** Milliseconds since 1970: what the stored expiry is written in. */
  wall(): number;
  onEvent(now: Mono, e: BindingEvent): void;
  /** Absent: phones can't be woken by push. */
  readonly waker?: Waker | undefined;
}

/** The registrar's face toward the border; local and upstream domains behind it. */
export class Registrar {
  readonly bindings: Bindings;
  readonly keepalive: Keepalive;
  readonly leases: Leases;
  /** User parts of our Path: which flow a request from an upstream shall take. */
  readonly tokens: FlowTokens;
  readonly gruus: Gruus;
  readonly alg: AlgWatch;
  readonly #o: RegistrarOptions;
  readonly #m: RegistrarModules;
  readonly #upstream: UpstreamRegistrar;

  constructor(options: RegistrarOptions, modules: RegistrarModules) {
    this.#o = options;
    this.#m = modules;
    this.keepalive = new Keepalive(options.keepalive, modules);
    this.leases = new Leases(options.registrar, {
      random: modules.random,
      onGrace: (now, binding, what) => modules.onEvent(now, { kind: 'binding-grace', binding, what }),
    });
    this.bindings = new Bindings({
      ...modules,
      leased: (until, granted, user) => makeLease(until, granted, user, modules.random),
      onEvent: (now, e) => {
        this.keepalive.onBinding(now, e);
        modules.waker?.onBinding(now, e);
        // An upstream's 200 is what proves its subscribers.
        if (e.kind !== 'binding-ended') modules.flows.vouch(e.binding.flow.via);
        if (e.kind === 'binding-ended' && e.binding.lease !== undefined) this.leases.settled(now, e.binding);
        if (e.kind !== 'binding-ended') this.alg.bound(e.binding);
        if (e.kind !== 'binding-refreshed') modules.onEvent(now, e);
      },
    });
    this.alg = new AlgWatch(this.bindings, uri => modules.domains.address(uri)?.aor);
    this.tokens = new FlowTokens(options.secret, modules);
    this.gruus = new Gruus(options.secret, modules.random);
    this.#upstream = new UpstreamRegistrar(options, modules, this.bindings, this.leases, this.tokens);
  }

  /** A REGISTER that passed authentication, its server transaction open: answered through `st`, now, after the commit or after the upstream's reply. */
  register(inbound: Inbound, domain: Domain, st: ServerTransaction): void {
    if (!inbound.trustedEdge) this.alg.register(inbound.m, st.flow);
    const { waker } = this.#m;
    const push = waker === undefined ? '' : pushLines(inbound.m, waker.providers);
    if (push === undefined) return st.reply(inbound.now, 555, { reason: 'push-unsupported' }, inbound.tx);
    if (domain.kind === 'local') registerLocal(inbound, domain, st, push, this.#o, this.#m, this.bindings, this.gruus);
    else this.#upstream.register(inbound, domain, st, push);
  }

  /** Whether the shared budget of unproven sources has room for one more REGISTER to an upstream. */
  admits(now: Mono, flow: Flow | undefined): boolean {
    return this.#upstream.admits(now, flow);
  }

  /** The same for a source that has just echoed a nonce of ours. */
  admitsProven(now: Mono): boolean {
    return this.#upstream.admitsProven(now);
  }

  /** The digest realm of an upstream domain, once it has challenged somebody. */
  upstreamRealm(domain: string): string | undefined {
    return this.#upstream.realmOf(domain);
  }

  /** Bindings of an AoR that can be reached, highest q first, newest first among equals. */
  lookup(aor: string): readonly Binding[] {
    const list = this.bindings.of(aor).filter(b => b.flow.alive);
    return list.length < 2 ? list : list.sort((a, b) => b.q - a.q || b.registered - a.registered);
  }

  /** By the user part of our own contact, as upstreams and callers see it. */
  byOpaque(user: string): Binding | undefined {
    return this.bindings.byOpaque(user);
  }

  /** The flow a message came over, when it is known already; none is made. */
  flowOf(via: Via, peer: Endpoints, j: number): Flow | undefined {
    return this.#m.flows.find(via, peer, j);
  }

  byFlow(flow: Flow): readonly Binding[] {
    return this.bindings.byFlow(flow);
  }

  /** Whether a flow carries a live binding of this AoR. */
  owns(flow: Flow, aor: string): boolean {
    return this.bindings.byFlow(flow).some(b => b.aor === aor);
  }

  /** A stream closed: what was registered over it cannot be reached any more (RFC 5626 §5.3). */
  onFlowDead(now: Mono, flow: Flow): void {
    const batch: StoreWrite[] = [];
    // A phone that can be woken comes back over another flow.
    for (const b of [...this.bindings.byFlow(flow)])
      if (this.#m.waker?.wakes(b) !== true) this.bindings.remove(now, b, 'flow-gone', batch);
    if (batch.length > 0) this.#m.journal.put(batch);
  }

  /** Takes bindings back at start. Gives how many were kept, and how many could not be (streams, expired, unreadable). */
  restore(
    now: Mono,
    records: Iterable<{ readonly key: string; readonly value: unknown }>,
  ): { kept: number; dropped: number } {
    return this.bindings.restore(now, records, b => {
      this.keepalive.restored(now, b);
      this.#m.waker?.onBinding(now, { kind: 'binding-made', binding: b });
    });
  }

  /** Anything that arrived over a known flow, a bare CRLF included: its silence starts again. */
  seen(now: Mono, flow: Flow): void {
    flow.lastSeen = now;
  }
}
