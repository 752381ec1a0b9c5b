/** Injected randomness; the shell gives a CSPRNG, tests a seeded one. */
export interface Random {
  /** Uniform 32-bit unsigned. */
  u32(): number;
  /** `n` random bytes. */
  bytes(n: number): Uint8Array;
}

const ALPHABET = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-.';

/** `chars` token characters (RFC 3261 §25.1) of 6 random bits each: 16 make 96 bits. */
export function randomToken(random: Random, chars: number): string {
  let out = '';
  let pool = 0;
  let bits = 0;
  for (let i = 0; i < chars; i++) {
    if (bits < 6) {
      pool = random.u32();
      bits = 30;
    }
    out += ALPHABET[pool & 63];
    pool >>>= 6;
    bits -= 6;
  }
  return out;
}

/** Repeatable randomness for tests and simulations (mulberry32). Never for anything a peer must not guess. */
export function seededRandom(seed: number): Random {
  let a = seed >>> 0;
  const u32 = (): number => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = a;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
  return {
    u32,
    bytes(n) {
      const out = new Uint8Array(n);
      for (let i = 0; i < n; i++) out[i] = u32() & 255;
      return out;
    },
  };
}
