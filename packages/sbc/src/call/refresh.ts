import { PASS, reply, type Verdict } from '@drawbridge/core';
import { H, headerLine, type MessageView, type ServerTransaction } from '@drawbridge/sip';
import { SDP, sdpOf } from '../anchor/anchor.js';
import { ALLOW_LINE } from '../hide/hide.js';
import type { Inbound } from '../inbound.js';
import type { Shard } from '../shard.js';
import { overlap, pendingUpdate } from './exchange.js';
import type { Leg } from './leg.js';
import { ownSessionId } from './session-id.js';
import { timerAsk, timerReply } from './session-timer.js';

/**
 * A session refresh that changes nothing (RFC 4028 §7.4): an UPDATE without a description, or an INVITE whose description
 * is the one that we know already: its o= line should say so by itself (RFC 3264 §8), but phones exist that hold a call
 * without a new version. Timers are each leg's own, so that the other side needn't hear of it.
 */
export function isRefresh(m: MessageView, leg: Leg, peer: Leg): boolean {
  if (leg.timer === undefined || leg.dialog?.state !== 'confirmed' || peer.dialog?.state !== 'confirmed') return false;
  if (m.method === 'UPDATE') return m.bodyEnd === m.bodyStart && m.has(H.sessionExpires);
  const sdp = sdpOf(m);
  return sdp !== undefined && sdp === leg.said && leg.call.media?.said(leg.id) !== undefined;
}

/** Our own 2xx, with the description that the peer was last told. */
export function answerRefresh(shard: Shard, inbound: Inbound, leg: Leg, peer: Leg): Verdict {
  const { now, m, via, peer: from, j, tx } = inbound;
  const invite = m.method === 'INVITE';
  const busy = invite ? overlap(leg, peer) : pendingUpdate(leg);
  if (busy !== undefined)
    return reply(busy.status, busy.reason, headerLine('Retry-After', String(1 + (shard.m.random.u32() % 10))));
  const flow = shard.m.flows.of(now, via, from, j);
  const st: ServerTransaction | undefined =
    flow === undefined
      ? undefined
      : shard.m.transactions.openServer(
          now,
          m,
          flow,
          {
            onCancel() {},
            onAckMissing: (at, of, out) => {
              if (of.state !== 'completed' && leg.unacked === of) leg.call.end(at, 'ack-missing', undefined, out);
            },
          },
          tx,
          false,
        );
  if (st === undefined) return reply(503, 'transaction-limit');
  leg.dialog?.refresh(m);
  const headers =
    headerLine('Contact', leg.contact) + ALLOW_LINE + timerReply(shard, now, leg, timerAsk(m)) + ownSessionId(leg);
  if (!invite) {
    st.reply(now, 200, { headers }, tx);
    return PASS;
  }
  leg.oa.note('in', 'INVITE', true);
  leg.oa.note('out', '2xx', true);
  leg.unacked = st;
  st.reply(now, 200, { headers, contentType: SDP, body: leg.call.media?.said(leg.id) ?? '' }, tx);
  return PASS;
}
