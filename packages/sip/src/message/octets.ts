/**
 * The bytes of the message that is being parsed, copied from its text: four can be looked at at a time, which a string
 * doesn't allow, and each costs a load where `charCodeAt` first asks what kind of string it has. Valid until the next
 * `load`, so within `MessageView.parse` alone; what is read later is read from the text.
 */

/** A head ends within so many bytes or it is refused: more than a datagram holds, and eight times what a stream may send. */
export const MAX_HEAD = 131_072;

/** The words at the end may be read past the last byte. */
const octets = Buffer.alloc(MAX_HEAD + 16);
const words = new DataView(octets.buffer, octets.byteOffset, octets.length);

/** Like `CLASS` best held in a `const` of one's own. */
export const loaded: Uint8Array = octets;

/** Index of the NUL that stands after the last byte; every search for a control ends there. */
export function load(text: string): number {
  const length = octets.write(text, 0, MAX_HEAD, 'latin1');
  words.setInt32(length, 0, true);
  return length;
}

/** The four bytes from `at` on, the first lowest. */
export function word(at: number): number {
  return words.getInt32(at, true);
}

/** Four ASCII characters as `word` reads them. */
export function wordOf(four: string): number {
  let w = 0;
  for (let k = 3; k >= 0; k--) w = (w << 8) | four.charCodeAt(k);
  return w;
}

/** Sets the case bit of all four bytes; `-` keeps its value, and CR takes it: only for what is known to hold no control. */
export const LOWER = 0x20202020;

const ONES = 0x01010101;
const HIGH = 0x80808080 | 0;

/** Offset of the lowest byte whose high bit is set in `hits`. */
function lowest(hits: number): number {
  return (31 - Math.clz32(hits & -hits)) >> 3;
}

/*
 * Subtracting lets a byte borrow from the next, so that only the lowest hit of a word is sure to be one; it is the one
 * that is asked for.
 */

/** Index of the first byte below SP at or after `at`. */
export function controlAt(at: number): number {
  let i = at;
  let w = words.getInt32(i, true);
  let hits = (w - LOWER) & ~w & HIGH;
  while (hits === 0) {
    i += 4;
    w = words.getInt32(i, true);
    hits = (w - LOWER) & ~w & HIGH;
  }
  return i + lowest(hits);
}

/** Index of the first byte in `[at .. to)` that is `c`; `to` when there is none. */
export function octetAt(c: number, at: number, to: number): number {
  const pattern = Math.imul(c, ONES);
  for (let i = at; i < to; i += 4) {
    const x = words.getInt32(i, true) ^ pattern;
    const hits = (x - ONES) & ~x & HIGH;
    if (hits !== 0) return Math.min(i + lowest(hits), to);
  }
  return to;
}

/** Index of the first byte in `[at .. to)` that is `c` or `d`; `to` when there is none. */
export function eitherAt(c: number, d: number, at: number, to: number): number {
  const p = Math.imul(c, ONES);
  const q = Math.imul(d, ONES);
  for (let i = at; i < to; i += 4) {
    const w = words.getInt32(i, true);
    const x = w ^ p;
    const y = w ^ q;
    const hits = (((x - ONES) & ~x) | ((y - ONES) & ~y)) & HIGH;
    if (hits !== 0) return Math.min(i + lowest(hits), to);
  }
  return to;
}

/** As `decimal`, of the loaded octets. */
export function decimalAt(from: number, to: number, max: number): number {
  if (from >= to || to - from > 32) return -1;
  let value = 0;
  for (let i = from; i < to; i++) {
    const c = octets[i]!;
    if (c < 48 || c > 57) return -1;
    value = value * 10 + (c - 48);
    if (value > max) return -1;
  }
  return value;
}
