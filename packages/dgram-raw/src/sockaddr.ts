import {
  ENDPOINT_WORDS,
  type Endpoint,
  type Endpoints,
  type Family,
  formatAddressWords,
  parseAddressWords,
} from '@drawbridge/core';
import { AF_INET, AF_INET6 } from './constants.js';
import { pinned } from './libc.js';

/** Bytes of a sockaddr_in and sockaddr_in6. */
export function sockaddrBytes(family: Family): number {
  return family === 4 ? 16 : 28;
}

/** Words between two addresses in a column; either family fits. */
export const SOCKADDR_WORDS = 8;

export function swap32(x: number): number {
  return ((x << 24) | ((x & 0xff00) << 8) | ((x >>> 8) & 0xff00) | (x >>> 24)) >>> 0;
}

export function swap16(x: number): number {
  return ((x & 0xff) << 8) | ((x >>> 8) & 0xff);
}

/** Writes endpoint `j` as a sockaddr at word `at`; false when its family is not `family`. */
export function writeSockaddr(words: Uint32Array, at: number, family: Family, from: Endpoints, j: number): boolean {
  const w = from.words;
  const e = j * ENDPOINT_WORDS;
  const v4 = w[e] === 0 && w[e + 1] === 0 && w[e + 2] === 0xffff;
  const port = swap16(w[e + 4]!) << 16;
  if (family === 4) {
    if (!v4) return false;
    words[at] = AF_INET | port;
    words[at + 1] = swap32(w[e + 3]!);
    return true;
  }
  if (v4) return false;
  words[at] = AF_INET6 | port;
  words[at + 1] = 0;
  words[at + 2] = swap32(w[e]!);
  words[at + 3] = swap32(w[e + 1]!);
  words[at + 4] = swap32(w[e + 2]!);
  words[at + 5] = swap32(w[e + 3]!);
  words[at + 6] = 0;
  return true;
}

/** Reads the sockaddr at word `at` into endpoint `j`. */
export function readSockaddr(words: Uint32Array, at: number, to: Endpoints, j: number): void {
  const first = words[at]!;
  const port = swap16(first >>> 16);
  if ((first & 0xffff) === AF_INET) to.setV4(j, swap32(words[at + 1]!), port);
  else {
    to.setWords(
      j,
      swap32(words[at + 2]!),
      swap32(words[at + 3]!),
      swap32(words[at + 4]!),
      swap32(words[at + 5]!),
      port,
    );
  }
}

/** One address for bind(2); the caller has checked that `address` is one. */
export function sockaddrOf(address: string, port: number): { bytes: Buffer; family: Family } | undefined {
  const words = new Uint32Array(4);
  if (!parseAddressWords(address, words, 0)) return undefined;
  const v4 = words[0] === 0 && words[1] === 0 && words[2] === 0xffff;
  const bytes = pinned(v4 ? 16 : 28);
  bytes.writeUInt16LE(v4 ? AF_INET : AF_INET6, 0);
  bytes.writeUInt16BE(port, 2);
  if (v4) bytes.writeUInt32BE(words[3]!, 4);
  else for (let k = 0; k < 4; k++) bytes.writeUInt32BE(words[k]!, 8 + 4 * k);
  return { bytes, family: v4 ? 4 : 6 };
}

export function endpointOf(bytes: Buffer): Endpoint {
  const port = bytes.readUInt16BE(2);
  const words = new Uint32Array(4);
  if (bytes.readUInt16LE(0) === AF_INET) {
    words[2] = 0xffff;
    words[3] = bytes.readUInt32BE(4);
  } else for (let k = 0; k < 4; k++) words[k] = bytes.readUInt32BE(8 + 4 * k);
  return { address: formatAddressWords(words, 0), port };
}
