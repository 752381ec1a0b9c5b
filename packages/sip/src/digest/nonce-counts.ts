/** Counts below the highest that may still come, once each (reordered on the way). */
const WINDOW = 32;
const NONE = -1;

/**
 * Which nonce counts were used (RFC 7616 §3.4, `nc`). An entry is made by the first valid credential, so that
 * guessing costs us nothing. When the table is full the oldest entry goes, and with it every nonce that is as old
 * or older and has no entry: forgetting must not allow a replay.
 *
 * A nonce is known by its time and salt. Entries stand in a ring in the order they came, so that making room is taking
 * from its end, and are found through a hash: no object each, nothing for the collector.
 */
export class NonceCounts {
  readonly #max: number;
  readonly #lifetimeMs: number;
  readonly #mintedAt: Float64Array;
  readonly #salt: Uint32Array;
  readonly #highest: Uint32Array;
  /** Bit k: `highest - k` was used. */
  readonly #used: Uint32Array;
  readonly #heads: Int32Array;
  readonly #chain: Int32Array;
  #oldest = 0;
  #size = 0;
  #floor = Number.NEGATIVE_INFINITY;

  constructor(max: number, lifetimeMs: number) {
    this.#max = max;
    this.#lifetimeMs = lifetimeMs;
    this.#mintedAt = new Float64Array(max);
    this.#salt = new Uint32Array(max);
    this.#highest = new Uint32Array(max);
    this.#used = new Uint32Array(max);
    this.#chain = new Int32Array(max);
    let buckets = 16;
    while (buckets < max) buckets *= 2;
    this.#heads = new Int32Array(buckets).fill(NONE);
  }

  get size(): number {
    return this.#size;
  }

  /** Takes `nc` of a nonce whose credential was valid; false when it was used before, or may have been. */
  take(wall: number, mintedAt: number, salt: number, nc: number): boolean {
    const slot = this.#find(mintedAt, salt);
    if (slot === NONE) {
      if (mintedAt <= this.#floor) return false;
      this.#makeRoom(wall);
      this.#add(mintedAt, salt, nc);
      return true;
    }
    const used = this.#used[slot]!;
    const ahead = nc - this.#highest[slot]!;
    if (ahead > 0) {
      this.#used[slot] = ahead >= WINDOW ? 1 : (used << ahead) | 1;
      this.#highest[slot] = nc;
      return true;
    }
    if (ahead <= -WINDOW) return false;
    const bit = 1 << -ahead;
    if ((used & bit) !== 0) return false;
    this.#used[slot] = used | bit;
    return true;
  }

  #bucket(mintedAt: number, salt: number): number {
    const h = Math.imul(salt ^ mintedAt, 0x9e3779b1);
    return (h ^ (h >>> 15)) & (this.#heads.length - 1);
  }

  #find(mintedAt: number, salt: number): number {
    for (let s = this.#heads[this.#bucket(mintedAt, salt)]!; s !== NONE; s = this.#chain[s]!)
      if (this.#salt[s] === salt && this.#mintedAt[s] === mintedAt) return s;
    return NONE;
  }

  #add(mintedAt: number, salt: number, nc: number): void {
    const slot = (this.#oldest + this.#size++) % this.#max;
    this.#mintedAt[slot] = mintedAt;
    this.#salt[slot] = salt;
    this.#highest[slot] = nc;
    this.#used[slot] = 1;
    const b = this.#bucket(mintedAt, salt);
    this.#chain[slot] = this.#heads[b]!;
    this.#heads[b] = slot;
  }

  #makeRoom(wall: number): void {
    while (this.#size > 0) {
      const mintedAt = this.#mintedAt[this.#oldest]!;
      const expired = wall - mintedAt > this.#lifetimeMs;
      if (!expired && this.#size < this.#max) return;
      this.#dropOldest();
      if (!expired && mintedAt > this.#floor) this.#floor = mintedAt;
    }
  }

  #dropOldest(): void {
    const slot = this.#oldest;
    const b = this.#bucket(this.#mintedAt[slot]!, this.#salt[slot]!);
    if (this.#heads[b] === slot) this.#heads[b] = this.#chain[slot]!;
    else {
      let s = this.#heads[b]!;
      while (this.#chain[s] !== slot) s = this.#chain[s]!;
      this.#chain[s] = this.#chain[slot]!;
    }
    this.#oldest = (slot + 1) % this.#max;
    this.#size--;
  }
}
