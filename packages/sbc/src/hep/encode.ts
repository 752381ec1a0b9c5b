import { type Endpoint, parseAddressWords } from '@drawbridge/core';

/** What a HEP packet carries (chunk 0x000b). */
export const HEP_SIP = 1;
export const HEP_RTCP_JSON = 5;

export interface HepPacket {
  /** IP protocol number: 17 UDP, 6 TCP. */
  readonly protocol: 17 | 6;
  readonly from: Endpoint;
  readonly to: Endpoint;
  /** ms since 1970. */
  readonly wall: number;
  readonly type: typeof HEP_SIP | typeof HEP_RTCP_JSON;
  readonly captureId: number;
  /** '' = none. */
  readonly password: string;
  /** Joins the legs of a call; '' = none. */
  readonly correlation: string;
  readonly payload: Buffer;
}

const HEAD = 6;
const CHUNK = 6;

/** One HEP version 3 packet (HEP3 network protocol specification, revision 12): generic chunks of vendor 0, big-endian. */
export function encodeHep(p: HepPacket): Buffer {
  const v6 = p.from.address.includes(':') || p.to.address.includes(':');
  const address = v6 ? 16 : 4;
  const password = Buffer.from(p.password, 'utf8');
  const correlation = Buffer.from(p.correlation, 'latin1');
  let length =
    HEAD + 2 * (CHUNK + 1) + 2 * (CHUNK + address) + 2 * (CHUNK + 2) + 2 * (CHUNK + 4) + (CHUNK + 1) + (CHUNK + 4);
  for (const optional of [password, correlation]) if (optional.length > 0) length += CHUNK + optional.length;
  length += CHUNK + p.payload.length;
  const out = Buffer.allocUnsafe(length);
  out.write('HEP3', 0, 'latin1');
  out.writeUInt16BE(length, 4);
  let at = HEAD;
  const chunk = (type: number, size: number): number => {
    out.writeUInt16BE(0, at);
    out.writeUInt16BE(type, at + 2);
    out.writeUInt16BE(CHUNK + size, at + 4);
    const value = at + CHUNK;
    at = value + size;
    return value;
  };
  out.writeUInt8(v6 ? 10 : 2, chunk(1, 1));
  out.writeUInt8(p.protocol, chunk(2, 1));
  writeAddress(out, chunk(v6 ? 5 : 3, address), p.from.address, v6);
  writeAddress(out, chunk(v6 ? 6 : 4, address), p.to.address, v6);
  out.writeUInt16BE(p.from.port, chunk(7, 2));
  out.writeUInt16BE(p.to.port, chunk(8, 2));
  out.writeUInt32BE(Math.floor(p.wall / 1000), chunk(9, 4));
  out.writeUInt32BE(Math.floor((p.wall % 1000) * 1000), chunk(10, 4));
  out.writeUInt8(p.type, chunk(11, 1));
  out.writeUInt32BE(p.captureId, chunk(12, 4));
  if (password.length > 0) password.copy(out, chunk(14, password.length));
  if (correlation.length > 0) correlation.copy(out, chunk(17, correlation.length));
  p.payload.copy(out, chunk(15, p.payload.length));
  return out;
}

/** The longest payload that fits a packet, whose length has 16 bits. */
export const HEP_PAYLOAD = 65_535 - 512;

const words = new Uint32Array(4);

function writeAddress(out: Buffer, at: number, address: string, v6: boolean): void {
  if (!parseAddressWords(address, words, 0)) throw new TypeError(`not an address: ${address}`);
  if (v6) for (let k = 0; k < 4; k++) out.writeUInt32BE(words[k]!, at + k * 4);
  else out.writeUInt32BE(words[3]!, at);
}
