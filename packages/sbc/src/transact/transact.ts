import { PASS, reply, type Verdict } from '@drawbridge/core';
import { H, MATCH } from '@drawbridge/sip';
import type { Inbound } from '../inbound.js';
import type { Shard } from '../shard.js';

const COMMA = 44;

/**
 * Message → transaction event. A request passes when it is new, or an ACK that no transaction wanted; a CANCEL is
 * carried out here. Retransmissions were counted and dealt with by the layer: `absorbed` says not to count again.
 */
export function transact(shard: Shard, inbound: Inbound): Verdict | 'absorbed' {
  const { now, m, via, peer, j, tx } = inbound;
  const { transactions } = shard.m;
  switch (transactions.matchRequest(now, m, via, peer, j, tx)) {
    case MATCH.new:
    case MATCH.ack:
      return PASS;
    case MATCH.cancel:
      transactions.matched?.cancelled(now, m, via, peer, j, tx);
      return 'absorbed';
    case MATCH.merged:
      return reply(482, 'merged-request');
    case MATCH.strayCancel:
      return reply(481, 'stray-cancel');
    case MATCH.absorbed:
      return 'absorbed';
  }
}

/** Response → its client transaction, which tells its user. Strays are counted by the layer. */
export function transactResponse(shard: Shard, inbound: Inbound): void {
  const { now, m, via, peer, j, tx } = inbound;
  // RFC 3261 §8.1.3.3: our requests have one Via; a response with more is somebody else's.
  if (m.text.charCodeAt(m.via.end) === COMMA || m.next(m.first(H.via)) >= 0)
    return shard.m.counts.add('stray-response');
  shard.m.transactions.matchResponse(now, m, via, peer, j, tx);
}
