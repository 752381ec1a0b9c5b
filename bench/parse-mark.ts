/** Length, first and last byte: enough that a field cut wrongly shows, cheap enough not to be what is measured. */
export function mark(field: string): number {
  const n = field.length;
  return n === 0 ? 1 : n * 1009 + field.charCodeAt(0) * 31 + field.charCodeAt(n - 1);
}

/** What a rejected message adds. */
export const REJECTED = 7;
