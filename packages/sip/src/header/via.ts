import { allOf, CLASS, DIGIT, decimal, HOST, LWS, skipLws, skipToken, TOKEN } from '../message/chars.js';
import { controlAt, decimalAt, eitherAt, loaded, octetAt, word, wordOf } from '../message/octets.js';
import { isParam, type ParamSpan, paramSpan, parseParams, scanParam } from './param.js';

/** One via-parm (RFC 3261 §20.42). */
export interface ViaParm {
  /** Upper case: `UDP`, `TCP`, `TLS`, `WS`, `WSS` or what was written. */
  readonly transport: string;
  /** Lower case, no brackets. */
  readonly host: string;
  readonly port: number | undefined;
  /** `host:port` as it was written, without white space. */
  readonly sentBy: string;
  /** '' when absent. */
  readonly branch: string;
  readonly params: Map<string, string>;
}

/** Where the parts of one via-parm stand. Reused. */
export interface ViaSpan {
  transport: number;
  transportEnd: number;
  host: number;
  hostEnd: number;
  /** -1 when absent. */
  port: number;
  /** End of host or port. */
  sentByEnd: number;
  /** First `;`, or the end of the via-parm. */
  params: number;
  branch: number;
  branchEnd: number;
  /** An `rport` without value was there. */
  rport: boolean;
  /** The `,` after this via-parm, or the end of the value; 0 when its parameters are malformed. */
  end: number;
}

export function viaSpan(): ViaSpan {
  return {
    transport: 0,
    transportEnd: 0,
    host: 0,
    hostEnd: 0,
    port: -1,
    sentByEnd: 0,
    params: 0,
    branch: 0,
    branchEnd: 0,
    rport: false,
    end: 0,
  };
}

const param: ParamSpan = paramSpan();

/** Finds the parts of the first via-parm in `s[from .. to)`; false when it is malformed. */
export function scanVia(s: string, from: number, to: number, span: ViaSpan): boolean {
  let at = scanProtocol(s, skipLws(s, from, to), to);
  if (at < 0) return false;
  span.transport = at;
  at = skipToken(s, at, to);
  span.transportEnd = at;
  const host = skipLws(s, at, to);
  if (span.transportEnd === span.transport || host === at) return false;
  at = scanSentBy(s, host, to, span);
  if (at < 0) return false;
  span.params = at;
  return scanViaParams(s, at, to, span);
}

const octet = loaded;
const CLASSES = CLASS;
const SIP = wordOf('SIP/');
const TWO_ZERO = wordOf('2.0/');
const RPORT = wordOf(';rpo');
const BRANCH = wordOf(';bra');
const NCH = wordOf('nch=');

/**
 * The common form, `SIP/2.0/UDP host:port;branch=x;rport` in this order or with rport first, in the loaded octets of `s`;
 * false when the value must be read closely. That the branch is a token isn't looked at unless there is a fold: `parseVia` does. There
 * must be no control in it but folds, where `folded` says so.
 */
export function quickVia(s: string, from: number, to: number, folded: boolean, span: ViaSpan): boolean {
  if (word(from) !== SIP || word(from + 4) !== TWO_ZERO) return false;
  let space = from + 8;
  while ((CLASSES[octet[space]!]! & TOKEN) !== 0) space++;
  if (octet[space] !== 32 || space < from + 10) return false;
  const semi = quickSentBy(space + 1, to, span);
  if (semi < 0) return false;
  // What follows a fold is read closely.
  const quickEnd = folded ? Math.min(controlAt(semi), to) : to;
  // A second via-parm, or white space, which may stand between any two parts.
  if (eitherAt(44, 32, semi, quickEnd) < quickEnd) return false;
  span.transport = from + 8;
  span.transportEnd = space;
  span.params = semi;
  return quickParams(s, semi, quickEnd, to, span);
}

/** `host` or `host:port` up to the `;`, whose index it returns; -1 for anything else. */
function quickSentBy(host: number, to: number, span: ViaSpan): number {
  let at = host;
  while ((CLASSES[octet[at]!]! & HOST) !== 0) at++;
  span.host = host;
  span.hostEnd = at;
  span.sentByEnd = at;
  span.port = -1;
  if (at === host || at >= to) return -1;
  if (octet[at] === 59) return at;
  if (octet[at] !== 58) return -1;
  let end = at + 1;
  while (octet[end] !== 59 && end < to) end++;
  span.port = decimalAt(at + 1, end, 65535);
  span.sentByEnd = end;
  return span.port > 0 && end < to ? end : -1;
}

function isRport(at: number): boolean {
  return word(at) === RPORT && octet[at + 4] === 114 && octet[at + 5] === 116;
}

function quickParams(s: string, semi: number, quickEnd: number, to: number, span: ViaSpan): boolean {
  const first = isRport(semi) && octet[semi + 6] === 59;
  const start = first ? semi + 6 : semi;
  if (word(start) !== BRANCH || word(start + 4) !== NCH) return false;
  const end = octetAt(59, start + 8, quickEnd);
  span.branch = start + 8;
  span.branchEnd = end;
  span.rport = first;
  span.end = to;
  if (end === start + 8 || (quickEnd < to && !allOf(s, start + 8, end, TOKEN))) return false;
  if (end === to) return true;
  if (to - end !== 6 || !isRport(end)) return scanMore(s, end < quickEnd ? end : skipLws(s, end, to), to, span);
  span.rport = true;
  return true;
}

