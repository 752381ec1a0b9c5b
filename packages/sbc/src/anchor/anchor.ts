import type { Reason } from '@drawbridge/core';
import { isRejected, type SdpRejected } from '@drawbridge/media-relay';
import type { Carrier, MessageView, SdpRole } from '@drawbridge/sip';
import type { Leg } from '../call/leg.js';

export const SDP = 'application/sdp';

/** What a message's body becomes on the other leg. `role` is what the offer/answer machine made of it. */
export interface Anchored {
  readonly body: string;
  /** Of `body`; '' when there is none. */
  readonly contentType: string;
  readonly role: SdpRole;
}

export interface NotAnchored {
  readonly status: number;
  readonly reason: Reason;
}

/** An answer that could still change is not final: only the machine's `answer` binds. */
export function hasSdp(m: MessageView): boolean {
  return m.bodyEnd > m.bodyStart && m.contentType === SDP;
}

/**
 * Offer/answer → media session, rewritten SDP. `carrier` names the message the body came in on `from`; both legs'
 * machines are told. Without a body, or with one that means nothing here, `body` is empty. `outCarrier`: what goes out on
 * `to`, where that differs (a reliable response becomes an unreliable one).
 */
export function anchor(
  from: Leg,
  to: Leg,
  m: MessageView,
  carrier: Carrier,
  outCarrier: Carrier = carrier,
): Anchored | NotAnchored {
  const present = hasSdp(m);
  const role = from.oa.note('in', carrier, present);
  if (!isRole(role)) return { status: role === 'glare' ? 491 : role === 'request-pending' ? 500 : 488, reason: role };
  to.oa.note('out', outCarrier, present && role !== 'none');
  if (!present || role === 'none') return { body: '', contentType: '', role };
  const seenFrom = from.flow.address;
  const { media } = from.call;
  if (media === undefined) return { status: 488, reason: 'offer-answer-violation' };
  const parts = { from: from.id, to: to.id, sdp: m.body, seenFrom };
  const out: string | SdpRejected =
    role === 'offer'
      ? media.offer(parts)
      : media.answer({
          from: from.id,
          to: to.id,
          sdp: m.body,
          seenFrom,
          final: role === 'answer',
          again: carrier === '1xx-reliable',
        });
  if (!isRejected(out)) from.said = fingerprint(m.body);
  if (!isRejected(out)) return { body: out, contentType: SDP, role };
  if (role === 'offer') to.oa.rollback();
  return { status: out.status, reason: out.rejected };
}

/** A body as it goes out. */
export interface Given {
  readonly body: string;
  /** '' when there is none. */
  readonly contentType: string;
}

export const NO_BODY: Given = { body: '', contentType: '' };

export function isAnchored(a: Anchored | NotAnchored): a is Anchored {
  return 'body' in a;
}

/**
 * Tells whether a description is the one that came before. Its o= line should say so by itself (RFC 3264 §8), but phones
 * exist that hold a call without a new version. Whoever finds a collision (FNV-1a) has fooled nobody but himself.
 */
export function fingerprint(sdp: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < sdp.length; i++) hash = Math.imul(hash ^ sdp.charCodeAt(i), 0x01000193);
  return (hash >>> 0) * 65_536 + (sdp.length & 65_535);
}

function isRole(r: SdpRole | Reason): r is SdpRole {
  return r === 'offer' || r === 'answer' || r === 'preview' || r === 'none';
}
