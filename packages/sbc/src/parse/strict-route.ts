import { H, headerLine, parseNameAddr, parseUri, Splice } from '@drawbridge/sip';
import { type Inbound, targetOf } from '../inbound.js';
import type { Shard } from '../shard.js';

/**
 * RFC 3261 §16.4: a strict router, or a phone whose outbound proxy was entered without `lr`, puts us into the Request-URI and
 * the target behind the last Route. The request as a loose router would have sent it; undefined where it is one already.
 */
export function fromStrictRouter(shard: Shard, inbound: Inbound): string | undefined {
  const { m } = inbound;
  const us = targetOf(inbound);
  if (us === undefined || us.scheme === 'tel' || !shard.m.realms.isOwn(us.host)) return undefined;
  // With a user it is a contact of ours, unless that is the token of a Path.
  if (us.user !== undefined && shard.m.registrar.tokens.find(us.user) === 'foreign') return undefined;
  const routes = m.list(H.route);
  const last = parseNameAddr(routes.pop() ?? '')?.uri ?? '';
  const target = parseUri(last);
  if (
    target === undefined ||
    target.params.has('lr') ||
    (target.user === undefined && shard.m.realms.isOwn(target.host))
  )
    return undefined;
  const splice = new Splice(m).startLine(`${m.method} ${last} SIP/2.0`);
  const first = m.first(H.route);
  splice.replace(first, headerLine('Route', [`<${m.uri}>`, ...routes].join(', ')));
  for (let i = m.next(first); i >= 0; i = m.next(i)) splice.remove(i);
  return splice.build();
}
