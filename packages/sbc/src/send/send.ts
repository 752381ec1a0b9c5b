import type { Mono, Tx } from '@drawbridge/core';
import type { ClientTransaction, ClientUser, Flow } from '@drawbridge/sip';
import { Leg } from '../call/leg.js';
import type { Target } from '../decide/plan.js';
import type { RealmListener } from '../realms.js';
import type { Shard } from '../shard.js';
import { Attended } from '../trunk/challenge.js';

/** RFC 3261 §18.1.1: above this a datagram may be cut on the way. */
const UDP_SAFE = 1300;
const VIA = '\r\nVia: SIP/2.0/';

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
  /** Another transaction stands for it now: a challenge has been answered. */
  readonly replaced?: ((ct: ClientTransaction) => void) | undefined;
}

/** A request that is ready for the wire, over the flow of its leg or target. Undefined: too many transactions (counted by the layer). */
export function send(shard: Shard, now: Mono, to: Leg | Target, r: Outgoing, tx: Tx): ClientTransaction | undefined {
  const flow = way(shard, now, to, r.text);
  const { method, branch, timerC, timeoutMs } = r;
  const text = throughVia(shard, to, flow, r.text);
  const user =
    to.keeper === undefined
      ? r.user
      : new Attended(shard.m.transactions, to.keeper, to instanceof Leg ? to : undefined, r, text);
  return shard.m.transactions.request(now, { method, text, branch, flow, user, timerC, timeoutMs }, tx);
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
  const usual = to instanceof Leg ? shard.wayTo(to) : to.flow;
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

/** The message was written for the leg's own listener; over another one its Via says so. */
function throughVia(shard: Shard, to: Leg | Target, flow: Flow, text: string): string {
  const listener: RealmListener = shard.m.realms.listener(flow.via);
  if (listener === to.listener) return text;
  const at = text.indexOf(VIA) + VIA.length;
  return `${text.slice(0, at)}${listener.transport.toUpperCase()} ${listener.sentBy}${text.slice(text.indexOf(';', at))}`;
}
