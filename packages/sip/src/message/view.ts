import type { Reason } from '@drawbridge/core';
import { parseContact } from '../header/contact.js';
import { MAX_CSEQ } from '../header/cseq.js';
import { type NameAddrSpan, nameAddrSpan, quickNameAddr, scanNameAddr } from '../header/name-addr.js';
import { isParam, type ParamSpan, paramSpan, scanParam } from '../header/param.js';
import { quickVia, scanVia, sentByOf, transportAt, type ViaSpan, viaSpan } from '../header/via.js';
import { allOf, CLASS, skipDigits, skipLws, skipToken, TOKEN, WORD } from './chars.js';
import { HeadIndex } from './head.js';
import { H, type HeaderId, headerId } from './header-id.js';
import { loadedMethod, methodAt } from './method.js';
import { controlAt, decimalAt, load, loaded, octetAt, word, wordOf } from './octets.js';
import { splitList, unfold } from './unfold.js';

const MAX_METHOD = 64;
const MAX_FORWARDS = 255;

const MANDATORY = [H.via, H.from, H.to, H.callId, H.cseq] as const;

const octet = loaded;
const CLASSES = CLASS;

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
  #phrase = 0;
  #phraseEnd = 0;
  #viaOk = false;
  #fromTag = 0;
  #fromTagEnd = 0;
  #toTag = 0;
  #toTagEnd = 0;
  /** URI of the first Contact where its form is the common one. */
  #contact = 0;
  #contactEnd = 0;

  /**
   * `framed`: cut from a stream, so that Content-Length must be there (RFC 3261 §18.3).
   * Undefined when the message is well-formed. Never throws.
   */
  parse(text: string, framed = false): Reason | undefined {
    const length = load(text);
    this.#reset(text, length);
    let at = 0;
    // RFC 3261 §7.5: CRLF before the start line is ignored.
    while (octet[at] === 13 && octet[at + 1] === 10) at += 2;
    const control = controlAt(at);
    const plain = octet[control] === 13 && octet[control + 1] === 10;
    const end = plain ? control : text.indexOf('\n', at) - 1;
    if (end < at || octet[end] !== 13) return this.#fail('malformed-start-line');
    this.startAt = at;
    this.headStart = end + 2;
    this.#startLine(at, end);
    this.#head.odd = !plain;
    // Before the headers are read: a CR, LF or NUL of its own would end the line to somebody else; never answered.
    if (!plain && /[\r\0]/.test(text.slice(at, end))) return this.#fail('malformed-start-line');
    const whole = this.#head.read(end + 2);
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
    if (this.#contactEnd > 0) return this.text.slice(this.#contact, this.#contactEnd);
    if (!this.has(H.contact)) return '';
    return parseContact(this.list(H.contact)[0] ?? '')?.uri ?? '';
  }
  /** As written; '' for a request. */
  get reasonPhrase(): string {
    return this.text.slice(this.#phrase, this.#phraseEnd);
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

  #reset(text: string, length: number): void {
    this.text = text;
    this.answerable = false;
    this.isRequest = false;
    this.method = '';
    this.uri = '';
    this.status = 0;
    this.#phrase = 0;
    this.#phraseEnd = 0;
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
    this.#head.reset(text, length);
    this.#fault = undefined;
    this.#viaOk = false;
    this.#fromTag = 0;
    this.#fromTagEnd = 0;
    this.#toTag = 0;
    this.#toTagEnd = 0;
    this.#contact = 0;
    this.#contactEnd = 0;
  }

  /** Keeps the first fault. */
  #fail(reason: Reason): Reason {
    this.#fault ??= reason;
    return this.#fault;
  }

  /** `[from .. to)` is the start line without CRLF (RFC 3261 §7.1, §7.2). */
  #startLine(from: number, to: number): void {
    if (isVersion(from)) {
      this.#statusLine(from, to);
      return;
    }
    this.isRequest = true;
    const methodEnd = octetAt(32, from, to);
    if (methodEnd === to) {
      this.method = methodAt(this.text, from, skipToken(this.text, from, to));
      this.#fail('malformed-start-line');
      return;
    }
    this.#requestLine(from, methodEnd, to);
  }

  /** Splits at the spaces; the URI is looked at closely by who uses it (`parseUri`). */
  #requestLine(from: number, methodEnd: number, to: number): void {
    const s = this.text;
    const known = loadedMethod(from, methodEnd);
    this.method = known ?? s.slice(from, skipToken(s, from, methodEnd));
    const uri = methodEnd + 1;
    const uriEnd = octetAt(32, uri, to);
    const badMethod =
      known === undefined &&
      (this.method.length !== methodEnd - from || methodEnd === from || methodEnd - from > MAX_METHOD);
    if (badMethod || uriEnd === to) {
      this.#fail('malformed-start-line');
      return;
    }
    this.uri = s.slice(uri, uriEnd);
    const scheme = octet[uri]! | 0x20;
    if (scheme < 97 || scheme > 122 || !isVersion(uriEnd + 1) || controlAt(uri) < uriEnd)
      this.#fail('malformed-start-line');
    else if (!isTwoZero(uriEnd + 5, to))
      this.#fail(allOf(s, uriEnd + 5, to, TOKEN) ? 'unsupported-version' : 'malformed-start-line');
    else if (word(uri) !== SIP && !this.uri.includes(':')) this.#fail('malformed-uri');
  }

  #statusLine(from: number, to: number): void {
    const space = octetAt(32, from, to);
    if (space === to) {
      this.#fail('malformed-start-line');
      return;
    }
    const status = decimalAt(space + 1, Math.min(space + 4, to), 699);
    const after = space + 4;
    if (status < 100 || (after < to && octet[after] !== 32)) {
      this.#fail('malformed-start-line');
      return;
    }
    this.status = status;
    this.#phrase = Math.min(after + 1, to);
    this.#phraseEnd = to;
    if (!isTwoZero(from + 4, space)) this.#fail('unsupported-version');
  }

  #mandatory(): void {
    this.#readVia();
    this.#readFrom();
    this.#readTo();
    this.#readCallId();
    this.#readCSeq();
    this.#readMaxForwards();
    this.#readContact();
    for (let k = 0; k < MANDATORY.length; k++)
      if (this.first(MANDATORY[k] as HeaderId) < 0) this.#fail('missing-header');
  }

  #readVia(): void {
    const i = this.first(H.via);
    if (i < 0) return;
    const from = this.#head.value(i);
    const to = this.#head.valueEnd(i);
    this.#viaOk =
      (!this.#head.odd && quickVia(this.text, from, to, this.#head.folded(i), this.via)) ||
      scanVia(this.text, from, to, this.via);
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
    if (!this.#head.odd && quickNameAddr(from, to, this.#head.folded(i), nameAddr)) {
      const params = nameAddr.params;
      if (params === to) return true;
      if (word(params) === TAG && octet[params + 4] === 61 && params + 5 < to && tokenTo(params + 5, to)) {
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
    const from = this.#head.value(i);
    const to = this.#head.valueEnd(i);
    // It is compared, never taken apart: what matters is that it is one word.
    if (from === to || octetAt(32, from, to) < to || (!this.#head.plain(i) && !allOf(this.text, from, to, WORD)))
      this.#fail('malformed-header');
  }

  #readCSeq(): void {
    const i = this.first(H.cseq);
    if (i < 0) return;
    const s = this.text;
    const from = this.#head.value(i);
    const to = this.#head.valueEnd(i);
    const space = this.#head.plain(i) ? octetAt(32, from, to) : to;
    const end = space < to ? space : skipDigits(s, from, to);
    const seq = decimalAt(from, end, MAX_CSEQ);
    const method = space < to && octet[end + 1]! > 32 ? end + 1 : skipLws(s, end, to);
    const known = loadedMethod(method, to);
    if (seq < 0 || method === end || (known === undefined && !allOf(s, method, to, TOKEN))) {
      this.#fail('malformed-cseq');
      return;
    }
    this.cseq = seq;
    this.cseqMethod = known ?? s.slice(method, to);
    if (this.isRequest && this.cseqMethod !== this.method) this.#fail('cseq-method-mismatch');
  }

  /** What else may stand there is read when it is asked for. */
  #readContact(): void {
    const i = this.first(H.contact);
    if (i < 0 || !this.#head.plain(i) || !quickNameAddr(this.#head.value(i), this.#head.valueEnd(i), false, nameAddr))
      return;
    this.#contact = nameAddr.uri;
    this.#contactEnd = nameAddr.uriEnd;
  }

  #readMaxForwards(): void {
    const i = this.first(H.maxForwards);
    if (i < 0) return;
    this.maxForwards = decimalAt(this.#head.value(i), this.#head.valueEnd(i), MAX_FORWARDS);
    if (this.maxForwards < 0) this.#fail('malformed-header');
  }

  /** RFC 3261 §18.3, §20.14. */
  #body(framed: boolean): void {
    const i = this.first(H.contentLength);
    if (i < 0) {
      if (framed) this.#fail('missing-header');
      return;
    }
    const length = decimalAt(this.#head.value(i), this.#head.valueEnd(i), 0x7fffffff);
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

const SIP = wordOf('sip:');
const TAG = wordOf(';tag');
const VERSION = wordOf('sip/');
const TWO_ZERO = wordOf('2.0') & 0xffffff;

/** `SIP/`, in any case (RFC 3261 §7.1: the version is case-insensitive). */
function isVersion(at: number): boolean {
  return (word(at) | 0x202020) === VERSION;
}

function isTwoZero(from: number, to: number): boolean {
  return to - from === 3 && (word(from) & 0xffffff) === TWO_ZERO;
}

function tokenTo(from: number, to: number): boolean {
  let at = from;
  while ((CLASSES[octet[at]!]! & TOKEN) !== 0) at++;
  return at >= to;
}
