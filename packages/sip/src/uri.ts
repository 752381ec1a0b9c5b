import { canonicalAddress } from '@drawbridge/core';
import { skipHost } from './header/via.js';
import { CLASS, decimal, HEX, NOT_URI, sameIgnoringCase } from './message/chars.js';

/** A SIP, SIPS (RFC 3261 §19.1.1) or tel URI (RFC 3966) in its parts. */
export interface SipUri {
  readonly scheme: 'sip' | 'sips' | 'tel';
  /** As written, escapes included; the number of a tel URI. Undefined when the URI has none. */
  readonly user: string | undefined;
  readonly password?: string;
  /** Lower case, IPv6 without brackets and in canonical form; '' in a tel URI. */
  readonly host: string;
  readonly port: number | undefined;
  /** Lower-case names, values as written, '' for flags. */
  readonly params: ReadonlyMap<string, string>;
  /** What follows `?`, as written; '' when absent. Never put into a request (RFC 3261 §19.1.5). */
  readonly headers: string;
}

/** Most bytes of a URI, of its user part and of a host; most parameters. */
export const URI_LIMITS = { uri: 2048, user: 512, host: 253, params: 32 } as const;

/** Undefined for another scheme, for what breaks the grammar and for what is past the limits. */
export function parseUri(text: string): SipUri | undefined {
  if (text.length > URI_LIMITS.uri) return undefined;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c > 255 || (CLASS[c]! & NOT_URI) !== 0) return undefined;
    if (c === 37 && !isEscape(text, i)) return undefined;
  }
  const colon = text.indexOf(':');
  if (colon !== 3 && colon !== 4) return undefined;
  const scheme = text.slice(0, colon).toLowerCase();
  if (scheme === 'tel') return parseTel(text.slice(4));
  return scheme === 'sip' || scheme === 'sips' ? parseSip(scheme, text, colon + 1) : undefined;
}

function isEscape(s: string, i: number): boolean {
  return (
    i + 2 < s.length &&
    (CLASS[s.charCodeAt(i + 1) & 255]! & HEX) !== 0 &&
    (CLASS[s.charCodeAt(i + 2) & 255]! & HEX) !== 0
  );
}

function parseSip(scheme: 'sip' | 'sips', s: string, from: number): SipUri | undefined {
  // The userinfo ends at the first `@`: an unescaped one can stand nowhere else in it.
  const at = s.indexOf('@', from);
  const hostAt = at < 0 ? from : at + 1;
  const hostEnd = skipHost(s, hostAt, s.length);
  const host = hostEnd < 0 ? undefined : parseHost(s.slice(hostAt, hostEnd));
  if (host === undefined) return undefined;
  let end = hostEnd;
  let port: number | undefined;
  if (s.charCodeAt(end) === 58) {
    const digits = end + 1;
    end = digits;
    while (end < s.length && s.charCodeAt(end) >= 48 && s.charCodeAt(end) <= 57) end++;
    port = decimal(s, digits, end, 65535);
    if (port < 1) return undefined;
  }
  const mark = s.indexOf('?', end);
  const paramsEnd = mark < 0 ? s.length : mark;
  const params = parseUriParams(s, end, paramsEnd);
  const headers = mark < 0 ? '' : s.slice(mark + 1);
  if (params === undefined || (mark >= 0 && headers === '') || headers.includes('@')) return undefined;
  if (at < 0) return { scheme, user: undefined, host, port, params, headers };
  if (at - from > URI_LIMITS.user) return undefined;
  const colon = s.indexOf(':', from);
  const user = s.slice(from, colon < 0 || colon > at ? at : colon);
  if (user === '') return undefined;
  if (colon < 0 || colon > at) return { scheme, user, host, port, params, headers };
  const password = s.slice(colon + 1, at);
  return password.includes(':') ? undefined : { scheme, user, password, host, port, params, headers };
}

