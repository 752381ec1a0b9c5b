import type { Reason } from '@drawbridge/core';
import { MAX_CSEQ } from '../header/cseq.js';
import { type NameAddrSpan, nameAddrSpan, scanNameAddr } from '../header/name-addr.js';
import { isParam, type ParamSpan, paramSpan, scanParam } from '../header/param.js';
import { scanVia, sentByOf, transportAt, type ViaSpan, viaSpan } from '../header/via.js';
import { allOf, decimal, skipLws, skipToken, skipUri, TOKEN, trimEnd, WORD } from './chars.js';
import { H, HEADER_IDS, type HeaderId, headerId, NAME_END, scanHeaderName } from './header-id.js';
import { methodAt } from './method.js';
import { splitList, unfold } from './unfold.js';

/** Most header lines one message may have. */
export const MAX_HEADERS = 128;
const MAX_METHOD = 64;
const MAX_FORWARDS = 255;

/** Headers that stand once in a message; a second one is read differently by different stacks (RFC 3261 §7.3.1). */
const SINGLE = new Uint8Array(HEADER_IDS);
for (const h of [
  H.from,
  H.to,
  H.callId,
  H.cseq,
  H.maxForwards,
  H.contentLength,
  H.contentType,
  H.expires,
  H.minExpires,
  H.sessionExpires,
  H.minSe,
  H.referTo,
  H.replaces,
  H.event,
  H.subscriptionState,
  H.rack,
  H.rseq,
  H.maxBreadth,
])
  SINGLE[h] = 1;

const MANDATORY = [H.via, H.from, H.to, H.callId, H.cseq] as const;

const param: ParamSpan = paramSpan();
const nameAddr: NameAddrSpan = nameAddrSpan();

/**
 * One SIP message over the latin1 string of its bytes: an index of its header lines and the fields that every
 * message is asked for. Pooled and reused; every string it gives is a slice of `text`: `own()` what outlives the batch.
 *
 * Way of `parse`: start line, header lines, then the mandatory headers one by one, then the body. The first fault
 * is returned; the rest is still read as far as it goes, so that a 400 can be built from it.
 */
export class MessageView {
  text = '';
  /** A request that failed to parse, yet Via, From, To, Call-ID and CSeq are there to build a 4xx from. */
  answerable = false;
  isRequest = false;
  /** A constant for known methods; '' for a response. */
  method = '';
  /** Request-URI as written; '' for a response. */
  uri = '';
  /** 0 for a request. */
  status = 0;
  reasonPhrase = '';
  /** Header lines. */
  count = 0;
  /** -1 when malformed. */
  cseq = -1;
  cseqMethod = '';
  /** -1 when absent or malformed. */
  maxForwards = -1;
  /** -1 when absent. */
  contentLength = -1;

  /** First byte of header lines and of the body; the body ends where Content-Length says. */
  headStart = 0;
  /** First byte of the start line. */
  startAt = 0;
  bodyStart = 0;
  bodyEnd = 0;

  /** Where the parts of the top Via stand in `text`. */
  readonly via: ViaSpan = viaSpan();

  readonly #ids = new Uint8Array(MAX_HEADERS);
  readonly #line = new Int32Array(MAX_HEADERS + 1);
  readonly #nameEnd = new Int32Array(MAX_HEADERS);
  readonly #value = new Int32Array(MAX_HEADERS);
  readonly #valueEnd = new Int32Array(MAX_HEADERS);
  readonly #lineEnd = new Int32Array(MAX_HEADERS);
  readonly #folded = new Uint8Array(MAX_HEADERS);
  readonly #first = new Int16Array(HEADER_IDS).fill(-1);
  #fault: Reason | undefined = undefined;
  #viaOk = false;
  #fromTag = 0;
  #fromTagEnd = 0;
  #toTag = 0;
  #toTagEnd = 0;

