import { randomToken } from '@drawbridge/core';
import type { Shard } from '../shard.js';

/** Owner's index and 96 random bits (16 characters): Call-IDs and tags by which a shard finds what is its own. */
export function mint(shard: Shard): string {
  return shard.o.index.toString(36) + randomToken(shard.m.random, 16);
}

/** Shorter, for people to read and type: a call's reference in logs. No guess at it gives anything. */
export function mintRef(shard: Shard): string {
  let ref = '';
  for (let n = shard.m.random.u32(), i = 0; i < 6; i++, n = Math.floor(n / 32))
    ref += 'abcdefghijkmnpqrstuvwxyz23456789'[n & 31];
  return shard.calls.has(ref) || shard.subscriptions.has(ref) ? mintRef(shard) : ref;
}
