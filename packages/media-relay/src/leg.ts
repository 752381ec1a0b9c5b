import type { Endpoint } from '@drawbridge/core';
import type { StreamDescription } from './anchor/describe.js';
import type { SideId } from './control/command.js';
import { Reports } from './quality.js';

/** One m-line of one leg. */
export interface LegStream {
  kind: string;
  side: { readonly id: SideId; readonly local: Endpoint } | undefined;
  /** What the flow table carries out now, and where the signalling came from then. */
  current: Applied | undefined;
  /** What the last completed offer/answer agreed on: where `rollback` returns to. */
  agreed: Applied | undefined;
  readonly reports: Reports;
}

export interface Applied {
  readonly description: StreamDescription;
  readonly seenFrom: string;
  readonly mux: boolean;
}

/** An offer that was sent to a leg and has no final answer yet. */
export interface PendingOffer {
  readonly from: Leg;
  readonly streams: readonly StreamDescription[];
  readonly seenFrom: string;
  /** The leg is told again what it knows: the other side hears nothing of the answer. */
  readonly repeat?: boolean;
  /** Passed on unanchored: both ends are inside one site. */
  readonly direct: boolean;
}

/** o= toward a party (RFC 3264 §8): the version moves only with the body. It stays with a party that goes to another call. */
export interface PartyOrigin {
  readonly sessionId: string;
  version: number;
  lastBody: string;
}

/** One party of a call and its own view of the session: its relay address, its o= line, its streams. */
export class Leg {
  readonly id: string;
  readonly realm: string;
  /** Index of the relay address that faces it; moves to the other family of the realm once, before any port is taken. */
  address: number;
  /** Where its signalling goes or comes from; undefined until known. */
  seenFrom: string | undefined;
  readonly streams: LegStream[] = [];
  /** m-lines of the last completed offer/answer: an offer never has fewer (RFC 3264 §8). */
  agreedStreams = 0;
  readonly origin: PartyOrigin;
  pending: PendingOffer | undefined = undefined;
  /** The leg whose media it hears. */
  peer: Leg | undefined = undefined;
  /** Set by `select`: no other leg takes the peer's place any more. */
  selected: Leg | undefined = undefined;
  /** Last answer it gave, and what that became: a repeated answer gets the same again. */
  answered: { readonly sdp: string; readonly to: Leg; readonly out: string } | undefined = undefined;
  /** The offer that it answered last, until it is `select`ed: further dialogs of one INVITE answer it anew. */
  lastOffer: PendingOffer | undefined = undefined;
  /** Media goes past us (site). */
  direct = false;

  constructor(id: string, realm: string, address: number, origin: PartyOrigin, seenFrom: string | undefined) {
    this.id = id;
    this.realm = realm;
    this.address = address;
    this.origin = origin;
    this.seenFrom = seenFrom;
  }

  stream(i: number): LegStream {
    for (let n = this.streams.length; n <= i; n++)
      this.streams.push({ kind: '', side: undefined, current: undefined, agreed: undefined, reports: new Reports() });
    return this.streams[i] as LegStream;
  }
}
