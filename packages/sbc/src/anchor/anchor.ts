import { own, type Reason } from '@drawbridge/core';
import { isRejected, type SdpRejected } from '@drawbridge/media-relay';
import type { Carrier, MessageView, SdpRole } from '@drawbridge/sip';
import type { Leg } from '../call/leg.js';
import { type BodyRules, isRefused, readBody } from './body.js';
import { forAnybody, STRICT } from './body-policy.js';

export { SDP } from './body.js';

/** What a message's body becomes on the other leg. `role` is what the offer/answer machine made of it. */
export interface Anchored extends Given {
  readonly role: SdpRole;
}

export interface NotAnchored {
  readonly status: number;
  readonly reason: Reason;
  /** For the response, beside what every response has. */
  readonly headers?: string;
}

const READABLE = (): BodyRules => ({ policy: forAnybody(STRICT), across: undefined });

/** The session description in a message, alone or among other parts. */
export function sdpOf(m: MessageView): string | undefined {
  const body = readBody(m, READABLE);
  return isRefused(body) ? undefined : body.sdp;
}

export function hasSdp(m: MessageView): boolean {
  return sdpOf(m) !== undefined;
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
  const read = readBody(m, () => from.bodyRules(to));
  if (isRefused(read)) return read;
  const { sdp } = read;
  const present = sdp !== undefined;
  const role = from.oa.note('in', carrier, present);
  if (!isRole(role)) return { status: role === 'glare' ? 491 : role === 'request-pending' ? 500 : 488, reason: role };
  to.oa.note('out', outCarrier, present && role !== 'none');
  if (!present || role === 'none') return given(read.write(undefined), false, role);
  const seenFrom = from.flow.address;
  const { media } = from.call;
  if (media === undefined) return { status: 488, reason: 'offer-answer-violation' };
  const said = {
    from: from.id,
    to: to.id,
    sdp,
    seenFrom,
    final: role === 'answer',
    again: carrier === '1xx-reliable',
  };
  const out: string | SdpRejected = role === 'offer' ? media.offer(said) : media.answer(said);
  if (!isRejected(out)) {
    from.said = own(sdp);
    return given(read.write(out), true, role);
  }
  if (role === 'offer') to.oa.rollback();
  return { status: out.status, reason: out.rejected };
}

function given(
  written: { readonly body: string; readonly contentType: string },
  sdp: boolean,
  role: SdpRole,
): Anchored {
  return { body: written.body, contentType: written.contentType, sdp, role };
}

/** A body as it goes out. */
export interface Given {
  readonly body: string;
  /** '' when there is none. */
  readonly contentType: string;
  /** Whether a session description is in it. */
  readonly sdp: boolean;
}

export const NO_BODY: Given = { body: '', contentType: '', sdp: false };

export function isAnchored(a: Anchored | NotAnchored): a is Anchored {
  return 'body' in a;
}

function isRole(r: SdpRole | Reason): r is SdpRole {
  return r === 'offer' || r === 'answer' || r === 'preview' || r === 'none';
}
