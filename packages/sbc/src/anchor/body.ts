import type { Reason } from '@drawbridge/core';
import {
  type BodyPart,
  formatMultipart,
  H,
  headerLine,
  isOptional,
  type MessageView,
  type Multipart,
  parseMultipart,
  quote,
} from '@drawbridge/sip';
import { bodyCrosses } from '../hide/allow.js';
import type { Crossing } from '../identity/policy.js';
import { type BodyPolicy, STRICT } from './body-policy.js';

export const SDP = 'application/sdp';

/** A message's body as the border sees it. */
export interface Body {
  /** The session description; undefined when there is none. */
  readonly sdp: string | undefined;
  /** The body that goes on, with another description in place of that one. */
  write(sdp: string | undefined): { readonly body: string; readonly contentType: string };
}

export interface BodyRefused {
  readonly status: number;
  readonly reason: Reason;
  readonly headers: string;
}

/** What decides over a body, and between whom; asked for only when there is something to decide. */
export interface BodyRules {
  readonly policy: BodyPolicy;
  readonly across: Crossing | undefined;
}

const plain = (sdp: string | undefined) =>
  sdp === undefined ? { body: '', contentType: '' } : { body: sdp, contentType: SDP };
const strict = (): BodyRules => ({ policy: STRICT, across: undefined });
const NOTHING: Body = { sdp: undefined, write: () => plain(undefined) };
const ACCEPTED = headerLine('Accept', `${SDP}, multipart/mixed`);
const NOT_ENCODED = headerLine('Accept-Encoding', 'identity');
/** Ours, since the far side's may say where it was made. */
const BOUNDARY = 'drawbridge-part';
/** In a part it is there so that the part becomes two. */
const OURS = `--${BOUNDARY}-`;

/**
 * The body of a message that may negotiate media, in its parts: the description is read, what is permitted beside it
 * goes on byte for byte, what is optional and not permitted stays behind, and the rest is refused. A response can't be
 * refused: what can't go on in it stays behind.
 */
export function readBody(m: MessageView, rules: () => BodyRules = strict): Body | BodyRefused {
  if (m.bodyEnd === m.bodyStart) return NOTHING;
  const type = m.contentType;
  if (type === SDP && !m.has(H.contentEncoding) && !m.has(H.contentDisposition)) return { sdp: m.body, write: plain };
  const read = readAny(m, type, rules());
  return isRefused(read) && !m.isRequest ? NOTHING : read;
}

export function isRefused(b: Body | BodyRefused): b is BodyRefused {
  return 'status' in b;
}

/** The rest of `readBody`, for what isn't a bare description. */
function readAny(m: MessageView, type: string, rules: BodyRules): Body | BodyRefused {
  const disposition = m.get(H.contentDisposition);
  const optional = isOptional(disposition);
  const encoding = m.get(H.contentEncoding).trim().toLowerCase();
  if (encoding !== '' && encoding !== 'identity')
    return optional ? NOTHING : { status: 415, reason: 'unsupported-body', headers: NOT_ENCODED };
  const semi = disposition.indexOf(';');
  const about = (semi < 0 ? disposition : disposition.slice(0, semi)).trim().toLowerCase();
  if (type === SDP) {
    if (isSession(about)) return { sdp: m.body, write: plain };
    return optional ? NOTHING : UNSUPPORTED;
  }
  const whole: Body = { sdp: undefined, write: () => ({ body: m.body, contentType: m.get(H.contentType) }) };
  if (isOpaque(type)) return rules.policy.passesOpaque ? whole : optional ? NOTHING : UNSUPPORTED;
  if (!type.startsWith('multipart/')) {
    if (rules.policy.permits(type, rules.across)) return whole;
    return optional ? NOTHING : UNSUPPORTED;
  }
  const read = parseMultipart(m.body, m.get(H.contentType));
  if (read === 'malformed') return MALFORMED;
  if (read === 'too-large') return { status: 488, reason: 'sdp-too-large', headers: '' };
  const kept = keep(read, rules);
  if ('status' in kept) return kept;
  return { sdp: kept.sdp?.content, write: sdp => write(kept, sdp) };
}

/**
 * Why the body of a message without media (MESSAGE, INFO, NOTIFY and the like) can't cross; undefined when it can, as it
 * is. S/MIME can: there is nothing in it that the border must read.
 */
