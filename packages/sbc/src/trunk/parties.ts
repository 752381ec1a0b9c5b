import { parseNameAddr, parseUri } from '@drawbridge/sip';
import type { Target } from '../decide/plan.js';
import type { Shard } from '../shard.js';

/** Values of From and To without tag. */
export interface Parties {
  readonly from: string;
  readonly to: string;
}

/**
 * From and To toward a trunk: To is where the request goes; From is the caller as others see him, with the user that the
 * configuration wants, and the provider's host where we have an account there. Toward anybody else they stay.
 */
export function trunkParties(shard: Shard, { identity, uri }: Target, parties: Parties): Parties {
  const trunk = identity.kind === 'trunk' ? shard.m.trunks.get(identity.trunk) : undefined;
  if (trunk === undefined) return parties;
  const { from } = parties;
  const { fromUser, register, auth } = trunk.o;
  const to = `<${uri}>`;
  const party = parseNameAddr(from);
  const said = parseUri(party?.uri ?? '');
  // Who stays unnamed stays so.
  if (said?.host === 'anonymous.invalid') return { from, to };
  if (fromUser !== 'caller') return { from: `<sip:${fromUser}@${trunk.host}>`, to };
  if ((register === undefined && auth === undefined) || said?.user === undefined) return { from, to };
  const display = from.slice(0, Math.max(0, from.indexOf('<')));
  return { from: `${display}<sip:${said.user}@${trunk.host}>`, to };
}
