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

/** The method at `s[from .. to)`: a constant where it is a known one, a copy otherwise. Methods are case-sensitive. */
export function methodAt(s: string, from: number, to: number): string {
  const length = to - from;
  const known = length < 16 ? BY_SHAPE[((s.charCodeAt(from) & 127) << 4) | length] : undefined;
  if (known === undefined) return s.slice(from, to);
  for (let i = 0; i < length; i++) if (s.charCodeAt(from + i) !== known.charCodeAt(i)) return s.slice(from, to);
  return known;
}
