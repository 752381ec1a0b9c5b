import type { CallFacts, LegFacts } from '../admin/facts.js';
import type { Call } from './call.js';
import type { Leg } from './leg.js';

/** A call as an operator wants to see it; plain data. */
export function callFacts(call: Call): CallFacts {
  const caller = call.callerLeg;
  const forks = call.winner === undefined ? call.forks : [call.winner];
  return {
    id: call.ref,
    state:
      call.state === 'answered'
        ? 'answered'
        : call.state === 'ended'
          ? 'ending'
          : call.ringing
            ? 'ringing'
            : 'inviting',
    from: call.caller.reveal(),
    to: call.callee.reveal(),
    startedAt: call.startedWall,
    ...(call.state === 'answered' ? { answeredAt: call.startedWall + (call.answeredAt - call.startedAt) } : {}),
    legs: [...(caller === undefined ? [] : [caller]), ...forks.map(f => f.callee)].map(legFacts),
    media: call.media.streams,
  };
}

function legFacts(leg: Leg): LegFacts {
  return {
    leg: leg.id,
    realm: leg.listener.realm.name,
    transport: leg.listener.transport,
    peer: leg.flow.peer.get(leg.flow.j),
    state: leg.dialog?.state ?? 'inviting',
  };
}
