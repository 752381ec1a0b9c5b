import { type Endpoint, type Mono, type Random, type ReasonCounts, TimerWheel, type Via } from '@drawbridge/core';
import type { MediaRelay } from '@drawbridge/media-relay';
import { DigestServer, FlowTable, type StreamListener, type Tap, Transactions } from '@drawbridge/sip';
import { bodyPolicy } from './anchor/body-policy.js';
import { Asks } from './asks.js';
import { Authenticator } from './authenticate/authenticator.js';
import { Border } from './border.js';
import type { Config } from './config.js';
import { direct } from './decide/decide.js';
import { targetOfBinding } from './decide/places.js';
import type { Domain, Domains } from './domains.js';
import { Outbox } from './events.js';
import { Forwarder } from './forwarding/chain.js';
import { Forwardings } from './forwarding/rules.js';
import { IdentityPolicy } from './identity/policy.js';
import { StoreJournal } from './journal.js';
import { Locator } from './locate/locator.js';
import { Waker } from './push/waker.js';
import type { Realms } from './realms.js';
import { Registrar } from './registrar/registrar.js';
import { Routing } from './route/routing.js';
import type { Subscribers } from './subscribers.js';
import type { Traces } from './trace.js';
import { wayBack } from './transports/way-back.js';
import { NO_TRUNK_PARTS, type TrunkParts, Trunks } from './trunk/trunks.js';
import { TrunkWatch } from './trunk/watch.js';

const STORE_DEADLINE_MS = 5000;
/** Commits that may wait for the store at once. */
const COMMITS = 10_000;
/** Questions to the outside that may be open at once. */
const QUESTIONS = 10_000;
/** The shell keeps to the timeout itself; its answer then has this long to come. */
const DNS_GRACE_MS = 500;
/** A flow that nobody holds is forgotten after this, ms. */
const FLOW_IDLE_MS = 120_000;

export interface Parts {
  readonly realms: Realms;
  readonly domains: Domains;
  readonly subscribers: Subscribers;
  /** Absent: those of the configuration. */
  readonly forwardings?: Forwardings;
  readonly relay: MediaRelay;
  readonly random: Random;
  readonly counts: ReasonCounts;
  readonly traces: Traces;
  /** Sees every message: the traces, and whoever else the configuration names. */
  readonly tap: Tap;
  readonly keys: Keys;
  /** Secrets and files that trunks and routes name. */
  readonly trunks?: TrunkParts;
  readonly now: Mono;
  /** ms since 1970. */
  wall(): number;
  /** Far end of a stream. */
  peerOf(via: Via): Endpoint | undefined;
  /** The stream listener of a listener or stream. */
  streams?(via: Via): Pick<StreamListener, 'namesOf' | 'isDialled' | 'expect' | 'vouch'> | undefined;
}

export interface Keys {
  /** Opaque users and the Call-IDs toward upstreams: the same over restarts. */
  readonly names: Uint8Array;
  readonly nonce: Uint8Array;
  /** To tags of stateless replies. */
  readonly tag: Uint8Array;
}

export interface Assembled {
  readonly border: Border;
  readonly flows: FlowTable;
  readonly transactions: Transactions;
  readonly registrar: Registrar;
  readonly digests: Digests;
  /** Absent without push providers. */
  readonly waker: Waker | undefined;
  readonly locator: Locator;
  readonly trunks: Trunks;
  readonly routing: Routing;
  readonly watch: TrunkWatch;
  readonly forwarder: Forwarder;
}

