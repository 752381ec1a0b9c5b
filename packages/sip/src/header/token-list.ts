import { isToken, sameIgnoringCase } from '../message/chars.js';
import { splitList } from '../message/unfold.js';
import { parseQ } from './contact.js';
import { parseParams } from './param.js';

/** `100rel, timer` → its tokens as written; undefined when one isn't a token (Allow, Supported, Require, …). */
export function tokenList(text: string): string[] | undefined {
  const list = splitList(text);
  return list.every(isToken) ? list : undefined;
}

/** Option tags and event names compare without case, methods with it: use `includes` for those. */
export function hasToken(list: readonly string[], token: string): boolean {
  return list.some(t => sameIgnoringCase(t, token));
}

/** One element of Accept, Accept-Encoding or Accept-Language. */
export interface Accepted {
  /** Lower case: `application/sdp`. */
  readonly value: string;
  readonly q: number;
  readonly params: Map<string, string>;
}

export function acceptList(text: string): Accepted[] | undefined {
  const out: Accepted[] = [];
  for (const item of splitList(text)) {
    const accepted = parseAccepted(item);
    if (accepted === undefined) return undefined;
    out.push(accepted);
  }
  return out;
}

function parseAccepted(item: string): Accepted | undefined {
  const semi = item.indexOf(';');
  const value = (semi < 0 ? item : item.slice(0, semi)).replaceAll(/[ \t]/g, '').toLowerCase();
  const params = parseParams(item, semi < 0 ? item.length : semi, item.length);
  if (params === undefined || !isRange(value)) return undefined;
  const q = parseQ(params.get('q'));
  return q < 0 ? undefined : { value, q, params };
}

/** A token, `type/subtype` or a wildcard of either. */
function isRange(value: string): boolean {
  const slash = value.indexOf('/');
  return slash < 0 ? isToken(value) : isToken(value.slice(0, slash)) && isToken(value.slice(slash + 1));
}
