import { canonicalAddress, own, type Reason, reply, type Verdict } from '@drawbridge/core';
import { H, headerLine, type MessageView, parseNameAddr, parseUri, type SipUri, unescapeUri } from '@drawbridge/sip';
import type { Identity } from '../inbound.js';
import type { Shard } from '../shard.js';
import type { Leg, LegOwner } from './leg.js';
import { type Found, findReplaced, isConfirmed, parseReplaces, sameParty } from './replaces.js';
import { referredBy } from './setup.js';

/** Where a Refer-To points, in the words of who sent it. */
export interface ReferTo {
  /** Request-URI without headers, a contact of ours turned back into whom it stands for. */
  readonly uri: string;
  /** The call that the new one takes the place of. */
  readonly replaces: Found | undefined;
}

export type ReferFault = 400 | 403 | 416 | 481;
const FAULTS: Readonly<Record<ReferFault, Reason>> = {
  400: 'malformed-header',
  403: 'not-owner',
  416: 'unsupported-scheme',
  481: 'no-dialog',
};

/** Who sends a REFER, and in which call, if in any. */
export interface Referrer {
  readonly identity: Identity;
  readonly call?: LegOwner;
}

export function refused(fault: ReferFault): Verdict {
  return reply(fault, FAULTS[fault]);
}

/**
 * RFC 3515 §2.1: one Refer-To, and only INVITE is carried out. A Replaces in it must name a dialog of whoever sends the
 * REFER: he decides about his own calls and no others (RFC 3891 §8).
 */
export function readReferTo(shard: Shard, m: MessageView, by: Referrer): ReferTo | ReferFault {
  const values = m.list(H.referTo);
  const uri = values.length === 1 ? parseUri(parseNameAddr(values[0] ?? '')?.uri ?? '') : undefined;
  if (uri === undefined) return 400;
  if (uri.scheme === 'sips') return 416;
  const method = uri.params.get('method');
  if (method !== undefined && method.toUpperCase() !== 'INVITE') return 403;
  const replaces = replacesIn(uri);
  if (replaces === undefined) return { uri: own(target(shard, uri)), replaces: undefined };
  const parsed = parseReplaces(replaces);
  if (parsed === undefined) return 400;
  const found = findReplaced(shard, parsed);
  if (found === undefined) return 481;
  // He names it as its party: the tag that is ours is the one he knows as his peer's.
  const his = found.replaced.localTag === parsed.toTag && sameParty(found.replaced.identity, by.identity);
  if (!his || found.call === by.call) return 403;
  return { uri: own(shownTo(found.replaced)), replaces: found };
}

/** The value of a `Replaces` among a URI's headers, unescaped. */
function replacesIn(uri: SipUri): string | undefined {
  for (const header of uri.headers.split('&')) {
    const equals = header.indexOf('=');
    if (equals > 0 && unescapeUri(header.slice(0, equals)).toLowerCase() === 'replaces')
      return unescapeUri(header.slice(equals + 1));
  }
  return undefined;
}

/** A contact of ours names a leg; everything else stays, without what only its sender meant (`method`, `gr`, headers). */
function target(shard: Shard, uri: SipUri): string {
  if (uri.scheme === 'tel') return `tel:${uri.user ?? ''}`;
  const leg = shard.m.realms.isOwn(uri.host) ? shard.legs.get(uri.user ?? '') : undefined;
  if (leg !== undefined) return shownTo(leg);
  const user = uri.params.get('user');
  return `sip:${uri.user === undefined ? '' : `${uri.user}@`}${inBrackets(uri.host)}${user === undefined ? '' : `;user=${user}`}`;
}

/** Whom a leg's party believes to talk to. */
function shownTo(leg: Leg): string {
  return parseNameAddr(leg.dialog?.localUri ?? '')?.uri ?? '';
}

function inBrackets(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

/**
 * Refer-To and Referred-By for the other side of a REFER that crosses: the dialog in Replaces under the names by
 * which its other end knows it, no host of this side's.
 */
export function referAcross(shard: Shard, m: MessageView, by: Referrer, { uri, replaces }: ReferTo): string {
  const parsed = parseUri(uri);
  let out = uri;
  if (parsed !== undefined && parsed.scheme !== 'tel') {
    const known = shard.m.domains.lookup(parsed.host) !== undefined;
    const inner = !known && (canonicalAddress(parsed.host) !== undefined || !parsed.host.includes('.'));
    const host = known || inner ? shard.m.identity.hostFor(by.identity)(parsed.host) : parsed.host;
    const user = parsed.params.get('user');
    out = `sip:${parsed.user === undefined ? '' : `${parsed.user}@`}${inBrackets(host)}${user === undefined ? '' : `;user=${user}`}`;
  }
  const dialog = replaces !== undefined && isConfirmed(replaces) ? replaces.survivor.dialog : undefined;
  if (dialog !== undefined) {
    const named = `${dialog.callId};to-tag=${dialog.remoteTag};from-tag=${dialog.localTag}`;
    out += `?Replaces=${encodeURIComponent(named)}`;
  }
  return headerLine('Refer-To', `<${out}>`) + referredBy(shard, by.identity, m);
}

/** RFC 4488 §4. */
export function wantsSubscription(m: MessageView): boolean {
  return !/^false\b/i.test(m.get(H.referSub).trim());
}
