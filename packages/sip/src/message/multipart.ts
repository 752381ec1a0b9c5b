import { parseParams } from '../header/param.js';
import { isToken } from './chars.js';
import { unfold } from './unfold.js';

/** Most parts of one multipart, levels of them, bytes of a part's header lines, and lines. */
export const MULTIPART_LIMITS = { parts: 8, depth: 2, head: 1024, lines: 16 } as const;

/** One part of a multipart body (RFC 2046 §5.1, RFC 5621). */
export interface BodyPart {
  /** Its Content-* lines as they were written, each with its CRLF; Content-Length, which the boundary makes needless, is off. */
  readonly head: string;
  readonly content: string;
  /** Lower case, without parameters; `text/plain` where nothing is said (RFC 2046 §5.1). */
  readonly type: string;
  /** Lower case, without parameters; '' when absent. */
  readonly disposition: string;
  /** `handling=optional` (RFC 3204 §5.3): who doesn't understand it goes on without it. */
  readonly optional: boolean;
  /** Coded so that its content isn't what it says (base64, gzip). */
  readonly coded: boolean;
  /** When it is itself a multipart that could be read. */
  readonly inner: Multipart | undefined;
}

export interface Multipart {
  /** `mixed`, `alternative`, `related`, …: lower case. */
  readonly subtype: string;
  /** Of its Content-Type, without `boundary`. */
  readonly params: ReadonlyMap<string, string>;
  readonly parts: readonly BodyPart[];
}

export type MultipartFault = 'malformed' | 'too-large';

/**
 * Reads a multipart body by its Content-Type. Linear in the length of the body; what breaks the grammar, or has no part,
 * or no end, is `malformed`, what is past the limits is `too-large`.
 */
export function parseMultipart(
  body: string,
  contentType: string,
  depth: number = MULTIPART_LIMITS.depth,
): Multipart | MultipartFault {
  const slash = contentType.indexOf('/');
  const semi = contentType.indexOf(';');
  if (slash < 0 || semi < slash || contentType.slice(0, slash).trim().toLowerCase() !== 'multipart') return 'malformed';
  const subtype = contentType
    .slice(slash + 1, semi)
    .trim()
    .toLowerCase();
  const params = parseParams(contentType, semi, contentType.length);
  const boundary = params?.get('boundary') ?? '';
  if (params === undefined || !isToken(subtype) || !isBoundary(boundary)) return 'malformed';
  if (depth < 1) return 'too-large';
  params.delete('boundary');
  const parts: BodyPart[] = [];
  const delimiter = `--${boundary}`;
  let open = -1;
  for (let at = body.startsWith(delimiter) ? 0 : next(body, delimiter, 0); at >= 0; at = next(body, delimiter, at)) {
    const end = at + delimiter.length;
    const last = body.startsWith('--', end);
    const line = lineEnd(body, last ? end + 2 : end);
    // Only the beginning of a longer line, or of another boundary: content.
    if (line < 0 && !(last && end + 2 === body.length)) {
      at = end;
      continue;
    }
    if (open >= 0) {
      if (parts.length === MULTIPART_LIMITS.parts) return 'too-large';
      const part = readPart(body.slice(open, Math.max(open, at - 2)), depth);
      if (typeof part === 'string') return part;
      parts.push(part);
    }
    if (last) return parts.length === 0 ? 'malformed' : { subtype, params, parts };
    open = line;
    // The line break before the next delimiter may be the one that ends this.
    at = line - 2;
  }
  return 'malformed';
}

/** Index of the next delimiter at the start of a line, -1 when there is none. */
function next(body: string, delimiter: string, from: number): number {
  const found = body.indexOf(`\r\n${delimiter}`, from);
  return found < 0 ? -1 : found + 2;
}

/** Behind white space and CRLF; -1 when there is something else. */
function lineEnd(body: string, from: number): number {
  let at = from;
  while (body.charCodeAt(at) === 32 || body.charCodeAt(at) === 9) at++;
  return body.charCodeAt(at) === 13 && body.charCodeAt(at + 1) === 10 ? at + 2 : -1;
}

