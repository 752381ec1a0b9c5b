import type { Endpoint, Mono, Random, Reason } from '@drawbridge/core';
import type { CodecRules } from './anchor/codecs.js';
import type { OpenDataPath, PathKind } from './path/path.js';
import type { ReportedQuality } from './quality.js';
import type { RtcpReport } from './rtcp.js';

/** A body that can't be anchored; `status` is what the SIP side answers with. Expected, so returned. */
export interface SdpRejected {
  readonly rejected: Reason;
  readonly status: 400 | 488 | 503;
  /** For the log: says which line or stream and why; never holds an address of the peer's inner network. */
  readonly detail: string;
}

export function isRejected(x: string | SdpRejected): x is SdpRejected {
  return typeof x !== 'string';
}

export interface RelayRealm {
  readonly name: string;
  readonly addresses: readonly { readonly bind: string; readonly advertise?: string | undefined }[];
  /**
   * What may be sent to the address in a peer's SDP before a packet came from there:
   * `auto` = when the signalling came from that address, its /24 or /64, or the address is a public one;
   * `source` = only when the signalling came from exactly that address; `sdp` = always (trunks).
   */
  readonly sendBeforeLatch?: 'auto' | 'source' | 'sdp';
  readonly codecs?: CodecRules | undefined;
}

export interface LatchOptions {
  /** How long after an offer or answer that changed something a source may be learnt. Default 5000. */
  readonly windowMs?: number;
  /** Leading bits of the signalling source a media source must share, IPv4 and IPv6. Default 32 and 128. */
  readonly prefix4?: number;
  readonly prefix6?: number;
  /** `same-address` (default): the latched address may move to another port after `handoverMs` (1000) of silence. */
  readonly handover?: 'same-address' | 'never';
  readonly handoverMs?: number;
}

export interface MediaRelayOptions {
  readonly realms: readonly RelayRealm[];
  /** First and last port, inclusive; RTP on even ports. */
  readonly ports: readonly [number, number];
  readonly path?: 'auto' | PathKind;
  readonly latch?: LatchOptions;
  /** No RTP for so long makes an `inactive` event. Default 60000, 0 = never. */
  readonly inactivityMs?: number;
  /** How long a released port pair rests. Default 10000. */
  readonly quarantineMs?: number;
  /** m-lines of one description. Default 32. */
  readonly maxStreams?: number;
  /** Prefixes that media is never sent to, besides loopback, multicast, unspecified and our own ports. */
  readonly deny?: readonly string[];
  /** Site name → prefixes; two legs whose signalling comes from one site get each other's SDP unchanged. */
  readonly sites?: Readonly<Record<string, readonly string[]>>;
}

export interface MediaRelayModules {
  /** Monotonic ms. */
  now(): Mono;
  readonly random: Random;
  onEvent(event: RelayEvent): void;
  readonly log?: (line: string) => void;
  /** Default: the data path of this machine; tests give a fake. */
  readonly openPath?: OpenDataPath;
}

export type Component = 'rtp' | 'rtcp';

interface StreamEvent {
  readonly session: string;
  readonly leg: string;
  /** Index of the m-line. */
  readonly stream: number;
}

export type RelayEvent =
  /** A source was learnt, or (`moved`) the latched one changed. */
  | (StreamEvent & {
      readonly kind: 'latched';
      readonly component: Component;
      readonly from: Endpoint;
      readonly moved: boolean;
    })
  /** First packet refused for this reason since the last offer or answer; the counters hold the rest. */
  | (StreamEvent & {
      readonly kind: 'refused';
      readonly component: Component;
      readonly reason: Reason;
      readonly from: Endpoint;
    })
  /** Nothing heard for `inactivityMs`: from every leg (`both`), or from `legs` only (`one`). Once per scope until media comes back. */
  | {
      readonly kind: 'inactive';
      readonly session: string;
      readonly scope: 'both' | 'one';
      readonly legs: readonly string[];
      readonly silentMs: number;
      readonly facts: readonly StreamFacts[];
    }
  /** A far end's report, read; `local` is our port that it came to. */
  | (StreamEvent & {
      readonly kind: 'reported';
      readonly from: Endpoint;
      readonly local: Endpoint;
      readonly reports: readonly RtcpReport[];
    })
  | (StreamEvent & { readonly kind: 'failed'; readonly detail: string })
  /** The data path itself stopped; no media flows any more. */
  | { readonly kind: 'stopped'; readonly detail: string };

export interface StreamCounters {
  /** Accepted from the far end, RTP and RTCP. */
  readonly packets: number;
  readonly bytes: number;
  /** Sent to the far end. */
  readonly sent: number;
  readonly rtcp: number;
  readonly lost: number;
  readonly jitterMs: number;
  readonly ssrc: number | undefined;
  readonly wrongSource: number;
  readonly notRtp: number;
  readonly noTarget: number;
  readonly held: number;
  readonly sendFailed: number;
}

export type Direction = 'sendrecv' | 'sendonly' | 'recvonly' | 'inactive';

/** One stream of one leg as an operator wants to see it; plain data. */
export interface StreamFacts {
  readonly leg: string;
  readonly index: number;
  readonly kind: string;
  readonly local: Endpoint;
  /** What its SDP said. */
  readonly remote: Endpoint | undefined;
  /** Where packets really come from. */
  readonly latched: Endpoint | undefined;
  readonly latchedRtcp: Endpoint | undefined;
  /** As the far end said in its last description. */
  readonly direction: Direction;
  readonly mux: boolean;
  /** The SDP address is not the one the signalling came from. */
  readonly natted: boolean;
  readonly path: PathKind;
  readonly because: string;
  /** ms since the last RTP packet; undefined when there never was one. */
  readonly silentMs: number | undefined;
  readonly counters: StreamCounters;
  /** What we hear from the far end as a mean opinion score (1 … 4.5); undefined before the first packet, and for what isn't RTP. */
  readonly mos: number | undefined;
  /** What the far end reports of what it hears; undefined before its first RTCP report, and for SRTP. */
  readonly reported: ReportedQuality | undefined;
}

export interface RelayStats {
  readonly sessions: number;
  readonly pairsInUse: number;
  readonly pairsResting: number;
  readonly pairsTotal: number;
  readonly received: number;
  readonly sent: number;
  readonly sendErrors: number;
  readonly noFlow: number;
  /** Refusals of offers and answers, and refused packets, by reason. */
  readonly reasons: ReadonlyMap<Reason, number>;
}

export interface PathReport {
  readonly realm: string;
  readonly address: string;
  readonly path: PathKind;
  readonly because: string;
}

/** Wrong options: our operator's fault, thrown by `MediaRelay.open`. */
export class RelayOptionsError extends Error {
  readonly reason: 'no-address' | 'bad-address' | 'bad-ports' | 'bad-prefix';
  constructor(reason: RelayOptionsError['reason'], message: string) {
    super(message);
    this.name = 'RelayOptionsError';
    this.reason = reason;
  }
}
