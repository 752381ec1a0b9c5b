import { randomBytes, randomFillSync } from 'node:crypto';
import type { Random } from '@drawbridge/core';

const pool = new Uint32Array(4096);
let left = 0;

/** The machine's CSPRNG as the cores want it, drawn 16 kB at a time. */
export const systemRandom: Random = {
  u32() {
    if (left === 0) {
      randomFillSync(pool);
      left = pool.length;
    }
    return pool[--left]!;
  },
  bytes(n) {
    return randomBytes(n);
  },
};

/** Monotonic milliseconds since some start. */
export function monotonicNow(): number {
  return performance.now();
}

/** Milliseconds since 1970. */
export function wallNow(): number {
  return Date.now();
}
