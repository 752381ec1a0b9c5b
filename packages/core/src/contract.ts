import type { Endpoints } from './endpoints.js';

/** Monotonic milliseconds; wall time only through an injected `wall()`. */
export type Mono = number;

/**
 * A listener or a stream.
 *
 * Values below 256 are listeners, in the order in which the composition root gave them to the driver.
 * A stream carries its listener in the low 8 bits and a serial ≥ 1 above: `via & 0xff` is the listener
 * that accepted or dialled it.
 */
export type Via = number;
/** The `via` of one stream (TCP connection). */
export type FlowId = Via;
/** Names one question that a core has asked and not yet had answered. */
export type AskId = number;

export const LISTENER_MASK = 0xff;
export function listenerOf(via: Via): number {
  return via & LISTENER_MASK;
}
export function isStream(via: Via): boolean {
  return via > LISTENER_MASK;
}

/** At most this many datagrams per `handleBatch`. */
export const BATCH = 64;

/**
 * One protocol core per shard or service. No socket, clock, random source or logger inside: time is an
 * argument, randomness and ids are injected, facts leave as events.
 */
export interface Core<Event, Answer = never> {
  /** Up to 64 datagrams, or framed stream messages. Never throws for what the wire says. */
  handleBatch(now: Mono, rx: Rx, tx: Tx): void;
  handleFlow(now: Mono, flow: FlowId, what: FlowChange, tx: Tx): void;
  /** The network says that a datagram of ours did not arrive; `quoted` is its beginning, as far as it came back. */
  handleUndelivered?(now: Mono, via: Via, quoted: string, tx: Tx): void;
  /** Bounded work; a `pollTimeout()` that is still due asks to be called again. */
  handleTimeout(now: Mono, tx: Tx): void;
  handleAnswer(now: Mono, id: AskId, answer: Answer, tx: Tx): void;
  /** O(1); `Infinity` = nothing waits. */
  pollTimeout(): Mono;
  /** Drained after every `handle*`; questions to the outside leave as events too. */
  pollEvent(): Event | undefined;
}

export type FlowChange = 'opened' | 'closed' | 'error';

/** What arrived. Owned by the shell and valid until `handleBatch` returns: columns, not objects. */
export interface Rx {
  readonly count: number;
  /** One slab; datagram `i` is `bytes[at[i] .. at[i] + len[i])`. */
  readonly bytes: Buffer;
  readonly at: Uint32Array;
  readonly len: Uint32Array;
  readonly via: Uint32Array;
  readonly peer: Endpoints;
  readonly local: Endpoints;
}

/**
 * What leaves. Owned by the driver; flushed when full and at the end of the turn.
 * `false` means refused (queue full, stream gone): counted by the driver, never thrown.
 */
export interface Tx {
  /** One message as a latin1 string of its bytes. `via` a stream listener without stream: dials `to`. */
  text(via: Via, to: Endpoints, j: number, message: string): boolean;
  /** A slice of the receive slab, without a copy in between. */
  inPlace(rx: Rx, i: number, at: number, len: number, via: Via, to: Endpoints, j: number): boolean;
}
