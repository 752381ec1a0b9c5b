/**
 * A copy of a slice that doesn't pin the message it was cut from. What outlives a batch (map key, binding,
 * dialog, log line) goes through here: V8 keeps the whole parent of any substring of 13 characters or more.
 */
export function own(s: string): string {
  return s.length < 13 ? s : Buffer.from(s, 'latin1').toString('latin1');
}
