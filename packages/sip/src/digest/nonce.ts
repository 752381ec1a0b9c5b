import { createHash } from 'node:crypto';
import { ENDPOINT_WORDS, type Endpoints, type Random } from '@drawbridge/core';
import { SipHash } from './siphash.js';

/*
 * A nonce that we can verify without having kept it: key id, time and salt in the open, a MAC over them, the
 * source address (not the port: NATs rebind) and the realm behind. Echoing it proves that the source receives at its
 * address. The salt keeps two phones behind one NAT from sharing a nonce, and with it a nonce count.
 *
 *   0        1            7          11                27
 *   | key id | time (ms)  | salt     | MAC, 128 bits   |   → 36 characters of base64url
 */
const KEY = 0;
const TIME = 1;
const SALT = 7;
const MAC = 11;
const END = 27;
const TEXT_LENGTH = 36;

export interface NonceKey {
  readonly id: number;
  readonly mac: SipHash;
}

/** The id follows from the secret, so that it survives a restart and is the same on every node. */
export function nonceKey(secret: Uint8Array): NonceKey {
  return { id: createHash('sha256').update(secret).digest()[0] ?? 0, mac: SipHash.of(secret, 'nonce') };
}

export type NonceVerdict =
  | 'foreign' /* not one of our making, by its shape */
  | 'unverified' /* our shape, but the MAC is not ours for this address and realm: another key, another address, or forged */
  | 'old'
  | 'good';

/** What tells one nonce from another; filled by `checkNonce`, of meaning when that said `old` or `good`. Reused. */
export const checked = {
  /** Wall time of minting, ms. */
  mintedAt: 0,
  salt: 0,
};

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const DIGITS = new Int8Array(256).fill(-1);
for (let i = 0; i < ALPHABET.length; i++) DIGITS[ALPHABET.charCodeAt(i)] = i;
const bytes = Buffer.alloc(END);

export function mintNonce(
  key: NonceKey,
  wall: number,
  random: Random,
  realm: string,
  peer: Endpoints,
  j: number,
): string {
  bytes[KEY] = key.id;
  bytes.writeUIntBE(Math.max(0, Math.floor(wall)), TIME, 6);
  bytes.writeUInt32BE(random.u32(), SALT);
  const mac = macOf(key, realm, peer, j);
  for (let k = 0; k < 4; k++) bytes.writeInt32LE(mac[k]!, MAC + k * 4);
  return bytes.toString('base64url');
}

export function checkNonce(
  nonce: string,
  keys: readonly NonceKey[],
  wall: number,
  lifetimeMs: number,
  realm: string,
  peer: Endpoints,
  j: number,
): NonceVerdict {
  if (!decode(nonce)) return 'foreign';
  for (const key of keys) {
    if (key.id !== bytes[KEY]) continue;
    const mac = macOf(key, realm, peer, j);
    // All of it is compared, whatever differs first: the time tells nothing.
    let differ = 0;
    for (let k = 0; k < 4; k++) differ |= mac[k]! ^ bytes.readInt32LE(MAC + k * 4);
    if (differ !== 0) continue;
    checked.mintedAt = bytes.readUIntBE(TIME, 6);
    checked.salt = bytes.readUInt32BE(SALT);
    const age = wall - checked.mintedAt;
    // A clock that was set back must not make nonces immortal.
    return age > lifetimeMs || age < -lifetimeMs ? 'old' : 'good';
  }
  return 'unverified';
}

/** Into `bytes`; false when it isn't 36 characters of base64url. */
function decode(nonce: string): boolean {
  if (nonce.length !== TEXT_LENGTH) return false;
  let odd = 0;
  for (let i = 0, at = 0; i < TEXT_LENGTH; i += 4, at += 3) {
    const a = digit(nonce, i);
    const b = digit(nonce, i + 1);
    const c = digit(nonce, i + 2);
    const d = digit(nonce, i + 3);
    odd |= a | b | c | d;
    const all = (a << 18) | (b << 12) | (c << 6) | d;
    bytes[at] = all >>> 16;
    bytes[at + 1] = all >>> 8;
    bytes[at + 2] = all;
  }
  return odd >= 0;
}

function digit(text: string, i: number): number {
  const c = text.charCodeAt(i);
  return c < 256 ? DIGITS[c]! : -1;
}

/** Over the open part that stands in `bytes`, the address and the realm. */
function macOf(key: NonceKey, realm: string, peer: Endpoints, j: number): Int32Array {
  const { mac } = key;
  mac.mixBytes(bytes, 0, MAC);
  const at = j * ENDPOINT_WORDS;
  for (let k = 0; k < 4; k++) mac.mixWord(peer.words[at + k]!);
  mac.mixText(realm);
  return mac.end();
}
