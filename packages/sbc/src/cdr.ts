import type { Reason } from '@drawbridge/core';
import type { CallEvent } from './events.js';

/** Where lines go: an append stream of the shell's. */
export interface LineSink {
  write(line: string, done: (error: Error | undefined) => void): void;
}

/** Lines waiting for the disk at most; more are counted and lost, since calls go on whatever the disk does. */
export const CDR_QUEUE = 10_000;

/** Call detail records as JSON lines, one per call, in the order in which the calls ended. */
export class CdrWriter {
  readonly #sink: LineSink;
  readonly #cap: number;
  readonly #onTrouble: (sentence: string) => void;
  #waiting = 0;
  #written = 0;
  #lost = 0;
  #failing = false;

  constructor(o: { readonly cap?: number }, m: { readonly sink: LineSink; onTrouble(sentence: string): void }) {
    this.#cap = o.cap ?? CDR_QUEUE;
    this.#sink = m.sink;
    this.#onTrouble = m.onTrouble;
  }

  get written(): number {
    return this.#written;
  }

  /** Records that never reached the disk. */
  get lost(): number {
    return this.#lost;
  }

  write(record: object): void {
    if (this.#waiting >= this.#cap) {
      this.#lost++;
      this.#trouble('the disk is too slow for the call records');
      return;
    }
    this.#waiting++;
    this.#sink.write(`${JSON.stringify(record)}\n`, error => {
      this.#waiting--;
      if (error === undefined) {
        this.#written++;
        this.#failing = false;
        return;
      }
      this.#lost++;
      this.#trouble(`call records can't be written (${error.message}): make room or correct cdr.file`);
    });
  }

  /** One line per spell of trouble, not one per record. */
  #trouble(sentence: string): void {
    if (this.#failing) return;
    this.#failing = true;
    this.#onTrouble(sentence);
  }
}

export interface CallRecord {
  readonly call: string;
  readonly caller: string;
  readonly callee: string;
  /** ISO 8601, UTC. */
  readonly started: string;
  readonly answered: string | null;
  readonly ended: string;
  /** Final status that the caller got. */
  readonly status: number;
  readonly cause: Reason;
  readonly by: 'caller' | 'callee' | 'border';
  readonly lastedMs: number;
  readonly talkedMs: number;
  /** The record that goes on with a party of this call, or that this one goes on from. */
  readonly transferredTo?: string;
  readonly transferredFrom?: string;
  readonly media: readonly {
    readonly leg: string;
    readonly kind: string;
    readonly path: string;
    readonly received: number;
    readonly sent: number;
    readonly lost: number;
    readonly jitterMs: number;
  }[];
}

/** `wall`: when the event was made, ms since 1970. Users stand in full here: the file is the operator's ledger. */
export function callRecord(e: Extract<CallEvent, { kind: 'call-ended' }>, wall: number): CallRecord {
  const at = (ms: number): string => new Date(ms).toISOString();
  return {
    call: e.ref,
    caller: e.caller.reveal(),
    callee: e.callee.reveal(),
    started: at(wall - e.lastedMs),
    answered: e.talkedMs > 0 ? at(wall - e.talkedMs) : null,
    ended: at(wall),
    status: e.status,
    cause: e.cause,
    by: e.by,
    lastedMs: Math.round(e.lastedMs),
    talkedMs: Math.round(e.talkedMs),
    ...(e.transferredTo === '' ? {} : { transferredTo: e.transferredTo }),
    ...(e.transferredFrom === '' ? {} : { transferredFrom: e.transferredFrom }),
    media: e.media.map(m => ({
      leg: m.leg,
      kind: m.kind,
      path: m.path,
      received: m.counters.packets,
      sent: m.counters.sent,
      lost: m.counters.lost,
      jitterMs: Math.round(m.counters.jitterMs * 10) / 10,
    })),
  };
}
