import type { Reason } from '@drawbridge/core';
import type { CallEvent } from '../events.js';

export interface CallRecord {
  readonly call: string;
  readonly caller: string;
  readonly callee: string;
  /** ISO 8601, UTC. */
  readonly started: string;
  readonly answered: string | null;
  readonly ended: string;
  /** Final status that the caller got. */
  readonly status: number;
  readonly cause: Reason;
  readonly by: 'caller' | 'callee' | 'border';
  readonly lastedMs: number;
  readonly talkedMs: number;
  /** Where it was forwarded to in the end. */
  readonly forwardedTo?: string;
  /** The record that goes on with a party of this call, or that this one goes on from. */
  readonly transferredTo?: string;
  readonly transferredFrom?: string;
  readonly media: readonly {
    readonly leg: string;
    readonly kind: string;
    readonly path: string;
    readonly received: number;
    readonly sent: number;
    readonly lost: number;
    readonly jitterMs: number;
    /** 1 … 4.5, of what arrived here from that leg; null without RTP. */
    readonly mos: number | null;
    /** What the leg's own RTCP said of what it heard; null when it said nothing. */
    readonly reported: {
      readonly lost: number;
      readonly worstLossPercent: number;
      readonly jitterMs: number;
      readonly roundTripMs: number | null;
    } | null;
  }[];
}

/** `wall`: when the event was made, ms since 1970. Users stand in full here: the file is the operator's ledger. */
export function callRecord(e: Extract<CallEvent, { kind: 'call-ended' }>, wall: number): CallRecord {
  const at = (ms: number): string => new Date(ms).toISOString();
  return {
    call: e.ref,
    caller: e.caller.reveal(),
    callee: e.callee.reveal(),
    started: at(wall - e.lastedMs),
    answered: e.talkedMs > 0 ? at(wall - e.talkedMs) : null,
    ended: at(wall),
    status: e.status,
    cause: e.cause,
    by: e.by,
    lastedMs: Math.round(e.lastedMs),
    talkedMs: Math.round(e.talkedMs),
    ...(e.forwardedTo === undefined ? {} : { forwardedTo: e.forwardedTo.reveal() }),
    ...(e.transferredTo === '' ? {} : { transferredTo: e.transferredTo }),
    ...(e.transferredFrom === '' ? {} : { transferredFrom: e.transferredFrom }),
    media: e.media.map(m => ({
      leg: m.leg,
      kind: m.kind,
      path: m.path,
      received: m.counters.packets,
      sent: m.counters.sent,
      lost: m.counters.lost,
      jitterMs: Math.round(m.counters.jitterMs * 10) / 10,
      mos: m.mos ?? null,
      reported:
        m.reported === undefined
          ? null
          : {
              lost: m.reported.lost,
              worstLossPercent: m.reported.worstLossPercent,
              jitterMs: m.reported.jitterMs,
              roundTripMs: m.reported.roundTripMs ?? null,
            },
    })),
  };
}