  /**
   * `framed`: cut from a stream, so that Content-Length must be there (RFC 3261 §18.3).
   * Undefined when the message is well-formed. Never throws.
   */
  parse(text: string, framed = false): Reason | undefined {
    this.#reset(text);
    let at = 0;
    // RFC 3261 §7.5: CRLF before the start line is ignored.
    while (text.charCodeAt(at) === 13 && text.charCodeAt(at + 1) === 10) at += 2;
    const lf = text.indexOf('\n', at);
    if (lf < 1 || text.charCodeAt(lf - 1) !== 13) return this.#fail('malformed-start-line');
    this.startAt = at;
    this.#startLine(at, lf - 1);
    this.headStart = lf + 1;
    if (!this.#index(lf + 1)) return this.#fault;
    this.#mandatory();
    this.#body(framed);
    if (this.#fault !== undefined) this.#judgeAnswerable();
    return this.#fault;
  }

  id(i: number): HeaderId {
    return i < this.count ? this.#ids[i]! : 0;
  }

  /** As it was written, without the white space before the colon. */
  name(i: number): string {
    return i < this.count ? this.text.slice(this.#line[i]!, this.#nameEnd[i]!) : '';
  }

  /** Trimmed and unfolded. */
  value(i: number): string {
    if (i < 0 || i >= this.count) return '';
    const value = this.text.slice(this.#value[i]!, this.#valueEnd[i]!);
    return this.#folded[i] === 1 ? unfold(value) : value;
  }

  /** The original bytes of header `i`, folds and CRLF included. */
  line(i: number): string {
    return i >= 0 && i < this.count ? this.text.slice(this.#line[i]!, this.#lineEnd[i]!) : '';
  }

  /** Where line `i` begins in `text`; for `i === count` where the head ends. */
  lineAt(i: number): number {
    return i < this.count ? this.#line[i]! : this.#headEnd;
  }

  /** Index of the first header with this id, -1 when there is none. */
  first(h: HeaderId): number {
    return h > 0 && h < HEADER_IDS ? this.#first[h]! : -1;
  }

  /** Index of the next header with the id of header `i`, -1 when there is none. */
  next(i: number): number {
    const h = this.id(i);
    for (let k = i + 1; k < this.count; k++) if (this.#ids[k] === h) return k;
    return -1;
  }

  has(h: HeaderId): boolean {
    return this.first(h) >= 0;
  }

  /** First value, '' when absent. */
  get(h: HeaderId): string {
    return this.value(this.first(h));
  }

  /** First value of a header by name, in any case; '' when absent. */
  named(name: string): string {
    const h = headerId(name);
    if (h !== 0) return this.get(h);
    const lower = name.toLowerCase();
    for (let i = 0; i < this.count; i++) {
      if (
        this.#ids[i] === 0 &&
        this.#nameEnd[i]! - this.#line[i]! === name.length &&
        this.name(i).toLowerCase() === lower
      )
        return this.value(i);
    }
    return '';
  }

  /** All values of all lines, split at commas outside quotes and `<>`. */
  list(h: HeaderId): string[] {
    const out: string[] = [];
    for (let i = this.first(h); i >= 0; i = this.next(i)) splitList(this.value(i), out);
    return out;
  }

  /** Of the top Via; '' when absent. */
  get branch(): string {
    return this.text.slice(this.via.branch, this.via.branchEnd);
  }
  /** Of the top Via: `host:port` as written. */
  get sentBy(): string {
    return this.#viaOk ? sentByOf(this.text, this.via) : '';
  }
  /** Of the top Via, upper case. */
  get viaTransport(): string {
    return this.#viaOk ? transportAt(this.text, this.via.transport, this.via.transportEnd) : '';
  }
  get callId(): string {
    return this.get(H.callId);
  }
  get fromTag(): string {
    return this.text.slice(this.#fromTag, this.#fromTagEnd);
  }
  get toTag(): string {
    return this.text.slice(this.#toTag, this.#toTagEnd);
  }
  get body(): string {
    return this.text.slice(this.bodyStart, this.bodyEnd);
  }
  /** Lower case, without parameters; '' when absent. */
  get contentType(): string {
    const value = this.get(H.contentType);
    const semi = value.indexOf(';');
    return (semi < 0 ? value : value.slice(0, semi)).replaceAll(/[ \t]/g, '').toLowerCase();
  }

  #headEnd = 0;

  #reset(text: string): void {
    this.text = text;
    this.answerable = false;
    this.isRequest = false;
    this.method = '';
    this.uri = '';
    this.status = 0;
    this.reasonPhrase = '';
    this.cseq = -1;
    this.cseqMethod = '';
    this.maxForwards = -1;
    this.contentLength = -1;
    this.headStart = 0;
    this.startAt = 0;
    this.#headEnd = 0;
    this.bodyStart = text.length;
    this.bodyEnd = text.length;
    this.via.branch = 0;
    this.via.branchEnd = 0;
    this.via.params = 0;
    this.via.end = 0;
    for (let i = 0; i < this.count; i++) this.#first[this.#ids[i]!] = -1;
    this.count = 0;
    this.#fault = undefined;
    this.#viaOk = false;
    this.#fromTag = 0;
    this.#fromTagEnd = 0;
    this.#toTag = 0;
    this.#toTagEnd = 0;
  }

  /** Keeps the first fault. */
  #fail(reason: Reason): Reason {
    this.#fault ??= reason;
    return this.#fault;
  }

  /** `s[from .. to)` is the start line without CRLF (RFC 3261 §7.1, §7.2). */
  #startLine(from: number, to: number): void {
    const s = this.text;
    if (isVersion(s, from)) {
      this.#statusLine(from, to);
      return;
    }
    this.isRequest = true;
    const methodEnd = skipToken(s, from, to);
    this.method = methodAt(s, from, methodEnd);
    if (methodEnd === from || methodEnd - from > MAX_METHOD || s.charCodeAt(methodEnd) !== 32) {
      this.#fail('malformed-start-line');
      return;
    }
    const uri = methodEnd + 1;
    const uriEnd = skipUri(s, uri, to);
    const scheme = s.charCodeAt(uri) | 0x20;
    this.uri = s.slice(uri, uriEnd);
    if (s.charCodeAt(uriEnd) !== 32 || scheme < 97 || scheme > 122 || !isVersion(s, uriEnd + 1))
      this.#fail('malformed-start-line');
    else if (!isTwoZero(s, uriEnd + 5, to))
      this.#fail(allOf(s, uriEnd + 5, to, TOKEN) ? 'unsupported-version' : 'malformed-start-line');
    else if (!this.uri.includes(':')) this.#fail('malformed-uri');
  }

  #statusLine(from: number, to: number): void {
    const s = this.text;
    const space = s.indexOf(' ', from);
    if (space < 0 || space >= to) {
      this.#fail('malformed-start-line');
      return;
    }
    const status = decimal(s, space + 1, Math.min(space + 4, to), 699);
    const after = space + 4;
    if (status < 100 || (after < to && s.charCodeAt(after) !== 32)) {
      this.#fail('malformed-start-line');
      return;
    }
    this.status = status;
    this.reasonPhrase = s.slice(after + 1, to);
    if (!isTwoZero(s, from + 4, space)) this.#fail('unsupported-version');
  }

  /**
   * Indexes header lines from `p` to the empty line. False when reading must stop: a CR or LF of its own, a NUL,
   * too many lines; such a message is never answered, since a reply would repeat it.
   */
  #index(p: number): boolean {
    const s = this.text;
    let at = p;
    let n = 0;
    while (s.charCodeAt(at) !== 13 || s.charCodeAt(at + 1) !== 10) {
      if (at === s.length) return this.#cut(at);
      const end = this.#lineEnding(at);
      if (end < 0) return this.#stop('malformed-header');
      if (n === MAX_HEADERS) return this.#stop('too-many-headers');
      if (this.#headerLine(n, at, end)) this.count = ++n;
      else this.#fail('malformed-header');
      at = end + 2;
    }
    this.#headEnd = at;
    this.bodyStart = at + 2;
    const nul = s.indexOf('\0');
    return nul < 0 || nul >= at || this.#stop('malformed-header');
  }

  #stop(reason: Reason): false {
    this.#fail(reason);
    return false;
  }

  /** The text ends at a line's end without the empty line: what there is may still be answered. */
  #cut(at: number): boolean {
    this.#headEnd = at;
    this.#fail('malformed-header');
    return !this.text.includes('\0');
  }

  /**
   * Index of the CR that ends the header starting at `at`, folds included; -1 when it doesn't end, or when a CR or LF
   * stands alone in it. Sets `folds`.
   */
  #lineEnding(at: number): number {
    const s = this.text;
    let cr = s.indexOf('\r', at);
    folds = 0;
    // LF is looked for as well: one without CR would be a line's end to somebody else.
    if (cr < 0 || s.indexOf('\n', at) !== cr + 1) return -1;
    let c = s.charCodeAt(cr + 2);
    while (c === 32 || c === 9) {
      folds = 1;
      const from = cr + 2;
      cr = s.indexOf('\r', from);
      if (cr < 0 || s.indexOf('\n', from) !== cr + 1) return -1;
      c = s.charCodeAt(cr + 2);
    }
    return cr;
  }

  /** `s[from .. to)` is one header without its CRLF; false when it has no name or no colon. */
  #headerLine(n: number, from: number, to: number): boolean {
    const s = this.text;
    const found = scanHeaderName(s, from);
    const nameEnd = (found / NAME_END) | 0;
    const id = found & (NAME_END - 1);
    let colon = nameEnd;
    let c = s.charCodeAt(colon);
    while (c === 32 || c === 9) c = s.charCodeAt(++colon);
    if (c !== 58 || nameEnd === from) return false;
    let value = colon + 2;
    if (s.charCodeAt(colon + 1) !== 32 || s.charCodeAt(value) <= 32) value = skipLws(s, colon + 1, to);
    this.#ids[n] = id;
    this.#line[n] = from;
    this.#nameEnd[n] = nameEnd;
    this.#value[n] = value;
    this.#valueEnd[n] = s.charCodeAt(to - 1) > 32 ? to : trimEnd(s, value, to);
    this.#lineEnd[n] = to + 2;
    this.#folded[n] = folds;
    if (this.#first[id]! < 0) this.#first[id] = n;
    else if (SINGLE[id] === 1) this.#fail(id === H.contentLength ? 'malformed-content-length' : 'duplicate-header');
    return true;
  }

  #mandatory(): void {
    this.#readVia();
    this.#readFrom();
    this.#readTo();
    this.#readCallId();
    this.#readCSeq();
    this.#readMaxForwards();
    for (let k = 0; k < MANDATORY.length; k++)
      if (this.#first[MANDATORY[k] as HeaderId]! < 0) this.#fail('missing-header');
  }

  #readVia(): void {
    const i = this.#first[H.via]!;
    if (i < 0) return;
    this.#viaOk = scanVia(this.text, this.#value[i]!, this.#valueEnd[i]!, this.via);
    if (!this.#viaOk) {
      this.via.branch = 0;
      this.via.branchEnd = 0;
      this.#fail('malformed-via');
    }
  }

