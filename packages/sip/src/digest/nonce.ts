import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { ENDPOINT_WORDS, type Endpoints, type Random } from '@drawbridge/core';

/*
 * A nonce that we can verify without having kept it: key id, time and salt in the open, a MAC over them, the
 * source address (not the port: NATs rebind) and the realm behind. Echoing it proves that the source receives at its
 * address. The salt keeps two phones behind one NAT from sharing a nonce, and with it a nonce count.
 *
 *   0        1            7          11                     27
 *   | key id | time (ms)  | salt     | MAC, first 128 bits  |   → 36 characters of base64url
 */
const KEY = 0;
const TIME = 1;
const SALT = 7;
const MAC = 11;
const END = 27;
const TEXT_LENGTH = 36;

export interface NonceKey {
  readonly id: number;
  readonly secret: Uint8Array;
}

/** The id follows from the secret, so that it survives a restart and is the same on every node. */
export function nonceKey(secret: Uint8Array): NonceKey {
  return { id: createHash('sha256').update(secret).digest()[0] ?? 0, secret };
}

export type NonceVerdict =
  | 'foreign' /* not one of our making, by its shape */
  | 'unverified' /* our shape, but the MAC is not ours for this address and realm: another key, another address, or forged */
  | 'old'
  | 'good';

export function mintNonce(
  key: NonceKey,
  wall: number,
  random: Random,
  realm: string,
  peer: Endpoints,
  j: number,
): string {
  const out = Buffer.alloc(END);
  out[KEY] = key.id;
  out.writeUIntBE(Math.max(0, Math.floor(wall)), TIME, 6);
  out.writeUInt32BE(random.u32(), SALT);
  mac(key, out, realm, peer, j).copy(out, MAC, 0, END - MAC);
  return out.toString('base64url');
}

/** Wall time of minting; only for nonces of our shape. */
export function nonceTime(nonce: string): number {
  return Buffer.from(nonce, 'base64url').readUIntBE(TIME, 6);
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
  if (nonce.length !== TEXT_LENGTH || !/^[A-Za-z0-9_-]{36}$/.test(nonce)) return 'foreign';
  const bytes = Buffer.from(nonce, 'base64url');
  for (const key of keys) {
    if (key.id !== bytes[KEY]) continue;
    if (!timingSafeEqual(mac(key, bytes, realm, peer, j).subarray(0, END - MAC), bytes.subarray(MAC))) continue;
    const age = wall - bytes.readUIntBE(TIME, 6);
    // A clock that was set back must not make nonces immortal.
    return age > lifetimeMs || age < -lifetimeMs ? 'old' : 'good';
  }
  return 'unverified';
}

function mac(key: NonceKey, nonce: Buffer, realm: string, peer: Endpoints, j: number): Buffer {
  const at = j * ENDPOINT_WORDS;
  const address = Buffer.alloc(16);
  for (let k = 0; k < 4; k++) address.writeUInt32BE(peer.words[at + k]!, k * 4);
  return createHmac('sha256', key.secret).update(nonce.subarray(0, MAC)).update(address).update(realm, 'utf8').digest();
}
