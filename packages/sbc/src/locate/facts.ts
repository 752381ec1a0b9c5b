import type { Mono } from '@drawbridge/core';
import { type DnsClientOptions, parseNameServer } from '@drawbridge/sip';
import type { Config } from '../config.js';
import type { Domain } from '../domains.js';
import type { HopList, PlaceFacts } from './hop-list.js';

/** More than the core ever has open for next hops, and room for routing by ENUM. */
const OPEN_QUERIES = 1000;

/** The configuration in the shell's terms. */
export function dnsOptions(dns: Config['dns']): DnsClientOptions {
  const servers = dns.servers?.map(parseNameServer).filter(s => s !== undefined);
  return { servers, timeoutMs: dns.timeout, cap: OPEN_QUERIES };
}

export interface DomainFacts {
  readonly name: string;
  readonly kind: 'local' | 'upstream';
  /** Where an upstream's requests go, per configured URI. */
  readonly next?: readonly PlaceFacts[];
}

export function domainFacts(d: Domain, now: Mono): DomainFacts {
  const { name, kind } = d;
  return kind === 'local' ? { name, kind } : { name, kind, next: d.next.facts(now) };
}

/** A sentence for each configured URI that leads nowhere now. */
export function unresolved(lists: Iterable<HopList>, now: Mono): string[] {
  const sentences: string[] = [];
  for (const list of lists) {
    const nowhere = list.all.length === 0 ? '; its requests are answered with 503 until it does' : '';
    for (const p of list.facts(now)) {
      if (p.hops.length === 0) sentences.push(`${list.name}: ${p.uri} leads nowhere (${p.why})${nowhere}.`);
      else if (p.why !== '') sentences.push(`${list.name}: ${p.uri}: ${p.why}.`);
    }
  }
  return sentences;
}
