import { H, type MessageView } from '@drawbridge/sip';
import type { Shard } from '../shard.js';
import type { Call } from './call.js';

/** RFC 5393 §5.3.3: what a request without Max-Breadth may have. */
export const DEFAULT_BREADTH = 60;
/** Times that a call may come back to us on its way. */
const MOST_RETURNS = 10;

/** Branches that may be under way at once for a request (RFC 5393 §5). What can't be read allows one. */
export function breadthOf(m: MessageView): number {
  if (!m.has(H.maxBreadth)) return DEFAULT_BREADTH;
  const value = m.get(H.maxBreadth).trim();
  return /^\d{1,9}$/.test(value) ? Math.min(Number(value), DEFAULT_BREADTH) : 1;
}

/** What is left of a call's breadth beside the forks that ring. */
export function freeBreadth(call: Call): number {
  return call.forks.reduce((left, fork) => left - fork.breadth, call.options.breadth);
}

/** Of this breadth, the part of each of so many callees; `more` may come beside them. */
export function breadthEach(free: number, callees: number, more: boolean): number {
  return Math.max(1, Math.floor(free / (callees * (more ? 2 : 1))));
}

/** The call of ours that this INVITE comes from, when a proxy has sent that back to us: it still has our Call-ID and tag. */
export function comesFrom(shard: Shard, m: MessageView): Call | undefined {
  const leg = shard.legs.get(m.fromTag);
  return leg !== undefined && leg.role === 'callee' && leg.callId === m.callId
    ? shard.calls.get(leg.call.ref)
    : undefined;
}

/**
 * RFC 5393 §4: coming back is legal (a spiral), for the same Request-URI it is a loop. A border can't put a hash into the
 * Via of a request whose Vias it doesn't carry; its own calls know their way instead.
 */
export function loops(from: Call | undefined, uri: string): boolean {
  let returns = 0;
  for (let call = from; call !== undefined; call = call.cameFrom) {
    if (++returns > MOST_RETURNS || call.invite.request.startsWith(`INVITE ${uri} `)) return true;
  }
  return false;
}
