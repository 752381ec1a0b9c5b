import { H, type MessageView } from '@drawbridge/sip';
import type { Fork } from './fork.js';
import { names } from './names.js';
import { minSeOf } from './session-timer.js';

/** Whether what a callee refused the INVITE for can be done, so that the INVITE goes again; its leg knows then. */
export function canMeet(fork: Fork, m: MessageView): boolean {
  const { call, callee } = fork;
  switch (m.status) {
    case 421:
      // It insists on reliable responses, which the caller doesn't know: we acknowledge them in its place.
      if (callee.offers100rel || !fork.offer.sdp || !names(m, H.require, '100rel')) return false;
      callee.offers100rel = true;
      return true;
    case 422:
      // RFC 4028 §7.3: it wants a longer session interval.
      if (call.shard.o.calls.sessionTimer === false || minSeOf(m) <= callee.minSe) return false;
      callee.minSe = minSeOf(m);
      return true;
    default:
      return false;
  }
}
