import type { Endpoints } from '@drawbridge/core';

const HEADER = 20;
const COOKIE = 0x2112a442;
const BINDING_REQUEST = 0x0001;
const BINDING_SUCCESS = 0x0101;
const XOR_MAPPED_ADDRESS = 0x0020;
const FINGERPRINT = 0x8028;
const FINGERPRINT_XOR = 0x5354554e;
/** From here on an attribute may be ignored by who doesn't know it. */
const OPTIONAL = 0x8000;

/** Longest answer: header, an IPv6 address, FINGERPRINT. */
const reply = Buffer.alloc(HEADER + 24 + 8);

/**
 * The answer to a STUN Binding request that keeps a SIP flow alive (RFC 5626 §4.4.2): XOR-MAPPED-ADDRESS, FINGERPRINT when
 * the request has one, nothing else. '' for anything that isn't such a request in form and cookie, asks for what only a
 * STUN server gives (credentials), or whose FINGERPRINT is wrong.
 */
export function stunPong(b: Buffer, at: number, len: number, peer: Endpoints, j: number): string {
  if (len < HEADER || b.readUInt16BE(at) !== BINDING_REQUEST || b.readUInt32BE(at + 4) !== COOKIE) return '';
  if (b.readUInt16BE(at + 2) !== len - HEADER || (len & 3) !== 0) return '';
  const asked = attributes(b, at, len);
  if (asked < 0) return '';
  reply.writeUInt16BE(BINDING_SUCCESS, 0);
  // Cookie and transaction id are the request's own.
  b.copy(reply, 4, at + 4, at + HEADER);
  let end = writeAddress(peer, j);
  reply.writeUInt16BE(end - HEADER + (asked > 0 ? 8 : 0), 2);
  if (asked > 0) {
    reply.writeUInt16BE(FINGERPRINT, end);
    reply.writeUInt16BE(4, end + 2);
    reply.writeUInt32BE((crc32(reply, 0, end) ^ FINGERPRINT_XOR) >>> 0, end + 4);
    end += 8;
  }
  return reply.toString('latin1', 0, end);
}

/** 1 with a good FINGERPRINT, 0 without one, -1 for what we can't answer. */
function attributes(b: Buffer, start: number, len: number): number {
  const to = start + len;
  let at = start + HEADER;
  while (at + 4 <= to) {
    const type = b.readUInt16BE(at);
    const length = b.readUInt16BE(at + 2);
    const end = at + 4 + length + ((4 - (length & 3)) & 3);
    if (type < OPTIONAL || end > to) return -1;
    if (type === FINGERPRINT) {
      const good =
        length === 4 && end === to && b.readUInt32BE(at + 4) === (crc32(b, start, at) ^ FINGERPRINT_XOR) >>> 0;
      return good ? 1 : -1;
    }
    at = end;
  }
  return at === to ? 0 : -1;
}

/** RFC 8489 §14.2: the address under the cookie, IPv6 under cookie and transaction id. */
function writeAddress(peer: Endpoints, j: number): number {
  const v4 = peer.family(j) === 4;
  reply.writeUInt16BE(XOR_MAPPED_ADDRESS, HEADER);
  reply.writeUInt16BE(v4 ? 8 : 20, HEADER + 2);
  reply.writeUInt16BE(v4 ? 1 : 2, HEADER + 4);
  reply.writeUInt16BE(peer.port(j) ^ (COOKIE >>> 16), HEADER + 6);
  if (v4) return reply.writeUInt32BE((peer.v4(j) ^ COOKIE) >>> 0, HEADER + 8);
  let end = HEADER + 8;
  for (let k = 0; k < 4; k++)
    end = reply.writeUInt32BE((peer.words[j * 5 + k]! ^ reply.readUInt32BE(4 + k * 4)) >>> 0, end);
  return end;
}

const CRC = new Uint32Array(256);
for (let n = 0; n < 256; n++) {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  CRC[n] = c >>> 0;
}

function crc32(b: Uint8Array, from: number, to: number): number {
  let c = 0xffffffff;
  for (let i = from; i < to; i++) c = (c >>> 8) ^ CRC[(c ^ b[i]!) & 255]!;
  return (c ^ 0xffffffff) >>> 0;
}
