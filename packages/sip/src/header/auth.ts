import { skipLws, skipToken } from '../message/chars.js';
import { MAX_PARAMS, paramSpan, paramValue, scanParam } from './param.js';

/** A challenge or credentials: `Digest realm="x", nonce="y"` (RFC 3261 §20.7, §20.44; RFC 7616). */
export interface AuthParams {
  /** Lower case: `digest`. */
  readonly scheme: string;
  /** Lower-case names; values without quotes and escapes. */
  readonly params: Map<string, string>;
}

/** Total: undefined for anything that is not a scheme and a list of parameters, each named once. */
export function parseAuth(text: string): AuthParams | undefined {
  const to = text.length;
  const from = skipLws(text, 0, to);
  const end = skipToken(text, from, to);
  let at = skipLws(text, end, to);
  if (end === from || at === end) return undefined;
  const params = new Map<string, string>();
  const span = paramSpan();
  while (at < to) {
    at = scanParam(text, at, to, span);
    if (at < 0 || !span.given || params.size >= MAX_PARAMS) return undefined;
    const name = text.slice(span.name, span.nameEnd).toLowerCase();
    if (params.has(name)) return undefined;
    params.set(name, paramValue(text, span));
    if (at === to) break;
    if (text.charCodeAt(at) !== 44) return undefined;
    at = skipLws(text, at + 1, to);
    if (at === to) return undefined;
  }
  return params.size === 0 ? undefined : { scheme: text.slice(from, end).toLowerCase(), params };
}
