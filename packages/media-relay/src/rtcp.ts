/** One report block (RFC 3550 §6.4.1): what its sender hears of one source. */
export interface ReportBlock {
  readonly ssrc: number;
  /** Lost since the report before, in 256ths. */
  readonly fractionLost: number;
  /** Lost since the beginning; negative when duplicates outnumber losses. */
  readonly lost: number;
  readonly highestSeq: number;
  /** Interarrival jitter in units of the RTP clock. */
  readonly jitter: number;
  /** Middle 32 bits of the NTP time of the last sender report heard; 0 = none. */
  readonly lastSr: number;
  /** Since that report, in 1/65536 s. */
  readonly sinceSr: number;
}

/** A sender report (`sender` is set) or a receiver report. */
export interface RtcpReport {
  readonly ssrc: number;
  readonly sender:
    | {
        readonly ntpSeconds: number;
        readonly ntpFraction: number;
        readonly rtpTime: number;
        readonly packets: number;
        readonly octets: number;
      }
    | undefined;
  readonly blocks: readonly ReportBlock[];
}

const SR = 200;
const RR = 201;
const BLOCK = 24;
/** Packets of one compound that are looked at. */
const MOST_PACKETS = 16;

/** Whether a compound packet begins with a report, as RFC 3550 §6.1 wants it. */
export function isReport(bytes: Uint8Array, at: number): boolean {
  return bytes[at + 1] === SR || bytes[at + 1] === RR;
}

/**
 * The reports of a compound RTCP packet (RFC 3550 §6.4), others skipped. Reading ends at the first packet whose length
 * doesn't fit; what stood before it counts.
 */
export function readReports(bytes: Uint8Array): RtcpReport[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out: RtcpReport[] = [];
  for (let at = 0, n = 0; at + 8 <= bytes.length && n < MOST_PACKETS; n++) {
    const first = view.getUint8(at);
    const type = view.getUint8(at + 1);
    const end = at + (view.getUint16(at + 2) + 1) * 4;
    if (first >>> 6 !== 2 || end > bytes.length) break;
    if (type === SR || type === RR) {
      const report = readReport(view, at, end, first & 31, type === SR);
      if (report === undefined) break;
      out.push(report);
    }
    at = end;
  }
  return out;
}

function readReport(v: DataView, at: number, end: number, count: number, isSender: boolean): RtcpReport | undefined {
  const head = isSender ? 28 : 8;
  if (at + head + count * BLOCK > end) return undefined;
  const blocks: ReportBlock[] = [];
  for (let b = at + head, n = 0; n < count; n++, b += BLOCK) {
    blocks.push({
      ssrc: v.getUint32(b),
      fractionLost: v.getUint8(b + 4),
      lost: (v.getInt32(b + 4) << 8) >> 8,
      highestSeq: v.getUint32(b + 8),
      jitter: v.getUint32(b + 12),
      lastSr: v.getUint32(b + 16),
      sinceSr: v.getUint32(b + 20),
    });
  }
  const sender = isSender
    ? {
        ntpSeconds: v.getUint32(at + 8),
        ntpFraction: v.getUint32(at + 12),
        rtpTime: v.getUint32(at + 16),
        packets: v.getUint32(at + 20),
        octets: v.getUint32(at + 24),
      }
    : undefined;
  return { ssrc: v.getUint32(at + 4), sender, blocks };
}
