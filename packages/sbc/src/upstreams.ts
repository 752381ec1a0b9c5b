import { canonicalAddress, Endpoints } from '@drawbridge/core';
import type { Config } from './config.js';
import { type Domain, type NextHop, nextHop } from './domains.js';
import type { Realms, Transport } from './realms.js';

/** `sip:10.0.0.5:5060;transport=udp`, as the schema has let it through. */
export interface HopUri {
  readonly host: string;
  readonly port: number;
  readonly transport: Transport;
}

export function parseHop(uri: string): HopUri {
  const m = /^sip:(\[[^\]]+\]|[^:;]+)(?::(\d+))?(?:;transport=(udp|tcp))?$/.exec(uri);
  return {
    host: m?.[1]?.replace(/^\[|\]$/g, '') ?? '',
    port: Number(m?.[2] ?? 5060),
    transport: m?.[3] === 'tcp' ? 'tcp' : 'udp',
  };
}

/** Host names among the next hops, to be resolved before the domains are made. */
export function hostsToResolve(domains: Config['domains']): string[] {
  const hosts = new Set<string>();
  for (const d of Object.values(domains ?? {})) {
    if (d.kind === 'upstream') for (const uri of d.next) hosts.add(parseHop(uri).host);
  }
  return [...hosts].filter(h => canonicalAddress(h) === undefined);
}

/** Configured domains over the sockets that opened. What can't be reached is said, and the rest goes on. */
export function makeDomains(
  config: NonNullable<Config['domains']>,
  realms: Realms,
  resolved: ReadonlyMap<string, readonly string[]>,
): { domains: Domain[]; warnings: string[] } {
  const warnings: string[] = [];
  const domains: Domain[] = [];
  for (const [name, d] of Object.entries(config)) {
    if (d.kind === 'local') {
      domains.push({
        kind: 'local',
        name: canonical(name),
        ...(d.algorithms === undefined ? {} : { algorithms: d.algorithms }),
      });
      continue;
    }
    const realm = d.realm === undefined ? undefined : realms.byName(d.realm);
    const next: NextHop[] = [];
    for (const uri of d.next) {
      const hop = parseHop(uri);
      const addresses = canonicalAddress(hop.host) === undefined ? (resolved.get(hop.host) ?? []) : [hop.host];
      if (addresses.length === 0)
        warnings.push(`Domain ${name}: ${hop.host} has no address; write one down, or mend its DNS, and restart.`);
      for (const address of addresses) {
        const endpoint = { address: canonicalAddress(address) ?? address, port: hop.port };
        const listener = realms.towards(Endpoints.of(endpoint), 0, hop.transport, realm);
        if (listener === undefined)
          warnings.push(`Domain ${name}: no realm with a ${hop.transport} socket has ${address} in its networks.`);
        else next.push(nextHop(endpoint, hop.transport, listener));
      }
    }
    const home = realm ?? next[0]?.listener.realm ?? realms.all[0];
    if (home === undefined) continue;
    if (next.length === 0) warnings.push(`Domain ${name} can't be reached: its requests will be answered with 503.`);
    domains.push({ kind: 'upstream', name: canonical(name), realm: home, next });
  }
  return { domains, warnings };
}

function canonical(name: string): string {
  return canonicalAddress(name) ?? name.toLowerCase();
}
