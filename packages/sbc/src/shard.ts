import type { Mono, Random, ReasonCounts, TimerWheel } from '@drawbridge/core';
import type { MediaRelay } from '@drawbridge/media-relay';
import { type Flow, type FlowTable, MessageView, type Tap, type Transactions } from '@drawbridge/sip';
import type { BodyPolicy } from './anchor/body-policy.js';
import type { Asks } from './asks.js';
import type { Authenticator } from './authenticate/authenticator.js';
import type { Call } from './call/call.js';
import type { Leg } from './call/leg.js';
import { TransferCounts } from './call/metrics.js';
import type { Subscription } from './call/subscription.js';
import type { Config } from './config.js';
import type { Domains } from './domains.js';
import type { Outbox } from './events.js';
import type { Forwarder } from './forwarding/chain.js';
import { PrefixBudget } from './guard/prefix-budget.js';
import type { IdentityPolicy } from './identity/policy.js';
import type { Identity } from './inbound.js';
import type { StoreJournal } from './journal.js';
import type { HopList } from './locate/hop-list.js';
import type { Locator } from './locate/locator.js';
import type { Waker } from './push/waker.js';
import type { Realms } from './realms.js';
import type { Registrar } from './registrar/registrar.js';
import type { Routing } from './route/routing.js';
import type { Subscribers } from './subscribers.js';
import type { Traces } from './trace.js';
import type { Trunks } from './trunk/trunks.js';

/** STUN answers per prefix and window. */
const PONGS = 50;
const PONG_WINDOW_MS = 10_000;

export interface ShardOptions {
  readonly calls: Config['calls'];
  readonly methods: Config['methods'];
  /** Keys the To tags of stateless replies. */
  readonly key: Uint8Array;
  /** This shard's number, in every identifier we mint. */
  readonly index: number;
}

export interface ShardModules {
  readonly realms: Realms;
  readonly domains: Domains;
  readonly flows: FlowTable;
  readonly transactions: Transactions;
  readonly wheel: TimerWheel;
  readonly registrar: Registrar;
  readonly trunks: Trunks;
  readonly routing: Routing;
  readonly authenticator: Authenticator;
  readonly subscribers: Subscribers;
  readonly identity: IdentityPolicy;
  readonly bodies: BodyPolicy;
  readonly relay: MediaRelay;
  readonly random: Random;
  readonly counts: ReasonCounts;
  readonly outbox: Outbox;
  readonly journal: StoreJournal;
  readonly forwarder: Forwarder;
  /** Absent: phones can't be woken by push. */
  readonly waker?: Waker | undefined;
  readonly asks: Asks;
  readonly locator: Locator;
  /** The receive side of the tap; `FlowTable` has the send side. */
  readonly tap: Tap;
}

/** All state of calls that one owner holds. Nobody outside keeps a reference into it. */
export class Shard {
  readonly o: ShardOptions;
  readonly m: ShardModules;
  readonly calls = new Map<string, Call>();
  readonly subscriptions = new Map<string, Subscription>();
  /** By our own tag: From tag toward a callee, To tag toward a caller. 96 random bits, so the tag alone finds the leg. */
  readonly legs = new Map<string, Leg>();
  /** Calls under way per subscriber, for the limit. */
  readonly perSubscriber = new Map<string, number>();
  /** Subscriptions that each subscriber has opened. */
  readonly subscriptionsOf = new Map<string, number>();
  /** Requests by method and status class, for metrics. */
  readonly requests = new Map<string, number>();
  readonly replies = new Map<string, number>();
  /** For a second message beside the one that is being handled. */
  readonly aside = new MessageView();
  /** Answers to STUN from sources without a registration. */
  readonly pongs: PrefixBudget;
  draining = false;
  readonly transfers = new TransferCounts();
  readonly traces: Traces;

  constructor(options: ShardOptions, modules: ShardModules, traces: Traces) {
    this.o = options;
    this.m = modules;
    this.traces = traces;
    this.pongs = new PrefixBudget(PONGS, PONG_WINDOW_MS, modules.random.u32());
  }

  /**
   * A leg's flow while it lives; otherwise the newest flow its subscriber has registered since, or a new stream to the
   * same hop of a configured peer, or to the next when that one has failed lately.
   */
  wayTo(now: Mono, leg: Leg): Flow {
    if (leg.flow.alive) return leg.flow;
    const again =
      leg.identity.kind === 'subscriber'
        ? this.m.registrar.lookup(leg.identity.aor)[0]?.flow
        : this.#redialled(now, leg.flow, leg.hops);
    if (again !== undefined) leg.moveTo(this, again);
    return leg.flow;
  }

  /** Next hops of a configured peer; a subscriber has none. */
  hopsOf(identity: Identity): HopList | undefined {
    const domain = identity.kind === 'peer' ? this.m.domains.lookup(identity.domain) : undefined;
    return domain?.kind === 'upstream' ? domain.next : undefined;
  }

  #redialled(now: Mono, dead: Flow, hops: HopList | undefined): Flow | undefined {
    const same = hops?.find(dead);
    const hop = same === undefined || hops?.isDown(now, same) === true ? hops?.current(now)[0] : same;
    return hop === undefined ? undefined : this.m.flows.dialled(now, hop.listener.via, hop.endpoint, hop.host);
  }
}
