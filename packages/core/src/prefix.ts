import { parseAddressWords } from './address.js';
import { ENDPOINT_WORDS, type Endpoints } from './endpoints.js';

/** One CIDR prefix; IPv4 prefixes are kept as v4-in-v6 with 96 added to the length. */
interface Prefix {
  readonly words: Uint32Array;
  readonly length: number;
  readonly text: string;
}

/**
 * A short list of CIDR prefixes (a realm's networks, a site, a trust list), searched linearly.
 * `0.0.0.0/0` matches IPv4 only, `::/0` IPv6 and, since IPv4 lives in ::ffff:0:0/96, not IPv4.
 */
export class PrefixSet {
  readonly #list: Prefix[] = [];

  /** Bad entries are returned, not thrown: the caller owns the words of the complaint. */
  static parse(texts: readonly string[]): PrefixSet | { readonly bad: string } {
    const set = new PrefixSet();
    for (const text of texts) if (!set.add(text)) return { bad: text };
    return set;
  }

  add(text: string): boolean {
    const slash = text.indexOf('/');
    const words = new Uint32Array(4);
    if (!parseAddressWords(slash < 0 ? text : text.slice(0, slash), words, 0)) return false;
    const v4 = isV4(words, 0);
    const max = v4 ? 32 : 128;
    const digits = slash < 0 ? String(max) : text.slice(slash + 1);
    if (!/^\d{1,3}$/.test(digits) || Number(digits) > max) return false;
    this.#list.push({ words, length: Number(digits) + (v4 ? 96 : 0), text });
    return true;
  }

  get size(): number {
    return this.#list.length;
  }

  has(e: Endpoints, i: number): boolean {
    return this.match(e, i) !== undefined;
  }

  /** The prefix that hit, as it was written: for logs that say which rule it was. */
  match(e: Endpoints, i: number): string | undefined {
    const at = i * ENDPOINT_WORDS;
    const v4 = isV4(e.words, at);
    for (const p of this.#list) {
      if (v4 !== isV4(p.words, 0)) continue;
      if (within(p, e.words, at)) return p.text;
    }
    return undefined;
  }

  hasAddress(address: string): boolean {
    if (!parseAddressWords(address, scratch, 0)) return false;
    const v4 = isV4(scratch, 0);
    return this.#list.some(p => v4 === isV4(p.words, 0) && within(p, scratch, 0));
  }
}

const scratch = new Uint32Array(ENDPOINT_WORDS);

function isV4(w: Uint32Array, at: number): boolean {
  return w[at] === 0 && w[at + 1] === 0 && w[at + 2] === 0xffff;
}

function within(p: Prefix, w: Uint32Array, at: number): boolean {
  let left = p.length;
  for (let k = 0; k < 4 && left > 0; k++, left -= 32) {
    const mask = left >= 32 ? 0xffffffff : (0xffffffff << (32 - left)) >>> 0;
    if (((p.words[k]! ^ w[at + k]!) & mask) !== 0) return false;
  }
  return true;
}
