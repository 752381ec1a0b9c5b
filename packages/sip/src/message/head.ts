import type { Reason } from '@drawbridge/core';
import { skipLws, skipToken, trimEnd } from './chars.js';
import { H, HEADER_IDS, type HeaderId, nameId } from './header-id.js';
import { controlAt, loaded, octetAt, word } from './octets.js';

const octet = loaded;
const CONTENT_LENGTH = H.contentLength;

/** Most header lines one message may have. */
export const MAX_HEADERS = 128;

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
]) {
  SINGLE[h] = 1;
}

const CRLF = 0x0a0d;
const COLON_SP = 0x203a;

/** Columns of the index, one row per header line; all but the last are offsets into the text. */
const LINE = 0;
const NAME = 1;
const VALUE = 2;
const VALUE_END = 3;
const LINE_END = 4;
/** Id, and FOLDED where there is a fold. */
const KIND = 5;
const ROW = 6;
const FOLDED = 256;

/** Where the header lines of one message stand. Reused from message to message. */
export class HeadIndex {
  count = 0;
  /** The empty line that ends the head. */
  end = 0;
  fault: Reason | undefined = undefined;
  /** A control (a TAB, as a rule) is in the head, other than in a fold: the quick ways don't look for one. */
  odd = false;
  readonly #rows = new Int32Array(MAX_HEADERS * ROW);
  readonly #first = new Int16Array(HEADER_IDS).fill(-1);
  #text = '';
  #length = 0;
  /** FOLDED or 0 for the line being read, and where its first control stands. */
  #folded = 0;
  #control = 0;

  /** `length` of its bytes are loaded. */
  reset(text: string, length: number): void {
    const rows = this.#rows;
    const first = this.#first;
    for (let at = KIND, end = this.count * ROW; at < end; at += ROW) first[rows[at]! & 255] = -1;
    this.count = 0;
    this.end = 0;
    this.fault = undefined;
    this.odd = false;
    this.#text = text;
    this.#length = length;
  }

  /**
   * Reads header lines from `p` to the empty line. False when reading must stop: a CR or LF of its own, a NUL, too many
   * lines; such a message is never answered, since a reply would repeat it.
   */
  read(p: number): boolean {
    let at = p;
    while ((word(at) & 0xffff) !== CRLF) {
      if (at >= this.#length) return this.#cut(at);
      const end = this.#lineEnding(at);
      if (end < 0) return this.#stop('malformed-header');
      if (this.count === MAX_HEADERS) return this.#stop('too-many-headers');
      if (!this.#line(at, end)) this.fault ??= 'malformed-header';
      at = end + 2;
    }
    this.end = at;
    return true;
  }

  id(i: number): HeaderId {
    return i >= 0 && i < this.count ? this.#rows[i * ROW + KIND]! & 255 : 0;
  }

  first(h: HeaderId): number {
    return h > 0 && h < HEADER_IDS ? this.#first[h]! : -1;
  }

  next(i: number): number {
    const h = this.id(i);
    for (let k = i + 1; k < this.count; k++) if (this.id(k) === h) return k;
    return -1;
  }

  folded(i: number): boolean {
    return (this.#rows[i * ROW + KIND]! & FOLDED) !== 0;
  }

  /** No fold in it, and no control anywhere but those of folds. */
  plain(i: number): boolean {
    return !this.odd && this.#rows[i * ROW + KIND]! < FOLDED;
  }

  /** First byte of line `i`; for `i === count` where the head ends. */
  line(i: number): number {
    return i < this.count ? this.#rows[i * ROW + LINE]! : this.end;
  }

  nameEnd(i: number): number {
    return this.#rows[i * ROW + NAME]!;
  }

  value(i: number): number {
    return this.#rows[i * ROW + VALUE]!;
  }

  valueEnd(i: number): number {
    return this.#rows[i * ROW + VALUE_END]!;
  }

  /** After its CRLF. */
  lineEnd(i: number): number {
    return this.#rows[i * ROW + LINE_END]!;
  }

  #stop(reason: Reason): false {
    this.fault ??= reason;
    return false;
  }

  /** The text ends at a line's end without the empty line: what there is may still be answered. */
  #cut(at: number): boolean {
    this.end = at;
    this.fault ??= 'malformed-header';
    return at === this.#text.length;
  }

  /**
   * Index of the CR that ends the header starting at `at`, folds included; -1 when it doesn't end, or when a CR, LF or
   * NUL stands alone in it: each would be a line's end to somebody else.
   */
  #lineEnding(at: number): number {
    let p = controlAt(at);
    this.#control = p;
    this.#folded = 0;
    for (;;) {
      const w = word(p);
      const c = w & 255;
      if (c === 13) {
        if ((w & 0xffff) !== CRLF) return -1;
        const next = (w >> 16) & 255;
        if (next !== 32 && next !== 9) return p;
        this.#folded = FOLDED;
        p = controlAt(p + 3);
      } else {
        if (c === 10 || c === 0) return -1;
        this.odd = true;
        p = controlAt(p + 1);
      }
    }
  }

  /** The loaded `[from .. to)` is one header without its CRLF; false when it has no name or no colon. */
  #line(from: number, to: number): boolean {
    let colon = octetAt(58, from, this.#control);
    let nameEnd = colon;
    let id = nameId(from, colon);
    if (id === 0 || colon === this.#control) {
      // Unknown, or something before the colon: the way for all, byte by byte.
      nameEnd = skipToken(this.#text, from, to);
      colon = nameEnd;
      while (octet[colon] === 32 || octet[colon] === 9) colon++;
      if (octet[colon] !== 58 || nameEnd === from) return false;
      if (colon > nameEnd) id = nameId(from, nameEnd);
    }
    let value = colon + 2;
    const w = word(colon);
    if ((w & 0xffff) !== COLON_SP || ((w >> 16) & 255) <= 32) value = skipLws(this.#text, colon + 1, to);
    const n = this.count++;
    const rows = this.#rows;
    const row = n * ROW;
    rows[row] = from;
    rows[row + NAME] = nameEnd;
    rows[row + VALUE] = value;
    rows[row + VALUE_END] = octet[to - 1]! > 32 ? to : trimEnd(this.#text, value, to);
    rows[row + LINE_END] = to + 2;
    rows[row + KIND] = id | this.#folded;
    if (this.#first[id]! < 0) this.#first[id] = n;
    else if (SINGLE[id] === 1) this.fault ??= id === CONTENT_LENGTH ? 'malformed-content-length' : 'duplicate-header';
    return true;
  }
}
