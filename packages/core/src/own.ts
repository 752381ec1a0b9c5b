/** Room for any header; what is longer takes the slower way. */
const scratch = Buffer.allocUnsafeSlow(4096);

/**
 * A copy of a slice that doesn't pin the message it was cut from. What outlives a batch (map key, binding,
 * dialog, log line) goes through here: V8 keeps the whole parent of any substring of 13 characters or more.
 * `s` is latin1, as every message is.
 */
export function own(s: string): string {
  if (s.length < 13) return s;
  if (s.length > scratch.length) return Buffer.from(s, 'latin1').toString('latin1');
  return scratch.toString('latin1', 0, scratch.write(s, 0, 'latin1'));
}
