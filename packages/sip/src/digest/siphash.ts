import { createHmac } from 'node:crypto';

/*
 * SipHash-2-4 with 128 bits of output (Aumasson and Bernstein, 2012): a MAC made for short messages. What we sign is our
 * own and short-lived, as are the cookies of RFC 9018, which name the same function; a native HMAC costs ten times as much
 * per message, nearly all of it for setting itself up.
 *
 * 64-bit words stand as two 32-bit halves. `mix` gathers the message, `end` gives its MAC in `out` and begins anew.
 */
export class SipHash {
  /** The MAC after `end`: four words, each to be read as little-endian bytes. Reused. */
  readonly out = new Int32Array(4);
  readonly #k0l: number;
  readonly #k0h: number;
  readonly #k1l: number;
  readonly #k1h: number;
  #bytes = new Uint8Array(1024);
  #length = 0;

  /** `key`: 16 bytes. */
  constructor(key: Uint8Array) {
    if (key.length !== 16) throw new TypeError('a SipHash key has 16 bytes');
    const words = new DataView(key.buffer, key.byteOffset, 16);
    this.#k0l = words.getInt32(0, true);
    this.#k0h = words.getInt32(4, true);
    this.#k1l = words.getInt32(8, true);
    this.#k1h = words.getInt32(12, true);
  }

  /** With a key of its own for one use of a secret of any length. */
  static of(secret: Uint8Array, use: string): SipHash {
    return new SipHash(createHmac('sha256', secret).update(use).digest().subarray(0, 16));
  }

  mixBytes(from: Uint8Array, start: number, end: number): void {
    this.#room(end - start);
    for (let i = start; i < end; i++) this.#bytes[this.#length++] = from[i]!;
  }

  mixWord(word: number): void {
    this.#room(4);
    const b = this.#bytes;
    const at = this.#length;
    b[at] = word;
    b[at + 1] = word >>> 8;
    b[at + 2] = word >>> 16;
    b[at + 3] = word >>> 24;
    this.#length = at + 4;
  }

  /** One byte per ASCII character, three for any other: two texts never give the same bytes. */
  mixText(text: string): void {
    this.#room(text.length * 3);
    const b = this.#bytes;
    let at = this.#length;
    for (let i = 0; i < text.length; i++) {
      const c = text.charCodeAt(i);
      if (c < 0x80) b[at++] = c;
      else {
        b[at++] = 0xe0 | (c >>> 12);
        b[at++] = 0x80 | ((c >>> 6) & 63);
        b[at++] = 0x80 | (c & 63);
      }
    }
    this.#length = at;
  }

  end(): Int32Array {
    // The last block: what is left, zeros, and the length's low byte on top.
    this.#room(8);
    const b = this.#bytes;
    const length = this.#length;
    this.#length = 0;
    const whole = length & ~7;
    b.fill(0, length, whole + 7);
    b[whole + 7] = length;
    let v0l = this.#k0l ^ 0x70736575;
    let v0h = this.#k0h ^ 0x736f6d65;
    let v1l = this.#k1l ^ 0x6e646f6d ^ 0xee;
    let v1h = this.#k1h ^ 0x646f7261;
    let v2l = this.#k0l ^ 0x6e657261;
    let v2h = this.#k0h ^ 0x6c796765;
    let v3l = this.#k1l ^ 0x79746573;
    let v3h = this.#k1h ^ 0x74656462;
    let ml = 0;
    let mh = 0;
    let t = 0;
    // Two rounds per block, then four after 0xee and four after 0xdd.
    const blocks = (whole >> 3) + 1;
    for (let step = 0; step < blocks + 2; step++) {
      let rounds = 4;
      if (step < blocks) {
        const at = step * 8;
        ml = b[at]! | (b[at + 1]! << 8) | (b[at + 2]! << 16) | (b[at + 3]! << 24);
        mh = b[at + 4]! | (b[at + 5]! << 8) | (b[at + 6]! << 16) | (b[at + 7]! << 24);
        v3l ^= ml;
        v3h ^= mh;
        rounds = 2;
      } else if (step === blocks) {
        v2l ^= 0xee;
      } else {
        this.out[0] = v0l ^ v1l ^ v2l ^ v3l;
        this.out[1] = v0h ^ v1h ^ v2h ^ v3h;
        v1l ^= 0xdd;
      }
      for (let r = 0; r < rounds; r++) {
        // v0 += v1; v1 = rotl(v1, 13) ^ v0; v0 = rotl(v0, 32)
        t = (v0l + v1l) | 0;
        v0h = (v0h + v1h + (t >>> 0 < v0l >>> 0 ? 1 : 0)) | 0;
        v0l = t;
        t = (v1l << 13) | (v1h >>> 19);
        v1h = ((v1h << 13) | (v1l >>> 19)) ^ v0h;
        v1l = t ^ v0l;
        t = v0l;
        v0l = v0h;
        v0h = t;
        // v2 += v3; v3 = rotl(v3, 16) ^ v2
        t = (v2l + v3l) | 0;
        v2h = (v2h + v3h + (t >>> 0 < v2l >>> 0 ? 1 : 0)) | 0;
        v2l = t;
        t = (v3l << 16) | (v3h >>> 16);
        v3h = ((v3h << 16) | (v3l >>> 16)) ^ v2h;
        v3l = t ^ v2l;
        // v0 += v3; v3 = rotl(v3, 21) ^ v0
        t = (v0l + v3l) | 0;
        v0h = (v0h + v3h + (t >>> 0 < v0l >>> 0 ? 1 : 0)) | 0;
        v0l = t;
        t = (v3l << 21) | (v3h >>> 11);
        v3h = ((v3h << 21) | (v3l >>> 11)) ^ v0h;
        v3l = t ^ v0l;
        // v2 += v1; v1 = rotl(v1, 17) ^ v2; v2 = rotl(v2, 32)
        t = (v2l + v1l) | 0;
        v2h = (v2h + v1h + (t >>> 0 < v2l >>> 0 ? 1 : 0)) | 0;
        v2l = t;
        t = (v1l << 17) | (v1h >>> 15);
        v1h = ((v1h << 17) | (v1l >>> 15)) ^ v2h;
        v1l = t ^ v2l;
        t = v2l;
        v2l = v2h;
        v2h = t;
      }
      if (step < blocks) {
        v0l ^= ml;
        v0h ^= mh;
      }
    }
    this.out[2] = v0l ^ v1l ^ v2l ^ v3l;
    this.out[3] = v0h ^ v1h ^ v2h ^ v3h;
    return this.out;
  }

  #room(more: number): void {
    const wanted = this.#length + more;
    if (wanted <= this.#bytes.length) return;
    const grown = new Uint8Array(wanted * 2);
    grown.set(this.#bytes);
    this.#bytes = grown;
  }
}
