import { type Reason, reply, type Verdict } from '@drawbridge/core';
import { headerLine, type SipUri } from '@drawbridge/sip';
import type { Addressed, UpstreamDomain } from '../domains.js';
import type { NextHop } from '../locate/hop-list.js';
import type { Binding } from '../registrar/binding.js';
import { instanceOfGruu } from '../registrar/gruu.js';
import type { Shard } from '../shard.js';
import type { Plan, Target } from './plan.js';
import type { Wanted } from './wanted.js';

export const RETRY = headerLine('Retry-After', '10');

/** Targets of a request, or why there are none. */
export type Located =
  | Extract<Plan, { do: 'forward' }>
  | (Extract<Verdict, { do: 'reply' }> & { readonly callee?: string });

export function refusal(status: number, reason: Reason, headers?: string): Located {
  return reply(status, reason, headers) as Extract<Verdict, { do: 'reply' }>;
}

/** A subscriber of ours without a phone that can be reached: he may have his calls sent on. */
export function offline(reason: 'not-registered' | 'flow-gone', callee: string): Located {
  return { ...(reply(480, reason) as Extract<Verdict, { do: 'reply' }>), callee };
}

/** A GRUU reaches the one phone that it names and no other (RFC 5627 §5.4); `gr` is empty in a temporary one. */
export function toInstance(shard: Shard, w: Wanted, to: Addressed, gr: string): Located {
  const { registrar, subscribers } = shard.m;
  const of = gr === '' ? registrar.gruus.find(to.user, name => registrar.byOpaque(name)) : undefined;
  if (gr === '' && of?.domain !== to.domain.name) return refusal(404, 'not-found');
  const aor = of?.aor ?? to.aor;
  const instance = of?.instance ?? instanceOfGruu(gr);
  const meant = (b: Binding): boolean => b.instance === instance;
  const known = registrar.bindings.of(aor).filter(meant);
  if (known.length > 0) return toBindings(shard, w, registrar.lookup(aor).filter(meant), known, aor);
  const user = aor.slice(0, aor.lastIndexOf('@'));
  return subscribers.get(user, to.domain.name) === undefined
    ? refusal(404, 'not-found')
    : offline('not-registered', aor);
}

/** `reached`: those of `known` that have a flow, best first; phones among the rest that can be woken ring when they are. */
export function toBindings(
  shard: Shard,
  { now, method }: Wanted,
  reached: readonly Binding[],
  known: readonly Binding[],
  callee: string,
): Located {
  const { waker } = shard.m;
  const onward = waker?.onward(now, method, known);
  const alive = reached.filter(b => b.flow.alive && (onward === undefined || waker?.asleep(now, b) !== true));
  const targets =
    alive.length < 2 ? alive.map(b => targetOfBinding(shard, b, undefined)) : onePerInstance(shard, alive);
  if (targets.length === 0 && onward === undefined) return offline('flow-gone', callee);
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
export function toUpstream(shard: Shard, w: Wanted, domain: UpstreamDomain, callee: string, uri: SipUri): Located {
  const routes = serviceRouteFor(shard, w, domain);
  let target: Target | undefined;
  const hops = domain.next.current(w.now);
  if (hops.length === 0) return refusal(503, 'unresolvable', RETRY);
  for (let i = hops.length - 1; i >= 0; i--) {
    const next = hops[i] as NextHop;
    const flow = shard.m.flows.dialled(w.now, next.listener.via, next.endpoint, next.host);
    if (flow === undefined) continue;
    target = {
      flow,
      listener: next.listener,
      uri: `${uri.scheme}:${uri.user ?? ''}@${domain.name.includes(':') ? `[${domain.name}]` : domain.name}${uri.params.has('user') ? `;user=${uri.params.get('user') ?? ''}` : ''}`,
      q: 1,
      identity: { kind: 'peer', domain: domain.name },
      routes,
      upstream: domain.name,
      hops: domain.next,
      otherwise: target,
    };
  }
  return target === undefined ? refusal(503, 'next-hop-down', RETRY) : { do: 'forward', targets: [target], callee };
}

/** What its registration there has told the phone that sends this (RFC 3608 §5.1): we walk that way in its place. */
function serviceRouteFor(
  shard: Shard,
  { flow, identity }: Wanted,
  domain: UpstreamDomain,
): readonly string[] | undefined {
  if (flow === undefined || identity.kind !== 'subscriber' || identity.domain !== domain.name) return undefined;
  const route = shard.m.registrar.byFlow(flow).find(b => b.aor === identity.aor)?.serviceRoute;
  return route === undefined || route.length === 0 ? undefined : route;
}
