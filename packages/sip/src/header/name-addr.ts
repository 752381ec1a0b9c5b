import { CLASS, LWS, NOT_URI, skipLws, skipQuoted, skipUri, trimEnd } from '../message/chars.js';
import { eitherAt, loaded, word, wordOf } from '../message/octets.js';
import { unfold } from '../message/unfold.js';
import { parseParams, quote, unquote } from './param.js';

/** `"Bob" <sip:bob@example.org>;tag=1`: From, To, Contact, Route, Refer-To and their kind (RFC 3261 §20.10). */
export interface NameAddr {
  /** Without quotes and escapes, '' when absent. */
  readonly display: string;
  /** As it was written, without `<>`. */
  readonly uri: string;
  /** Header parameters: lower-case names, '' for flags. Those of the URI stay in the URI. */
  readonly params: Map<string, string>;
}

/** Where the parts stand. Reused. */
export interface NameAddrSpan {
  display: number;
  displayEnd: number;
  uri: number;
  uriEnd: number;
  /** Index of the first `;` of the header parameters, or the end. */
  params: number;
}

export function nameAddrSpan(): NameAddrSpan {
  return { display: 0, displayEnd: 0, uri: 0, uriEnd: 0, params: 0 };
}

/**
 * Finds the parts of the one name-addr or addr-spec in `s[from .. to)`; false when it is malformed.
 * Unquoted display names may hold any byte but `" , : ; < >` and controls: phones put more than tokens there.
 */
export function scanNameAddr(s: string, from: number, to: number, span: NameAddrSpan): boolean {
  const start = skipLws(s, from, to);
  if (start >= to) return false;
  if (s.charCodeAt(start) === 34) {
    const end = skipQuoted(s, start, to);
    if (end < 0) return false;
    const angle = skipLws(s, end, to);
    if (angle >= to || s.charCodeAt(angle) !== 60) return false;
    span.display = start;
    span.displayEnd = end;
    return scanAngle(s, angle, to, span);
  }
  let colon = false;
  let at = start;
  for (; at < to; at++) {
    const c = s.charCodeAt(at);
    if (c === 60) {
      if (colon) return false;
      span.display = start;
      span.displayEnd = trimEnd(s, start, at);
      return scanAngle(s, at, to, span);
    }
    if (c === 59) break;
    if (c === 58) colon = true;
    else if (c === 34 || c === 44 || c === 62) return false;
    else if (c < 32 && (CLASS[c]! & LWS) === 0) return false;
  }
  span.display = start;
  span.displayEnd = start;
  span.params = at;
  const end = trimEnd(s, start, at);
  return colon && skipUri(s, start, end) === end && isUri(s, start, end, span) && !questioned(s, span);
}

const octet = loaded;
const CLASSES = CLASS;
const SIP = wordOf('sip:');

/**
 * The common forms, `<sip:…>` and `"…" <sip:…>`, in the loaded octets: sets the URI and `params` of the span. False when
 * the value must be read closely. Bytes of the URI other than SP aren't looked at unless there is a fold: `parseNameAddr` does
 * when it is taken apart. There must be no control in it but folds, where `folded` says so.
 */
export function quickNameAddr(from: number, to: number, folded: boolean, span: NameAddrSpan): boolean {
  let angle = from;
  if (octet[from] === 34) {
    const close = eitherAt(34, 92, from + 1, to);
    if (octet[close] !== 34 || octet[close + 1] !== 32) return false;
    angle = close + 2;
  }
  if (octet[angle] !== 60 || word(angle + 1) !== SIP) return false;
  const end = eitherAt(62, 32, angle + 5, to);
  if (end >= to || octet[end] !== 62 || end === angle + 5) return false;
  if (folded && !uriBytes(angle + 1, end)) return false;
  span.uri = angle + 1;
  span.uriEnd = end;
  span.params = folded ? skipFolds(end + 1, to) : end + 1;
  return true;
}

/** None of them a byte that stands in no URI; a fold's are such. */
function uriBytes(from: number, to: number): boolean {
  for (let i = from; i < to; i++) if ((CLASSES[octet[i]!]! & NOT_URI) !== 0) return false;
  return true;
}

function skipFolds(from: number, to: number): number {
  let at = from;
  while (at < to && octet[at]! <= 32) at++;
  return at;
}

function scanAngle(s: string, angle: number, to: number, span: NameAddrSpan): boolean {
  const close = skipUri(s, angle + 1, to);
  if (close >= to || s.charCodeAt(close) !== 62 || !isUri(s, angle + 1, close, span)) return false;
  const rest = close + 1 < to ? skipLws(s, close + 1, to) : to;
  span.params = rest;
  return rest === to || s.charCodeAt(rest) === 59;
}

/** A scheme, a colon, and something after it; that no byte is out of place was seen before. */
function isUri(s: string, from: number, to: number, span: NameAddrSpan): boolean {
  span.uri = from;
  span.uriEnd = to;
  if (to - from < 3 || !isAlpha(s.charCodeAt(from))) return false;
  for (let i = from + 1; i < to - 1; i++) if (s.charCodeAt(i) === 58) return true;
  return false;
}

/** Outside `<>` a `?` would be read as a header of the URI by some and not by others (RFC 3261 §20.10). */
function questioned(s: string, span: NameAddrSpan): boolean {
  const mark = s.indexOf('?', span.uri);
  return mark >= 0 && mark < span.uriEnd;
}

function isAlpha(c: number): boolean {
  const lower = c | 0x20;
  return lower >= 97 && lower <= 122;
}

const scratch = nameAddrSpan();

/** One value; the whole text must be it. */
export function parseNameAddr(text: string): NameAddr | undefined {
  if (!scanNameAddr(text, 0, text.length, scratch)) return undefined;
  const params = parseParams(text, scratch.params, text.length);
  if (params === undefined) return undefined;
  const display = text.slice(scratch.display, scratch.displayEnd);
  return {
    display: display.charCodeAt(0) === 34 ? unquote(display) : unfold(display),
    uri: text.slice(scratch.uri, scratch.uriEnd),
    params,
  };
}

/** Always with `<>`; a display name always in quotes. Parameter values that aren't tokens are quoted. */
export function formatNameAddr(n: {
  readonly display?: string;
  readonly uri: string;
  readonly params?: ReadonlyMap<string, string>;
}): string {
  const name = n.display === undefined || n.display === '' ? '' : `${quote(n.display)} `;
  return `${name}<${n.uri}>${n.params === undefined ? '' : formatParams(n.params)}`;
}

export function formatParams(params: ReadonlyMap<string, string>): string {
  let out = '';
  for (const [name, value] of params)
    out += value === '' ? `;${name}` : `;${name}=${isPlain(value) ? value : quote(value)}`;
  return out;
}

function isPlain(value: string): boolean {
  for (let i = 0; i < value.length; i++) {
    const c = value.charCodeAt(i);
    if (c > 126 || c === 59 || c === 44 || c === 92 || (CLASS[c]! & NOT_URI) !== 0) return false;
  }
  return true;
}
