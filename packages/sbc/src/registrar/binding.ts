import { type Mono, own, Waiting } from '@drawbridge/core';
import type { Flow } from '@drawbridge/sip';
import { type AlgFinding, NO_FINDINGS } from './alg.js';
import type { Lease } from './lease.js';

/**
 * One contact of an address-of-record (RFC 3261 §10), and the flow it was seen on: the only way back to it.
 * Every string is owned: what it is made of and refreshed with may be slices of a message. It waits on the shard's wheel for its expiry.
 */
export class Binding extends Waiting {
  /** `user@domain`, canonical. */
  readonly aor: string;
  readonly domain: string;
  /** `local`: ours. `upstream`: made by an upstream's 200. */
  readonly kind: 'local' | 'upstream';
  /** User part of OUR contact toward upstream and callers, ≥ 96 random bits. */
  readonly opaque: string;
  /** A URI that parses, as the phone wrote it; goes back to the phone and into the Request-URI toward it, never into routing. */
  contact: string;
  /** Further contact parameters (no q, no expires), `;name=value`, returned in every 200. */
  params: string;
  flow: Flow;
  expires: Mono;
  /** Since when it has this flow. */
  registered: Mono;
  /** 0 … 1. */
  q: number;
  callId: string;
  cseq: number;
  /** RFC 5626 `+sip.instance` without the brackets, in lower case, '' when absent. */
  instance: string;
  regId: number;
  /** RFC 3327: Path values of a trusted edge, in order. */
  path: readonly string[];
  /** RFC 3608: Route of its requests toward its upstream, in order. */
  serviceRoute: readonly string[];
  userAgent: string;
  /** What the upstream has granted, while the phone refreshes with us. */
  lease: Lease | undefined;
  /** Its Via has asked for the source port. */
  rport = false;
  /** Damage that a router does to its messages, as found so far. */
  alg: readonly AlgFinding[] = NO_FINDINGS;
  readonly #gone: (now: Mono, b: Binding) => void;

  constructor(made: BindingFields, onExpiry: (now: Mono, b: Binding) => void) {
    super();
    this.aor = own(made.aor);
    this.domain = made.domain;
    this.kind = made.kind;
    this.opaque = own(made.opaque);
    this.contact = own(made.contact);
    this.params = own(made.params);
    this.flow = made.flow;
    this.expires = made.expires;
    this.registered = made.registered;
    this.q = made.q;
    this.callId = own(made.callId);
    this.cseq = made.cseq;
    this.instance = own(made.instance);
    this.regId = made.regId;
    this.path = made.path;
    this.serviceRoute = made.serviceRoute ?? NO_PATH;
    this.userAgent = own(made.userAgent);
    this.lease = made.lease;
    this.#gone = onExpiry;
  }

  /** The same contact registered again, over whatever flow. Texts that are as they were stay the same objects. */
  renew(by: BindingFields): void {
    this.contact = kept(this.contact, by.contact);
    this.params = kept(this.params, by.params);
    this.expires = by.expires;
    this.q = by.q;
    this.callId = kept(this.callId, by.callId);
    this.cseq = by.cseq;
    this.instance = kept(this.instance, by.instance);
    this.regId = by.regId;
    this.path = by.path;
    this.serviceRoute = by.serviceRoute ?? NO_PATH;
    this.userAgent = kept(this.userAgent, by.userAgent);
    this.lease = by.lease;
  }

  override onDue(now: Mono): void {
    this.#gone(now, this);
  }
}

function kept(known: string, now: string): string {
  return known === now ? known : own(now);
}

/** Shared by all that have none. */
export const NO_PATH: readonly string[] = [];

export interface BindingFields {
  readonly aor: string;
  readonly domain: string;
  readonly kind: 'local' | 'upstream';
  readonly opaque: string;
  readonly contact: string;
  readonly params: string;
  readonly flow: Flow;
  readonly expires: Mono;
  readonly registered: Mono;
  readonly q: number;
  readonly callId: string;
  readonly cseq: number;
  readonly instance: string;
  readonly regId: number;
  readonly path: readonly string[];
  readonly userAgent: string;
  readonly serviceRoute?: readonly string[] | undefined;
  readonly lease?: Lease | undefined;
}
