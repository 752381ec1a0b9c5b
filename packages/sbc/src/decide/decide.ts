import { reply, type Verdict } from '@drawbridge/core';
import { type Flow, H, headerLine, isSecure, type SipUri } from '@drawbridge/sip';
import type { Addressed, UpstreamDomain } from '../domains.js';
import { type Inbound, targetOf } from '../inbound.js';
import type { NextHop } from '../locate/hop-list.js';
import type { Binding } from '../registrar/binding.js';
import { instanceOfGruu } from '../registrar/gruu.js';
import type { Shard } from '../shard.js';
import { securely } from '../transports/secure.js';
import { ownRoutes } from './own-routes.js';
import type { Plan, Target } from './plan.js';

const RETRY = headerLine('Retry-After', '10');

/** Request + identity → plan. Requests go only to registered contacts and configured peers: there is no open relay. */
export function decide(shard: Shard, inbound: Inbound): Plan | Verdict {
  const { m } = inbound;
  const uri = targetOf(inbound);
  if (uri === undefined)
    return m.uri.includes(':') && !/^sips?:/i.test(m.uri)
      ? reply(416, 'unsupported-scheme')
      : reply(400, 'malformed-uri');
  if (uri.scheme === 'tel') return reply(416, 'unsupported-scheme');
  const sips = uri.scheme === 'sips';
  if (sips && !isSecure(shard.m.realms.listener(inbound.via).transport)) return reply(416, 'unsupported-scheme');
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
  return refused ?? securely(targetsOf(shard, inbound, uri, named), sips);
}

/** Limits on new calls; requests outside calls are bounded by the transaction tables. */
export function admit(shard: Shard, { m, identity }: Inbound): Verdict | undefined {
  if (m.method !== 'INVITE') return undefined;
  if (shard.draining) return reply(503, 'draining', RETRY);
  if (shard.calls.size >= shard.o.calls.max) return reply(503, 'call-limit', RETRY);
  if (identity.kind !== 'subscriber') return undefined;
  const mine = shard.perSubscriber.get(identity.aor) ?? 0;
  return mine >= shard.o.calls.perSubscriber ? reply(486, 'session-limit') : undefined;
}

/** `named`: the flow that our own Path in its Route names. */
function targetsOf(shard: Shard, inbound: Inbound, uri: SipUri, named: Flow | 'gone' | undefined): Plan | Verdict {
  const { domains, registrar, realms, subscribers } = shard.m;
  const { identity, m } = inbound;
  if (identity.kind === 'peer' && (realms.isOwn(uri.host) || domains.lookup(uri.host)?.name === identity.domain)) {
    // An upstream calls the contact that we registered there (RFC 3261 §10: its user part is ours).
    const binding = registrar.byOpaque(uri.user ?? '');
    if (binding?.kind === 'upstream' && binding.domain === identity.domain) {
      const plan = toBindings(shard, inbound, [binding], [binding], binding.aor);
      // The phone has another flow by now, or had: its registration there names that one (RFC 5626 §5.3). Unless it sleeps.
      const failed = named !== undefined && binding.flow !== named;
      return failed && (plan.do !== 'forward' || plan.onward === undefined) ? reply(430, 'flow-gone') : plan;
    }
    // A contact of ours that is over. To the upstream that is nobody home, not no such number.
    if (domains.lookup(uri.host) === undefined) return reply(named === 'gone' ? 430 : 480, 'flow-gone');
  }
  if (named === 'gone') return reply(430, 'flow-gone');
  const to = domains.address(m.uri);
  if (to === undefined) return reply(404, 'unknown-domain');
  if (to.domain.kind === 'upstream') {
    if (identity.kind === 'peer' && identity.domain === to.domain.name) return reply(404, 'not-found');
    return toUpstream(shard, inbound, to.domain, to.aor, uri);
  }
  const gr = uri.params.get('gr');
  if (gr !== undefined) return toInstance(shard, inbound, to, gr);
  const known = registrar.bindings.of(to.aor);
  if (known.length > 0) return toBindings(shard, inbound, registrar.lookup(to.aor), known, to.aor);
  return subscribers.get(to.user, to.domain.name) === undefined
    ? reply(404, 'not-found')
    : reply(480, 'not-registered');
}

