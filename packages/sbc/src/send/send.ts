import type { Mono, Tx } from '@drawbridge/core';
import type { ClientTransaction, ClientUser, Flow } from '@drawbridge/sip';
import { Leg } from '../call/leg.js';
import type { Target } from '../decide/plan.js';
import type { Shard } from '../shard.js';
import { Attended } from '../trunk/challenge.js';
import { FAILOVER_MS, OverHops } from './over-hops.js';
import { throughVia } from './through-via.js';

/** RFC 3261 §18.1.1: above this a datagram may be cut on the way. */
const UDP_SAFE = 1300;

export interface Outgoing {
  readonly method: string;
  /** Its first header is our Via. */
  readonly text: string;
  readonly branch: string;
  readonly user: ClientUser;
  /** ms; 0 = none, since `calls.noAnswer` bounds our own INVITEs. */
  readonly timerC?: number | undefined;
  /** Instead of 64·T1, where there is another way to try. */
  readonly timeoutMs?: number | undefined;
  /** Another transaction stands for it now: a challenge has been answered, or another hop is tried. */
  readonly replaced?: ((ct: ClientTransaction) => void) | undefined;
}

/** A request that is ready for the wire, over the flow of its leg or target. Undefined: too many transactions (counted by the layer). */
export function send(shard: Shard, now: Mono, to: Leg | Target, r: Outgoing, tx: Tx): ClientTransaction | undefined {
  const flow = way(shard, now, to, r.text);
  const { method, branch, timerC } = r;
  const text = throughVia(shard, to, flow, r.text);
  let user: ClientUser =
    to.keeper === undefined
      ? r.user
      : new Attended(shard.m.transactions, to.keeper, to instanceof Leg ? to : undefined, r, text);
  let { timeoutMs } = r;
  if (to instanceof Leg && to.hops !== undefined && to.hops.all.length > 1 && hasLived(to)) {
    user = new OverHops(shard, to, { ...r, user });
    timeoutMs = Math.min(timeoutMs ?? FAILOVER_MS, FAILOVER_MS);
  }
  return shard.m.transactions.request(now, { method, text, branch, flow, user, timerC, timeoutMs }, tx);
}

/** An INVITE and what belongs to it before the answer have a way of their own to the next hop. */
function hasLived({ dialog }: Leg): boolean {
  return dialog !== undefined && dialog.state !== 'early';
}

/** An ACK to a 2xx goes the way of every request of its leg. Gives the text as it left, for when it must leave again. */
export function sendAck(shard: Shard, now: Mono, to: Leg, text: string, tx: Tx): string {
  const flow = way(shard, now, to, text);
  let sent = throughVia(shard, to, flow, text);
  if (to.credential !== '' && !sent.includes(to.credential))
    sent = sent.replace('\r\nMax-Forwards:', () => `\r\n${to.credential}Max-Forwards:`);
  shard.m.transactions.ack(now, flow, sent, tx);
  return sent;
}

function way(shard: Shard, now: Mono, to: Leg | Target, text: string): Flow {
  const usual = to instanceof Leg ? shard.wayTo(now, to) : to.flow;
  return usual.transport === 'udp' && text.length > UDP_SAFE ? (wideWay(shard, now, to, usual) ?? usual) : usual;
}

/**
 * A stream to the same next hop, only where the configuration names one or a registered stream from the same host lives:
 * a phone behind a NAT can't be dialled (§18.1.1 as checklist 27 reads it).
 */
function wideWay(shard: Shard, now: Mono, to: Leg | Target, usual: Flow): Flow | undefined {
  if (to.hops !== undefined) {
    const hop = to.hops.all.find(n => n.transport !== 'udp' && n.packed.sameAddress(0, usual.peer, usual.j));
    return hop === undefined ? undefined : shard.m.flows.dialled(now, hop.listener.via, hop.endpoint, hop.host);
  }
  if (to.identity.kind !== 'subscriber') return undefined;
  for (const { flow } of shard.m.registrar.lookup(to.identity.aor)) {
    if (flow.transport !== 'udp' && flow.peer.sameAddress(flow.j, usual.peer, usual.j)) return flow;
  }
  return undefined;
}
