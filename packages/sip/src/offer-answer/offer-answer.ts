import type { Reason } from '@drawbridge/core';

/** Which message carries, or could carry, a session description. `non-2xx` is the failure of an INVITE. */
export type Carrier =
  | 'INVITE'
  | '1xx'
  | '1xx-reliable'
  | '2xx'
  | 'non-2xx'
  | 'ACK'
  | 'PRACK'
  | 'PRACK-2xx'
  | 'PRACK-non-2xx'
  | 'UPDATE'
  | 'UPDATE-2xx'
  | 'UPDATE-non-2xx';
/** Seen from us. */
export type Direction = 'in' | 'out';
/**
 * What the description in a message is. `preview`: the answer to be, in a provisional response that may get lost
 * (RFC 3261 §13.2.1); several may come, and the answer itself must still follow. `none`: nothing to act on.
 */
export type SdpRole = 'offer' | 'answer' | 'preview' | 'none';
export type OfferAnswerState = 'idle' | 'offer-in' | 'offer-out' | 'stable';

/**
 * Theory. A leg has at most one offer open (RFC 3264 §4), and only six pairs of messages may carry offer and answer
 * (RFC 6337 table 1):
 *
 *   INVITE → 2xx · INVITE → reliable 1xx · 2xx → ACK · reliable 1xx → PRACK · PRACK → its 2xx · UPDATE → its 2xx
 *
 * An INVITE without a description is a delayed offer: the first reliable response must then carry the offer. What
 * comes in a response after the answer was given repeats it and is ignored. A leg that forks has one machine per
 * callee (`fork`). When an INVITE, UPDATE or PRACK fails, what it offered is undone (`rollback`, RFC 6141 §3).
 *
 * The machine knows nothing of transactions: it is told of every message that could carry a description, in order.
 */
const ANSWERED_BY = {
  INVITE: ['1xx-reliable', '2xx'],
  '2xx': ['ACK'],
  '1xx-reliable': ['PRACK'],
  PRACK: ['PRACK-2xx'],
  UPDATE: ['UPDATE-2xx'],
} as const satisfies Partial<Record<Carrier, readonly Carrier[]>>;

type Offering = keyof typeof ANSWERED_BY;

export class OfferAnswer {
  #offer: { readonly from: Direction; readonly by: Offering } | undefined = undefined;
  #established = false;
  /**
   * The INVITE under way: who sent it, whether it came without an offer, whether that is still to come, and whether a
   * session was established before it.
   */
  #invite:
    | { readonly from: Direction; readonly bare: boolean; readonly delayed: boolean; readonly before: boolean }
    | undefined = undefined;

  get state(): OfferAnswerState {
    if (this.#offer !== undefined) return this.#offer.from === 'in' ? 'offer-in' : 'offer-out';
    return this.#established ? 'stable' : 'idle';
  }

  /** An INVITE is under way in which an offer is still owed by its callee. */
  get delayed(): boolean {
    return this.#invite?.delayed === true;
  }

  /**
   * A message goes or comes; `hasSdp`: it carries a session description. Violations leave the state as it was:
   * `glare` and `request-pending` for an offer across an open one (RFC 3261 §14.2: 491, and 500 with Retry-After),
   * `offer-answer-violation` for the rest.
   */
  note(direction: Direction, carrier: Carrier, hasSdp: boolean): SdpRole | Reason {
    switch (carrier) {
      case 'INVITE': {
        const role = hasSdp
          ? this.#newOffer(direction, 'INVITE', true)
          : this.#offer === undefined
            ? 'none'
            : this.#crossed(direction);
        if (role === 'offer' || role === 'none')
          this.#invite = { from: direction, bare: !hasSdp, delayed: !hasSdp, before: this.#established };
        return role;
      }
      case 'UPDATE':
        return hasSdp ? this.#newOffer(direction, 'UPDATE', this.#established) : 'none';
      case 'PRACK':
        if (this.#awaits(direction, 'PRACK')) return this.#answer(hasSdp);
        return hasSdp ? this.#newOffer(direction, 'PRACK', this.#established) : 'none';
      case '1xx':
        if (!hasSdp || (this.#established && this.#offer === undefined)) return 'none';
        return this.#awaits(direction, '2xx') ? 'preview' : 'offer-answer-violation';
      case '1xx-reliable':
        return this.#response(direction, carrier, hasSdp);
      case '2xx': {
        const role = this.#response(direction, carrier, hasSdp);
        if (role !== 'offer' && role !== 'offer-answer-violation') this.#invite = undefined;
        return role;
      }
      case 'ACK':
        if (this.#awaits(direction, 'ACK')) return this.#answer(hasSdp);
        return hasSdp ? 'offer-answer-violation' : 'none';
      case 'PRACK-2xx':
      case 'UPDATE-2xx':
        if (this.#awaits(direction, carrier)) return this.#answer(hasSdp);
        return hasSdp ? 'offer-answer-violation' : 'none';
      case 'non-2xx':
        this.#failed();
        return 'none';
      case 'UPDATE-non-2xx':
      case 'PRACK-non-2xx':
        if (this.#offer?.by === carrier.slice(0, -'-non-2xx'.length)) this.#offer = undefined;
        return 'none';
    }
  }

  /** Forgets the open offer, and what an INVITE under way has agreed on (RFC 6141): the state before it is in force again. */
  rollback(): void {
    this.#failed();
    this.#offer = undefined;
  }

  /** The machine of one more callee of the same initial INVITE, as it was before anybody answered. */
  fork(): OfferAnswer {
    const other = new OfferAnswer();
    if (this.#invite === undefined) return other;
    const { from, bare } = this.#invite;
    other.#invite = { from, bare, delayed: bare, before: false };
    if (!bare) other.#offer = { from, by: 'INVITE' };
    return other;
  }

  #response(direction: Direction, carrier: '1xx-reliable' | '2xx', hasSdp: boolean): SdpRole | Reason {
    const invite = this.#invite;
    if (invite === undefined || invite.from === direction) return hasSdp ? 'offer-answer-violation' : 'none';
    if (this.#awaits(direction, carrier)) {
      if (!hasSdp && carrier === '1xx-reliable') return 'none';
      return this.#answer(hasSdp);
    }
    if (!invite.delayed) return 'none';
    if (!hasSdp) return carrier === '2xx' ? 'offer-answer-violation' : 'none';
    const role = this.#newOffer(direction, carrier, true);
    if (role === 'offer') this.#invite = carrier === '2xx' ? undefined : { ...invite, delayed: false };
    return role;
  }

  #newOffer(from: Direction, by: Offering, allowed: boolean): SdpRole | Reason {
    if (this.#offer !== undefined) return this.#crossed(from);
    if (!allowed) return 'offer-answer-violation';
    this.#offer = { from, by };
    return 'offer';
  }

  #crossed(direction: Direction): Reason {
    return this.#offer?.from === direction ? 'request-pending' : 'glare';
  }

  #awaits(direction: Direction, carrier: Carrier): boolean {
    const offer = this.#offer;
    return (
      offer !== undefined && offer.from !== direction && (ANSWERED_BY[offer.by] as readonly Carrier[]).includes(carrier)
    );
  }

  #answer(hasSdp: boolean): SdpRole | Reason {
    if (!hasSdp) return 'offer-answer-violation';
    this.#offer = undefined;
    this.#established = true;
    return 'answer';
  }

  #failed(): void {
    if (this.#invite === undefined) return;
    this.#established = this.#invite.before;
    this.#invite = undefined;
    if (this.#offer?.by !== 'UPDATE') this.#offer = undefined;
  }
}
