import type { Mono, Random, ReasonCounts, TimerWheel, Tx } from '@drawbridge/core';
import type { FlowTable } from '../flow/table.js';
import type { MessageView } from '../message/view.js';
import type { ClientTransaction } from './client.js';
import type { ServerTransaction } from './server.js';

/** Base values of RFC 3261 §17.1.1.1, ms. */
export interface TransactionTimers {
  readonly t1: number;
  readonly t2: number;
  readonly t4: number;
}

/** @internal What a transaction needs of the layer it belongs to. */
export interface TransactionContext extends TransactionTimers {
  readonly wheel: TimerWheel;
  readonly flows: FlowTable;
  readonly random: Random;
  readonly counts: ReasonCounts;
  readonly timerC: number;
  /** The Tx of the turn: timers come without one. */
  tx: Tx;
  /** The text as a view; valid until the next call. */
  view(text: string): MessageView;
  clientEnded(ct: ClientTransaction): void;
  serverEnded(st: ServerTransaction): void;
  /** Opens the transaction of a CANCEL for an INVITE. */
  cancelFor(now: Mono, invite: ClientTransaction, text: string): void;
}
