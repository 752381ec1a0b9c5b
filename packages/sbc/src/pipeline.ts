import { reply, type Verdict } from '@drawbridge/core';
import { H } from '@drawbridge/sip';
import { authoriseFlow, callInDialog, legOf } from './call/in-dialog.js';
import { replace } from './call/replaces.js';
import { call } from './call/start.js';
import { adoptNotify } from './call/subscription.js';
import { decide } from './decide/decide.js';
import { privacyUnavailable } from './identity/headers.js';
import type { Inbound } from './inbound.js';
import type { Shard } from './shard.js';
import { transact, transactResponse } from './transact/transact.js';
import { known } from './transports/streams.js';

/*
 * The way of a message, after `guard` and `parse` (border.ts) have let it in. Each stage is a folder and exports one
 * function of its name; the first that doesn't pass ends the way. `call` hands each leg's message on to `anchor`
 * (SDP → media session), `hide` (inner → outer headers) and `send` (→ transaction → flow), in this order.
 */

/** guard, parse, transact, authenticate, decide, call, anchor, hide, send */
export function onRequest(shard: Shard, inbound: Inbound): Verdict | 'absorbed' {
  const matched = transact(shard, inbound);
  if (matched === 'absorbed' || matched.do !== 'pass') return matched;
  if (inbound.m.toTag !== '') return inDialog(shard, inbound);
  if (inbound.m.method === 'ACK') return { do: 'drop', reason: 'stray-ack' };
  const identified = shard.m.authenticator.authenticate(inbound);
  if (identified.do !== 'pass') return identified;
  known(shard, inbound);
  if (inbound.m.has(H.replaces)) return replace(shard, inbound);
  const plan = decide(shard, inbound);
  if (isVerdict(plan)) return plan;
  if (plan.do === 'forward' && privacyUnavailable(shard.m.identity, inbound.m, plan.targets))
    return reply(500, 'privacy-unavailable');
  return call(shard, inbound, plan);
}

/** guard, parse, transact, authorise the flow, call, anchor, hide, send */
function inDialog(shard: Shard, inbound: Inbound): Verdict {
  const leg = legOf(shard, inbound.m);
  if (leg === undefined)
    return inbound.m.method === 'ACK'
      ? { do: 'drop', reason: 'stray-ack' }
      : { do: 'reply', status: 481, reason: 'no-dialog' };
  const allowed = authoriseFlow(shard, inbound, leg);
  if (allowed.do !== 'pass') return allowed;
  known(shard, inbound);
  adoptNotify(leg, inbound.m);
  return callInDialog(shard, inbound, leg);
}

/** guard, parse, transact, call, anchor, hide, send: the transaction hands the response to the fork or exchange that waits for it. */
export function onResponse(shard: Shard, inbound: Inbound): void {
  transactResponse(shard, inbound);
}

function isVerdict(x: ReturnType<typeof decide>): x is Verdict {
  return x.do === 'pass' || x.do === 'drop' || x.do === 'reply' || x.do === 'ask';
}
