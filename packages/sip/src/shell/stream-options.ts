import type { Endpoint, Listener, Via } from '@drawbridge/core';
import type { Transport } from '../flow/flow.js';

export type StreamTransport = Exclude<Transport, 'udp'>;

/** Certificate, key and whom to trust, as PEM. */
export interface TlsMaterial {
  readonly certificate: string;
  readonly key: string;
  /** Instead of the authorities that Node knows. */
  readonly ca?: string | undefined;
}

export interface StreamTls {
  readonly material: TlsMaterial;
  /** Of whoever dials us: never asked for, asked for and verified when shown, or needed to come in. */
  readonly clientCertificates?: 'none' | 'request' | 'require';
  readonly minVersion?: 'TLSv1.2' | 'TLSv1.3';
}

export interface StreamListenerOptions {
  readonly address: string;
  /** 0 = any free port. */
  readonly port: number;
  /** Default `tcp`. */
  readonly transport?: StreamTransport;
  /** Needed by `tls` and `wss`. */
  readonly tls?: StreamTls | undefined;
  /** Streams at once, accepted and dialled together; default 10,000. */
  readonly maxStreams?: number;
  /** Accepted streams of one address (IPv6: one /64); default 100. */
  readonly maxPerAddress?: number;
  /** Accepted streams of one IPv4 /24 or IPv6 /48; default 1,000. */
  readonly maxPerNetwork?: number;
  /** Longest head of a message, bytes; default 16 KiB. */
  readonly maxHead?: number;
  /** Longest body, bytes; default 64 KiB. */
  readonly maxBody?: number;
  /** From its first byte, a message must be complete within this time, ms; default 10 s. */
  readonly messageDeadlineMs?: number;
  /** A stream on which nothing complete arrives for this long is closed, ms; default 15 min. */
  readonly idleMs?: number;
  /** Dialling gives up after this, TLS handshake included, ms; default 5 s. */
  readonly dialMs?: number;
  /** TLS handshake and WebSocket upgrade of an accepted connection must be over within this, ms; default 5 s. */
  readonly handshakeMs?: number;
  /** An accepted stream for which nobody has vouched is closed after this, ms; Infinity = never, the default. */
  readonly authenticateMs?: number;
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
  /** CRLFCRLF answered with CRLF (RFC 5626 §4.4.1), WebSocket pings answered. */
  keepalives: number;
  /** Streams closed because what came over them couldn't be framed. */
  framingFaults: number;
  /** Streams closed by a deadline: message unfinished, idle, not reading, not answering. */
  deadlines: number;
  /** Accepted streams closed because nobody vouched for them in time. */
  strangers: number;
  /** Accepted connections that ended before TLS or WebSocket were agreed on; dialled ones that never opened. */
  unopened: number;
  /** Connections turned away at a cap. */
  turnedAway: number;
  /** Sends answered with false. */
  refused: number;
}

/**
 * SIP over streams on one address: TCP, TLS, WebSocket or WebSocket over TLS. Text sent to the listener itself dials, or
 * takes the stream that it has dialled to that endpoint; a WebSocket listener dials nobody (RFC 7118 §5).
 */
export interface StreamListener extends Listener {
  readonly local: Endpoint;
  readonly transport: StreamTransport;
  readonly counters: Readonly<StreamCounters>;
  /** Streams open or opening. */
  readonly streams: number;
  /** Far end of a stream, also while its `closed` or `error` is being told. */
  peerOf(via: Via): Endpoint | undefined;
  /** Whom the far end's verified certificate names (RFC 5922); empty where there is none. */
  namesOf(via: Via): readonly string[];
  isDialled(via: Via): boolean;
  /** A TLS dial to this endpoint succeeds only when the certificate there names this host; several names must all be named. */
  expect(to: Endpoint, name: string): void;
  /** Whoever is behind the stream is known: the deadline for strangers is over for it. */
  vouch(via: Via): void;
  /** Connections from now on use this; those that are open go on. Throws for material that OpenSSL refuses, and changes nothing then. */
  renew(material: TlsMaterial): void;
}
