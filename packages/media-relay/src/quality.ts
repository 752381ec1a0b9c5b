import type { Mono } from '@drawbridge/core';
import type { ReportBlock, RtcpReport } from './rtcp.js';

/** What the far end of a leg says of the media it hears (RFC 3550 §6.4), and the way to it and back. */
export interface ReportedQuality {
  /** Of the whole stream, packets. */
  readonly lost: number;
  /** Of the last interval, 0 … 100, and the worst interval so far. */
  readonly lossPercent: number;
  readonly worstLossPercent: number;
  readonly jitterMs: number;
  /** Between us and the far end; undefined until a report answers one that went through us. */
  readonly roundTripMs: number | undefined;
  readonly reports: number;
}

/** Packets to the codec's model of loss: G.711 with concealment (ITU-T G.113 Appendix I). */
const LOSS_ROBUSTNESS = 25.1;
const BEST = 93.2;

/**
 * Mean opinion score, 1 … 4.5, by the E-model of ITU-T G.107 with everything but delay and loss at its default; what it
 * says of codecs other than G.711 is a comparison, not a measurement. `lossPercent` 0 … 100; `delayMs` one way.
 */
export function meanOpinion(lossPercent: number, delayMs: number, jitterMs: number): number {
  // A playout buffer of twice the jitter, as phones have it.
  const delay = delayMs + 2 * jitterMs;
  const byDelay = 0.024 * delay + (delay > 177.3 ? 0.11 * (delay - 177.3) : 0);
  const byLoss = (95 * lossPercent) / (lossPercent + LOSS_ROBUSTNESS);
  const r = Math.min(100, Math.max(0, BEST - byDelay - byLoss));
  const mos = 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6;
  return Math.round(Math.min(4.5, Math.max(1, mos)) * 100) / 100;
}

/** Reports of one stream of one leg, in both directions. */
export class Reports {
  #reported: ReportedQuality | undefined = undefined;
  /** Middle 32 bits of the NTP time of the last sender report from here, and when it went through us. */
  #lastSr = 0;
  #lastSrAt: Mono = 0;

  get reported(): ReportedQuality | undefined {
    return this.#reported;
  }

  /** A report from this leg. `other`: the same stream of the leg whose media this one hears. */
  note(at: Mono, report: RtcpReport, other: Reports | undefined, clockRate: number): void {
    if (report.sender !== undefined) {
      this.#lastSr = ((report.sender.ntpSeconds << 16) | (report.sender.ntpFraction >>> 16)) >>> 0;
      this.#lastSrAt = at;
    }
    // The stream has one source at a time; a mixer's further blocks say nothing about our way.
    const block = report.blocks[0];
    if (block !== undefined) this.#hears(at, block, other, clockRate);
  }

  #hears(at: Mono, b: ReportBlock, other: Reports | undefined, clockRate: number): void {
    const before = this.#reported;
    const lossPercent = Math.round((b.fractionLost / 256) * 1000) / 10;
    this.#reported = {
      lost: b.lost,
      lossPercent,
      worstLossPercent: Math.max(lossPercent, before?.worstLossPercent ?? 0),
      jitterMs: clockRate > 0 ? Math.round((b.jitter / clockRate) * 10_000) / 10 : 0,
      roundTripMs: other?.roundTrip(at, b) ?? before?.roundTripMs,
      reports: (before?.reports ?? 0) + 1,
    };
  }

  /** ms from us to whoever sent the block and back. */
  roundTrip(at: Mono, b: ReportBlock): number | undefined {
    if (b.lastSr === 0 || b.lastSr !== this.#lastSr) return undefined;
    const ms = at - this.#lastSrAt - (b.sinceSr / 65_536) * 1000;
    // The far end's clock may run a little fast.
    return ms < -50 || ms > 60_000 ? undefined : Math.max(0, Math.round(ms * 10) / 10);
  }
}
