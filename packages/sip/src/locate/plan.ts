import { canonicalAddress, familyOf } from '@drawbridge/core';
import type { SipUri } from '../uri.js';
import { type DnsAnswer, type DnsQuestion, dnsName } from './answer.js';
import type { Weighted } from './order.js';

/** Ways of RFC 3263 and RFC 7118 that a border may speak. */
export type LocateTransport = 'udp' | 'tcp' | 'tls' | 'ws' | 'wss';

export interface Candidate {
  readonly transport: LocateTransport;
  /** Canonical, without brackets. */
  readonly address: string;
  readonly port: number;
  /** The name that had this address, or the address itself. */
  readonly name: string;
}

/** One server of a priority, with its addresses in order. */
export interface Server extends Weighted {
  readonly candidates: readonly Candidate[];
}

/** Servers of equal priority: `drawByWeight` says which first. */
export type Tier = readonly Server[];

export interface Located {
  /** Most preferred first; empty when there is nowhere to go. */
  readonly tiers: readonly Tier[];
  /** Until when this holds, in the time of the answers; Infinity for what needs no DNS. */
  readonly until: number;
  /** To be asked before this is complete; `tiers` means nothing while there are any. */
  readonly missing: readonly DnsQuestion[];
  /** Some answers are older than their time to live, since nobody gives newer ones. */
  readonly stale: boolean;
  /** Why there is nowhere to go, or why this is stale: a plain sentence. */
  readonly why: string;
}

export interface LocateOptions {
  /** What we speak toward there, in our own order of preference, used when the domain states none. */
  readonly transports: readonly LocateTransport[];
  readonly families: readonly (4 | 6)[];
}

/** What is known of a question; undefined: it must be asked first. */
export type Known = (question: DnsQuestion) => DnsAnswer | undefined;

const DEFAULT_PORT: Readonly<Record<LocateTransport, number>> = { udp: 5060, tcp: 5060, tls: 5061, ws: 80, wss: 443 };
const SERVICES: ReadonlyMap<string, LocateTransport> = new Map([
  ['sip+d2u', 'udp'],
  ['sip+d2t', 'tcp'],
  ['sips+d2t', 'tls'],
  ['sip+d2w', 'ws'],
  ['sips+d2w', 'wss'],
]);
const SRV_PREFIX: Readonly<Record<LocateTransport, string>> = {
  udp: '_sip._udp.',
  tcp: '_sip._tcp.',
  tls: '_sips._tcp.',
  ws: '_sip._ws.',
  wss: '_sips._ws.',
};
/** Bounds on what one domain may make us ask. */
const MOST_NAPTR = 8;
const MOST_SERVERS = 16;
const MOST_ADDRESSES = 8;

/**
 * RFC 3263 §4 for one URI over what is known of the DNS. A pure function that is called again after each round of answers: at most
 * three rounds (NAPTR, SRV, addresses). It gives an order of tries, not one choice, so that a failed one has a successor (§4.3).
 */
export function locate(uri: SipUri, options: LocateOptions, known: Known): Located {
  return new Plan(uri, options, known).run();
}

/** The transport that a URI names, or must have; undefined: the domain says. Null: one that nobody here speaks. */
function askedTransport(uri: SipUri): LocateTransport | undefined | null {
  const named = uri.params.get('transport')?.toLowerCase();
  const secure = uri.scheme === 'sips';
  switch (named) {
    case undefined:
      return undefined;
    case 'udp':
      return secure ? null : 'udp';
    case 'tcp':
      return secure ? 'tls' : 'tcp';
    case 'tls':
      return 'tls';
    case 'ws':
      return secure ? 'wss' : 'ws';
    case 'wss':
      return 'wss';
    default:
      return null;
  }
}

class Plan {
  readonly #uri: SipUri;
  readonly #o: LocateOptions;
  readonly #known: Known;
  readonly #missing: DnsQuestion[] = [];
  #until = Number.POSITIVE_INFINITY;
  #stale = false;
  #why = '';

  constructor(uri: SipUri, options: LocateOptions, known: Known) {
    this.#uri = uri;
    this.#o = options;
    this.#known = known;
  }

