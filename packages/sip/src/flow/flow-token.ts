import { Endpoints, type Via } from '@drawbridge/core';
import { SipHash } from '../digest/siphash.js';
import type { Flow } from './flow.js';
import type { FlowTable } from './table.js';

/*
 * A flow token (RFC 5626 §5.2): the user part of our Path, which names the flow a request shall take and which nobody else
 * can make. Nothing is kept for it: socket and far end stand in it, in the open, a MAC over them behind.
 *
 *   0        1              5                  9 or 21      11 or 23
 *   | key id | via (32 bit) | address, 4 or 16 | port (16)  | MAC, 128 bits   |   → 36 or 52 characters of base64url
 */
const KEY = 0;
const VIA = 1;
const ADDRESS = 5;
const MAC_BYTES = 16;
const V4_BYTES = ADDRESS + 4 + 2 + MAC_BYTES;
const V6_BYTES = ADDRESS + 16 + 2 + MAC_BYTES;
/** Characters of the two forms: both fill their last character. */
const V4_LENGTH = 36;
const V6_LENGTH = 52;

/** A key signs for this long and is checked as long again: no registration lasts longer. */
const EPOCH_MS = 7 * 86_400_000;

/** `foreign`: not of our shape. `tampered`: our shape, but neither live key signed it. */
export type FlowTokenVerdict = 'foreign' | 'tampered' | 'gone' | Flow;

interface Key {
  readonly epoch: number;
  readonly mac: SipHash;
}

/**
 * Mints and checks flow tokens. Keys follow from one secret and the week, so that every node and every restart has the
 * same two: this week's and the last one's.
 */
export class FlowTokens {
  readonly #secret: Uint8Array;
  readonly #m: { readonly flows: FlowTable; wall(): number };
  readonly #bytes = Buffer.alloc(V6_BYTES);
  readonly #peer = new Endpoints(1);
  #keys: readonly Key[] = [];

  constructor(secret: Uint8Array, modules: { readonly flows: FlowTable; wall(): number }) {
    this.#secret = secret;
    this.#m = modules;
  }

  mint(f: Flow): string {
    const key = this.#live()[0];
    if (key === undefined) throw new Error('there is always a key');
    const b = this.#bytes;
    b[KEY] = key.epoch & 255;
    b.writeUInt32BE(f.via >>> 0, VIA);
    const end = writePeer(b, f.peer, f.j);
    const mac = macOf(key.mac, b, end);
    for (let k = 0; k < 4; k++) b.writeInt32LE(mac[k]!, end + k * 4);
    return b.toString('base64url', 0, end + MAC_BYTES);
  }

  /** The flow that a token names, or why there is none. */
  find(token: string): FlowTokenVerdict {
    const size = token.length === V4_LENGTH ? V4_BYTES : token.length === V6_LENGTH ? V6_BYTES : 0;
    const b = this.#bytes;
    // Node reads base64url leniently: only what writes itself again is the one spelling of its bytes.
    if (size === 0 || b.write(token, 'base64url') !== size || b.toString('base64url', 0, size) !== token)
      return 'foreign';
    const end = size - MAC_BYTES;
    const key = this.#live().find(k => (k.epoch & 255) === b[KEY]);
    if (key === undefined) return 'tampered';
    const mac = macOf(key.mac, b, end);
    let differs = 0;
    for (let k = 0; k < 4; k++) differs |= mac[k]! ^ b.readInt32LE(end + k * 4);
    if (differs !== 0) return 'tampered';
    const peer = this.#peer;
    readPeer(b, end, peer);
    const flow = this.#m.flows.find(b.readUInt32BE(VIA) as Via, peer, 0);
    return flow?.alive === true && flow.peer.equal(flow.j, peer, 0) ? flow : 'gone';
  }

  #live(): readonly Key[] {
    const epoch = Math.floor(this.#m.wall() / EPOCH_MS);
    if (this.#keys[0]?.epoch === epoch) return this.#keys;
    const made = [epoch, epoch - 1].map(
      (e): Key => this.#keys.find(k => k.epoch === e) ?? { epoch: e, mac: SipHash.of(this.#secret, `flow-token ${e}`) },
    );
    this.#keys = made;
    return made;
  }
}

function macOf(mac: SipHash, b: Uint8Array, end: number): Int32Array {
  mac.mixBytes(b, 0, end);
  return mac.end();
}

/** Index behind the port. */
function writePeer(b: Buffer, peer: Endpoints, j: number): number {
  const at = j * 5;
  let end = ADDRESS;
  if (peer.family(j) === 4) end = b.writeUInt32BE(peer.v4(j) >>> 0, end);
  else for (let k = 0; k < 4; k++) end = b.writeUInt32BE(peer.words[at + k]! >>> 0, end);
  return b.writeUInt16BE(peer.port(j), end);
}

function readPeer(b: Buffer, end: number, peer: Endpoints): void {
  const port = b.readUInt16BE(end - 2);
  if (end === V4_BYTES - MAC_BYTES) peer.setV4(0, b.readUInt32BE(ADDRESS), port);
  else
    peer.setWords(
      0,
      b.readUInt32BE(ADDRESS),
      b.readUInt32BE(ADDRESS + 4),
      b.readUInt32BE(ADDRESS + 8),
      b.readUInt32BE(ADDRESS + 12),
      port,
    );
}
