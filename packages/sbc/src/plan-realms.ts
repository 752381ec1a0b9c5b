import { type Endpoint, familyOf } from '@drawbridge/core';
import { TRANSPORTS, type Transport } from '@drawbridge/sip';
import type { Config } from './config.js';
import type { Machine } from './shell/machine.js';

/** A socket to open, and what it will be called outside. */
export interface PlannedListener {
  readonly realm: string;
  readonly transport: Transport;
  readonly bind: Endpoint;
  readonly advertise: Endpoint;
}

export interface PlannedRealm {
  readonly name: string;
  readonly networks: readonly string[];
  readonly addresses: readonly { readonly bind: string; readonly advertise: string }[];
  readonly listeners: readonly PlannedListener[];
}

export interface RealmPlan {
  readonly realms: readonly PlannedRealm[];
  /** Sentences about what the configuration asks for and the machine hasn't got. */
  readonly warnings: readonly string[];
}

const EVERYWHERE = ['0.0.0.0/0', '::/0'];

/** Which sockets the configuration means on this machine. Addresses of `auto` come from the machine; nothing is opened. */
export function planRealms(config: Pick<Config, 'realms'>, machine: Machine): RealmPlan {
  const warnings: string[] = [];
  if (config.realms === 'auto') {
    const realms = [
      realm('default', [machine.primary[4], machine.primary[6]], [], EVERYWHERE, { udp: 5060, tcp: 5060 }),
      realm('loopback', [machine.loopback[4], machine.loopback[6]], [], ['127.0.0.0/8', '::1/128'], {
        udp: 5060,
        tcp: 5060,
      }),
    ].filter(r => r.addresses.length > 0);
    if (machine.primary[4] === undefined && machine.primary[6] === undefined)
      warnings.push('This machine has no address but loopback: only phones on this machine can reach the border.');
    else if (machine.primary[6] === undefined)
      warnings.push('This machine has no IPv6 address: the border serves IPv4 only.');
    return { realms, warnings };
  }
  const realms = Object.entries(config.realms).map(([name, r]) => {
    const bind = r.bind === 'auto' ? [machine.primary[4], machine.primary[6]] : r.bind;
    const planned = realm(name, bind, r.advertise, r.networks, r.sip);
    if (planned.addresses.length === 0)
      warnings.push(`Realm ${name}: this machine has no address for \`bind: auto\`; write one down.`);
    for (const family of [4, 6] as const) {
      if (r.advertise.some(a => familyOf(a) === family) && !planned.addresses.some(a => familyOf(a.bind) === family)) {
        warnings.push(`Realm ${name} advertises an IPv${family} address but binds none: nothing will use it.`);
      }
    }
    return planned;
  });
  return { realms, warnings };
}

function realm(
  name: string,
  bind: readonly (string | undefined)[],
  advertise: readonly string[],
  networks: readonly string[],
  sip: Partial<Record<Transport, number | false>>,
): PlannedRealm {
  const addresses = bind
    .filter(a => a !== undefined)
    .map(a => ({ bind: a, advertise: advertise.find(o => familyOf(o) === familyOf(a)) ?? a }));
  const listeners: PlannedListener[] = [];
  for (const a of addresses) {
    for (const transport of TRANSPORTS) {
      const port = sip[transport] ?? false;
      if (port !== false)
        listeners.push({
          realm: name,
          transport,
          bind: { address: a.bind, port },
          advertise: { address: a.advertise, port },
        });
    }
  }
  return { name, networks, addresses, listeners };
}
