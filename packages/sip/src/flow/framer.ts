/** What `Framer.next` found. */
export const FRAME = {
  /** Nothing complete: push more. */
  more: 0,
  /** A message at `at`, `length`. */
  message: 1,
  /** CRLFCRLF between messages (RFC 5626 §4.4.1): answer CRLF. */
  keepalive: 2,
  /**
   * The head at `at`, `length` is complete, but where its message ends can't be trusted: Content-Length absent, twice,
   * not a number, or past the limit (RFC 3261 §18.3, §20.14). It may still be answered; nothing behind it is read.
   */
  faultyHead: 3,
  /** No end of head within the limit. Nothing more is read. */
  fault: 4,
} as const;
export type Frame = (typeof FRAME)[keyof typeof FRAME];

export interface FramingLimits {
  /** Bytes from the start line to the empty line, both included. */
  readonly maxHead: number;
  readonly maxBody: number;
}

const CR = 13;
const LF = 10;
const EMPTY = Buffer.alloc(0);
const END_OF_HEAD = Buffer.from('\r\n\r\n');
/** Content-Length digits; more is an attempt at overflow. */
const MAX_DIGITS = 10;

/**
 * Cuts a byte stream into SIP messages. A message that is complete in one chunk is not copied; only an unfinished
 * tail is, into a buffer that grows by doubling, so that bytes that drip in cost linear time.
 */
export class Framer {
  /** Where `at` points into, until the next `push`. */
  bytes: Buffer = EMPTY;
  at = 0;
  length = 0;
  readonly #limits: FramingLimits;
  #from = 0;
  #end = 0;
  #own: Buffer = EMPTY;
  #owned = false;
  /** Bytes of the unfinished message that were searched for the end of its head. */
  #searched = 0;
  /** Whole length of the unfinished message once its head was read. */
  #whole = 0;
  #crlf = false;
  #dead = false;

  constructor(limits: FramingLimits) {
    this.#limits = limits;
  }

  /** An unfinished message waits for its rest. */
  get partial(): boolean {
    return this.#end > this.#from;
  }

