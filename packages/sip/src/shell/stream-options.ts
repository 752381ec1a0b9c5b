import type { Endpoint, Listener, Via } from '@drawbridge/core';

export interface StreamListenerOptions {
  readonly address: string;
  /** 0 = any free port. */
  readonly port: number;
  /** Streams at once, accepted and dialled together; default 10,000. */
  readonly maxStreams?: number;
  /** Accepted streams of one address (IPv6: one /64); default 100. */
  readonly maxPerAddress?: number;
  /** Longest head of a message, bytes; default 16 KiB. */
  readonly maxHead?: number;
  /** Longest body, bytes; default 64 KiB. */
  readonly maxBody?: number;
  /** From its first byte, a message must be complete within this time, ms; default 10 s. */
  readonly messageDeadlineMs?: number;
  /** A stream on which nothing complete arrives for this long is closed, ms; default 15 min. */
  readonly idleMs?: number;
  /** Dialling gives up after this, ms; default 5 s. */
  readonly dialMs?: number;
  /** Bytes waiting for a peer that doesn't read, above which messages are refused; default 256 KiB. */
  readonly highWater?: number;
  /** A stream that stays above the high-water mark, or doesn't finish closing, for this long is cut off, ms; default 10 s. */
  readonly stuckMs?: number;
  /** Messages that wait for a stream to open; default 16. */
  readonly maxPending?: number;
}

/** Since the listener was opened; read them at any time. */
export interface StreamCounters {
  accepted: number;
  dialled: number;
  closed: number;
  received: number;
  sent: number;
  /** CRLFCRLF answered with CRLF (RFC 5626 §4.4.1). */
  keepalives: number;
  /** Streams closed because what came over them couldn't be framed. */
  framingFaults: number;
  /** Streams closed by a deadline: message unfinished, idle, not reading, not answering. */
  deadlines: number;
  /** Connections turned away at a cap. */
  turnedAway: number;
  /** Sends answered with false. */
  refused: number;
}

/** SIP over TCP on one address. Text sent to the listener itself dials, or takes the stream that is open to that endpoint. */
export interface StreamListener extends Listener {
  readonly local: Endpoint;
  readonly counters: Readonly<StreamCounters>;
  /** Streams open or opening. */
  readonly streams: number;
  /** Far end of a stream, also while its `closed` or `error` is being told. */
  peerOf(via: Via): Endpoint | undefined;
}
