import type { Mono, Random, TimerWheel } from '@drawbridge/core';
import type { FlowTable, Transactions } from '@drawbridge/sip';
import type { Outbox } from '../events.js';
import { Prober } from './prober.js';
import { Registration } from './registration.js';
import type { Trunks } from './trunks.js';

export interface WatchModules {
  readonly transactions: Transactions;
  readonly flows: FlowTable;
  readonly wheel: TimerWheel;
  readonly random: Random;
  readonly outbox: Outbox;
}

/** What the border does toward its trunks by itself: asks whether they live, and keeps its registrations. */
export class TrunkWatch {
  readonly #registrations: readonly Registration[];

  constructor(trunks: Trunks, modules: WatchModules, now: Mono) {
    for (const t of trunks.all) if (t.o.options !== false) new Prober(t, t.o.options, modules).start(now);
    this.#registrations = trunks.all.flatMap(t =>
      t.o.register === undefined ? [] : [new Registration(t, t.o.register, modules)],
    );
    for (const r of this.#registrations) r.start(now);
  }

  /** Takes every registration back (RFC 3261 §10.2.2), before the end. */
  unregister(now: Mono): void {
    for (const r of this.#registrations) r.stop(now);
  }
}
