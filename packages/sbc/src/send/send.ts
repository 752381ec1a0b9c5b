import type { Mono, Tx } from '@drawbridge/core';
import type { ClientTransaction, ClientUser } from '@drawbridge/sip';
import type { Leg } from '../call/leg.js';
import type { Shard } from '../shard.js';

export interface Outgoing {
  readonly method: string;
  readonly text: string;
  readonly branch: string;
  readonly user: ClientUser;
  /** ms; 0 = none, since `calls.noAnswer` bounds our own INVITEs. */
  readonly timerC?: number;
}

/** A request that is ready for the wire, over the leg's flow. Undefined: too many transactions (counted by the layer). */
export function send(shard: Shard, now: Mono, leg: Leg, r: Outgoing, tx: Tx): ClientTransaction | undefined {
  return shard.m.transactions.request(now, { ...r, flow: shard.wayTo(leg) }, tx);
}
