import type { Mono, Tx } from '@drawbridge/core';
import type { Dialog, Flow } from '@drawbridge/sip';
import type { Shard } from '../shard.js';
import type { Leg } from './leg.js';
import { ownSessionId } from './session-id.js';
import { SILENT } from './silent-user.js';

/** A callee's 2xx that nobody can use: ACK, then BYE (RFC 3261 §13.2.2.4). `acknowledged`: it has had the ACK. */
export function endUnwanted(
  shard: Shard,
  now: Mono,
  leg: Leg,
  dialog: Dialog,
  flow: Flow,
  tx: Tx,
  acknowledged = false,
): void {
  const { transactions } = shard.m;
  const headers = ownSessionId(leg);
  if (!acknowledged) {
    const via = leg.via(transactions.newBranch());
    transactions.ack(now, flow, dialog.request('ACK', { via, cseq: leg.inviteSeq, headers }), tx);
  }
  const branch = transactions.newBranch();
  const text = dialog.request('BYE', { via: leg.via(branch), headers });
  transactions.request(now, { method: 'BYE', text, branch, flow, user: SILENT }, tx);
}
