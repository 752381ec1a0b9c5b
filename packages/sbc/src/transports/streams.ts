import { isStream } from '@drawbridge/core';
import { H, parseVia } from '@drawbridge/sip';
import type { Inbound } from '../inbound.js';
import type { Shard } from '../shard.js';

/** Port of TLS where a Via names none (RFC 3261 §18.2.2). */
const TLS_PORT = 5061;

/** A request that passed authentication came over a stream: the stream may stay, and may serve the way back to a peer that asks so. */
export function known(shard: Shard, inbound: Inbound): void {
  const { via, identity } = inbound;
  if (!isStream(via) || identity.kind === 'none') return;
  shard.m.flows.vouch(via);
  if (identity.kind === 'peer' || identity.kind === 'trunk') reuse(shard, inbound);
}

/**
 * RFC 5923 §5: with `alias` in its Via a peer says that requests to where it listens may come over this connection. Only a
 * verified certificate makes that so, and only for the names in it.
 */
function reuse(shard: Shard, { now, m, via, peer, j }: Inbound): void {
  const { flows } = shard.m;
  if (flows.namesOf(via).length === 0) return;
  const top = parseVia(m.list(H.via)[0] ?? '');
  if (top === undefined || !top.params.has('alias')) return;
  const flow = flows.of(now, via, peer, j);
  if (flow !== undefined) flows.alias(flow, { address: peer.address(j), port: top.port ?? TLS_PORT });
}
