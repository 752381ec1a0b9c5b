import type { Endpoint, Family } from './address.js';
import { formatAddressWords, parseAddressWords } from './address.js';

/** Words per endpoint: four of address (big-endian, IPv4 as v4-in-v6), one of port. */
export const ENDPOINT_WORDS = 5;

/** Packed addresses and ports: columns of a batch, or slots of a pool. Only `get` and `address` allocate. */
export class Endpoints {
  readonly capacity: number;
  readonly words: Uint32Array;

  constructor(capacity: number, words: Uint32Array = new Uint32Array(capacity * ENDPOINT_WORDS)) {
    this.capacity = capacity;
    this.words = words;
  }

  static of(...list: readonly Endpoint[]): Endpoints {
    const made = new Endpoints(list.length);
    list.forEach((e, i) => {
      if (!made.set(i, e)) throw new TypeError(`not an address: ${e.address}`);
    });
    return made;
  }

  /** False when the address is not one. */
  set(i: number, e: Endpoint): boolean {
    const at = i * ENDPOINT_WORDS;
    if (!parseAddressWords(e.address, this.words, at)) return false;
    this.words[at + 4] = e.port;
    return true;
  }

  /** `address` in network byte order, as in a sockaddr_in read little-endian-free. */
  setV4(i: number, address: number, port: number): void {
    const at = i * ENDPOINT_WORDS;
    const w = this.words;
    w[at] = 0;
    w[at + 1] = 0;
    w[at + 2] = 0xffff;
    w[at + 3] = address;
    w[at + 4] = port;
  }

  setWords(i: number, a: number, b: number, c: number, d: number, port: number): void {
    const at = i * ENDPOINT_WORDS;
    const w = this.words;
    w[at] = a;
    w[at + 1] = b;
    w[at + 2] = c;
    w[at + 3] = d;
    w[at + 4] = port;
  }

  copy(i: number, from: Endpoints, j: number): void {
    const to = i * ENDPOINT_WORDS;
    const at = j * ENDPOINT_WORDS;
    for (let k = 0; k < ENDPOINT_WORDS; k++) this.words[to + k] = from.words[at + k]!;
  }

  equal(i: number, other: Endpoints, j: number): boolean {
    return this.words[i * ENDPOINT_WORDS + 4] === other.words[j * ENDPOINT_WORDS + 4] && this.sameAddress(i, other, j);
  }

  /** Same host, whatever the port: what a NAT that rebinds keeps. */
  sameAddress(i: number, other: Endpoints, j: number): boolean {
    const a = this.words;
    const b = other.words;
    const p = i * ENDPOINT_WORDS;
    const q = j * ENDPOINT_WORDS;
    return a[p + 3] === b[q + 3] && a[p + 2] === b[q + 2] && a[p + 1] === b[q + 1] && a[p] === b[q];
  }

  /** Keyed 32-bit hash of address and port. */
  hash(i: number, seed: number): number {
    const at = i * ENDPOINT_WORDS;
    let h = seed | 0;
    for (let k = 0; k < ENDPOINT_WORDS; k++) {
      h = Math.imul(h ^ this.words[at + k]!, 0x9e3779b1);
      h ^= h >>> 15;
    }
    h = Math.imul(h ^ (h >>> 13), 0x85ebca6b);
    return (h ^ (h >>> 16)) >>> 0;
  }

  family(i: number): Family {
    const at = i * ENDPOINT_WORDS;
    const w = this.words;
    return w[at] === 0 && w[at + 1] === 0 && w[at + 2] === 0xffff ? 4 : 6;
  }

  port(i: number): number {
    return this.words[i * ENDPOINT_WORDS + 4]!;
  }

  /** IPv4 address as a number; meaningful when `family(i)` is 4. */
  v4(i: number): number {
    return this.words[i * ENDPOINT_WORDS + 3]!;
  }

  address(i: number): string {
    return formatAddressWords(this.words, i * ENDPOINT_WORDS);
  }

  get(i: number): Endpoint {
    return { address: this.address(i), port: this.port(i) };
  }
}
