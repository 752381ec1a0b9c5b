import type { Mono } from '@drawbridge/core';
import { COUNT, type FlowTable, SEEN } from './path/path.js';

/** What a datagram on a relay port is, by its first bytes alone (RFC 7983, RFC 5761 §4). */
export const PACKET = { invalid: 0, rtp: 1, rtcp: 2, opaque: 3 } as const;

const RTP_HEADER = 12;
const RTCP_HEADER = 8;
const RTCP_SR = 200;
const RTCP_LAST = 207;

/**
 * RTP when the fixed header, CSRC list and extension fit (RFC 3550 App. A.1; the padding count is not looked at,
 * since SRTP encrypts it). `mux`: both may come, and payload types 64–95 are RTCP (RFC 5761 §4).
 */
export function classify(bytes: Uint8Array, at: number, len: number, mux: boolean): number {
  if (len < RTCP_HEADER) return PACKET.invalid;
  const first = bytes[at]!;
  if ((first & 0xc0) !== 0x80) return PACKET.invalid;
  const second = bytes[at + 1]!;
  if (mux ? second >= 192 && second <= 223 : second >= RTCP_SR && second <= RTCP_LAST) {
    const words = (bytes[at + 2]! << 8) | bytes[at + 3]!;
    return second >= RTCP_SR && second <= RTCP_LAST && (words + 1) * 4 <= len && words > 0
      ? PACKET.rtcp
      : PACKET.invalid;
  }
  let need = RTP_HEADER + (first & 15) * 4;
  if (len < need) return PACKET.invalid;
  if (first & 0x10) {
    if (len < need + 4) return PACKET.invalid;
    need += 4 + ((bytes[at + need + 2]! << 8) | bytes[at + need + 3]!) * 4;
    if (len < need) return PACKET.invalid;
  }
  return PACKET.rtp;
}

/** RFC 3550 App. A.1 constants. */
const MAX_DROPOUT = 3000;
const MAX_MISORDER = 100;

/** Sequence, loss and jitter of the stream arriving at `row`; called for accepted RTP only, before `lastRtp` is set. */
export function noteRtp(
  table: FlowTable,
  row: number,
  bytes: Uint8Array,
  at: number,
  now: Mono,
  clockRate: number,
): void {
  const w = table.words;
  const f = table.f64;
  const base = table.at(row);
  const counts = table.atF64(row);
  const seq = (bytes[at + 2]! << 8) | bytes[at + 3]!;
  const timestamp = word(bytes, at + 4);
  const ssrc = word(bytes, at + 8);
  const started = w[base + SEEN.rtpStarted] === 1;
  if (!started || ssrc !== w[base + SEEN.ssrc]) {
    if (started) w[base + SEEN.ssrcChanges] = w[base + SEEN.ssrcChanges]! + 1;
    restart(table, row, seq);
    w[base + SEEN.ssrc] = ssrc;
  } else {
    const highest = w[base + SEEN.highestSeq]!;
    const ahead = (seq - highest) & 0xffff;
    if (ahead < MAX_DROPOUT) {
      w[base + SEEN.highestSeq] = highest + ahead;
      const elapsed = now - f[counts + COUNT.lastRtp]!;
      if (clockRate > 0) {
        const media = (((timestamp - w[base + SEEN.timestamp]!) | 0) / clockRate) * 1000;
        const jitter = f[counts + COUNT.jitter]!;
        f[counts + COUNT.jitter] = jitter + (Math.abs(elapsed - media) - jitter) / 16;
      }
    } else if (ahead <= 0xffff - MAX_MISORDER) restart(table, row, seq);
  }
  w[base + SEEN.timestamp] = timestamp;
  f[counts + COUNT.rtpReceived] = f[counts + COUNT.rtpReceived]! + 1;
}

/** RTP packets that sequence numbers say were sent and that never came. */
export function lostPackets(table: FlowTable, row: number): number {
  return table.count(row, COUNT.lostBefore) + missing(table, row);
}

function missing(table: FlowTable, row: number): number {
  const base = table.at(row);
  if (table.words[base + SEEN.rtpStarted] !== 1) return 0;
  const expected = ((table.words[base + SEEN.highestSeq]! - table.words[base + SEEN.baseSeq]!) >>> 0) + 1;
  return Math.max(0, expected - table.count(row, COUNT.rtpReceived));
}

function restart(table: FlowTable, row: number, seq: number): void {
  const base = table.at(row);
  const counts = table.atF64(row);
  table.f64[counts + COUNT.lostBefore] = lostPackets(table, row);
  table.f64[counts + COUNT.rtpReceived] = 0;
  table.words[base + SEEN.baseSeq] = seq;
  table.words[base + SEEN.highestSeq] = seq;
  table.words[base + SEEN.rtpStarted] = 1;
}

function word(b: Uint8Array, at: number): number {
  return ((b[at]! << 24) | (b[at + 1]! << 16) | (b[at + 2]! << 8) | b[at + 3]!) >>> 0;
}
