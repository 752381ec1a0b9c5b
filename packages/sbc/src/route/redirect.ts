import { own, type Tx } from '@drawbridge/core';
import { formatUri, headerLine, type MessageView, parseContacts, parseUri } from '@drawbridge/sip';
import type { Call } from '../call/call.js';
import type { Leg } from '../call/leg.js';
import { locate } from '../decide/locate.js';
import type { Target } from '../decide/plan.js';
import { Wanted } from '../decide/wanted.js';
import type { Shard } from '../shard.js';

/** Contacts that one call follows, all its redirections together. */
const MOST = 5;

/** What a 3xx of a callee comes to. Undefined: nothing, it counts as a failure. */
export type Redirected =
  | { readonly do: 'ring'; readonly targets: readonly Target[] }
  | { readonly do: 'pass'; readonly headers: string }
  | undefined;

/**
 * RFC 3261 §8.1.3.4 under policy: contacts are followed by falling q, each once in a call, and only where a plain call
 * would be let through. A subscriber who redirects does so in his own name, a trunk in the caller's.
 */
export function redirected(shard: Shard, call: Call, callee: Leg, m: MessageView, now: number): Redirected {
  const trunk = callee.identity.kind === 'trunk' ? shard.m.trunks.get(callee.identity.trunk) : undefined;
  const policy = trunk?.o.redirect ?? shard.o.calls.redirect;
  if (policy === 'refuse') return undefined;
  const contacts = parseContacts(m) ?? [];
  if (contacts.length > 1) contacts.sort((a, b) => b.q - a.q);
  const identity = policy === 'recurse' && callee.identity.kind === 'subscriber' ? callee.identity : call.identity;
  const targets: Target[] = [];
  let lines = '';
  for (const c of contacts) {
    if (call.redirects.size >= MOST) break;
    const uri = c.wildcard ? undefined : parseUri(c.uri);
    if (uri === undefined) continue;
    // Headers that a contact would put into our request are none of ours (RFC 3261 §19.1.5).
    const text = own(uri.headers === '' ? c.uri : formatUri({ ...uri, headers: '' }));
    const key = text.toLowerCase();
    if (call.redirects.has(key)) continue;
    call.redirects.add(key);
    const { numbering } = shard.m.routing.o;
    const caller = identity.kind === 'subscriber' ? identity.aor : call.caller.reveal().replace(/^sip:/, '');
    const wanted = new Wanted({ now, identity, uri, text, caller, numbering, method: 'INVITE', atOnce: true });
    const at = locate(shard, wanted);
    if (at.do !== 'forward') continue;
    if (policy === 'recurse') for (const t of at.targets) targets.push({ ...t, q: c.q });
    else lines += headerLine('Contact', `<${shown(shard, call, wanted)}>;q=${c.q.toFixed(1)}`);
  }
  if (policy === 'pass') return lines === '' ? undefined : { do: 'pass', headers: lines };
  return targets.length === 0 ? undefined : { do: 'ring', targets };
}

/** An address that the caller can call: one of our domains, or the number at his own. */
function shown(shard: Shard, call: Call, w: Wanted): string {
  const to = w.uri.scheme === 'tel' ? undefined : shard.m.domains.address(w.text);
  if (to !== undefined) return `sip:${w.uri.user ?? ''}@${to.domain.name}`;
  const home =
    call.identity.kind === 'subscriber' ? call.identity.domain : shard.m.realms.listener(call.invite.flow.via).sentBy;
  return `sip:${w.dialled.e164 ?? w.uri.user ?? ''}@${home}`;
}

/** The contacts of the highest q ring at once, the others wait for them. */
export function ringRedirected(call: Call, targets: readonly Target[], now: number, tx: Tx): void {
  const q = targets[0]?.q ?? 0;
  const first = targets.filter(t => t.q === q);
  call.waiting.unshift(...targets.slice(first.length));
  call.search.also(call, first, now, tx);
}
