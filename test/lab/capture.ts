import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { formatAddressWords } from '@drawbridge/core';
import { Child } from './child.js';
import type { Box, Lab } from './lab.js';
import { eventually } from './machine.js';

/** One UDP datagram or TCP segment with payload. */
export interface Packet {
  /** Seconds, wall clock. */
  readonly at: number;
  readonly protocol: 'udp' | 'tcp';
  readonly from: string;
  readonly fromPort: number;
  readonly to: string;
  readonly toPort: number;
  /** One byte per character. */
  readonly payload: string;
}

/** tcpdump in a box. The file grows while it runs; `packets()` reads what is there. */
export class Capture implements AsyncDisposable {
  readonly file: string;
  readonly #child: Child;
  readonly #packets: Packet[] = [];
  #read = 0;

  private constructor(file: string, child: Child) {
    this.file = file;
    this.#child = child;
  }

  static async start(lab: Lab, box: Box, device: string, name: string, filter = 'udp or tcp'): Promise<Capture> {
    const file = `${lab.folder}/${name}.pcap`;
    const child = new Child(
      lab.inside(box, 'tcpdump', [
        '-i',
        device,
        '-U',
        '--immediate-mode',
        '-B',
        '8192',
        '-n',
        '-s',
        '0',
        '-Z',
        'root',
        '-w',
        file,
        filter,
      ]),
      `${lab.folder}/${name}.tcpdump.log`,
    );
    await eventually(200, `tcpdump ${name}`, () => (child.output().includes('listening on') ? true : undefined));
    return new Capture(file, child);
  }

  /** Everything so far. */
  packets(): readonly Packet[] {
    const fd = openSync(this.file, 'r');
    try {
      const fresh = Buffer.alloc(Math.max(0, fstatSync(fd).size - this.#read));
      readSync(fd, fresh, 0, fresh.length, this.#read);
      this.#read += readRecords(fresh, this.#read === 0 ? HEADER : 0, this.#packets);
    } finally {
      closeSync(fd);
    }
    return this.#packets;
  }

  /** How many packets there are by now: where to begin looking for what a later step causes. */
  mark(): number {
    return this.packets().length;
  }

  /** Waits until a packet like this is in the file, at or after `mark`. */
  async until(usualMs: number, what: string, mark: number, like: (p: Packet) => boolean): Promise<Packet> {
    return eventually(usualMs, what, () => this.packets().slice(mark).find(like));
  }

  since(mark: number): readonly Packet[] {
    return this.packets().slice(mark);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child.stop('SIGINT');
  }

  async stop(): Promise<readonly Packet[]> {
    await this.#child.stop('SIGINT');
    return this.packets();
  }
}

const LINK_ETHERNET = 1;
const HEADER = 24;

/**
 * Records of a classic pcap file (microseconds, little-endian, Ethernet) from `at` on.
 * Returns how far it came: a last record that is still being written is left for the next time.
 */
function readRecords(bytes: Buffer, from: number, into: Packet[]): number {
  if (from === HEADER) {
    if (bytes.length < HEADER) return 0;
    if (bytes.readUInt32LE(0) !== 0xa1b2c3d4 || bytes.readUInt32LE(20) !== LINK_ETHERNET)
      throw new Error('not a little-endian Ethernet capture');
  }
  let at = from;
  while (at + 16 <= bytes.length) {
    const length = bytes.readUInt32LE(at + 8);
    if (at + 16 + length > bytes.length) break;
    const seconds = bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) / 1e6;
    const packet = readFrame(bytes.subarray(at + 16, at + 16 + length), seconds);
    if (packet !== undefined) into.push(packet);
    at += 16 + length;
  }
  return at;
}

function readFrame(frame: Buffer, at: number): Packet | undefined {
  if (frame.length < 34) return undefined;
  const type = frame.readUInt16BE(12);
  let from: string;
  let to: string;
  let next: number;
  let head: number;
  let end: number;
  if (type === 0x0800) {
    from = [...frame.subarray(26, 30)].join('.');
    to = [...frame.subarray(30, 34)].join('.');
    next = frame[23]!;
    head = 14 + (frame[14]! & 15) * 4;
    end = 14 + frame.readUInt16BE(16);
  } else if (type === 0x86dd && frame.length >= 54) {
    from = address6(frame, 22);
    to = address6(frame, 38);
    next = frame[20]!;
    head = 54;
    end = 54 + frame.readUInt16BE(18);
  } else return undefined;
  if (head + 8 > frame.length) return undefined;
  const skip = next === 17 ? 8 : next === 6 && head + 13 <= frame.length ? (frame[head + 12]! >> 4) * 4 : 0;
  if (skip === 0) return undefined;
  const payload = frame.toString('latin1', head + skip, Math.min(end, frame.length));
  if (payload === '') return undefined;
  return {
    at,
    protocol: next === 17 ? 'udp' : 'tcp',
    from,
    fromPort: frame.readUInt16BE(head),
    to,
    toPort: frame.readUInt16BE(head + 2),
    payload,
  };
}

function address6(frame: Buffer, at: number): string {
  const words = Uint32Array.from([0, 4, 8, 12], o => frame.readUInt32BE(at + o));
  return formatAddressWords(words, 0);
}

/** SIP starts with a letter; RTP's first byte has its two highest bits at 10. */
export function isSip(p: Packet): boolean {
  return /^[A-Z]/.test(p.payload) && (p.protocol === 'tcp' || p.payload.includes('SIP/2.0'));
}

export function isRtp(p: Packet): boolean {
  return p.protocol === 'udp' && p.payload.length >= 12 && p.payload.charCodeAt(0) >> 6 === 2;
}

/** SSRC of an RTP packet (RFC 3550 §5.1); of RTCP it is the sender's, four bytes earlier. */
export function ssrc(p: Packet): number {
  const type = p.payload.charCodeAt(1);
  return Buffer.from(p.payload, 'latin1').readUInt32BE(type >= 200 && type <= 207 ? 4 : 8);
}

/** First value of a header in a SIP payload, full name only; '' when absent. */
export function header(payload: string, name: string): string {
  const found = new RegExp(`\\r\\n${name}[ \\t]*:[ \\t]*([^\\r\\n]*)`, 'i').exec(payload);
  return found?.[1] ?? '';
}

/** Packets of media in order, without RTCP, as `g711Samples` wants them. */
export function media(packets: readonly Packet[]): { type: number; bytes: string }[] {
  return packets
    .filter(p => isRtp(p) && (p.payload.charCodeAt(1) & 0x7f) < 64)
    .map(p => ({ type: p.payload.charCodeAt(1) & 0x7f, bytes: p.payload.slice(12) }));
}
