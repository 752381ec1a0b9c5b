import type { Reason } from '@drawbridge/core';
import {
  type Contact,
  formatParams,
  formatUri,
  H,
  headerLine,
  type MessageView,
  parseContacts,
  parseExpires,
  parseUri,
  type SipUri,
  uriEqual,
} from '@drawbridge/sip';
import { samePush } from '../push/contact.js';
import type { Binding } from './binding.js';
import type { Gruus } from './gruu.js';

/** One contact as the phone asks for it. Its strings are slices of the message: what outlives the batch owns them. */
export interface WantedContact {
  readonly contact: string;
  /** For comparison, within the batch. */
  readonly uri: SipUri;
  /** 0 removes. */
  readonly seconds: number;
  /** The phone named an interval itself. */
  readonly explicit: boolean;
  readonly q: number;
  readonly instance: string;
  readonly regId: number;
  /** Other contact parameters, `;name=value`. */
  readonly params: string;
}

/** What a REGISTER asks for, apart from whose it is (RFC 3261 §10.3 steps 6 and 7). */
export interface Wanted {
  readonly callId: string;
  readonly cseq: number;
  /** `Contact: *` with Expires 0: remove all. */
  readonly wildcard: boolean;
  readonly contacts: readonly WantedContact[];
  readonly userAgent: string;
}

export interface Refusal {
  readonly status: number;
  readonly reason: Reason;
  readonly headers?: string;
}

export interface Intervals {
  readonly minExpires: number;
  readonly maxExpires: number;
  readonly defaultExpires: number;
}

/** Most contacts one REGISTER may carry, whatever the cap per AoR: bounds the work before that cap is known. */
const MAX_CONTACTS = 64;
const MAX_CONTACT_LENGTH = 512;
const MAX_CALL_ID = 256;
const MAX_INSTANCE = 128;

/**
 * Reads contacts and their intervals. With `intervals` (we are the registrar) what is too brief is refused with 423
 * and what is too long is shortened; without, values are as the phone gave them.
 */
export function readRegister(m: MessageView, intervals: Intervals | undefined): Wanted | Refusal {
  const contacts = parseContacts(m);
  if (contacts === undefined || contacts.length > MAX_CONTACTS || m.callId.length > MAX_CALL_ID)
    return { status: 400, reason: 'malformed-header' };
  const given = m.has(H.expires) ? parseExpires(m.get(H.expires)) : undefined;
  const { callId, cseq } = m;
  const userAgent = m.get(H.userAgent).slice(0, 128);
  if (contacts.some(c => c.wildcard)) {
    // §10.2.2: "The REGISTER-specific Contact header field value of "*" … MUST NOT be used unless the Expires header field is present with a value of "0"."
    return contacts.length === 1 && given === 0
      ? { callId, cseq, wildcard: true, contacts: [], userAgent }
      : { status: 400, reason: 'wildcard-with-expires' };
  }
  const wanted: WantedContact[] = [];
  for (const c of contacts) {
    const uri = parseUri(c.uri);
    if (uri === undefined || c.uri.length > MAX_CONTACT_LENGTH) return { status: 400, reason: 'malformed-uri' };
    if (uri.scheme !== 'sip' && uri.scheme !== 'sips') return { status: 403, reason: 'foreign-contact' };
    const asked = c.expires ?? given;
    const seconds = intervals === undefined ? (asked ?? 3600) : within(asked, intervals);
    if (seconds < 0)
      return {
        status: 423,
        reason: 'interval-too-brief',
        headers: headerLine('Min-Expires', String(Math.ceil((intervals?.minExpires ?? 0) / 1000))),
      };
    // §19.1.5: headers embedded in a URI are never acted on, so they aren't kept.
    const kept = uri.headers === '' ? uri : { ...uri, headers: '' };
    wanted.push({
      contact: uri.headers === '' ? c.uri : formatUri(kept),
      uri: kept,
      seconds,
      explicit: asked !== undefined,
      q: c.q,
      instance: instanceOf(c.instance),
      regId: c.regId,
      params: otherParams(c),
    });
  }
  return { callId, cseq, wildcard: false, contacts: wanted, userAgent };
}

/** Seconds granted, -1 when too brief (§10.3 step 7: only above zero, below the minimum and below an hour). */
function within(asked: number | undefined, o: Intervals): number {
  const seconds = asked ?? o.defaultExpires / 1000;
  if (seconds === 0) return 0;
  if (seconds < o.minExpires / 1000 && seconds < 3600) return -1;
  return Math.min(seconds, Math.floor(o.maxExpires / 1000));
}

/** One spelling of an instance: a URN, and the UUID in it, compare without case (RFC 8141 §3, RFC 5626 §4.1). What is past the limit is none. */
function instanceOf(text: string): string {
  return text === '' || text.length > MAX_INSTANCE ? '' : text.toLowerCase();
}

function otherParams(c: Contact): string {
  if (c.params.size === 0) return '';
  const rest = new Map(c.params);
  rest.delete('q');
  rest.delete('expires');
  // The registrar alone gives these (RFC 5627 §5.1).
  rest.delete('pub-gruu');
  rest.delete('temp-gruu');
  const text = formatParams(rest);
  return text.length > 512 ? '' : text;
}

/** The binding a contact means: instance and reg-id when it gives both (RFC 5626 §6), the URI otherwise (RFC 3261 §19.1.4). */
export function sameContact(b: Binding, c: WantedContact): boolean {
  if (c.regId > 0 && c.instance !== '') return b.regId === c.regId && b.instance === c.instance;
  if (b.regId !== 0) return false;
  // Parsed again rather than kept: a refresh writes the same text, and a kept URI costs a fifth of a binding.
  if (b.contact === c.contact) return true;
  const uri = parseUri(b.contact);
  return (uri !== undefined && uriEqual(uri, c.uri)) || samePush(b.contact, c.contact);
}

/** `Contact` lines of a 200 (§10.3 step 8): what the phone registered, with what is left of its time. */
export function contactLines(now: number, bindings: readonly Binding[], gruus?: Gruus): string {
  let out = '';
  for (const b of bindings) {
    const left = Math.max(1, Math.round((b.expires - now) / 1000));
    const q = b.q === 1 ? '' : `;q=${b.q}`;
    out += headerLine('Contact', `<${b.contact}>${b.params}${q};expires=${left}${gruus?.params(b) ?? ''}`);
  }
  return out;
}

export function isRefusal(w: Wanted | Refusal): w is Refusal {
  return 'status' in w;
}
