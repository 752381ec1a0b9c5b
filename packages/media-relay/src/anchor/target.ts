import { type Endpoint, PrefixSet, type Reason } from '@drawbridge/core';

/** Never a media target: "this network", multicast, reserved, link-local, and IPv6 forms that embed an IPv4 address. */
const NEVER = prefixes([
  '0.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '::/96',
  'ff00::/8',
  'fe80::/10',
  '64:ff9b::/96',
  '2002::/16',
]);
const LOOPBACK = prefixes(['127.0.0.0/8', '::1/128']);
/** Addresses that mean nothing outside their own network (RFC 1918, 6598, 4193). */
const PRIVATE = prefixes(['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7']);

export function isLoopback(address: string): boolean {
  return LOOPBACK.hasAddress(address);
}

export interface TargetRules {
  /** The operator's own list. */
  readonly deny: PrefixSet;
  /** Loopback is reachable from a realm that lives there. */
  readonly loopback: boolean;
  /** Session that holds one of our own relay ports; '' = nobody, undefined = the endpoint is not ours. */
  ownerOf(e: Endpoint): string | undefined;
  readonly session: string;
}

/**
 * May media be sent there? Undefined = yes. One of our own relay ports is a legitimate target when another session
 * holds it (a proxy behind us sent the call back through us); a port of the same session, or of nobody, is not.
 */
export function refuseTarget(e: Endpoint, rules: TargetRules): Reason | undefined {
  const owner = rules.ownerOf(e);
  if (owner !== undefined)
    return owner === '' ? 'media-own-address' : owner === rules.session ? 'media-loop' : undefined;
  if (e.port < 1024) return 'media-refused-target';
  if (LOOPBACK.hasAddress(e.address)) return rules.loopback ? undefined : 'media-refused-target';
  return NEVER.hasAddress(e.address) || rules.deny.hasAddress(e.address) ? 'media-refused-target' : undefined;
}

/**
 * May packets go to the SDP address before one came from there? A phone behind a NAT names an address of its inner
 * network: nothing is sent to it (it may be somebody else's here) until its own first packet shows the way.
 */
export function sendsBeforeLatch(mode: 'auto' | 'source' | 'sdp', target: string, seenFrom: string): boolean {
  if (mode === 'sdp' || target === seenFrom) return true;
  if (mode === 'source') return false;
  if (!PRIVATE.hasAddress(target)) return true;
  const near = new PrefixSet();
  near.add(`${seenFrom}/${seenFrom.includes(':') ? 64 : 24}`);
  return near.hasAddress(target);
}

/** `::1` is inside ::/96 and handled before it. */
function prefixes(list: readonly string[]): PrefixSet {
  const set = PrefixSet.parse(list);
  if (!(set instanceof PrefixSet)) throw new TypeError(`bad prefix ${set.bad}`);
  return set;
}
