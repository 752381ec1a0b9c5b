import { type Flow, H, parseNameAddr, parseUri } from '@drawbridge/sip';
import type { Inbound } from '../inbound.js';
import type { Shard } from '../shard.js';

/**
 * The Route of a request outside a dialog. Every value must be ours: a foreign one would make us somebody's relay. Ours are
 * our address or a domain of ours without a user, as a phone writes its outbound proxy, and our Path, whose user is a flow
 * token. `gone`: the token is good but its flow is no more. Otherwise the flow that is named, if any.
 */
export function ownRoutes(shard: Shard, { m }: Inbound): 'foreign' | 'gone' | Flow | undefined {
  let named: 'gone' | Flow | undefined;
  for (const value of m.list(H.route)) {
    const route = parseUri(parseNameAddr(value)?.uri ?? '');
    if (route === undefined || (!shard.m.realms.isOwn(route.host) && shard.m.domains.lookup(route.host) === undefined))
      return 'foreign';
    if (route.user === undefined) continue;
    const flow = shard.m.registrar.tokens.find(route.user);
    if (flow === 'foreign' || flow === 'tampered') return 'foreign';
    named = flow;
  }
  return named;
}