/** A GRUU reaches the one phone that it names and no other (RFC 5627 §5.4); `gr` is empty in a temporary one. */
function toInstance(shard: Shard, inbound: Inbound, to: Addressed, gr: string): Plan | Verdict {
  const { registrar, subscribers } = shard.m;
  const of = gr === '' ? registrar.gruus.find(to.user, name => registrar.byOpaque(name)) : undefined;
  if (gr === '' && of?.domain !== to.domain.name) return reply(404, 'not-found');
  const aor = of?.aor ?? to.aor;
  const instance = of?.instance ?? instanceOfGruu(gr);
  const meant = (b: Binding): boolean => b.instance === instance;
  const known = registrar.bindings.of(aor).filter(meant);
  if (known.length > 0) return toBindings(shard, inbound, registrar.lookup(aor).filter(meant), known, aor);
  const user = aor.slice(0, aor.lastIndexOf('@'));
  return subscribers.get(user, to.domain.name) === undefined ? reply(404, 'not-found') : reply(480, 'not-registered');
}

/** `reached`: those of `known` that have a flow, best first; phones among the rest that can be woken ring when they are. */
function toBindings(
  shard: Shard,
  { now, m }: Inbound,
  reached: readonly Binding[],
  known: readonly Binding[],
  callee: string,
): Plan | Verdict {
  const { waker } = shard.m;
  const onward = waker?.onward(now, m.method, known);
  const alive = reached.filter(b => b.flow.alive && (onward === undefined || waker?.asleep(now, b) !== true));
  const targets =
    alive.length < 2 ? alive.map(b => targetOfBinding(shard, b, undefined)) : onePerInstance(shard, alive);
  if (targets.length === 0 && onward === undefined) return reply(480, 'flow-gone');
  return { do: 'forward', targets, callee, onward };
}

/** RFC 5626 §7: several flows of one phone are tried one after the other, in the order given; only different phones ring together. */
function onePerInstance(shard: Shard, bindings: readonly Binding[]): Target[] {
  const targets: Target[] = [];
  const chains = new Map<string, number>();
  for (let i = bindings.length - 1; i >= 0; i--) {
    const b = bindings[i] as Binding;
    const at = b.instance === '' ? undefined : chains.get(b.instance);
    if (at === undefined) {
      if (b.instance !== '') chains.set(b.instance, targets.length);
      targets.push(targetOfBinding(shard, b, undefined));
    } else targets[at] = targetOfBinding(shard, b, targets[at]);
  }
  return targets.reverse();
}

/** A registered contact as a place to send to: over its own flow, whatever its URI says. */
export function targetOfBinding(shard: Shard, b: Binding, otherwise: Target | undefined): Target {
  return {
    flow: b.flow,
    listener: shard.m.realms.listener(b.flow.via),
    uri: b.contact,
    routes: b.path.length === 0 ? undefined : b.path,
    q: b.q,
    identity: { kind: 'subscriber', user: b.aor.slice(0, b.aor.lastIndexOf('@')), domain: b.domain, aor: b.aor },
    upstream: undefined,
    otherwise,
  };
}

/** The first next hop that we can send to; the Request-URI's host stays the domain's, so that digests pass end to end. */
function toUpstream(
  shard: Shard,
  { now }: Inbound,
  domain: UpstreamDomain,
  callee: string,
  uri: SipUri,
): Plan | Verdict {
  let target: Target | undefined;
  const hops = domain.next.current(now);
  if (hops.length === 0) return reply(503, 'unresolvable', RETRY);
  for (let i = hops.length - 1; i >= 0; i--) {
    const next = hops[i] as NextHop;
    const flow = shard.m.flows.dialled(now, next.listener.via, next.endpoint, next.host);
    if (flow === undefined) continue;
    target = {
      flow,
      listener: next.listener,
      uri: `${uri.scheme}:${uri.user ?? ''}@${domain.name.includes(':') ? `[${domain.name}]` : domain.name}${uri.params.has('user') ? `;user=${uri.params.get('user') ?? ''}` : ''}`,
      q: 1,
      identity: { kind: 'peer', domain: domain.name },
      upstream: domain.name,
      hops: domain.next,
      otherwise: target,
    };
  }
  return target === undefined ? reply(503, 'next-hop-down', RETRY) : { do: 'forward', targets: [target], callee };
}