  run(): Located {
    const tiers = this.#tiers().filter(t => t.length > 0);
    return { tiers, until: this.#until, missing: this.#missing, stale: this.#stale, why: this.#why };
  }

  #tiers(): readonly Tier[] {
    const { port, scheme } = this.#uri;
    const host = dnsName(this.#uri.host);
    const asked = askedTransport(this.#uri);
    if (asked === null || (asked !== undefined && !this.#o.transports.includes(asked))) {
      this.#why = `no socket here speaks ${this.#uri.params.get('transport') ?? asked ?? 'it'}`;
      return [];
    }
    const plain = asked ?? this.#usual(scheme === 'sips');
    if (plain === undefined) {
      this.#why = `no socket here speaks what ${scheme} needs`;
      return [];
    }
    const address = canonicalAddress(host);
    if (address !== undefined) {
      if (!this.#o.families.includes(familyOf(address))) this.#why = `no socket here speaks IPv${familyOf(address)}`;
      const candidates = [{ transport: plain, address, port: port ?? DEFAULT_PORT[plain], name: address }];
      return this.#why === '' ? [[{ weight: 0, candidates }]] : [];
    }
    if (port !== undefined) return [this.#server(host, port, plain, 0)];
    if (asked !== undefined) {
      const named = this.#service(SRV_PREFIX[asked] + host, asked);
      return named.found || this.#missing.length > 0
        ? named.tiers
        : [this.#server(host, DEFAULT_PORT[asked], asked, 0)];
    }
    return this.#byDomain(host, scheme === 'sips', plain);
  }

  /** UDP, or TLS for sips, where nobody says otherwise (RFC 3263 §4.1). */
  #usual(secure: boolean): LocateTransport | undefined {
    return (secure ? (['tls'] as const) : (['udp', 'tcp'] as const)).find(x => this.#o.transports.includes(x));
  }

  /** NAPTR, or the SRV records of every transport; further transports are for when the first fails. */
  #byDomain(host: string, secure: boolean, plain: LocateTransport): readonly Tier[] {
    const tiers: Tier[] = [];
    const usable = this.#transports(secure);
    const naptr = this.#ask(host, 'NAPTR');
    if (naptr === undefined) return [];
    let found = false;
    for (const [transport, name] of this.#services(naptr, usable)) {
      const service = this.#service(name, transport);
      found ||= service.found;
      tiers.push(...service.tiers);
    }
    if (found || this.#missing.length > 0) return tiers;
    for (const transport of usable) {
      const service = this.#service(SRV_PREFIX[transport] + host, transport);
      found ||= service.found;
      tiers.push(...service.tiers);
    }
    return found || this.#missing.length > 0 ? tiers : [this.#server(host, DEFAULT_PORT[plain], plain, 0)];
  }

  #transports(secure: boolean): readonly LocateTransport[] {
    return secure ? this.#o.transports.filter(x => x === 'tls' || x === 'wss') : this.#o.transports;
  }

  /** RFC 3263 §4.1: flag "s", no expression, a service that we speak; by order, then preference. */
  #services(naptr: DnsAnswer, usable: readonly LocateTransport[]): (readonly [LocateTransport, string])[] {
    const found: (readonly [LocateTransport, string])[] = [];
    const sorted = naptr.records
      .filter(r => r.type === 'NAPTR')
      .sort((a, b) => a.order - b.order || a.preference - b.preference);
    for (const r of sorted) {
      const transport = SERVICES.get(r.services.toLowerCase());
      if (transport === undefined || !usable.includes(transport)) continue;
      if (r.flags.toLowerCase() !== 's' || r.regexp !== '' || r.replacement === '') continue;
      if (found.length < MOST_NAPTR) found.push([transport, r.replacement]);
    }
    return found;
  }

  /** `found`: the domain says something of this service, be it that there is none (RFC 2782: target "."). */
  #service(name: string, transport: LocateTransport): { readonly found: boolean; readonly tiers: readonly Tier[] } {
    const answer = this.#ask(name, 'SRV');
    if (answer === undefined) return { found: false, tiers: [] };
    const records = answer.records
      .filter(r => r.type === 'SRV')
      .sort((a, b) => a.priority - b.priority)
      .slice(0, MOST_SERVERS);
    const tiers: Server[][] = [];
    let priority = -1;
    for (const r of records) {
      if (r.target === '' || r.port === 0) continue;
      if (r.priority !== priority) tiers.push([]);
      priority = r.priority;
      tiers.at(-1)?.push(...this.#server(r.target, r.port, transport, r.weight));
    }
    if (records.length > 0 && tiers.length === 0) this.#why = `${name} says that there is no such service`;
    return { found: records.length > 0, tiers };
  }

  /** IPv6 first, as RFC 7984 §4 has it by way of RFC 6724. */
  #server(name: string, port: number, transport: LocateTransport, weight: number): Tier {
    const literal = canonicalAddress(name);
    const addresses = literal === undefined ? this.#addresses(name) : [literal];
    if (addresses.length === 0) return [];
    const candidates = addresses.slice(0, MOST_ADDRESSES).map(address => ({ transport, address, port, name }));
    return [{ weight, candidates }];
  }

  #addresses(name: string): string[] {
    const found: string[] = [];
    for (const family of [6, 4] as const) {
      if (!this.#o.families.includes(family)) continue;
      const answer = this.#ask(name, family === 6 ? 'AAAA' : 'A');
      for (const r of answer?.records ?? []) if (r.type === 'A' || r.type === 'AAAA') found.push(r.address);
    }
    return found;
  }

  #ask(name: string, type: DnsQuestion['type']): DnsAnswer | undefined {
    const answer = this.#known({ name, type });
    if (answer === undefined) {
      this.#missing.push({ name, type });
      return undefined;
    }
    this.#until = Math.min(this.#until, answer.until);
    if (answer.stale) this.#stale = true;
    if (answer.records.length === 0 || answer.stale) this.#why = `${type} ${name}: ${answer.why}`;
    return answer;
  }
}
