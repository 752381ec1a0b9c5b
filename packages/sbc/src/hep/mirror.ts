import type { Endpoint, Endpoints, Mono, Via } from '@drawbridge/core';
import type { RtcpReport } from '@drawbridge/media-relay';
import type { Tap } from '@drawbridge/sip';
import type { Realms } from '../realms.js';
import { callIdOf, redacted } from '../trace.js';
import { encodeHep, HEP_PAYLOAD, HEP_RTCP_JSON, HEP_SIP } from './encode.js';

export interface HepOptions {
  readonly captureId: number;
  readonly password: string;
}

export interface HepModules {
  readonly realms: Realms;
  /** ms since 1970. */
  wall(): number;
  /** Call-ID of the caller of the call that a Call-ID belongs to; undefined for anything but another leg of a call. */
  callerOf(callId: string): string | undefined;
  /** False: the collector doesn't keep up, and this one is lost. */
  send(packet: Buffer): boolean;
}

/**
 * The tap that feeds a HEP collector: each message once, as it was on the wire, at the layer that every message passes,
 * so that no trace has gaps. Digest responses are masked. The callee's legs name the caller's Call-ID as their
 * correlation, by which collectors join them.
 */
export class HepMirror implements Tap {
  readonly #o: HepOptions;
  readonly #m: HepModules;
  readonly counters = { sent: 0, lost: 0, tooLong: 0 };

  constructor(options: HepOptions, modules: HepModules) {
    this.#o = options;
    this.#m = modules;
  }

  message(_now: Mono, direction: 'in' | 'out', via: Via, peer: Endpoints, j: number, text: string): void {
    // A bare CRLF keeps a mapping open and says nothing.
    if (text.length < 16) return;
    const listener = this.#m.realms.listener(via);
    this.#mirror(
      listener.transport === 'udp' ? 17 : 6,
      direction === 'in' ? peer.get(j) : listener.bind,
      direction === 'in' ? listener.bind : peer.get(j),
      HEP_SIP,
      this.#m.callerOf(callIdOf(text)) ?? '',
      Buffer.from(redacted(text), 'latin1'),
    );
  }

  /** A far end's RTCP report, as the JSON that capture agents write. */
  reports(callId: string, from: Endpoint, to: Endpoint, reports: readonly RtcpReport[]): void {
    for (const r of reports)
      this.#mirror(17, from, to, HEP_RTCP_JSON, callId, Buffer.from(JSON.stringify(asJson(r)), 'latin1'));
  }

  #mirror(
    protocol: 17 | 6,
    from: Endpoint,
    to: Endpoint,
    type: typeof HEP_SIP | typeof HEP_RTCP_JSON,
    correlation: string,
    payload: Buffer,
  ): void {
    if (payload.length > HEP_PAYLOAD) {
      this.counters.tooLong++;
      return;
    }
    const { captureId, password } = this.#o;
    const wall = this.#m.wall();
    const packet = encodeHep({ protocol, from, to, wall, type, captureId, password, correlation, payload });
    if (this.#m.send(packet)) this.counters.sent++;
    else this.counters.lost++;
  }
}

/** Names as in the JSON of the common capture agents. */
function asJson(r: RtcpReport): object {
  return {
    ssrc: r.ssrc,
    type: r.sender === undefined ? 201 : 200,
    report_count: r.blocks.length,
    ...(r.sender === undefined
      ? {}
      : {
          sender_information: {
            ntp_timestamp_sec: r.sender.ntpSeconds,
            ntp_timestamp_usec: r.sender.ntpFraction,
            rtp_timestamp: r.sender.rtpTime,
            packets: r.sender.packets,
            octets: r.sender.octets,
          },
        }),
    report_blocks: r.blocks.map(b => ({
      source_ssrc: b.ssrc,
      fraction_lost: b.fractionLost,
      packets_lost: b.lost,
      highest_seq_no: b.highestSeq,
      ia_jitter: b.jitter,
      lsr: b.lastSr,
      dlsr: b.sinceSr,
    })),
  };
}

/** Several taps as one. */
export function taps(list: readonly Tap[]): Tap {
  const [only] = list;
  if (only !== undefined && list.length === 1) return only;
  return {
    message(now, direction, via, peer, j, text) {
      for (const tap of list) tap.message(now, direction, via, peer, j, text);
    },
  };
}
