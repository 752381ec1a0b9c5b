import type { Endpoint, Mono, Reason } from '@drawbridge/core';
import type { Component } from '../api.js';

/** One side of a stream: a port pair of ours that faces one far end. */
export type SideId = number;

/** Who may be latched, for how long, and what may be sent before. Plain data. */
export interface LatchPolicy {
  /** Address of the signalling source; null = learn from the SDP address only. */
  readonly seenFrom: string | null;
  /** Leading bits of `seenFrom` that a media source must share (of 32 or 128). */
  readonly prefixBits: number;
  readonly windowMs: number;
  readonly handover: boolean;
  readonly handoverMs: number;
  /** Packets may go to the SDP address before one came from there. */
  readonly sendBeforeLatch: boolean;
}

/**
 * What the lower layer is told. Plain serialisable objects, so that a relay on another machine can be driven by the
 * same messages.
 */
export type RelayCommand =
  /** Takes a port pair on a relay address (index of `RelayAddress`). `tag` comes back in events. */
  | { readonly do: 'allocate'; readonly address: number; readonly tag: string }
  /**
   * What SDP said about the far end. Another RTP or RTCP endpoint than before voids the latch; `reopen` opens the
   * window anew and keeps the latch until another source shows up.
   */
  | {
      readonly do: 'set-remote';
      readonly side: SideId;
      readonly rtp: Endpoint | null;
      readonly rtcp: Endpoint | null;
      /** `offered`: both are understood, RTCP leaves on its own port. */
      readonly mux: 'no' | 'offered' | 'yes';
      readonly opaque: boolean;
      readonly clockRate: number;
      readonly policy: LatchPolicy;
      readonly reopen: boolean;
    }
  /** What arrives at `side` leaves through `to`; null = nowhere. One direction: a call says it twice. */
  | { readonly do: 'connect'; readonly side: SideId; readonly to: SideId | null }
  /** Whether the far end said that it sends and that it receives. */
  | { readonly do: 'direction'; readonly side: SideId; readonly speaks: boolean; readonly hears: boolean }
  | { readonly do: 'release'; readonly side: SideId }
  | { readonly do: 'stats'; readonly side: SideId };

export type RelayReply =
  | { readonly ok: true; readonly side: SideId; readonly local: Endpoint }
  | { readonly ok: true; readonly stats: SideStats }
  | { readonly ok: true }
  | { readonly ok: false; readonly reason: Reason };

/** Counters of one side, both ports together. Times are control's `now()`. */
export interface SideStats {
  readonly packets: number;
  readonly bytes: number;
  readonly sent: number;
  readonly rtcp: number;
  readonly lost: number;
  readonly jitterMs: number;
  readonly ssrc: number | null;
  readonly wrongSource: number;
  readonly notRtp: number;
  readonly noTarget: number;
  readonly held: number;
  readonly sendFailed: number;
  /** 0 = never. */
  readonly lastRtp: Mono;
  readonly latched: Endpoint | null;
  readonly latchedRtcp: Endpoint | null;
}

/** What the lower layer tells: the side, its tag, and what happened. */
export type SideEvent =
  | {
      readonly kind: 'latched';
      readonly side: SideId;
      readonly tag: string;
      readonly component: Component;
      readonly from: Endpoint;
      readonly moved: boolean;
    }
  | {
      readonly kind: 'refused';
      readonly side: SideId;
      readonly tag: string;
      readonly component: Component;
      readonly reason: Reason;
      readonly from: Endpoint;
    }
  | {
      readonly kind: 'rtcp';
      readonly side: SideId;
      readonly tag: string;
      readonly at: Mono;
      readonly from: Endpoint;
      readonly bytes: Uint8Array;
    }
  | { readonly kind: 'failed'; readonly side: SideId; readonly tag: string; readonly detail: string };
