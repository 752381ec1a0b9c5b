import type { Mono } from '@drawbridge/core';
import type { Flow, FlowTable } from '@drawbridge/sip';
import type { Domains } from '../domains.js';
import type { Realms } from '../realms.js';
import type { Trunks } from '../trunk/trunks.js';

/**
 * RFC 3261 §18.2.2: the connection of a request is gone, its response goes to the address it came from, at the port of its Via.
 * Only to configured peers: a phone's Via says nothing of how to reach it, and would let it aim us at others.
 */
export function wayBack(
  now: Mono,
  flow: Flow,
  sentBy: string,
  m: { readonly flows: FlowTable; readonly realms: Realms; readonly domains: Domains; readonly trunks: Trunks },
): Flow | undefined {
  const { transport } = flow;
  if (transport !== 'tcp' && transport !== 'tls') return undefined;
  const listener = m.realms.listener(flow.via);
  const { via } = listener;
  const list = m.domains.peer(via, flow.peer, flow.j)?.next ?? m.trunks.peer(via, flow.peer, flow.j)?.hops;
  const hops = list?.all ?? [];
  const hop = hops.find(n => n.transport === transport && n.packed.sameAddress(0, flow.peer, flow.j));
  if (hop === undefined) return undefined;
  const port = Number(/:(\d{1,5})$/.exec(sentBy)?.[1] ?? (transport === 'tls' ? 5061 : 5060));
  if (port < 1 || port > 65535) return undefined;
  return m.flows.dialled(now, hop.listener.via, { address: flow.address, port }, hop.host);
}
