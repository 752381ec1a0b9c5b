import { word, wordOf } from './octets.js';

/** Methods with a constant of their own, so that `===` on one compares pointers. */
const METHODS = [
  'INVITE',
  'ACK',
  'BYE',
  'CANCEL',
  'REGISTER',
  'OPTIONS',
  'INFO',
  'MESSAGE',
  'SUBSCRIBE',
  'NOTIFY',
  'PUBLISH',
  'REFER',
  'UPDATE',
  'PRACK',
] as const;

const BY_SHAPE = new Array<string | undefined>(128 * 16).fill(undefined);
for (const m of METHODS) BY_SHAPE[(m.charCodeAt(0) << 4) | m.length] = m;

/** Per shape: the first four bytes, the last four, and those from the fifth on where there are more than eight. */
const WORDS = new Int32Array(BY_SHAPE.length * 4);
for (const m of METHODS) {
  const at = ((m.charCodeAt(0) << 4) | m.length) * 4;
  WORDS[at] = wordOf(m.slice(0, 4).padEnd(4, '\0'));
  WORDS[at + 1] = m.length < 4 ? 0 : wordOf(m.slice(-4));
  WORDS[at + 2] = m.length < 9 ? 0 : wordOf(m.slice(4, 8));
}

/** The known method in the loaded octets `[from .. to)`, undefined for others. Methods are case-sensitive. */
export function loadedMethod(from: number, to: number): string | undefined {
  const length = to - from;
  if (length < 3 || length > 9) return undefined;
  const first = word(from);
  const shape = ((first & 127) << 4) | length;
  const at = shape * 4;
  if (length === 3) return WORDS[at] === (first & 0xffffff) ? BY_SHAPE[shape] : undefined;
  if (WORDS[at] !== first || WORDS[at + 1] !== word(to - 4)) return undefined;
  return length < 9 || WORDS[at + 2] === word(from + 4) ? BY_SHAPE[shape] : undefined;
}

/** The known method at `s[from .. to)`, undefined for others. Methods are case-sensitive. */
export function knownMethod(s: string, from: number, to: number): string | undefined {
  const length = to - from;
  if (length < 3 || length > 15) return undefined;
  const known = BY_SHAPE[((s.charCodeAt(from) & 127) << 4) | length];
  return known !== undefined && s.startsWith(known, from) ? known : undefined;
}

/** The method at `s[from .. to)`: a constant where it is a known one, a copy otherwise. */
export function methodAt(s: string, from: number, to: number): string {
  return knownMethod(s, from, to) ?? s.slice(from, to);
}
