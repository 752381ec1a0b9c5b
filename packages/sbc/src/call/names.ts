import { H, type HeaderId, hasToken, type MessageView, tokenList } from '@drawbridge/sip';

/** Whether a list of option tags (Supported, Require) holds this one, in lower case. */
export function names(m: MessageView, h: HeaderId, tag: string): boolean {
  for (let i = m.first(h); i >= 0; i = m.next(i)) {
    const value = m.value(i);
    // Most lists hold none of what we ask for: they needn't be taken apart.
    if (!value.toLowerCase().includes(tag)) continue;
    const list = tokenList(value);
    if (list !== undefined && hasToken(list, tag)) return true;
  }
  return false;
}

/** Whether Allow names UPDATE: a hint only, since whoever says so wrongly answers 405 and is asked otherwise. */
export function allowsUpdate(m: MessageView): boolean {
  for (let i = m.first(H.allow); i >= 0; i = m.next(i)) if (m.value(i).includes('UPDATE')) return true;
  return false;
}
