import { H, type MessageView } from '@drawbridge/sip';
import { breadthOf, DEFAULT_BREADTH } from './breadth.js';
import { allowsUpdate, names } from './names.js';
import { NO_TIMER, type TimerAsk, timerAsk } from './session-timer.js';

/** What the caller's INVITE says about extensions that each leg uses on its own. */
export interface CallerOptions {
  /** RFC 3262. */
  readonly reliable: 'no' | 'supported' | 'required';
  /** RFC 4028. */
  readonly timer: TimerAsk;
  /** Its Allow names UPDATE. */
  readonly update: boolean;
  /** RFC 5393. */
  readonly breadth: number;
}

export const NO_OPTIONS: CallerOptions = { reliable: 'no', timer: NO_TIMER, update: false, breadth: DEFAULT_BREADTH };

export function optionsOf(invite: MessageView): CallerOptions {
  const update = allowsUpdate(invite);
  if (!invite.has(H.supported) && !invite.has(H.require) && !invite.has(H.sessionExpires))
    return { ...NO_OPTIONS, update, breadth: breadthOf(invite) };
  const required = names(invite, H.require, '100rel');
  return {
    reliable: required ? 'required' : names(invite, H.supported, '100rel') ? 'supported' : 'no',
    timer: timerAsk(invite),
    update,
    breadth: breadthOf(invite),
  };
}