  push(chunk: Buffer): void {
    if (this.#dead) return;
    const tail = this.#end - this.#from;
    if (tail === 0) {
      this.bytes = chunk;
      this.#from = 0;
      this.#end = chunk.length;
      this.#owned = false;
      return;
    }
    this.#reserve(tail, chunk.length);
    chunk.copy(this.#own, this.#end);
    this.#end += chunk.length;
  }

  /** Call until it says `more` or a fault. */
  next(): Frame {
    if (this.#dead) return FRAME.more;
    if (this.#whole === 0 && this.#searched === 0 && this.#skipCrlf()) return FRAME.keepalive;
    const available = this.#end - this.#from;
    if (available === 0) return this.#wait();
    // A CR whose LF is still on its way says nothing yet.
    if (this.#searched === 0 && available === 1 && this.bytes[this.#from] === CR) return this.#wait();
    if (this.#whole === 0) {
      const at = this.bytes.indexOf(END_OF_HEAD, this.#from + Math.max(0, this.#searched - 3));
      const head = at < 0 || at + 4 > this.#end ? -1 : at + 4 - this.#from;
      if (head < 0) {
        this.#searched = available;
        return available > this.#limits.maxHead ? this.#kill(FRAME.fault, 0) : this.#wait();
      }
      if (head > this.#limits.maxHead) return this.#kill(FRAME.fault, 0);
      const body = contentLength(this.bytes, this.#from, this.#from + head, this.#limits.maxBody);
      if (body < 0) return this.#kill(FRAME.faultyHead, head);
      this.#whole = head + body;
    }
    if (available < this.#whole) return this.#wait();
    this.at = this.#from;
    this.length = this.#whole;
    this.#from += this.#whole;
    this.#whole = 0;
    this.#searched = 0;
    return FRAME.message;
  }

  /** Eats CRLFs in front of a message; true after the second in a row. */
  #skipCrlf(): boolean {
    const b = this.bytes;
    while (this.#end - this.#from >= 2 && b[this.#from] === CR && b[this.#from + 1] === LF) {
      this.#from += 2;
      this.#crlf = !this.#crlf;
      if (!this.#crlf) return true;
    }
    if (this.#end - this.#from > 1 || (this.#end - this.#from === 1 && b[this.#from] !== CR)) this.#crlf = false;
    return false;
  }

  #wait(): Frame {
    const tail = this.#end - this.#from;
    if (tail === 0) {
      this.bytes = EMPTY;
      this.#own = EMPTY;
      this.#owned = false;
      this.#from = 0;
      this.#end = 0;
    } else if (!this.#owned) this.#reserve(tail, 0);
    return FRAME.more;
  }

  #kill(frame: Frame, length: number): Frame {
    this.#dead = true;
    this.at = this.#from;
    this.length = length;
    return frame;
  }

  /** The tail stands at the start of our own buffer, with room for `more` behind it. */
  #reserve(tail: number, more: number): void {
    if (this.#owned && this.#own.length - this.#end >= more) return;
    const fits = this.#owned && this.#own.length >= tail + more;
    const into = fits ? this.#own : Buffer.allocUnsafeSlow(Math.max(1024, 2 * (tail + more)));
    this.bytes.copy(into, 0, this.#from, this.#end);
    this.#own = into;
    this.#owned = true;
    this.bytes = into;
    this.#from = 0;
    this.#end = tail;
  }
}

/**
 * What a WebSocket message is (RFC 7118 §5: exactly one SIP message). Content-Length may be absent there; a wrong one
 * would let the next reader cut elsewhere. `more`: a bare CRLF or nothing, to be ignored.
 */
export function checkFrame(b: Buffer, limits: FramingLimits): Frame {
  if (b.length <= 4) {
    const text = b.toString('latin1');
    if (text === '\r\n\r\n') return FRAME.keepalive;
    return text === '' || text === '\r\n' ? FRAME.more : FRAME.fault;
  }
  const at = b.indexOf(END_OF_HEAD);
  if (at < 0 || at + 4 > limits.maxHead) return FRAME.fault;
  const body = b.length - at - 4;
  const said = contentLength(b, 0, at + 4, limits.maxBody);
  return body <= limits.maxBody && (said === body || said === ABSENT) ? FRAME.message : FRAME.faultyHead;
}

const ABSENT = -1;
const FAULTY = -2;

/** Body length by the one Content-Length (or `l`) line of the head; negative when there isn't exactly one good one. */
function contentLength(b: Buffer, from: number, to: number, max: number): number {
  let found = ABSENT;
  let line = b.indexOf(LF, from) + 1;
  while (line > 0 && line < to - 2) {
    let end = b.indexOf(LF, line);
    while (end >= 0 && end + 1 < to && isBlank(b[end + 1])) end = b.indexOf(LF, end + 1);
    if (end < 0 || end >= to) break;
    const value = contentLengthValue(b, line, end);
    if (value >= 0) {
      if (found >= 0) return FAULTY;
      found = readLength(b, value, end, max);
      if (found < 0) return FAULTY;
    }
    line = end + 1;
  }
  return found;
}

const LONG = 'content-length';

/** Index behind the colon when the line is a Content-Length, -1 otherwise. */
function contentLengthValue(b: Buffer, line: number, end: number): number {
  let at = line;
  while (at < end && at - line < LONG.length && ((b[at] ?? 0) | 0x20) === LONG.charCodeAt(at - line)) at++;
  if (at - line !== LONG.length) {
    if (((b[line] ?? 0) | 0x20) !== 108) return -1;
    at = line + 1;
  }
  while (at < end && isBlank(b[at])) at++;
  return b[at] === 58 ? at + 1 : -1;
}

function readLength(b: Buffer, from: number, end: number, max: number): number {
  let at = from;
  while (at < end && isSpace(b[at])) at++;
  let stop = end;
  while (stop > at && isSpace(b[stop - 1])) stop--;
  if (stop === at || stop - at > MAX_DIGITS) return -1;
  let value = 0;
  for (; at < stop; at++) {
    const c = b[at] ?? 0;
    if (c < 48 || c > 57) return -1;
    value = value * 10 + c - 48;
  }
  return value > max ? -1 : value;
}

function isBlank(c: number | undefined): boolean {
  return c === 32 || c === 9;
}

function isSpace(c: number | undefined): boolean {
  return c === 32 || c === 9 || c === CR || c === LF;
}
