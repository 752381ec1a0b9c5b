import type { Reason } from '@drawbridge/core';
import { escapeUser, parseUri, type SipUri } from '@drawbridge/sip';
import type { Search } from '../route/search.js';
import type { Shard } from '../shard.js';
import type { Trunk } from '../trunk/trunk.js';
import { type Located, offline, RETRY, refusal, toBindings, toInstance, toUpstream } from './places.js';
import type { Target } from './plan.js';
import type { Wanted } from './wanted.js';

/**
 * Where a URI leads for one caller: a trunk's number by its DIDs and routes · an upstream's call to the contact that we
 * registered there · an address of ours, registered or upstream · a route of the configuration. Nothing else: there is
 * no open relay.
 */
export function locate(shard: Shard, w: Wanted): Located {
  const { domains, registrar, realms, subscribers, routing, trunks } = shard.m;
  const { identity, uri } = w;
  if (identity.kind === 'trunk') {
    const trunk = trunks.get(identity.trunk);
    const found = trunk === undefined ? undefined : incoming(shard, w, trunk);
    if (found !== undefined) return found;
  }
  if (identity.kind === 'peer' && (realms.isOwn(uri.host) || domains.lookup(uri.host)?.name === identity.domain)) {
    // An upstream calls the contact that we registered there (RFC 3261 §10: its user part is ours).
    const binding = registrar.byOpaque(uri.user ?? '');
    if (binding?.kind === 'upstream' && binding.domain === identity.domain) {
      const plan = toBindings(shard, w, [binding], [binding], binding.aor);
      // The phone has another flow by now, or had: its registration there names that one (RFC 5626 §5.3). Unless it sleeps.
      const failed = w.named !== undefined && binding.flow !== w.named;
      return failed && (plan.do !== 'forward' || plan.onward === undefined) ? refusal(430, 'flow-gone') : plan;
    }
    // A contact of ours that is over. To the upstream that is nobody home, not no such number.
    if (domains.lookup(uri.host) === undefined)
      return routed(shard, w) ?? refusal(w.named === 'gone' ? 430 : 480, 'flow-gone');
  }
  if (w.named === 'gone') return refusal(430, 'flow-gone');
  const to = uri.scheme === 'tel' ? undefined : domains.address(w.text);
  if (to === undefined) return routed(shard, w) ?? reply404(uri);
  if (to.domain.kind === 'upstream') {
    if (identity.kind === 'peer' && identity.domain === to.domain.name)
      return routed(shard, w) ?? refusal(404, 'not-found');
    return toUpstream(shard, w, to.domain, to.aor, uri);
  }
  const gr = uri.params.get('gr');
  if (gr !== undefined) return toInstance(shard, w, to, gr);
  const known = registrar.bindings.of(to.aor);
  if (known.length > 0) return toBindings(shard, w, registrar.lookup(to.aor), known, to.aor);
  if (subscribers.get(to.user, to.domain.name) !== undefined) return offline('not-registered', to.aor);
  return (identity.kind === 'trunk' || !routing.any ? undefined : routed(shard, w)) ?? refusal(404, 'not-found');
}

/** An emergency call: its own trunks, its own cap, no other limit. */
export function emergency(shard: Shard, w: Wanted | undefined, number: string): Located | undefined {
  const { routing } = shard.m;
  const { emergency: o } = routing.o;
  if (o === undefined) return undefined;
  if (routing.emergencies.active >= o.max) return refusal(503, 'emergency-limit', RETRY);
  const search = routing.emergency(shard, w, number);
  return search === undefined ? undefined : taken(search, w?.now ?? 0, number, false);
}

function reply404(uri: SipUri): Located {
  return uri.scheme === 'tel' ? refusal(416, 'unsupported-scheme') : refusal(404, 'unknown-domain');
}

/** A call from a trunk: the table of its numbers, then routes that name it. Undefined: neither knows it. */
function incoming(shard: Shard, w: Wanted, trunk: Trunk): Located | undefined {
  const { routing } = shard.m;
  const number = w.dialled.user === trunk.contactUser ? (w.inTo ?? w.dialled) : w.dialled;
  const did = routing.did(trunk, w.dialled) ?? (number === w.dialled ? undefined : routing.did(trunk, number));
  if (did === undefined) return routed(shard, w, number);
  const user = number.e164 ?? number.user;
  if (did.startsWith('trunk:')) {
    const search = routing.toTrunk(shard, did.slice(6), { ...askedOf(shard, w), dialled: number });
    return taken(search, w.now, user, w.atOnce);
  }
  return toAddress(shard, w, did.includes('@') ? did : `${user}@${did}`);
}

function routed(shard: Shard, w: Wanted, dialled = w.dialled): Located | undefined {
  const { routing } = shard.m;
  if (!routing.any) return undefined;
  const asked = { ...askedOf(shard, w), dialled };
  const found = routing.route(shard, asked, address => located(toAddress(shard, w, address)), !w.atOnce);
  if (found === undefined) return undefined;
  if ('reject' in found) return refusal(found.reject, 'declined');
  if ('address' in found) return toAddress(shard, w, found.address);
  return taken(found, w.now, dialled.e164 ?? dialled.user, w.atOnce);
}

/** The first place of a search now, and the others behind it. */
function taken(search: Search, now: number, callee: string, atOnce: boolean): Located {
  if (atOnce) {
    const chain = search.chain(now);
    return chain === undefined ? none(search.refused) : { do: 'forward', targets: [chain], callee };
  }
  if (search.hasLate) return { do: 'forward', targets: [], callee, onward: search };
  const targets = search.next(now);
  return targets === undefined ? none(search.refused) : { do: 'forward', targets, callee, onward: search };
}

function none(refused: Reason): Located {
  switch (refused) {
    case 'trunk-limit':
    case 'next-hop-down':
    case 'unresolvable':
      return refusal(503, refused, RETRY);
    case 'not-registered':
    case 'flow-gone':
      return refusal(480, refused);
    default:
      return refusal(404, refused);
  }
}

function located(l: Located): readonly Target[] | Reason {
  return l.do === 'forward' ? l.targets : l.reason;
}

function toAddress(shard: Shard, w: Wanted, address: string): Located {
  const at = address.lastIndexOf('@');
  const host = address.slice(at + 1);
  const text = `sip:${escapeUser(address.slice(0, at))}@${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}`;
  const uri = parseUri(text);
  const to = shard.m.domains.address(text);
  if (uri === undefined || to === undefined) return refusal(404, 'unknown-domain');
  if (to.domain.kind === 'upstream') return toUpstream(shard, w, to.domain, to.aor, uri);
  const { registrar } = shard.m;
  const known = registrar.bindings.of(to.aor);
  if (known.length > 0) return toBindings(shard, w, registrar.lookup(to.aor), known, to.aor);
  return shard.m.subscribers.get(to.user, to.domain.name) === undefined
    ? refusal(404, 'not-found')
    : offline('not-registered', to.aor);
}

function askedOf(shard: Shard, w: Wanted) {
  const { domains, realms } = shard.m;
  const { now, identity, caller, dialled, uri } = w;
  const ours = uri.scheme === 'tel' || domains.lookup(uri.host) !== undefined || realms.isOwn(uri.host);
  return { now, identity, caller, dialled, ours, wanted: w };
}
