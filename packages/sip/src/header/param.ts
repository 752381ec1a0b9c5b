import { CLASS, LWS, NOT_URI, skipLws, skipQuoted, skipToken } from '../message/chars.js';
import { unfold } from '../message/unfold.js';

/** Where one `;name=value` stands; a flag has `value === end === nameEnd`. Reused, so that scanning allocates nothing. */
export interface ParamSpan {
  name: number;
  nameEnd: number;
  /** Start of the value, its opening quote included. */
  value: number;
  valueEnd: number;
  /** False for a flag. */
  given: boolean;
  /** The value is a token. */
  token: boolean;
}

export function paramSpan(): ParamSpan {
  return { name: 0, nameEnd: 0, value: 0, valueEnd: 0, given: false, token: false };
}

/** Most parameters one header value may carry. */
export const MAX_PARAMS = 64;

/**
 * Reads the generic-param after the separator at `s[i - 1]` (RFC 3261 §25.1).
 * Returns the index of what follows it and its white space, -1 when it is malformed.
 */
export function scanParam(s: string, i: number, to: number, span: ParamSpan): number {
  const name = skipLws(s, i, to);
  const nameEnd = skipToken(s, name, to);
  if (nameEnd === name) return -1;
  span.name = name;
  span.nameEnd = nameEnd;
  span.value = nameEnd;
  span.valueEnd = nameEnd;
  span.given = false;
  span.token = false;
  let at = nameEnd;
  if (at < to && isLws(s, at)) at = skipLws(s, at, to);
  if (at >= to || s.charCodeAt(at) !== 61) return at;
  at++;
  if (at < to && isLws(s, at)) at = skipLws(s, at, to);
  const end = scanValue(s, at, to, span);
  return end >= 0 && end < to && isLws(s, end) ? skipLws(s, end, to) : end;
}

function scanValue(s: string, i: number, to: number, span: ParamSpan): number {
  span.given = true;
  span.value = i;
  let end = skipToken(s, i, to);
  span.token = end > i;
  if (end < to && s.charCodeAt(end) === 34 && end === i) end = skipQuoted(s, i, to);
  else if (end < to && s.charCodeAt(end) !== 59) end = skipValue(s, end, to, span);
  span.valueEnd = end;
  return end;
}

function isLws(s: string, i: number): boolean {
  return (CLASS[s.charCodeAt(i) & 255]! & LWS) !== 0;
}

/** The rest of an unquoted value: addresses and URIs stand here as well as tokens; ends at `,`, `;` or white space. */
function skipValue(s: string, i: number, to: number, span: ParamSpan): number {
  let at = i;
  while (at < to) {
    const c = s.charCodeAt(at);
    if (c === 59 || c === 44 || (CLASS[c & 255]! & NOT_URI) !== 0) break;
    at++;
  }
  if (at > i) span.token = false;
  return at;
}

/** The name at the span is `lower`, in any case. */
export function isParam(s: string, span: ParamSpan, lower: string): boolean {
  const length = span.nameEnd - span.name;
  if (length !== lower.length) return false;
  for (let k = 0; k < length; k++) if ((s.charCodeAt(span.name + k) | 0x20) !== lower.charCodeAt(k)) return false;
  return true;
}

/** The value at the span, without quotes and escapes. */
export function paramValue(s: string, span: ParamSpan): string {
  if (!span.given) return '';
  const raw = s.slice(span.value, span.valueEnd);
  return raw.charCodeAt(0) === 34 ? unquote(raw) : raw;
}

/**
 * All of `;a=b;c` from `i` (at the first `;`) to `to`: lower-case names, '' for flags. Undefined when anything in it
 * is malformed, when a name comes twice (one reader would take the first, another the last), or past MAX_PARAMS.
 */
export function parseParams(s: string, i: number, to: number): Map<string, string> | undefined {
  const params = new Map<string, string>();
  const span = paramSpan();
  let at = skipLws(s, i, to);
  while (at < to) {
    if (s.charCodeAt(at) !== 59) return undefined;
    at = scanParam(s, at + 1, to, span);
    if (at < 0) return undefined;
    const name = s.slice(span.name, span.nameEnd).toLowerCase();
    if (params.has(name) || params.size >= MAX_PARAMS) return undefined;
    params.set(name, paramValue(s, span));
  }
  return params;
}

/** `"a \"b\""` → `a "b"`; folds inside become one SP. Text without quotes comes back as it is. */
export function unquote(quoted: string): string {
  if (quoted.charCodeAt(0) !== 34) return quoted;
  const inner = unfold(quoted.slice(1, -1));
  let slash = inner.indexOf('\\');
  if (slash < 0) return inner;
  let out = '';
  let from = 0;
  while (slash >= 0) {
    out += inner.slice(from, slash);
    out += inner.charAt(slash + 1);
    from = slash + 2;
    slash = inner.indexOf('\\', from);
  }
  return out + inner.slice(from);
}

/** A quoted-string with `"` and `\` escaped. CR, LF and NUL have no place in one: ask `safeValue` first. */
export function quote(text: string): string {
  if (!text.includes('"') && !text.includes('\\')) return `"${text}"`;
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}
