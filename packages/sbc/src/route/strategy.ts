import type { Random } from '@drawbridge/core';

export interface Weighted {
  readonly name: string;
  readonly o: { readonly priority: number; readonly weight: number };
}

export type Strategy = 'priority' | 'weighted' | 'roundRobin' | 'hash';

/**
 * The order in which the members of a group are tried: by rising priority, and among equals as the strategy says.
 * `turn` counts the calls of the group, `key` is who must stay with the same member.
 */
export function inOrder<T extends Weighted>(
  members: readonly T[],
  strategy: Strategy,
  by: { readonly random: Random; readonly turn: number; readonly key: string },
): T[] {
  const levels = new Map<number, T[]>();
  for (const m of members) {
    const level = levels.get(m.o.priority);
    if (level === undefined) levels.set(m.o.priority, [m]);
    else level.push(m);
  }
  const risen = [...levels.entries()].sort(([a], [b]) => a - b);
  return risen.flatMap(([, level]) => (level.length < 2 ? level : arranged(level, strategy, by)));
}

function arranged<T extends Weighted>(
  level: T[],
  strategy: Strategy,
  by: { readonly random: Random; readonly turn: number; readonly key: string },
): T[] {
  if (strategy === 'weighted') return drawn(level, by.random);
  if (strategy === 'hash') return rendezvous(level, by.key);
  if (strategy === 'priority') return level;
  const first = by.turn % level.length;
  return [...level.slice(first), ...level.slice(0, first)];
}

/** RFC 2782: drawn one after the other, each with the share that its weight has of what is left. */
function drawn<T extends Weighted>(level: readonly T[], random: Random): T[] {
  const left = [...level];
  const out: T[] = [];
  while (left.length > 0) {
    const sum = left.reduce((n, m) => n + m.o.weight, 0);
    let at = (random.u32() / 0x1_0000_0000) * sum;
    let pick = 0;
    while (pick < left.length - 1 && at >= (left[pick]?.o.weight ?? 0)) {
      at -= left[pick]?.o.weight ?? 0;
      pick++;
    }
    out.push(...left.splice(pick, 1));
  }
  return out;
}

/** Weighted rendezvous hashing: when a member comes or goes only its own callers move. */
function rendezvous<T extends Weighted>(level: readonly T[], key: string): T[] {
  return level
    .map(m => ({ m, score: -m.o.weight / Math.log((hash(`${m.name}\n${key}`) + 0.5) / 0x1_0000_0000) }))
    .sort((a, b) => b.score - a.score)
    .map(s => s.m);
}

/** FNV-1a with a final mix: who lands where is no secret, it only has to be even. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
