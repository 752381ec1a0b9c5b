import { reply, type Verdict } from '@drawbridge/core';
import { type Flow, H, headerLine, isSecure, parseUri } from '@drawbridge/sip';
import { type Inbound, targetOf } from '../inbound.js';
import type { Shard } from '../shard.js';
import { securely } from '../transports/secure.js';
import { emergency, locate } from './locate.js';
import { ownRoutes } from './own-routes.js';
import type { Plan } from './plan.js';
import { Wanted } from './wanted.js';

const RETRY = headerLine('Retry-After', '10');

/** Request + identity → plan, after the wishes of whoever is called. */
export function decide(shard: Shard, inbound: Inbound): Plan | Verdict {
  const plan = direct(shard, inbound);
  const { forwarder } = shard.m;
  if (forwarder.table.empty || inbound.m.method !== 'INVITE') return plan;
  return forwarder.follow(shard, inbound, plan);
}

/** Requests go only to registered contacts and configured peers: there is no open relay. */
export function direct(shard: Shard, inbound: Inbound): Plan | Verdict {
  const { m } = inbound;
  const uri = targetOf(inbound);
  const urgent = shard.m.routing.o.emergency === undefined ? undefined : emergencyCall(shard, inbound);
  if (urgent !== undefined) return urgent;
  if (uri === undefined)
    return m.uri.includes(':') && !/^sips?:/i.test(m.uri)
      ? reply(416, 'unsupported-scheme')
      : reply(400, 'malformed-uri');
  const sips = uri.scheme === 'sips';
  if (sips && !isSecure(shard.m.realms.listener(inbound.via).transport)) return reply(416, 'unsupported-scheme');
  if (uri.scheme === 'tel' && (m.method === 'REGISTER' || !shard.m.routing.any))
    return reply(416, 'unsupported-scheme');
  let named: Flow | 'gone' | undefined;
  if (m.has(H.route)) {
    const routes = ownRoutes(shard, inbound);
    if (routes === 'foreign') return reply(403, 'foreign-route');
    named = routes;
  }
  if (m.method === 'REGISTER') {
    const domain = shard.m.domains.lookup(uri.host);
    return domain === undefined ? reply(404, 'unknown-domain') : { do: 'register', domain };
  }
  if (uri.user === undefined) {
    const ours = shard.m.domains.lookup(uri.host) !== undefined || shard.m.realms.isOwn(uri.host);
    if (!ours) return reply(404, 'unknown-domain');
    return m.method === 'OPTIONS' ? { do: 'self' } : reply(404, 'not-found');
  }
  if (inbound.identity.kind === 'none') return reply(403, 'not-authenticated');
  const refused = admit(shard, inbound);
  if (refused !== undefined) return refused;
  const { now, identity, flow } = inbound;
  const numbering = shard.m.routing.o.numbering;
  const { method } = m;
  // Of sips every place must be known, since none but a secure one may be tried.
  const atOnce = method !== 'INVITE' || sips;
  const wanted = new Wanted({ now, identity, uri, text: m.uri, m, numbering, named, flow, method, atOnce });
  return securely(locate(shard, wanted), sips);
}

/** RFC 5031 §4, and the numbers of the configuration: before every limit, a drain included. Undefined: an ordinary call. */
function emergencyCall(shard: Shard, inbound: Inbound): Plan | Verdict | undefined {
  const { m, now, identity } = inbound;
  const { routing, domains, realms } = shard.m;
  const o = routing.o.emergency;
  if (m.method !== 'INVITE' || o === undefined || identity.kind === 'trunk') return undefined;
  const number = routing.emergencyNumber(
    m.uri,
    targetOf(inbound),
    h => domains.lookup(h) !== undefined || realms.isOwn(h),
  );
  if (number === undefined) return undefined;
  if (identity.kind === 'none' && !o.unauthenticated) return reply(403, 'not-authenticated');
  if (m.has(H.route) && ownRoutes(shard, inbound) === 'foreign') return reply(403, 'foreign-route');
  const uri = parseUri(`tel:${number}`);
  if (uri === undefined) return undefined;
  const { numbering } = routing.o;
  const wanted = new Wanted({ now, identity, uri, text: m.uri, m, numbering, method: 'INVITE', atOnce: false });
  return emergency(shard, wanted, number);
}

/** Limits on new calls; requests outside calls are bounded by the transaction tables. */
export function admit(shard: Shard, { m, identity }: Inbound): Verdict | undefined {
  if (m.method !== 'INVITE') return undefined;
  if (shard.draining) return reply(503, 'draining', RETRY);
  if (shard.calls.size >= shard.o.calls.max) return reply(503, 'call-limit', RETRY);
  if (identity.kind === 'trunk')
    return shard.m.trunks.get(identity.trunk)?.isFull() === true ? reply(503, 'trunk-limit', RETRY) : undefined;
  if (identity.kind !== 'subscriber') return undefined;
  const mine = shard.perSubscriber.get(identity.aor) ?? 0;
  return mine >= shard.o.calls.perSubscriber ? reply(486, 'session-limit') : undefined;
}
