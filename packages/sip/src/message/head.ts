import type { Reason } from '@drawbridge/core';
import { skipLws, trimEnd } from './chars.js';
import { H, HEADER_IDS, type HeaderId, NAME_END, scanHeaderName } from './header-id.js';

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
  readonly #rows = new Int32Array(MAX_HEADERS * ROW);
  readonly #first = new Int16Array(HEADER_IDS).fill(-1);
  #text = '';
  #folded = 0;

  reset(text: string): void {
    const rows = this.#rows;
    const first = this.#first;
    for (let at = KIND, end = this.count * ROW; at < end; at += ROW) first[rows[at]! & 255] = -1;
    this.count = 0;
    this.end = 0;
    this.fault = undefined;
    this.#text = text;
  }

  /**
   * Reads header lines from `p` to the empty line. False when reading must stop: a CR or LF of its own, a NUL, too many
   * lines; such a message is never answered, since a reply would repeat it.
   */
  read(p: number): boolean {
    const s = this.#text;
    let at = p;
    while (s.charCodeAt(at) !== 13 || s.charCodeAt(at + 1) !== 10) {
      if (at === s.length) return this.#cut(at);
      const end = this.#lineEnding(at);
      if (end < 0) return this.#stop('malformed-header');
      if (this.count === MAX_HEADERS) return this.#stop('too-many-headers');
      if (!this.#line(at, end)) this.fault ??= 'malformed-header';
      at = end + 2;
    }
    this.end = at;
    const nul = s.indexOf('\0');
    return nul < 0 || nul >= at || this.#stop('malformed-header');
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
    return this.#rows[i * ROW + KIND]! >= FOLDED;
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
    return !this.#text.includes('\0');
  }

  /**
   * Index of the CR that ends the header starting at `at`, folds included; -1 when it doesn't end, or when a CR or LF
   * stands alone in it.
   */
  #lineEnding(at: number): number {
    const s = this.#text;
    let cr = s.indexOf('\r', at);
    this.#folded = 0;
    // LF is looked for as well: one without CR would be a line's end to somebody else.
    if (cr < 0 || s.indexOf('\n', at) !== cr + 1) return -1;
    let c = s.charCodeAt(cr + 2);
    while (c === 32 || c === 9) {
      this.#folded = FOLDED;
      const from = cr + 2;
      cr = s.indexOf('\r', from);
      if (cr < 0 || s.indexOf('\n', from) !== cr + 1) return -1;
      c = s.charCodeAt(cr + 2);
    }
    return cr;
  }

  /** `s[from .. to)` is one header without its CRLF; false when it has no name or no colon. */
  #line(from: number, to: number): boolean {
    const s = this.#text;
    const found = scanHeaderName(s, from);
    const nameEnd = (found / NAME_END) | 0;
    const id = found & (NAME_END - 1);
    let colon = nameEnd;
    let c = s.charCodeAt(colon);
    while (c === 32 || c === 9) c = s.charCodeAt(++colon);
    if (c !== 58 || nameEnd === from) return false;
    let value = colon + 2;
    if (s.charCodeAt(colon + 1) !== 32 || s.charCodeAt(value) <= 32) value = skipLws(s, colon + 1, to);
    const n = this.count++;
    const rows = this.#rows;
    const row = n * ROW;
    rows[row] = from;
    rows[row + NAME] = nameEnd;
    rows[row + VALUE] = value;
    rows[row + VALUE_END] = s.charCodeAt(to - 1) > 32 ? to : trimEnd(s, value, to);
    rows[row + LINE_END] = to + 2;
    rows[row + KIND] = id | this.#folded;
    if (this.#first[id]! < 0) this.#first[id] = n;
    else if (SINGLE[id] === 1) this.fault ??= id === H.contentLength ? 'malformed-content-length' : 'duplicate-header';
    return true;
  }
}
