import { canonicalAddress, type Endpoints, type Via } from '@drawbridge/core';
import { type DigestAlgorithm, parseUri, unescapeUri } from '@drawbridge/sip';
import type { HopList, NextHop } from './locate/hop-list.js';
import type { Realms } from './realms.js';

export interface LocalDomain {
  readonly kind: 'local';
  readonly name: string;
  /** Digest algorithms instead of the configured ones. */
  readonly algorithms?: readonly DigestAlgorithm[];
}

export interface UpstreamDomain {
  readonly kind: 'upstream';
  readonly name: string;
  /** Where its requests go. */
  readonly next: HopList;
}

export interface Addressed {
  readonly domain: Domain;
  readonly user: string;
  readonly aor: string;
}

export type Domain = LocalDomain | UpstreamDomain;

/** The domains this border answers for. `aliases`: further hosts that mean a domain (own addresses, other spellings). */
export class Domains {
  readonly #byHost = new Map<string, Domain>();
  readonly #upstreams: readonly UpstreamDomain[];
  readonly #realms: Realms;
  readonly all: readonly Domain[];

  constructor(
    domains: readonly Domain[],
    realms: Realms,
    aliases: readonly { readonly host: string; readonly domain: string }[] = [],
  ) {
    this.all = domains;
    this.#realms = realms;
    this.#upstreams = domains.filter(d => d.kind === 'upstream');
    for (const d of domains) this.#byHost.set(canonicalHost(d.name), d);
    for (const { host, domain } of aliases) {
      const d = this.#byHost.get(canonicalHost(domain));
      if (d !== undefined && !this.#byHost.has(canonicalHost(host))) this.#byHost.set(canonicalHost(host), d);
    }
  }

  /** By the host of a URI, any spelling: case, a final dot, brackets. */
  lookup(host: string): Domain | undefined {
    return this.#byHost.get(host) ?? this.#byHost.get(canonicalHost(host));
  }

  /** Whether a host is an address of ours. */
  isOwn(host: string): boolean {
    return this.#realms.isOwn(host);
  }

  /** What a URI addresses among our domains: the AoR is `user@domain`, user unescaped, in the domain's own spelling. */
  address(uri: string): Addressed | undefined {
    const u = parseUri(uri);
    if (u === undefined || u.scheme === 'tel' || u.user === undefined) return undefined;
    const domain = this.lookup(u.host);
    if (domain === undefined) return undefined;
    const user = unescapeUri(u.user);
    return { domain, user, aor: `${user}@${domain.name}` };
  }

  /**
   * The upstream whose address this is, asked in the realm where that upstream lives. Datagrams must come from a port
   * that is configured too, since other programs may live on that host; a stream comes from any.
   */
  peer(via: Via, peer: Endpoints, j: number): UpstreamDomain | undefined {
    const { realm, transport } = this.#realms.listener(via);
    const isHop = (n: NextHop): boolean =>
      n.listener.realm === realm &&
      (transport === 'udp' ? n.packed.equal(0, peer, j) : n.packed.sameAddress(0, peer, j));
    return this.#upstreams.find(d => d.next.all.some(isHop));
  }

  /** Whether an address belongs to one given upstream. */
  isPeerOf(domain: string, via: Via, peer: Endpoints, j: number): boolean {
    const realm = this.#realms.of(via);
    return this.#upstreams.some(
      d => d.name === domain && d.next.all.some(n => n.listener.realm === realm && n.packed.sameAddress(0, peer, j)),
    );
  }
}

/** One spelling per host: lower case, no final dot, addresses canonical and without brackets. */
export function canonicalHost(host: string): string {
  const address = canonicalAddress(host);
  if (address !== undefined) return address;
  const lower = host.toLowerCase();
  return lower.endsWith('.') ? lower.slice(0, -1) : lower;
}
