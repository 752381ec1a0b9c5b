/**
 * NAT behaviours as nftables rulesets (RFC 4787 terms).
 *
 *   fullcone          endpoint-independent mapping and filtering
 *   restricted        … mapping, address-dependent filtering
 *   portrestricted    … mapping, address- and port-dependent filtering
 *   symmetric         address- and port-dependent mapping and filtering
 *   symmetric-address address-dependent mapping
 *   blockudp          TCP only
 *   none              routed, no translation
 *
 * `remap` gives another external port to every internal one: what a NAT does that lost its table.
 */
export type NatKind =
  | 'none'
  | 'fullcone'
  | 'restricted'
  | 'portrestricted'
  | 'symmetric'
  | 'symmetric-address'
  | 'blockudp';

export interface NatBehaviour {
  readonly kind: NatKind;
  /** Seconds without traffic after which a UDP mapping is gone. */
  readonly timeout?: number;
  /** 0 keeps the port where the kind does; any other value hashes ports under that seed. */
  readonly remap?: number;
}

/** Seconds; what RFC 4787 REQ-5 asks of a NAT at least, so that no test meets an expiry that it did not ask for. */
export const MAPPING_TIMEOUT = 120;

/** The ruleset of NAT `i` (outside 203.0.113.i on `wan`, inside 10.i.0.1/24 on `lan`). */
export function ruleset(i: number, behaviour: NatBehaviour): string {
  const timeout = behaviour.timeout ?? MAPPING_TIMEOUT;
  const seed = behaviour.remap ?? 0;
  const outside = `203.0.113.${i}`;
  const hash = (key: string): string => `jhash ${key} mod 20000 seed ${0x5eed + seed} offset 40000`;
  const own = hash('ip saddr . udp sport');
  const hashed = seed !== 0;
  const kind = behaviour.kind;
  if (kind === 'none') return 'flush ruleset\n';

  // The map learns who owns an external port; the set learns whom the inside has written to.
  const mapType = hashed ? 'typeof udp dport : ip saddr . udp sport' : 'type inet_service : ipv4_addr';
  const learnPort = hashed
    ? `update @portmap { ${own} timeout ${timeout}s : ip saddr . udp sport }`
    : `update @portmap { udp sport timeout ${timeout}s : ip saddr }`;
  const toOwner = hashed ? 'dnat ip to udp dport map @portmap' : 'dnat to udp dport map @portmap';
  const independent = hashed
    ? `oifname wan meta l4proto udp snat to ${outside} : ${own}`
    : `oifname wan snat to ${outside}`;

  let inbound = '';
  let outbound = independent;
  switch (kind) {
    case 'fullcone':
      inbound = `iifname wan meta l4proto udp ${toOwner}`;
      break;
    case 'restricted':
      inbound = `iifname wan ip saddr @peers meta l4proto udp ${toOwner}`;
      break;
    case 'portrestricted':
    case 'blockudp':
      break;
    case 'symmetric':
      outbound = `oifname wan meta l4proto udp snat to ${outside}:1024-65535 fully-random`;
      break;
    case 'symmetric-address':
      outbound = `oifname wan meta l4proto udp snat to ${outside} : ${hash('ip saddr . udp sport . ip daddr')}`;
      break;
  }
  // Unsolicited inbound UDP dies in INPUT: an entry it left in conntrack would push the inside's later packet
  // to that peer onto another port and break endpoint-independent mapping.
  return `flush ruleset
table ip nat {
  map portmap { ${mapType}; flags timeout,dynamic; size 65535; }
  set peers { type ipv4_addr; flags timeout,dynamic; size 65535; }
  chain learn { type filter hook prerouting priority -150;
    iifname lan ip saddr 10.${i}.0.0/24 meta l4proto udp ${learnPort} update @peers { ip daddr timeout ${timeout}s }
  }
  chain pre { type nat hook prerouting priority dstnat; ${inbound}; }
  chain post { type nat hook postrouting priority srcnat;
    ${outbound};
    oifname wan meta l4proto tcp snat to ${outside}
  }
}
table ip flt {
  chain input_c { type filter hook input priority 0; policy accept; meta l4proto udp drop; }
  chain forward_c { type filter hook forward priority 0; policy drop;
    ${kind === 'blockudp' ? 'meta l4proto udp drop;' : ''}
    iifname lan accept; iifname wan ct state established,related accept; iifname wan ct status dnat accept;
  }
}
`;
}
