import { Endpoints } from '@drawbridge/core';

export interface AdmissionLimits {
  /** Accepted streams of one address (IPv6: one /64). */
  readonly maxPerAddress: number;
  /** Accepted streams of one network: IPv4 /24, IPv6 /48. */
  readonly maxPerNetwork: number;
}

/** Counts the accepted streams per address and per network around it. */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #counts = new Map<string, number>();
  readonly #scratch = new Endpoints(1);

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
  }

  /** Keys in use: none when no stream is left. */
  get size(): number {
    return this.#counts.size;
  }

  /** False: a cap is reached, and nothing was counted. */
  enter(address: string): boolean {
    const [near, wide] = this.#keys(address);
    if (this.#of(near) >= this.#limits.maxPerAddress || this.#of(wide) >= this.#limits.maxPerNetwork) return false;
    this.#counts.set(near, this.#of(near) + 1);
    this.#counts.set(wide, this.#of(wide) + 1);
    return true;
  }

  leave(address: string): void {
    for (const key of this.#keys(address)) {
      const n = this.#of(key) - 1;
      if (n > 0) this.#counts.set(key, n);
      else this.#counts.delete(key);
    }
  }

  #of(key: string): number {
    return this.#counts.get(key) ?? 0;
  }

  #keys(address: string): [string, string] {
    if (!address.includes(':')) return [address, address.slice(0, address.lastIndexOf('.') + 1)];
    const e = this.#scratch;
    if (!e.set(0, { address, port: 0 })) return [address, `${address}/`];
    const [a, b] = [e.words[0]!, e.words[1]!];
    return [`${a}:${b}`, `${a}:${b >>> 16}/48`];
  }
}
