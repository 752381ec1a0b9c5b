import { type HeaderId, hasToken, type MessageView, tokenList } from '@drawbridge/sip';

/** Whether a list of option tags (Supported, Require) or methods (Allow) holds this one. */
export function names(m: MessageView, h: HeaderId, token: string): boolean {
  for (let i = m.first(h); i >= 0; i = m.next(i)) {
    const list = tokenList(m.value(i));
    if (list !== undefined && hasToken(list, token)) return true;
  }
  return false;
}
