import type { Mono, Tx } from '@drawbridge/core';
import type { ClientTransaction, ClientUser, Flow, MessageView } from '@drawbridge/sip';
import type { Leg } from '../call/leg.js';
import type { NextHop } from '../locate/hop-list.js';
import type { Shard } from '../shard.js';
import type { Outgoing } from './send.js';
import { throughVia } from './through-via.js';

/** Silence of a next hop that has a substitute: five transmissions. */
export const FAILOVER_MS = 8000;
/** One request goes to at most so many hops. */
const MOST_TRIES = 8;

/**
 * A request inside a dialog with a configured peer that has several hops: what one of them doesn't hear goes to the next as
 * a new transaction, and the leg goes with it (RFC 3263 §4.3). A final answer stands, 503 too: the dialog lives where it came from.
 */
export class OverHops implements ClientUser {
  readonly #shard: Shard;
  readonly #leg: Leg;
  readonly #r: Outgoing;
  readonly #tried: NextHop[] = [];
  #tries = 1;
  #heard = false;

  constructor(shard: Shard, leg: Leg, r: Outgoing) {
    this.#shard = shard;
    this.#leg = leg;
    this.#r = r;
  }

  onResponse(now: Mono, ct: ClientTransaction, m: MessageView, tx: Tx): void {
    this.#heard = true;
    this.#r.user.onResponse(now, ct, m, tx);
  }

  onTimeout(now: Mono, ct: ClientTransaction, tx: Tx): void {
    if (this.#heard || !this.#elsewhere(now, ct, 'timeout', tx)) this.#r.user.onTimeout(now, ct, tx);
  }

  onTransportError(now: Mono, ct: ClientTransaction, tx: Tx): void {
    if (!this.#elsewhere(now, ct, 'transport', tx)) this.#r.user.onTransportError(now, ct, tx);
  }

  #elsewhere(now: Mono, ct: ClientTransaction, how: 'timeout' | 'transport', tx: Tx): boolean {
    const { hops } = this.#leg;
    const { transactions } = this.#shard.m;
    if (hops === undefined || ct.cancelling) return false;
    hops.failed(now, ct.flow);
    const failed = hops.find(ct.flow);
    if (failed !== undefined) this.#tried.push(failed);
    for (const hop of hops.current(now)) {
      if (this.#tries === MOST_TRIES) return false;
      if (this.#tried.includes(hop)) continue;
      this.#tried.push(hop);
      this.#tries++;
      const flow = this.#shard.m.flows.dialled(now, hop.listener.via, hop.endpoint, hop.host);
      if (flow === undefined) continue;
      const branch = transactions.newBranch();
      const last = hops.current(now).every(n => this.#tried.includes(n));
      const again = transactions.request(now, { ...this.#again(branch, flow, last), flow, user: this }, tx);
      if (again === undefined) return false;
      this.#leg.keeper?.lost(now, ct.flow, how, this.#r.method);
      this.#leg.moveTo(this.#shard, flow);
      this.#r.replaced?.(again);
      return true;
    }
    return false;
  }

  #again(branch: string, flow: Flow, last: boolean) {
    const { method, text, timerC, timeoutMs } = this.#r;
    const at = text.indexOf(this.#r.branch);
    const renewed = text.slice(0, at) + branch + text.slice(at + this.#r.branch.length);
    return {
      method,
      branch,
      text: throughVia(this.#shard, this.#leg, flow, renewed),
      timerC,
      // Whoever sent what is no INVITE waits 64·T1 in all: the last hop gets no more time than the others.
      timeoutMs: last && method === 'INVITE' ? timeoutMs : Math.min(timeoutMs ?? FAILOVER_MS, FAILOVER_MS),
    };
  }
}
