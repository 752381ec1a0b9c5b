import { H, type HeaderId, hasToken, type MessageView, tokenList } from '@drawbridge/sip';

/** What the caller's INVITE says about extensions that each leg uses on its own. */
export interface CallerOptions {
  /** RFC 3262. */
  readonly reliable: 'no' | 'supported' | 'required';
  /** RFC 4028. */
  readonly timer: boolean;
}

export const NO_OPTIONS: CallerOptions = { reliable: 'no', timer: false };

export function optionsOf(invite: MessageView): CallerOptions {
  if (!invite.has(H.supported) && !invite.has(H.require)) return NO_OPTIONS;
  const required = names(invite, H.require, '100rel');
  return {
    reliable: required ? 'required' : names(invite, H.supported, '100rel') ? 'supported' : 'no',
    timer: names(invite, H.supported, 'timer') || names(invite, H.require, 'timer'),
  };
}

/** Whether a list of option tags (Supported, Require) or methods (Allow) holds this one. */
export function names(m: MessageView, h: HeaderId, token: string): boolean {
  for (let i = m.first(h); i >= 0; i = m.next(i)) {
    const list = tokenList(m.value(i));
    if (list !== undefined && hasToken(list, token)) return true;
  }
  return false;
}
