/** Each fold (CRLF and the white space that follows) becomes one SP, RFC 3261 §7.3.1. */
export function unfold(s: string): string {
  let fold = s.indexOf('\r\n');
  if (fold < 0) return s;
  let out = '';
  let from = 0;
  while (fold >= 0) {
    let end = fold;
    while (end > from && isBlank(s.charCodeAt(end - 1))) end--;
    out += `${s.slice(from, end)} `;
    from = fold + 2;
    while (isBlank(s.charCodeAt(from))) from++;
    fold = s.indexOf('\r\n', from);
  }
  return out + s.slice(from);
}

function isBlank(c: number): boolean {
  return c === 32 || c === 9;
}

/**
 * Values of a comma-separated header, trimmed: split at commas outside quoted strings and `<>`.
 * Empty elements are dropped. Appends to `into`.
 */
export function splitList(value: string, into: string[] = []): string[] {
  let from = 0;
  let angle = false;
  for (let i = 0; i < value.length; i++) {
    const c = value.charCodeAt(i);
    if (c === 34 && !angle) {
      i = closingQuote(value, i);
    } else if (c === 60) angle = true;
    else if (c === 62) angle = false;
    else if (c === 44 && !angle) {
      push(value, from, i, into);
      from = i + 1;
    }
  }
  push(value, from, value.length, into);
  return into;
}

/** Index of the closing quote, or the end of the text where it is missing. */
function closingQuote(s: string, open: number): number {
  for (let i = open + 1; i < s.length; i++) {
    const c = s.charCodeAt(i);
    if (c === 92) i++;
    else if (c === 34) return i;
  }
  return s.length;
}

function push(s: string, from: number, to: number, into: string[]): void {
  const part = s.slice(from, to).trim();
  if (part !== '') into.push(part);
}
