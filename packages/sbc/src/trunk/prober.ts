import { type Mono, randomToken, Waiting } from '@drawbridge/core';
import { type ClientTransaction, type ClientUser, headerLine, type MessageView } from '@drawbridge/sip';
import type { NextHop } from '../locate/hop-list.js';
import type { TrunkConfig } from './config.js';
import { sendOwn } from './own-request.js';
import { hopKey, type Trunk } from './trunk.js';
import type { WatchModules } from './watch.js';

type Options = Exclude<TrunkConfig['options'], false>;

/** OPTIONS to each next hop of a trunk, over and over: any response but 503 shows that it lives (RFC 3261 §11). */
export class Prober extends Waiting implements ClientUser {
  readonly #trunk: Trunk;
  readonly #o: Options;
  readonly #m: WatchModules;
  /** Hops that have not answered yet, and when they were asked. */
  readonly #open = new Map<ClientTransaction, { readonly hop: NextHop; readonly at: Mono }>();

  constructor(trunk: Trunk, options: Options, modules: WatchModules) {
    super();
    this.#trunk = trunk;
    this.#o = options;
    this.#m = modules;
  }

  /** At once, but not all trunks in the same moment. */
  start(now: Mono): void {
    this.#m.wheel.arm(this, now + (this.#m.random.u32() % 1000));
  }

  override onDue(now: Mono): void {
    this.#trunk.prune();
    const asked = new Set([...this.#open.values()].map(o => hopKey(o.hop)));
    for (const hop of this.#trunk.hops.all) if (!asked.has(hopKey(hop))) this.#ask(now, hop);
    this.#m.wheel.arm(this, now + this.#o.every * (0.9 + (this.#m.random.u32() % 201) / 1000));
  }

  onResponse(now: Mono, ct: ClientTransaction, m: MessageView): void {
    if (m.status < 200) return;
    const open = this.#take(ct);
    if (open === undefined) return;
    this.#trunk.health(open.hop).rtt = now - open.at;
    this.#trunk.heard(now, ct.flow, m);
  }

  onTimeout(now: Mono, ct: ClientTransaction): void {
    if (this.#take(ct) !== undefined) this.#trunk.lost(now, ct.flow);
  }

  onTransportError(now: Mono, ct: ClientTransaction): void {
    if (this.#take(ct) !== undefined) this.#trunk.lost(now, ct.flow);
  }

  #ask(now: Mono, hop: NextHop): void {
    const trunk = this.#trunk;
    const uri = `sip:${trunk.host}`;
    const sent = sendOwn(
      this.#m,
      now,
      hop,
      {
        method: 'OPTIONS',
        uri,
        from: `<sip:${hop.listener.sentBy}>`,
        to: `<${uri}>`,
        callId: randomToken(this.#m.random, 24),
        cseq: 1,
        headers: headerLine('Accept', 'application/sdp'),
        timeoutMs: this.#o.timeout,
      },
      this,
    );
    if (sent !== undefined) this.#open.set(sent.ct, { hop, at: now });
  }

  #take(ct: ClientTransaction): { readonly hop: NextHop; readonly at: Mono } | undefined {
    const open = this.#open.get(ct);
    this.#open.delete(ct);
    return open;
  }
}
