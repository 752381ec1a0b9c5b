import { allOf, decimal, skipLws, TOKEN, trimEnd } from '../message/chars.js';
import { methodAt } from '../message/method.js';

export interface CSeq {
  readonly seq: number;
  readonly method: string;
}

/** Largest sequence number (RFC 3261 §8.1.1.5: less than 2³¹). */
export const MAX_CSEQ = 0x7fffffff;

export function parseCSeq(text: string): CSeq | undefined {
  const from = skipLws(text, 0, text.length);
  const to = trimEnd(text, from, text.length);
  let end = from;
  while (end < to && text.charCodeAt(end) >= 48 && text.charCodeAt(end) <= 57) end++;
  const seq = decimal(text, from, end, MAX_CSEQ);
  const method = skipLws(text, end, to);
  if (seq < 0 || method === end || !allOf(text, method, to, TOKEN)) return undefined;
  return { seq, method: methodAt(text, method, to) };
}

/** RAck: `response-num CSeq-num Method` (RFC 3262 §7.2). */
export function parseRAck(
  text: string,
): { readonly rseq: number; readonly seq: number; readonly method: string } | undefined {
  const parts = text.trim().split(/[ \t]+/, 4);
  const rseq = decimal(parts[0] ?? '', 0, (parts[0] ?? '').length, 0xffffffff);
  const cseq = parts.length === 3 ? parseCSeq(`${parts[1]} ${parts[2]}`) : undefined;
  return rseq < 1 || cseq === undefined ? undefined : { rseq, seq: cseq.seq, method: cseq.method };
}