/**
 * `SIP/2.0/`, with white space around the slashes; index of the transport, -1 for anything else. The version may be
 * any token (§25.1): a 505 has to find its way back as well.
 */
function scanProtocol(s: string, i: number, to: number): number {
  if (s.startsWith('SIP/2.0/', i) && i + 8 < to)
    return (CLASS[s.charCodeAt(i + 8) & 255]! & LWS) === 0 ? i + 8 : skipLws(s, i + 8, to);
  const name = skipToken(s, i, to);
  if (s.slice(i, name).toUpperCase() !== 'SIP') return -1;
  const version = afterSlash(s, name, to);
  if (version < 0) return -1;
  const versionEnd = skipToken(s, version, to);
  return versionEnd > version ? afterSlash(s, versionEnd, to) : -1;
}

function afterSlash(s: string, i: number, to: number): number {
  const slash = skipLws(s, i, to);
  return slash < to && s.charCodeAt(slash) === 47 ? skipLws(s, slash + 1, to) : -1;
}

/** Host and port; index of what follows them and their white space, -1 when malformed. */
function scanSentBy(s: string, i: number, to: number, span: ViaSpan): number {
  const hostEnd = skipHost(s, i, to);
  if (hostEnd <= i) return -1;
  span.host = i;
  span.hostEnd = hostEnd;
  span.sentByEnd = hostEnd;
  span.port = -1;
  const at = skipLws(s, hostEnd, to);
  if (at >= to || s.charCodeAt(at) !== 58) return at;
  const digits = skipLws(s, at + 1, to);
  let end = digits;
  while (end < to && (CLASS[s.charCodeAt(end) & 255]! & DIGIT) !== 0) end++;
  const port = decimal(s, digits, end, 65535);
  if (port < 1) return -1;
  span.port = port;
  span.sentByEnd = end;
  return skipLws(s, end, to);
}

/** A host name, an IPv4 address or `[IPv6]` from `i`; index after it, -1 when the bracket is not closed. */
export function skipHost(s: string, i: number, to: number): number {
  let at = i;
  if (s.charCodeAt(i) === 91 && i < to) {
    const close = s.indexOf(']', i);
    if (close < 0 || close >= to || close - i < 3 || close - i > 46) return -1;
    for (at = i + 1; at < close; at++) if (!isV6Char(s.charCodeAt(at))) return -1;
    return close + 1;
  }
  while (at < to && (CLASS[s.charCodeAt(at) & 255]! & HOST) !== 0) at++;
  return at;
}

function isV6Char(c: number): boolean {
  return (c >= 48 && c <= 58) || c === 46 || ((c | 0x20) >= 97 && (c | 0x20) <= 102);
}

function scanViaParams(s: string, i: number, to: number, span: ViaSpan): boolean {
  span.branch = 0;
  span.branchEnd = 0;
  span.rport = false;
  return scanMore(s, i, to, span);
}

/** Parameters from `i` on, whatever is known already. */
function scanMore(s: string, i: number, to: number, span: ViaSpan): boolean {
  span.end = 0;
  let at = i;
  while (at < to && s.charCodeAt(at) === 59) {
    at = scanParam(s, at + 1, to, param);
    if (at < 0) return false;
    if (isParam(s, param, 'branch')) {
      // A second branch, or one that is no token, could be read differently further on.
      if (span.branchEnd !== 0 || !param.token) return false;
      span.branch = param.value;
      span.branchEnd = param.valueEnd;
    } else if (!param.given && isParam(s, param, 'rport')) span.rport = true;
  }
  span.end = at;
  return at >= to || s.charCodeAt(at) === 44;
}

const TRANSPORTS = ['UDP', 'TCP', 'TLS', 'WS', 'WSS', 'SCTP', 'TLS-SCTP'];

/** A constant for the known ones, upper case for the rest. */
export function transportAt(s: string, from: number, to: number): string {
  for (let k = 0; k < TRANSPORTS.length; k++) {
    const known = TRANSPORTS[k] as string;
    if (known.length === to - from && s.startsWith(known, from)) return known;
  }
  return s.slice(from, to).toUpperCase();
}

/** `sent-by` of a span as one text without white space. */
export function sentByOf(s: string, span: ViaSpan): string {
  if (span.port < 0) return s.slice(span.host, span.hostEnd);
  const whole = s.slice(span.host, span.sentByEnd);
  for (let i = span.hostEnd; i < span.sentByEnd; i++) {
    if ((CLASS[s.charCodeAt(i) & 255]! & LWS) !== 0) return `${s.slice(span.host, span.hostEnd)}:${span.port}`;
  }
  return whole;
}

/** Host of a span in lower case and without brackets. */
export function viaHost(s: string, span: ViaSpan): string {
  const host = s.slice(span.host, span.hostEnd).toLowerCase();
  return host.charCodeAt(0) === 91 ? host.slice(1, -1) : host;
}

const scratch = viaSpan();

/** One via-parm; the whole text must be it. */
export function parseVia(text: string): ViaParm | undefined {
  if (!scanVia(text, 0, text.length, scratch) || scratch.end < text.length) return undefined;
  const params = parseParams(text, scratch.params, scratch.end);
  if (params === undefined) return undefined;
  return {
    transport: transportAt(text, scratch.transport, scratch.transportEnd),
    host: viaHost(text, scratch),
    port: scratch.port < 0 ? undefined : scratch.port,
    sentBy: sentByOf(text, scratch),
    branch: text.slice(scratch.branch, scratch.branchEnd),
    params,
  };
}