/** RFC 2046 §5.1.1: bchars, at most 70, no space at the end. */
function isBoundary(s: string): boolean {
  if (s.length === 0 || s.length > 70 || s.endsWith(' ')) return false;
  for (const c of s) if (!isToken(c) && !'()+_,-./:=? '.includes(c)) return false;
  return true;
}

function readPart(text: string, depth: number): BodyPart | MultipartFault {
  const bare = text.startsWith('\r\n');
  const empty = bare ? 0 : text.indexOf('\r\n\r\n');
  if (empty < 0) return 'malformed';
  const headEnd = bare ? 0 : empty + 2;
  if (headEnd > MULTIPART_LIMITS.head) return 'too-large';
  const content = text.slice(headEnd + 2);
  const lines = headLines(text.slice(0, headEnd));
  if (lines === undefined) return 'malformed';
  const contentType = lines.values.get('content-type') ?? 'text/plain';
  const disposition = lines.values.get('content-disposition') ?? '';
  const coding = (lines.values.get('content-transfer-encoding') ?? '').toLowerCase();
  const encoding = (lines.values.get('content-encoding') ?? '').toLowerCase();
  const type = beforeParams(contentType);
  let inner: Multipart | undefined;
  if (type.startsWith('multipart/') && type !== 'multipart/signed' && type !== 'multipart/encrypted') {
    const read = parseMultipart(content, contentType, depth - 1);
    if (typeof read === 'string') return read;
    inner = read;
  }
  return {
    head: lines.kept,
    content,
    type,
    disposition: beforeParams(disposition),
    optional: isOptional(disposition),
    coded: (encoding !== '' && encoding !== 'identity') || !['', '7bit', '8bit', 'binary'].includes(coding),
    inner,
  };
}

/** Header lines of a part: their values unfolded, by lower-case name, and those that may go on. Each once. */
function headLines(head: string): { values: Map<string, string>; kept: string } | undefined {
  const values = new Map<string, string>();
  let kept = '';
  let count = 0;
  for (let at = 0; at < head.length; ) {
    let end = head.indexOf('\r\n', at);
    while (end >= 0 && (head.charCodeAt(end + 2) === 32 || head.charCodeAt(end + 2) === 9))
      end = head.indexOf('\r\n', end + 2);
    if (end < 0 || ++count > MULTIPART_LIMITS.lines) return undefined;
    const line = head.slice(at, end);
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(0, colon)).trimEnd().toLowerCase();
    if (!isToken(name) || values.has(name) || !isText(line)) return undefined;
    values.set(name, unfold(line.slice(colon + 1)).trim());
    if (name.startsWith('content-') && name !== 'content-length') kept += `${line}\r\n`;
    at = end + 2;
  }
  return { values, kept };
}

/** No CR, LF or NUL but those of folds. */
function isText(line: string): boolean {
  for (let i = 0; i < line.length; i++) {
    const c = line.charCodeAt(i);
    if (c === 0) return false;
    if (c === 13 && line.charCodeAt(i + 1) !== 10) return false;
    if (c === 10 && line.charCodeAt(i - 1) !== 13) return false;
  }
  return true;
}

function beforeParams(value: string): string {
  const semi = value.indexOf(';');
  return (semi < 0 ? value : value.slice(0, semi)).trim().toLowerCase();
}

/** The `handling` of a Content-Disposition (RFC 3261 §20.11). */
export function isOptional(disposition: string): boolean {
  const semi = disposition.indexOf(';');
  if (semi < 0) return false;
  return parseParams(disposition, semi, disposition.length)?.get('handling')?.toLowerCase() === 'optional';
}

/** The body of these parts. Throws on a boundary that stands in one of them: that would become another part. */
export function formatMultipart(
  parts: readonly { readonly head: string; readonly content: string }[],
  boundary: string,
): string {
  let out = '';
  for (const p of parts) {
    if (p.content.includes(`--${boundary}`) || p.head.includes(`--${boundary}`))
      throw new TypeError('the boundary stands in a part');
    out += `--${boundary}\r\n${p.head}\r\n${p.content}\r\n`;
  }
  return `${out}--${boundary}--\r\n`;
}
