import type { Reason } from '@drawbridge/core';
import { parseContact } from '../header/contact.js';
import { MAX_CSEQ } from '../header/cseq.js';
import { type NameAddrSpan, nameAddrSpan, quickNameAddr, scanNameAddr } from '../header/name-addr.js';
import { isParam, type ParamSpan, paramSpan, scanParam } from '../header/param.js';
import { quickVia, scanVia, sentByOf, transportAt, type ViaSpan, viaSpan } from '../header/via.js';
import { allOf, decimal, skipDigits, skipLws, skipToken, skipUri, TOKEN, WORD } from './chars.js';
import { HeadIndex } from './head.js';
import { H, type HeaderId, headerId } from './header-id.js';
import { knownMethod, methodAt } from './method.js';
import { splitList, unfold } from './unfold.js';

const MAX_METHOD = 64;
const MAX_FORWARDS = 255;

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

  readonly #head = new HeadIndex();
  #fault: Reason | undefined = undefined;
  /** A TAB is in it somewhere: the quick ways don't look for one. */
  #tab = false;
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
    const whole = this.#head.read(lf + 1);
    if (this.#head.fault !== undefined) this.#fail(this.#head.fault);
    if (!whole) return this.#fault;
    if (this.#head.end < text.length) this.bodyStart = this.#head.end + 2;
    this.#mandatory();
    this.#body(framed);
    if (this.#fault !== undefined) this.#judgeAnswerable();
    return this.#fault;
  }

  /** Header lines. */
  get count(): number {
    return this.#head.count;
  }

  id(i: number): HeaderId {
    return this.#head.id(i);
  }

  /** As it was written, without the white space before the colon. */
  name(i: number): string {
    return this.#has(i) ? this.text.slice(this.#head.line(i), this.#head.nameEnd(i)) : '';
  }

  /** Trimmed and unfolded. */
  value(i: number): string {
    if (!this.#has(i)) return '';
    const value = this.text.slice(this.#head.value(i), this.#head.valueEnd(i));
    return this.#head.folded(i) ? unfold(value) : value;
  }

  /** The original bytes of header `i`, folds and CRLF included. */
  line(i: number): string {
    return this.#has(i) ? this.text.slice(this.#head.line(i), this.#head.lineEnd(i)) : '';
  }

  /** Where line `i` begins in `text`; for `i === count` where the head ends. */
  lineAt(i: number): number {
    return this.#head.line(i);
  }

  #has(i: number): boolean {
    return i >= 0 && i < this.#head.count;
  }

  /** Index of the first header with this id, -1 when there is none. */
  first(h: HeaderId): number {
    return this.#head.first(h);
  }

  /** Index of the next header with the id of header `i`, -1 when there is none. */
  next(i: number): number {
    return this.#head.next(i);
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
        this.id(i) === 0 &&
        this.#head.nameEnd(i) - this.lineAt(i) === name.length &&
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
  /** URI of the first Contact; '' when there is none, or it is `*` or malformed. */
  get contactUri(): string {
    const i = this.first(H.contact);
    if (i < 0) return '';
    const from = this.#head.value(i);
    const to = this.#head.valueEnd(i);
    if (this.#plain(i) && quickNameAddr(this.text, from, to, nameAddr))
      return this.text.slice(nameAddr.uri, nameAddr.uriEnd);
    return parseContact(this.list(H.contact)[0] ?? '')?.uri ?? '';
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
    this.bodyStart = text.length;
    this.bodyEnd = text.length;
    this.via.branch = 0;
    this.via.branchEnd = 0;
    this.via.params = 0;
    this.via.end = 0;
    this.#head.reset(text);
    this.#tab = text.includes('\t');
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
    const methodEnd = s.indexOf(' ', from);
    if (methodEnd < 0 || methodEnd > to) {
      this.method = methodAt(s, from, skipToken(s, from, to));
      this.#fail('malformed-start-line');
      return;
    }
    this.#requestLine(from, methodEnd, to);
  }

  /** Splits at the spaces; the URI is looked at closely by who uses it (`parseUri`). */
  #requestLine(from: number, methodEnd: number, to: number): void {
    const s = this.text;
    const known = knownMethod(s, from, methodEnd);
    this.method = known ?? s.slice(from, skipToken(s, from, methodEnd));
    const uri = methodEnd + 1;
    const uriEnd = s.indexOf(' ', uri);
    const scheme = s.charCodeAt(uri) | 0x20;
    const badMethod =
      known === undefined &&
      (this.method.length !== methodEnd - from || methodEnd === from || methodEnd - from > MAX_METHOD);
    if (badMethod || uriEnd < 0 || uriEnd > to) {
      this.#fail('malformed-start-line');
      return;
    }
    this.uri = s.slice(uri, uriEnd);
    if (scheme < 97 || scheme > 122 || !isVersion(s, uriEnd + 1) || (this.#tab && skipUri(s, uri, uriEnd) < uriEnd))
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

  #mandatory(): void {
    this.#readVia();
    this.#readFrom();
    this.#readTo();
    this.#readCallId();
    this.#readCSeq();
    this.#readMaxForwards();
    for (let k = 0; k < MANDATORY.length; k++)
      if (this.first(MANDATORY[k] as HeaderId) < 0) this.#fail('missing-header');
  }

  /** The quick ways see neither folds nor TABs. */
  #plain(i: number): boolean {
    return !this.#tab && !this.#head.folded(i);
  }

  #readVia(): void {
    const i = this.first(H.via);
    if (i < 0) return;
    const from = this.#head.value(i);
    const to = this.#head.valueEnd(i);
    this.#viaOk = (this.#plain(i) && quickVia(this.text, from, to, this.via)) || scanVia(this.text, from, to, this.via);
    if (!this.#viaOk) {
      this.via.branch = 0;
      this.via.branchEnd = 0;
      this.#fail('malformed-via');
    }
  }

  #readFrom(): void {
    const i = this.first(H.from);
    if (i < 0) return;
    if (!this.#readTag(i)) {
      this.#fail('malformed-header');
      return;
    }
    this.#fromTag = tag;
    this.#fromTagEnd = tagEnd;
  }

  #readTo(): void {
    const i = this.first(H.to);
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
    const from = this.#head.value(i);
    const to = this.#head.valueEnd(i);
    tag = 0;
    tagEnd = 0;
    if (this.#plain(i) && quickNameAddr(s, from, to, nameAddr)) {
      const params = nameAddr.params;
      if (params === to) return true;
      if (s.startsWith(';tag=', params) && params + 5 < to && skipToken(s, params + 5, to) === to) {
        tag = params + 5;
        tagEnd = to;
        return true;
      }
    }
    return scanTag(s, from, to);
  }

  #readCallId(): void {
    const i = this.first(H.callId);
    if (i < 0) return;
    const s = this.text;
    const from = this.#head.value(i);
    const to = this.#head.valueEnd(i);
    // It is compared, never taken apart: what matters is that it is one word.
    const space = s.indexOf(' ', from);
    if (from === to || (space >= 0 && space < to) || (!this.#plain(i) && !allOf(s, from, to, WORD)))
      this.#fail('malformed-header');
  }

  #readCSeq(): void {
    const i = this.first(H.cseq);
    if (i < 0) return;
    const s = this.text;
    const from = this.#head.value(i);
    const to = this.#head.valueEnd(i);
    const space = this.#plain(i) ? s.indexOf(' ', from) : -1;
    const end = space > from && space < to ? space : skipDigits(s, from, to);
    const seq = decimal(s, from, end, MAX_CSEQ);
    const method = skipLws(s, end, to);
    const known = knownMethod(s, method, to);
    if (seq < 0 || method === end || (known === undefined && !allOf(s, method, to, TOKEN))) {
      this.#fail('malformed-cseq');
      return;
    }
    this.cseq = seq;
    this.cseqMethod = known ?? s.slice(method, to);
    if (this.isRequest && this.cseqMethod !== this.method) this.#fail('cseq-method-mismatch');
  }

  #readMaxForwards(): void {
    const i = this.first(H.maxForwards);
    if (i < 0) return;
    this.maxForwards = decimal(this.text, this.#head.value(i), this.#head.valueEnd(i), MAX_FORWARDS);
    if (this.maxForwards < 0) this.#fail('malformed-header');
  }

  /** RFC 3261 §18.3, §20.14. */
  #body(framed: boolean): void {
    const i = this.first(H.contentLength);
    if (i < 0) {
      if (framed) this.#fail('missing-header');
      return;
    }
    const length = decimal(this.text, this.#head.value(i), this.#head.valueEnd(i), 0x7fffffff);
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
    this.answerable = MANDATORY.every(h => this.first(h) >= 0);
  }
}

// Second results of the scans above.
let tag = 0;
let tagEnd = 0;

/** From or To the strict way: the whole value is checked. */
function scanTag(s: string, from: number, to: number): boolean {
  if (!scanNameAddr(s, from, to, nameAddr)) return false;
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
