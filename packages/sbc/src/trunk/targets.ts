import { type Mono, own } from '@drawbridge/core';
import { escapeUser } from '@drawbridge/sip';
import type { Target } from '../decide/plan.js';
import { type Numbering, written } from '../route/number.js';
import type { Shard } from '../shard.js';
import type { Trunk, TrunkUse } from './trunk.js';

/** Silence of a trunk while others could take the call: five transmissions. */
const SILENCE_MS = 8000;

export interface TrunkTargetOptions {
  /** Down or not, full or not. */
  readonly anyway: boolean;
  /** Somebody else could take it. */
  readonly more: boolean;
}

/** A number on its way to a trunk: its next hops, each the substitute of the one before. Undefined: none can be used. */
export function trunkTarget(
  shard: Shard,
  now: Mono,
  use: TrunkUse,
  number: string,
  numbering: Numbering,
  o: TrunkTargetOptions,
): Target | undefined {
  const { trunk } = use;
  const uri = trunkUri(trunk, number, numbering);
  let target: Target | undefined;
  for (const hop of trunk.usable(now, o.anyway).reverse()) {
    const flow = shard.m.flows.dialled(now, hop.listener.via, hop.endpoint, hop.host);
    if (flow === undefined) continue;
    const timeoutMs = o.more || target !== undefined ? SILENCE_MS : undefined;
    target = {
      flow,
      listener: hop.listener,
      uri,
      q: 1,
      identity: { kind: 'trunk', trunk: trunk.name },
      upstream: undefined,
      hops: trunk.hops,
      otherwise: target,
      keeper: use,
      timeoutMs,
    };
  }
  return target;
}

export function trunkUri(trunk: Trunk, number: string, numbering: Numbering): string {
  const { numbers, prefix = '' } = trunk.o;
  const user = escapeUser(prefix + written(number, numbers.form, numbering));
  return own(`sip:${user}@${trunk.host}${numbers.phone ? ';user=phone' : ''}`);
}
