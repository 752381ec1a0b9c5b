import type { SdpRejected, StreamFacts } from './api.js';

export interface LegOptions {
  readonly realm: string;
  /** Address the leg's SIP listener is bound to: chooses the relay address (and family) of the leg. */
  readonly local: string;
}

export interface OfferInput {
  readonly from: string;
  readonly to: string;
  readonly sdp: string;
  /** Address the signalling came from. */
  readonly seenFrom: string;
}

export interface AnswerInput extends OfferInput {
  /** False for the preview in an unreliable provisional response. */
  readonly final: boolean;
}

/** The media of one call. Legs are named by the caller. Every method is synchronous and makes no system call. */
export class MediaSession {
  readonly id: string;
  constructor(id: string) {
    this.id = id;
  }

  leg(_id: string, _o: LegOptions): void {
    throw new Error('not yet');
  }
  /** SDP to send to `to`. */
  offer(_o: OfferInput): string | SdpRejected {
    throw new Error('not yet');
  }
  answer(_o: AnswerInput): string | SdpRejected {
    throw new Error('not yet');
  }
  /** The winning fork gets the caller's ports; the flows of the others end. */
  select(_leg: string): void {}
  /** The last offer failed (RFC 6141): what was agreed before holds again. */
  rollback(): void {}
  /** An in-dialog request authentically moved the leg's flow: its latch windows open again. */
  reopen(_leg: string, _seenFrom: string): void {}
  dropLeg(_leg: string): void {}
  close(): void {}
  get streams(): readonly StreamFacts[] {
    return [];
  }
}