  #readFrom(): void {
    const i = this.#first[H.from]!;
    if (i < 0) return;
    if (!this.#readTag(i)) {
      this.#fail('malformed-header');
      return;
    }
    this.#fromTag = tag;
    this.#fromTagEnd = tagEnd;
  }

  #readTo(): void {
    const i = this.#first[H.to]!;
    if (i < 0) return;
    if (!this.#readTag(i)) {
      this.#fail('malformed-header');
      return;
    }
    this.#toTag = tag;
    this.#toTagEnd = tagEnd;
  }

  /** Checks From or To and leaves its tag in `tag`, `tagEnd`. */
  #readTag(i: number): boolean {
    const s = this.text;
    const to = this.#valueEnd[i]!;
    tag = 0;
    tagEnd = 0;
    if (!scanNameAddr(s, this.#value[i]!, to, nameAddr)) return false;
    let at = nameAddr.params;
    while (at < to) {
      if (s.charCodeAt(at) !== 59) return false;
      at = scanParam(s, at + 1, to, param);
      if (at < 0) return false;
      if (!isParam(s, param, 'tag')) continue;
      if (tagEnd !== 0 || !param.token) return false;
      tag = param.value;
      tagEnd = param.valueEnd;
    }
    return true;
  }

  #readCallId(): void {
    const i = this.#first[H.callId]!;
    if (i >= 0 && !allOf(this.text, this.#value[i]!, this.#valueEnd[i]!, WORD)) this.#fail('malformed-header');
  }

  #readCSeq(): void {
    const i = this.#first[H.cseq]!;
    if (i < 0) return;
    const s = this.text;
    const from = this.#value[i]!;
    const to = this.#valueEnd[i]!;
    let end = from;
    while (end < to && s.charCodeAt(end) >= 48 && s.charCodeAt(end) <= 57) end++;
    const seq = decimal(s, from, end, MAX_CSEQ);
    const method = skipLws(s, end, to);
    if (seq < 0 || method === end || !allOf(s, method, to, TOKEN)) {
      this.#fail('malformed-cseq');
      return;
    }
    this.cseq = seq;
    this.cseqMethod = methodAt(s, method, to);
    if (this.isRequest && this.cseqMethod !== this.method) this.#fail('cseq-method-mismatch');
  }

  #readMaxForwards(): void {
    const i = this.#first[H.maxForwards]!;
    if (i < 0) return;
    this.maxForwards = decimal(this.text, this.#value[i]!, this.#valueEnd[i]!, MAX_FORWARDS);
    if (this.maxForwards < 0) this.#fail('malformed-header');
  }

  /** RFC 3261 §18.3, §20.14. */
  #body(framed: boolean): void {
    const i = this.#first[H.contentLength]!;
    if (i < 0) {
      if (framed) this.#fail('missing-header');
      return;
    }
    const length = decimal(this.text, this.#value[i]!, this.#valueEnd[i]!, 0x7fffffff);
    if (length < 0) {
      this.#fail('malformed-content-length');
      return;
    }
    this.contentLength = length;
    if (this.bodyStart + length > this.text.length) this.#fail('truncated-body');
    else this.bodyEnd = this.bodyStart + length;
  }

  #judgeAnswerable(): void {
    // A Via whose parameters are malformed still names its sender.
    if (!this.isRequest || this.method === '' || this.method === 'ACK' || this.via.params === 0) return;
    this.answerable = MANDATORY.every(h => this.#first[h]! >= 0);
  }
}

// Second results of the scans above.
let tag = 0;
let tagEnd = 0;
let folds = 0;

/** `SIP/`, in any case (RFC 3261 §7.1: the version is case-insensitive). */
function isVersion(s: string, at: number): boolean {
  return (
    (s.charCodeAt(at) | 0x20) === 115 &&
    (s.charCodeAt(at + 1) | 0x20) === 105 &&
    (s.charCodeAt(at + 2) | 0x20) === 112 &&
    s.charCodeAt(at + 3) === 47
  );
}

function isTwoZero(s: string, from: number, to: number): boolean {
  return to - from === 3 && s.charCodeAt(from) === 50 && s.charCodeAt(from + 1) === 46 && s.charCodeAt(from + 2) === 48;
}
