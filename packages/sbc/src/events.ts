import type { AskId, Endpoint, Masked, Mono, Reason } from '@drawbridge/core';
import type { RtcpReport, StreamFacts } from '@drawbridge/media-relay';
import type { Answer, Question, QuestionKind } from './asks.js';
import type { Why } from './forwarding/headers.js';
import type { LocateEvent } from './locate/locator.js';
import type { PushEvent } from './push/waker.js';
import type { BindingEvent } from './registrar/bindings.js';
import type { StoreWrite } from './store/store.js';

/** Who ended a call: one of its two ends, or we. */
export type Side = 'caller' | 'callee' | 'border';

interface OfCall {
  /** The one reference of a call in every log line, CDR, event and trace. */
  readonly ref: string;
  readonly at: Mono;
}

/** What happens to calls: the one source of CDRs, console, metrics, diagnosis and the guard's outcomes. */
export type CallEvent =
  | (OfCall & {
      readonly kind: 'call-started';
      readonly caller: Masked;
      readonly callee: Masked;
      readonly from: Endpoint;
      readonly realm: string;
      readonly forks: number;
    })
  | (OfCall & { readonly kind: 'call-ringing'; readonly leg: string; readonly status: number })
  | (OfCall & { readonly kind: 'call-answered'; readonly leg: string; readonly to: Endpoint })
  | (OfCall & {
      readonly kind: 'call-transferred';
      /** The call that goes on. */
      readonly into: string;
      readonly by: Masked;
      readonly to: Masked;
      readonly attended: boolean;
    })
  /** `from` had it sent on to `to`. */
  | (OfCall & { readonly kind: 'call-forwarded'; readonly from: Masked; readonly to: Masked; readonly why: Why })
  | (OfCall & { readonly kind: 'call-held' | 'call-resumed'; readonly by: Side })
  | (OfCall & { readonly kind: 'call-moved'; readonly leg: string; readonly to: Endpoint })
  | (OfCall & {
      readonly kind: 'media-latched';
      readonly leg: string;
      readonly stream: number;
      readonly component: string;
      readonly source: Endpoint;
      readonly moved: boolean;
    })
  | (OfCall & {
      readonly kind: 'media-refused';
      readonly leg: string;
      readonly stream: number;
      readonly reason: Reason;
      readonly source: Endpoint;
    })
  /** A far end's RTCP report; `to` is our port that it came to. */
  | (OfCall & {
      readonly kind: 'media-reported';
      readonly leg: string;
      readonly stream: number;
      readonly from: Endpoint;
      readonly to: Endpoint;
      readonly reports: readonly RtcpReport[];
    })
  | (OfCall & { readonly kind: 'media-inactive'; readonly legs: readonly string[]; readonly silentMs: number })
  | (OfCall & {
      readonly kind: 'call-ended';
      readonly caller: Masked;
      readonly callee: Masked;
      readonly cause: Reason;
      readonly by: Side;
      /** Final status the caller got for its INVITE. */
      readonly status: number;
      /** ms from INVITE to the end, and from answer to the end (0 when never answered). */
      readonly lastedMs: number;
      readonly talkedMs: number;
      readonly media: readonly StreamFacts[];
      /** Last target of forwarding. */
      readonly forwardedTo?: Masked | undefined;
      /** References of the call that went on with one of its parties, and of the one it took a party from; '' without. */
      readonly transferredTo: string;
      readonly transferredFrom: string;
    });

/** A next hop of a trunk went down or came back. */
export interface TrunkHopEvent {
  readonly kind: 'trunk-hop';
  readonly at: Mono;
  readonly trunk: string;
  /** Transport, address and port. */
  readonly hop: string;
  readonly up: boolean;
}

/** A trunk's registration with its provider holds, or doesn't; `why` is a status or what happened instead. */
export interface TrunkRegistrationEvent {
  readonly kind: 'trunk-registration';
  readonly at: Mono;
  readonly trunk: string;
  readonly registered: boolean;
  readonly why: string;
}

/** A request that was refused before it became anything; rate-limited by whoever logs it. */
export interface RejectedEvent {
  readonly kind: 'rejected';
  readonly at: Mono;
  readonly method: string;
  readonly status: number;
  readonly reason: Reason;
  readonly source: Masked;
}

/** A question to the store: answered through `Border.handleAnswer`. */
export interface StoreQuestion {
  readonly kind: 'ask-store';
  readonly id: AskId;
  readonly batch: readonly StoreWrite[];
}

/** Any other question to the outside (`Asks`): answered the same way. */
export type OutsideQuestion = {
  readonly [K in QuestionKind]: {
    readonly kind: 'ask';
    readonly id: AskId;
    readonly asks: K;
    readonly question: Question<K>;
  };
}[QuestionKind];

export type BorderEvent =
  | PushEvent
  | CallEvent
  | RejectedEvent
  | TrunkHopEvent
  | TrunkRegistrationEvent
  | StoreQuestion
  | OutsideQuestion
  | BindingEvent
  | LocateEvent;

export type BorderAnswer =
  | { readonly kind: 'stored'; readonly ok: boolean }
  | { readonly kind: 'answer'; readonly answer: Answer };

/** Facts and questions on their way out of the core, in order. Made before everything that emits. */
export class Outbox {
  #list: BorderEvent[] = [];
  #head = 0;
  #lastAsk = 0;

  push(e: BorderEvent): void {
    this.#list.push(e);
  }

  ask(batch: readonly StoreWrite[]): AskId {
    this.#lastAsk++;
    this.push({ kind: 'ask-store', id: this.#lastAsk, batch });
    return this.#lastAsk;
  }

  question(asks: QuestionKind, question: Question): AskId {
    this.#lastAsk++;
    // The kind and its question come in one from `Asks.ask`, which keeps them together.
    this.push({ kind: 'ask', id: this.#lastAsk, asks, question } as OutsideQuestion);
    return this.#lastAsk;
  }

  poll(): BorderEvent | undefined {
    if (this.#head === this.#list.length) {
      if (this.#head > 0) {
        this.#list = [];
        this.#head = 0;
      }
      return undefined;
    }
    return this.#list[this.#head++];
  }
}
