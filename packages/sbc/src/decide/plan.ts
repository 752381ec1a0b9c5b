import type { Mono, Tx } from '@drawbridge/core';
import type { AnsweredRequest, Flow, MessageView } from '@drawbridge/sip';
import type { Domain } from '../domains.js';
import type { Hop } from '../forwarding/headers.js';
import type { Identity } from '../inbound.js';
import type { HopList } from '../locate/hop-list.js';
import type { RealmListener } from '../realms.js';

/**
 * Who looks after what goes to a trunk: counts its calls, answers its challenges, hears whether it lives. One per call;
 * every leg and request toward that trunk tells it.
 */
export interface Keeper {
  /** A leg has been made, or is gone. */
  legMade(): void;
  legGone(): void;
  heard(now: Mono, flow: Flow, m: MessageView): void;
  /** No response, or no way to it. */
  lost(now: Mono, flow: Flow, why: 'timeout' | 'transport', method: string): void;
  /** The header line that answers the 401 or 407 in `m`, when it is this trunk's to ask. */
  credentials(m: MessageView, request: AnsweredRequest): string | undefined;
}

/** One place a request may go: a registered contact over its own flow, or a configured next hop. */
export interface Target {
  readonly flow: Flow;
  readonly listener: RealmListener;
  /** Request-URI toward it. */
  readonly uri: string;
  /** Route of a request that opens something there: the Path of the contact, or the Service-Route of its registration. */
  readonly routes?: readonly string[] | undefined;
  /** Further header lines of an INVITE to it: of the way that led there. */
  readonly headers?: string | undefined;
  /** 0 … 1, serial groups by falling q. */
  readonly q: number;
  /** Whom we reach there. */
  readonly identity: Identity;
  /** The upstream domain whose own credentials may travel to it. */
  readonly upstream: string | undefined;
  /** The configured peer's next hops, of which this is one. */
  readonly hops?: HopList | undefined;
  /** Tried in its place when it is silent, unreachable or says so: 503 of a next hop (RFC 3263 §4.3), 430 of a flow (RFC 5626 §7). */
  readonly otherwise?: Target | undefined;
  readonly keeper?: Keeper | undefined;
  /** ms until silence counts as failure, where there is somewhere else to go. */
  readonly timeoutMs?: number | undefined;
}

/** How a call takes targets that weren't known when it began. Of no effect once the call is answered or over. */
export interface LateTargets {
  /** These ring too, beside whoever rings already. */
  ring(now: Mono, targets: readonly Target[], tx: Tx): void;
  /** No more will come from here: when nobody rings any more the call may fail. */
  done(now: Mono, tx: Tx): void;
  /** False: the caller has given up, somebody has answered, nobody did in time, or the call has failed. */
  wanted(): boolean;
}

/** Where a call goes beyond the targets it begins with. Asked in the turn of the call, on the shard's own thread. */
export interface Onward {
  /**
   * The call has begun. True: more targets will come through `late` in later turns (a phone is being woken, a lookup is
   * under way), and `late.done` will be called, at the latest at a deadline of its own.
   */
  begin?(now: Mono, late: LateTargets, tx: Tx): boolean;
  /**
   * Everybody tried so far has failed, or nobody has answered within `noAnswer`; `status` is the best of the failures.
   * Further targets, or undefined when the caller shall hear of it. Asked again when these fail too.
   */
  instead?(now: Mono, status: number, tx: Tx): readonly Target[] | undefined;
  /** After `instead`, as `begin`: more may come to where it has led. */
  further?(now: Mono, late: LateTargets, tx: Tx): boolean;
  /** Steps by which the call was sent on since this was asked last: the caller hears of them. */
  hops?(): readonly Hop[];
  /** ms that its targets may ring, instead of `calls.noAnswer`. */
  readonly noAnswer?: number | undefined;
}

/** What becomes of a request outside a dialog. */
export type Plan =
  | { readonly do: 'register'; readonly domain: Domain }
  /** Addressed to the border itself (OPTIONS). */
  | { readonly do: 'self' }
  | {
      readonly do: 'forward';
      readonly targets: readonly Target[];
      readonly callee: string;
      readonly onward?: Onward | undefined;
    };
