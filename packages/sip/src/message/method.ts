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