/** The pure part of the composition: one shard and all it stands on, on one wheel. Tests put it between wires that are arrays. */
export function assemble(config: Config, parts: Parts): Assembled {
  const { realms, domains, subscribers, relay, random, counts, traces, tap } = parts;
  const wall = (): number => parts.wall();
  const outbox = new Outbox();
  const wheel = new TimerWheel(parts.now);
  const flows: FlowTable = new FlowTable(
    { cap: config.limits.flows, idleMs: FLOW_IDLE_MS },
    {
      transportOf: via => realms.listener(via).transport,
      localOf: via => realms.listener(via).bind,
      peerOf: via => parts.peerOf(via),
      namesOf: via => parts.streams?.(via)?.namesOf(via) ?? [],
      isDialled: via => parts.streams?.(via)?.isDialled(via) === true,
      expect: (via, to, name) => parts.streams?.(via)?.expect(to, name),
      wayBack: (now, flow, sentBy) => wayBack(now, flow, sentBy, { flows, realms, domains, trunks }),
      vouch: via => parts.streams?.(via)?.vouch(via),
      seed: random.u32(),
      tap,
    },
  );
  const transactions = new Transactions(
    {
      ...config.timers,
      maxServer: config.limits.transactions,
      maxClient: config.limits.transactions,
      timerC: config.calls.timerC,
    },
    { wheel, flows, random, counts },
  );
  const journal = new StoreJournal(
    { cap: COMMITS, deadlineMs: STORE_DEADLINE_MS },
    { wheel, ask: batch => outbox.ask(batch) },
  );
  const asks = new Asks(
    { cap: QUESTIONS },
    { wheel, send: (kind, question) => outbox.question(kind, question), tx: () => transactions.tx },
  );
  const locator = new Locator({ deadlineMs: config.dns.timeout + DNS_GRACE_MS }, { asks, wheel, outbox });
  for (const d of domains.all) if (d.kind === 'upstream') locator.keep(parts.now, d.next);
  const waker =
    Object.keys(config.push.providers).length === 0
      ? undefined
      : new Waker(
          { ...config.push, unknownPatience: config.keepalive.start },
          {
            asks,
            wheel,
            tx: () => transactions.tx,
            patience: b => registrar.keepalive.facts(b),
            targetOf: b => targetOfBinding(border.shard, b, undefined),
            onEvent: e => outbox.push(e),
          },
        );
  const registrar: Registrar = new Registrar(
    { registrar: config.registrar, keepalive: config.keepalive, secret: parts.keys.names },
    {
      realms,
      domains,
      flows,
      transactions,
      wheel,
      journal,
      random,
      counts,
      wall,
      onEvent: (_now, e) => outbox.push(e),
      waker,
    },
  );
  const outside = parts.trunks ?? NO_TRUNK_PARTS;
  const trunks = new Trunks(config.trunks, outside, {
    realms,
    random,
    onChange: (at, t, hop, up) => outbox.push({ kind: 'trunk-hop', at, trunk: t.name, hop, up }),
  });
  const routing = new Routing(config, { trunks, random, wall, files: outside.prefixes });
  const digests = new Digests(config, parts.keys.nonce, { random, wall });
  const identity = new IdentityPolicy(config, domains);
  const authenticator = new Authenticator(
    { auth: config.auth, methods: config.methods },
    { digestOf: d => digests.of(d), domains, registrar, subscribers, identity, trunks, routing },
  );
  const forwarder = new Forwarder(parts.forwardings ?? new Forwardings(config.forwarding), {
    headers: config.calls.forwardingHeaders,
    decide: direct,
  });
  const border: Border = new Border(
    { calls: config.calls, methods: config.methods, key: parts.keys.tag, index: 0 },
    {
      realms,
      domains,
      flows,
      transactions,
      wheel,
      registrar,
      trunks,
      routing,
      authenticator,
      subscribers,
      identity,
      bodies: bodyPolicy(config),
      relay,
      random,
      counts,
      outbox,
      journal,
      asks,
      waker,
      locator,
      forwarder,
      tap,
    },
    traces,
  );
  for (const list of trunks.hopLists) locator.keep(parts.now, list);
  const watch = new TrunkWatch(trunks, { transactions, flows, wheel, random, outbox }, parts.now);
  return { border, flows, transactions, registrar, digests, locator, waker, forwarder, trunks, routing, watch };
}

/** One digest server per set of algorithms, all with the same keys: most borders need exactly one. */
export class Digests {
  readonly #config: Config;
  readonly #m: { readonly random: Random; wall(): number };
  readonly #made = new Map<string, DigestServer>();
  readonly #byDomain = new Map<Domain, DigestServer>();
  #newest: Uint8Array;

  constructor(config: Config, key: Uint8Array, modules: { readonly random: Random; wall(): number }) {
    this.#config = config;
    this.#newest = key;
    this.#m = modules;
  }

  of(d: Domain): DigestServer {
    const known = this.#byDomain.get(d);
    if (known !== undefined) return known;
    const { auth } = this.#config;
    const algorithms = (d.kind === 'local' ? d.algorithms : undefined) ?? auth.algorithms;
    const name = algorithms.join();
    let server = this.#made.get(name);
    if (server === undefined) {
      server = new DigestServer(
        { secretKeys: [this.#newest], nonceLifetimeMs: auth.nonceLifetime, algorithms, qop: auth.qop },
        this.#m,
      );
      this.#made.set(name, server);
    }
    this.#byDomain.set(d, server);
    return server;
  }

  rotate(key: Uint8Array): void {
    this.#newest = key;
    for (const server of this.#made.values()) server.rotate(key);
  }
}
