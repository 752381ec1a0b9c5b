import { isToken } from './chars.js';

/**
 * May stand in a header: no CR, LF or NUL, nothing past latin1. Ask before copying a peer's field into a message;
 * the builders throw on what fails here, since by then it is our fault.
 */
export function safeValue(value: string): boolean {
  return !value.includes('\r') && !value.includes('\n') && !value.includes('\0');
}

export function mustBeSafe(what: string, value: string): void {
  if (!safeValue(value)) throw new TypeError(`${what} holds CR, LF or NUL`);
}

/** One header line with its CRLF. Throws on a name that is no token and on CR, LF or NUL. */
export function headerLine(name: string, value: string): string {
  if (!isToken(name)) throw new TypeError('a header name must be a token');
  mustBeSafe(name, value);
  return `${name}: ${value}\r\n`;
}

/**
 * Throws unless `line` is exactly one header line: a name, a colon, one CRLF at the end; inside it only folds.
 * Anything else could become a second header.
 */
export function mustBeLine(line: string): void {
  const colon = line.indexOf(':');
  if (colon < 1 || !isToken(line.slice(0, colon).trimEnd()) || line.includes('\0'))
    throw new TypeError('not a header line');
  const end = line.length - 2;
  for (let lf = line.indexOf('\n'); lf >= 0; lf = line.indexOf('\n', lf + 1)) {
    const next = line.charCodeAt(lf + 1);
    const fold = lf > colon && (next === 32 || next === 9);
    if (line.charCodeAt(lf - 1) !== 13 || (!fold && lf !== end + 1))
      throw new TypeError('a header line must end in one CRLF');
  }
  if (line.charCodeAt(end) !== 13 || line.charCodeAt(end + 1) !== 10)
    throw new TypeError('a header line must end in one CRLF');
  for (let cr = line.indexOf('\r'); cr >= 0; cr = line.indexOf('\r', cr + 1)) {
    if (line.charCodeAt(cr + 1) !== 10) throw new TypeError('a header line must end in one CRLF');
  }
}

/** Throws unless `lines` is empty or made of whole header lines; an empty line in it would end the head. */
export function mustBeLines(lines: string): void {
  if (lines === '') return;
  if (!lines.endsWith('\r\n') || lines.startsWith('\r\n') || lines.includes('\r\n\r\n') || lines.includes('\0')) {
    throw new TypeError('header lines must each end in one CRLF');
  }
}