/** A name, an IPv4 address or `[IPv6]`, to lower case and canonical form. */
function parseHost(text: string): string | undefined {
  if (text === '' || text.length > URI_LIMITS.host) return undefined;
  if (text.charCodeAt(0) === 91) return canonicalV6(text);
  const host = text.toLowerCase();
  if (host.includes('..') || host.startsWith('.') || host.startsWith('-')) return undefined;
  return host;
}

function canonicalV6(bracketed: string): string | undefined {
  const address = bracketed.slice(1, -1);
  return address.includes(':') ? canonicalAddress(address) : undefined;
}

/** `;name=value;flag` between the indices. A name that comes twice is a fault (RFC 3261 §19.1.1). */
function parseUriParams(s: string, from: number, to: number): Map<string, string> | undefined {
  const params = new Map<string, string>();
  let at = from;
  while (at < to) {
    if (s.charCodeAt(at) !== 59) return undefined;
    const semi = s.indexOf(';', at + 1);
    const end = semi < 0 || semi > to ? to : semi;
    const equals = s.indexOf('=', at + 1);
    const nameEnd = equals < 0 || equals > end ? end : equals;
    const name = s.slice(at + 1, nameEnd).toLowerCase();
    const value = nameEnd === end ? '' : s.slice(nameEnd + 1, end);
    if (!isParamText(name) || name === '' || !isParamText(value) || params.has(name)) return undefined;
    if (params.size >= URI_LIMITS.params) return undefined;
    params.set(name, value);
    at = end;
  }
  return params;
}

/** No byte that separates the parts of a URI or of a list. */
function isParamText(s: string): boolean {
  for (let i = 0; i < s.length; i++) {
    const c = s.charCodeAt(i);
    if (c === 44 || c === 61 || c === 63 || c === 64 || c > 126) return false;
  }
  return true;
}

function parseTel(s: string): SipUri | undefined {
  const semi = s.indexOf(';');
  const number = semi < 0 ? s : s.slice(0, semi);
  const params = semi < 0 ? new Map<string, string>() : parseUriParams(s, semi, s.length);
  if (params === undefined || !isTelNumber(number)) return undefined;
  return { scheme: 'tel', user: number, host: '', port: undefined, params, headers: '' };
}

/** RFC 3966 §3: `+` and digits, or local digits with `*`, `#` and A–F; visual separators in either. */
function isTelNumber(n: string): boolean {
  if (n.length > 64) return false;
  const local = n.charCodeAt(0) !== 43;
  let digits = 0;
  for (let i = local ? 0 : 1; i < n.length; i++) {
    const c = n.charCodeAt(i);
    if (c >= 48 && c <= 57) digits++;
    else if (local && (c === 42 || c === 35 || (CLASS[c]! & HEX) !== 0)) digits++;
    else if (c !== 45 && c !== 46 && c !== 40 && c !== 41) return false;
  }
  return digits > 0;
}

export function formatUri(u: SipUri): string {
  let out = `${u.scheme}:`;
  if (u.user !== undefined) out += u.user;
  if (u.password !== undefined) out += `:${u.password}`;
  if (u.scheme !== 'tel') {
    if (u.user !== undefined) out += '@';
    out += u.host.includes(':') ? `[${u.host}]` : u.host;
    if (u.port !== undefined) out += `:${u.port}`;
  }
  for (const [name, value] of u.params) out += value === '' ? `;${name}` : `;${name}=${value}`;
  return u.headers === '' ? out : `${out}?${u.headers}`;
}

/** Parameters that are never ignored when only one URI has them. */
const DECISIVE = ['transport', 'user', 'ttl', 'method', 'maddr'] as const;

/** RFC 3261 §19.1.4; tel URIs by RFC 3966 §4. Not transitive. */
export function uriEqual(a: SipUri, b: SipUri): boolean {
  if (a.scheme !== b.scheme) return false;
  if (a.scheme === 'tel') return telEqual(a, b);
  if (a.host !== b.host || a.port !== b.port) return false;
  if (!sameEscaped(a.user, b.user) || !sameEscaped(a.password, b.password)) return false;
  for (const name of DECISIVE) if (a.params.has(name) !== b.params.has(name)) return false;
  for (const [name, value] of a.params) {
    const other = b.params.get(name);
    if (other !== undefined && !sameIgnoringCase(normal(value), normal(other))) return false;
  }
  return sameHeaders(a.headers, b.headers);
}