export function refuseBody(m: MessageView, method: string, rules: () => BodyRules): BodyRefused | undefined {
  const type = m.contentType;
  if (bodyCrosses(method, type) || isOpaque(type)) return undefined;
  const { policy, across } = rules();
  const permits = (one: string): boolean =>
    bodyCrosses(method, one) || isOpaque(one) || (one !== SDP && policy.permits(one, across));
  if (!type.startsWith('multipart/')) return permits(type) ? undefined : UNSUPPORTED;
  const read = parseMultipart(m.body, m.get(H.contentType));
  if (read === 'malformed') return MALFORMED;
  if (read === 'too-large') return { status: 413, reason: 'unsupported-body', headers: '' };
  const fine = (parts: readonly BodyPart[]): boolean =>
    parts.every(p => (p.inner === undefined ? permits(p.type) : fine(p.inner.parts)));
  return fine(read.parts) ? undefined : UNSUPPORTED;
}

const UNSUPPORTED: BodyRefused = { status: 415, reason: 'unsupported-body', headers: ACCEPTED };
const MALFORMED: BodyRefused = { status: 400, reason: 'malformed-body', headers: '' };

/** S/MIME (RFC 8551): signed bytes can't be changed, sealed ones not even read. */
export function isOpaque(type: string): boolean {
  return type === 'application/pkcs7-mime' || type === 'multipart/signed' || type === 'multipart/encrypted';
}

/** RFC 3261 §20.11: a description is one of the session unless it says otherwise (`early-session`, RFC 3959). */
function isSession(disposition: string): boolean {
  return disposition === '' || disposition === 'session';
}

/** A multipart without what stays behind. */
interface Kept {
  readonly of: Multipart;
  readonly parts: readonly (BodyPart | Kept)[];
  readonly sdp: BodyPart | undefined;
}

function keep(of: Multipart, rules: BodyRules): Kept | BodyRefused {
  const parts: (BodyPart | Kept)[] = [];
  const choice = of.subtype === 'alternative';
  let sdp: BodyPart | undefined;
  for (const p of of.parts) {
    if (p.inner === undefined && (p.content.includes(OURS) || p.head.includes(OURS))) return MALFORMED;
    const inner = p.inner === undefined ? undefined : keep(p.inner, rules);
    if (inner !== undefined && 'status' in inner) {
      if (p.optional || choice) continue;
      return inner;
    }
    const described =
      inner === undefined ? (p.type === SDP && isSession(p.disposition) && !p.coded ? p : undefined) : inner.sdp;
    if (inner === undefined && described === undefined && !passes(p, rules)) {
      if (p.optional || choice) continue;
      return UNSUPPORTED;
    }
    if (described !== undefined && sdp !== undefined) {
      // Of alternatives the last counts (RFC 2046 §5.1.4); elsewhere two descriptions are one too many.
      if (!choice) return MALFORMED;
      const before = sdp;
      parts.splice(0, parts.length, ...parts.filter(x => ('of' in x ? x.sdp : x) !== before));
    }
    sdp = described ?? sdp;
    if (inner === undefined || inner.parts.length > 0) parts.push(inner ?? p);
  }
  return { of, parts, sdp };
}

function passes(p: BodyPart, { policy, across }: BodyRules): boolean {
  if (p.type === SDP) return false;
  return isOpaque(p.type) ? policy.passesOpaque : policy.permits(p.type, across);
}

/** A description that is alone needs no wrapping. */
function write(kept: Kept, sdp: string | undefined): { readonly body: string; readonly contentType: string } {
  const rest = sdp === undefined ? without(kept, kept.sdp) : kept;
  if (rest === undefined) return plain(undefined);
  if (sdp !== undefined && count(rest) === 1) return plain(sdp);
  return format(rest, sdp, 1);
}

function format(kept: Kept, sdp: string | undefined, level: number): { body: string; contentType: string } {
  const boundary = `${BOUNDARY}-${level}`;
  const parts = kept.parts.map(p => {
    if (!('of' in p)) return { head: p.head, content: p === kept.sdp && sdp !== undefined ? sdp : p.content };
    const inner = format(p, sdp, level + 1);
    return { head: headerLine('Content-Type', inner.contentType), content: inner.body };
  });
  let contentType = `multipart/${kept.of.subtype};boundary=${boundary}`;
  // What multipart/related says of its root (RFC 2387).
  for (const name of ['type', 'start']) {
    const value = kept.of.params.get(name);
    if (value !== undefined) contentType += `;${name}=${quote(value)}`;
  }
  return { body: formatMultipart(parts, boundary), contentType };
}

function without(kept: Kept, part: BodyPart | undefined): Kept | undefined {
  const parts = kept.parts.flatMap((p): (BodyPart | Kept)[] => {
    const left = 'of' in p ? without(p, part) : p === part ? undefined : p;
    return left === undefined ? [] : [left];
  });
  return parts.length === 0 ? undefined : { of: kept.of, parts, sdp: undefined };
}

function count(kept: Kept): number {
  return kept.parts.reduce((n, p) => n + ('of' in p ? count(p) : 1), 0);
}
