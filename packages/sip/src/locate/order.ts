import type { Random } from '@drawbridge/core';

/** One choice among others of the same priority; `weight` 0 … 65535. */
export interface Weighted {
  readonly weight: number;
}

/**
 * RFC 2782: choices of one priority in the order in which to try them, drawn anew with each call. Each place goes to one of those
 * left with a chance in proportion to its weight; weight 0 comes before others only very rarely.
 */
export function drawByWeight<T extends Weighted>(choices: readonly T[], random: Random): readonly T[] {
  if (choices.length < 2) return choices;
  const left = [...choices.filter(c => c.weight === 0), ...choices.filter(c => c.weight !== 0)];
  let sum = 0;
  for (const c of left) sum += c.weight;
  const drawn: T[] = [];
  while (left.length > 0) {
    const at = sum === 0 ? below(left.length, random) : place(left, below(sum + 1, random));
    const [chosen] = left.splice(at, 1);
    if (chosen === undefined) break;
    sum -= chosen.weight;
    drawn.push(chosen);
  }
  return drawn;
}

/** The first whose running sum reaches the number. */
function place(choices: readonly Weighted[], number: number): number {
  let sum = 0;
  return choices.findIndex(c => {
    sum += c.weight;
    return sum >= number;
  });
}

/** 0 … n − 1. */
function below(n: number, random: Random): number {
  return Math.floor((random.u32() / 2 ** 32) * n);
}