function telEqual(a: SipUri, b: SipUri): boolean {
  if (!sameIgnoringCase(telDigits(a.user ?? ''), telDigits(b.user ?? '')) || a.params.size !== b.params.size)
    return false;
  for (const [name, value] of a.params) {
    const other = b.params.get(name);
    if (other === undefined) return false;
    const phone = name === 'phone-context' || name === 'ext';
    if (!sameIgnoringCase(phone ? telDigits(value) : value, phone ? telDigits(other) : other)) return false;
  }
  return true;
}

/** Without visual separators; a domain as phone-context keeps its dots, since it holds other letters. */
function telDigits(n: string): string {
  return /^[+0-9().-]*$/.test(n) ? n.replaceAll(/[().-]/g, '') : n.replaceAll(/[()-]/g, '');
}

function sameEscaped(a: string | undefined, b: string | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a === b || normal(a) === normal(b);
}

/** Headers in any order, names without case. */
function sameHeaders(a: string, b: string): boolean {
  if (a === b) return true;
  const left = a.split('&').map(headerKey).sort();
  const right = b.split('&').map(headerKey).sort();
  return left.length === right.length && left.every((h, i) => h === right[i]);
}

function headerKey(h: string): string {
  const equals = h.indexOf('=');
  return equals < 0
    ? normal(h).toLowerCase()
    : `${normal(h.slice(0, equals)).toLowerCase()}=${normal(h.slice(equals + 1))}`;
}

const RESERVED = ';/?:@&=+$,';

/** Escapes of characters that aren't reserved (RFC 2396 §2.2) undone, the others in upper case. */
function normal(s: string): string {
  return rewriteEscapes(s, (c, encoded) => (RESERVED.includes(c) || c === '%' ? encoded.toUpperCase() : c));
}

/** All `%HH` undone: the bytes that were meant, as latin1. */
export function unescapeUri(s: string): string {
  return rewriteEscapes(s, c => c);
}

function rewriteEscapes(s: string, as: (c: string, encoded: string) => string): string {
  let percent = s.indexOf('%');
  if (percent < 0) return s;
  let out = '';
  let from = 0;
  while (percent >= 0) {
    if (!isEscape(s, percent)) {
      percent = s.indexOf('%', percent + 1);
      continue;
    }
    const encoded = s.slice(percent, percent + 3);
    out += s.slice(from, percent) + as(String.fromCharCode(Number.parseInt(encoded.slice(1), 16)), encoded);
    from = percent + 3;
    percent = s.indexOf('%', from);
  }
  return out + s.slice(from);
}

const USER_PLAIN = "-_.!~*'()&=+$,;?/";

/** A text as user part: what the grammar doesn't let stand there is escaped (RFC 3261 §19.1.2). */
export function escapeUser(user: string): string {
  let out = '';
  for (let i = 0; i < user.length; i++) {
    const c = user.charCodeAt(i);
    const alnum = (c >= 48 && c <= 57) || ((c | 0x20) >= 97 && (c | 0x20) <= 122 && c < 128);
    out +=
      alnum || USER_PLAIN.includes(user.charAt(i))
        ? user.charAt(i)
        : `%${(c & 255).toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return out;
}

/**
 * The key of an address of record: `user@host`, user unescaped, host in lower case, port, parameters and headers off
 * (RFC 3261 §10.3 step 5). Parameters inside a user part (`alice;phone-context=x`) are part of it.
 */
export function aorOf(u: SipUri): string {
  if (u.scheme === 'tel') return telDigits(u.user ?? '');
  return u.user === undefined ? u.host : `${unescapeUri(u.user)}@${u.host}`;
}
