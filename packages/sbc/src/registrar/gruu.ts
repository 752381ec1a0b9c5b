import { bracketed, canonicalAddress, type Random } from '@drawbridge/core';
import { escapeUser, SipHash, unescapeUri } from '@drawbridge/sip';
import type { Binding } from './binding.js';

/*
 * A temporary GRUU (RFC 5627 §3.1.2) hides whose it is, and two of them don't show that they are one phone's. Nothing is
 * kept for it: our own name of the binding stands in it, masked, a MAC over it and the Call-ID of its registration behind,
 * so that another Call-ID, or the end of the binding, is the end of all of them.
 *
 *   0            8                     28               44
 *   | salt       | name, 20 characters | MAC, 128 bits  |   → `tgruu.` and 59 characters of base64url
 */
const PREFIX = 'tgruu.';
const NAME = 8;
const NAME_CHARS = 20;
const MAC = NAME + NAME_CHARS;
const BYTES = MAC + 16;
const TEXT_LENGTH = PREFIX.length + 59;

/** GRUUs of the phones of our own domains. */
export class Gruus {
  readonly #random: Random;
  readonly #mask: SipHash;
  readonly #mac: SipHash;
  readonly #bytes = Buffer.alloc(BYTES);

  constructor(secret: Uint8Array, random: Random) {
    this.#random = random;
    this.#mask = SipHash.of(secret, 'gruu mask');
    this.#mac = SipHash.of(secret, 'gruu mac');
  }

  /** `pub-gruu` and a fresh `temp-gruu`, as parameters of a Contact in a 200 (§5.2); '' for a binding without an instance. */
  params(b: Binding): string {
    if (b.instance === '' || b.opaque.length !== NAME_CHARS) return '';
    const at = b.aor.lastIndexOf('@');
    const host = hostOf(b.domain);
    const user = escapeUser(b.aor.slice(0, at));
    return `;pub-gruu="sip:${user}@${host};gr=${escapeParam(b.instance)}";temp-gruu="sip:${this.temporary(b)}@${host};gr"`;
  }

  /** User part of one more temporary GRUU. */
  temporary(b: Binding): string {
    const bytes = this.#bytes;
    bytes.writeUInt32BE(this.#random.u32(), 0);
    bytes.writeUInt32BE(this.#random.u32(), 4);
    bytes.write(b.opaque, NAME, 'latin1');
    this.#cover();
    const mac = this.#sign(b.callId);
    for (let k = 0; k < 4; k++) bytes.writeInt32LE(mac[k]!, MAC + k * 4);
    return PREFIX + bytes.toString('base64url');
  }

  /** The binding that a temporary GRUU still means. */
  find(user: string, byOpaque: (name: string) => Binding | undefined): Binding | undefined {
    const bytes = this.#bytes;
    if (user.length !== TEXT_LENGTH || !user.startsWith(PREFIX)) return undefined;
    const text = user.slice(PREFIX.length);
    // One spelling only: Node reads base64url leniently.
    if (bytes.write(text, 'base64url') !== BYTES || bytes.toString('base64url') !== text) return undefined;
    this.#cover();
    const b = byOpaque(bytes.toString('latin1', NAME, MAC));
    if (b === undefined) return undefined;
    this.#cover();
    const mac = this.#sign(b.callId);
    let differs = 0;
    for (let k = 0; k < 4; k++) differs |= mac[k]! ^ bytes.readInt32LE(MAC + k * 4);
    return differs === 0 ? b : undefined;
  }

  /** Masks the name, or takes the mask off: two blocks of the keyed function over the salt. */
  #cover(): void {
    const bytes = this.#bytes;
    for (let block = 0; block * 16 < NAME_CHARS; block++) {
      this.#mask.mixBytes(bytes, 0, NAME);
      this.#mask.mixWord(block);
      const words = this.#mask.end();
      for (let k = 0; k < 16 && block * 16 + k < NAME_CHARS; k++) {
        const at = NAME + block * 16 + k;
        bytes[at] = bytes[at]! ^ ((words[k >> 2]! >>> ((k & 3) * 8)) & 255);
      }
    }
  }

  #sign(callId: string): Int32Array {
    this.#mac.mixBytes(this.#bytes, 0, MAC);
    this.#mac.mixText(callId);
    return this.#mac.end();
  }
}

/** The instance that a public GRUU names, as bindings have it. */
export function instanceOfGruu(gr: string): string {
  return unescapeUri(gr).toLowerCase();
}

function hostOf(domain: string): string {
  return canonicalAddress(domain) === undefined ? domain : bracketed(domain);
}

const PLAIN = "-_.!~*'()[]/:&+$";

/** What the grammar of a URI parameter doesn't let stand is escaped (RFC 3261 §25.1, paramchar). */
function escapeParam(text: string): string {
  let out = '';
  for (const c of text) {
    out +=
      /[a-z0-9]/i.test(c) || PLAIN.includes(c)
        ? c
        : `%${(c.charCodeAt(0) & 255).toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return out;
}
