import type { Endpoint, Reason } from '@drawbridge/core';
import type { StreamFacts } from '@drawbridge/media-relay';
import type { Transport } from '@drawbridge/sip';
import type { DomainFacts } from '../locate/facts.js';
import type { AlgKind } from '../registrar/alg.js';

/** What the API says of one call; plain data. Times are ms since 1970. */
export interface CallFacts {
  readonly id: string;
  readonly state: 'inviting' | 'ringing' | 'answered' | 'ending';
  readonly from: string;
  readonly to: string;
  readonly startedAt: number;
  readonly answeredAt?: number | undefined;
  readonly legs: readonly LegFacts[];
  readonly media: readonly StreamFacts[];
}

export interface LegFacts {
  /** `a` is the caller's, `b1`, `b2` … the callees'. */
  readonly leg: string;
  readonly realm: string;
  readonly transport: Transport;
  readonly peer: Endpoint;
  readonly state: string;
  readonly reason?: Reason | undefined;
}

/** One message of a call as it was on the wire, for the ladder. */
export interface TraceMessage {
  /** ms since 1970. */
  readonly at: number;
  readonly direction: 'in' | 'out';
  readonly leg: string;
  /** Our socket and the far end, `udp:203.0.113.10:5060`. */
  readonly local: string;
  readonly peer: string;
  readonly text: string;
}

export interface BindingFacts {
  readonly aor: string;
  readonly contact: string;
  readonly kind: 'local' | 'upstream';
  readonly realm: string;
  readonly transport: Transport;
  readonly peer: Endpoint;
  readonly q: number;
  readonly expiresInS: number;
  readonly userAgent: string;
  /** Damage that a router does to its messages, and what to do about it. */
  readonly alg: readonly { readonly kind: AlgKind; readonly evidence: string; readonly advice: string }[];
  /** How the NAT mapping is kept open, and what is known of the NAT. */
  readonly keepalive:
    | {
        readonly how: string;
        readonly intervalS: number;
        readonly heldS: number;
        readonly lostS?: number | undefined;
        readonly searching: boolean;
      }
    | undefined;
}

export interface ListenerFacts {
  readonly realm: string;
  readonly transport: Transport;
  readonly bind: Endpoint;
  readonly advertise: Endpoint;
  /** How its datagrams are read: `batch`, `dgram`, `stream`, and why. */
  readonly path: string;
  readonly because: string;
}

export interface StatusFacts {
  readonly version: string;
  readonly pid: number;
  readonly startedAt: number;
  readonly draining: boolean;
  readonly listeners: readonly ListenerFacts[];
  readonly media: readonly {
    readonly realm: string;
    readonly address: string;
    readonly path: string;
    readonly because: string;
  }[];
  readonly domains: readonly DomainFacts[];
  readonly calls: number;
  readonly bindings: number;
  readonly subscribers: number;
  readonly store: string;
  readonly warnings: readonly string[];
}
