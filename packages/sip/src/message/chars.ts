/** Classes of the 256 byte values, RFC 3261 §25.1, as bits of one table. */
export const TOKEN = 1;
export const LWS = 2;
export const DIGIT = 4;
export const HEX = 8;
/** `word` of Call-ID. */
export const WORD = 16;
/** Hostnames as found in the wild: letters, digits, `-`, `.`, `_`. */
export const HOST = 32;
/** What may not stand in a URI in any reading: controls, SP, `"`, `<`, `>`, DEL. */
export const NOT_URI = 64;

/** Who loops over it takes a `const` of their own: an imported binding is looked up at each use, a constant is compiled in. */
export const CLASS = new Uint8Array(256);
const CLASSES = CLASS;

function mark(chars: string, bit: number): void {
  for (let i = 0; i < chars.length; i++) CLASSES[chars.charCodeAt(i)]! |= bit;
}

const ALNUM = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789';
mark(`${ALNUM}-.!%*_+\`'~`, TOKEN);
mark(' \t\r\n', LWS);
mark('0123456789', DIGIT);
mark('0123456789abcdefABCDEF', HEX);
mark(`${ALNUM}-.!%*_+\`'~()<>:\\"/[]?{}@`, WORD);
mark(`${ALNUM}-._`, HOST);
for (let c = 0; c <= 32; c++) CLASSES[c]! |= NOT_URI;
mark('"<>\x7f', NOT_URI);

/** Every byte of `s[from .. to)` is of the class; false for an empty run. */
export function allOf(s: string, from: number, to: number, bit: number): boolean {
  if (from >= to) return false;
  for (let i = from; i < to; i++) {
    const c = s.charCodeAt(i);
    if (c > 255 || (CLASSES[c]! & bit) === 0) return false;
  }
  return true;
}

export function isToken(s: string): boolean {
  return allOf(s, 0, s.length, TOKEN);
}

/** First index at or after `i` that isn't linear white space (a fold's CR LF counts as such). */
export function skipLws(s: string, i: number, to: number): number {
  let at = i;
  while (at < to && (CLASSES[s.charCodeAt(at) & 255]! & LWS) !== 0) at++;
  return at;
}

/** First index after `to` going back over linear white space. */
export function trimEnd(s: string, from: number, to: number): number {
  let end = to;
  while (end > from && (CLASSES[s.charCodeAt(end - 1) & 255]! & LWS) !== 0) end--;
  return end;
}

export function skipDigits(s: string, i: number, to: number): number {
  let at = i;
  while (at < to && s.charCodeAt(at) >= 48 && s.charCodeAt(at) <= 57) at++;
  return at;
}

export function skipToken(s: string, i: number, to: number): number {
  let at = i;
  while (at < to && (CLASSES[s.charCodeAt(at) & 255]! & TOKEN) !== 0) at++;
  return at;
}

/** First index at or after `i` of a byte that stands in no URI. */
export function skipUri(s: string, i: number, to: number): number {
  let at = i;
  while (at < to && (CLASSES[s.charCodeAt(at) & 255]! & NOT_URI) === 0) at++;
  return at;
}

/** `s[i]` is the opening quote; index after the closing one, -1 when there is none before `to`. */
export function skipQuoted(s: string, i: number, to: number): number {
  for (let at = i + 1; at < to; at++) {
    const c = s.charCodeAt(at);
    if (c === 34) return at + 1;
    if (c === 92) at++;
  }
  return -1;
}

/**
 * Decimal digits of `s[from .. to)` as a number; -1 when it isn't one, or when it is over `max`.
 * Leading zeros are legal (RFC 4475 §3.1.1.1), but not more than 32 digits of anything.
 */
export function decimal(s: string, from: number, to: number, max: number): number {
  if (from >= to || to - from > 32) return -1;
  let value = 0;
  for (let i = from; i < to; i++) {
    const c = s.charCodeAt(i);
    if (c < 48 || c > 57) return -1;
    value = value * 10 + (c - 48);
    if (value > max) return -1;
  }
  return value;
}

/** Equal but for the case of ASCII letters. */
export function sameIgnoringCase(a: string, b: string): boolean {
  return a.length === b.length && (a === b || a.toLowerCase() === b.toLowerCase());
}
