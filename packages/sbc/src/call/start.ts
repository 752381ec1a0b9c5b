import { PASS, reply, type Verdict } from '@drawbridge/core';
import { headerLine } from '@drawbridge/sip';
import type { Plan } from '../decide/plan.js';
import { ALLOW_LINE } from '../hide/hide.js';
import type { Inbound } from '../inbound.js';
import type { Shard } from '../shard.js';
import { referOutside } from './refer.js';
import { Relayed } from './relayed.js';
import { startCall } from './setup.js';
import { startSubscription } from './subscription.js';

/** A REGISTER can't be cancelled, and no ACK belongs to it. */
const NOTHING_TO_TELL = { onCancel(): void {}, onAckMissing(): void {} };

/** Plan → legs, or the registrar, or a relayed request. */
export function call(shard: Shard, inbound: Inbound, plan: Plan): Verdict {
  const { m } = inbound;
  switch (plan.do) {
    case 'self':
      return reply(200, 'normal-clearing', ALLOW_LINE + headerLine('Accept', 'application/sdp'));
    case 'register':
      return register(shard, inbound, plan);
    case 'forward': {
      if (m.method === 'INVITE') return startCall(shard, inbound, plan.targets, plan.callee, plan.onward);
      const first = plan.targets[0];
      if (m.method === 'SUBSCRIBE' && first !== undefined) return startSubscription(shard, inbound, first);
      if (m.method === 'REFER' && first !== undefined) return referOutside(shard, inbound, first);
      return Relayed.start(shard, inbound, plan.targets, plan.onward);
    }
  }
}

function register(shard: Shard, inbound: Inbound, plan: Extract<Plan, { do: 'register' }>): Verdict {
  const { now, m, via, peer, j, tx } = inbound;
  const flow = shard.m.flows.of(now, via, peer, j);
  if (flow === undefined) return reply(503, 'queue-full', headerLine('Retry-After', '10'));
  inbound.flow = flow;
  const st = shard.m.transactions.openServer(now, m, flow, NOTHING_TO_TELL, tx);
  if (st === undefined) return reply(503, 'transaction-limit', headerLine('Retry-After', '10'));
  shard.m.registrar.register(inbound, plan.domain, st);
  return PASS;
}
