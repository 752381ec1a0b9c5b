/** Columns as wide as their widest cell, two spaces between. Control characters never reach the terminal. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const clean = [head, ...rows].map(row => row.map(printable));
  const widths = head.map((_, i) => Math.max(...clean.map(row => (row[i] ?? '').length)));
  return clean
    .map(row =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** What a peer wrote, fit for a terminal: no escape sequence survives. */
export function printable(text: string): string {
  let out = '';
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    out += c < 32 || (c >= 127 && c < 160) ? '?' : text.charAt(i);
  }
  return out;
}

/** Whole output for a terminal: what obeys no line is shown as JSON writes it, so that JSON stays what it says. */
export function forTerminal(text: string): string {
  let out = '';
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c >= 160 || (c >= 32 && c < 127) || c === 10 || c === 9) continue;
    out += `${text.slice(from, i)}\\u${c.toString(16).padStart(4, '0')}`;
    from = i + 1;
  }
  return out + text.slice(from);
}

/** `1:05`, `2:03:09`. */
export function clock(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (n: number): string => String(n).padStart(2, '0');
  return s < 3600
    ? `${Math.floor(s / 60)}:${two(s % 60)}`
    : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}
