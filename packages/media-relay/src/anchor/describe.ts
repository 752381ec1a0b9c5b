import { canonicalAddress, type Endpoint, type Family, familyOf } from '@drawbridge/core';
import { digits, type MediaSection, parseSdp, type Sdp, SdpError } from '@drawbridge/sdp';
import type { Direction, SdpRejected } from '../api.js';
import { carriesAddress } from './address-scan.js';
import type { CodecFilter } from './codecs.js';

/** One m-line as the relay understands it. */
export interface StreamDescription {
  readonly kind: string;
  /** Has a port and a transport that can be relayed. */
  readonly enabled: boolean;
  /** Where the far end receives; null while it holds with c=0.0.0.0. */
  readonly rtp: Endpoint | null;
  readonly rtcp: Endpoint | null;
  readonly mux: boolean;
  readonly opaque: boolean;
  /** SRTP: nothing beyond the headers can be read. */
  readonly secure: boolean;
  readonly clockRate: number;
  /** The far end's own view; hold with c=0.0.0.0 is said as sendonly or inactive. */
  readonly direction: Direction;
  readonly legacyHold: boolean;
  readonly family: Family;
}

/** Payload types have seven bits. */
const MOST_FORMATS = 128;

export interface Description {
  readonly sdp: Sdp;
  readonly streams: readonly StreamDescription[];
  /** Streams that were left without a codec. */
  readonly barred: number;
}

export function rejected(status: SdpRejected['status'], reason: SdpRejected['rejected'], detail: string): SdpRejected {
  return { rejected: reason, status, detail };
}

/** Reads an offer or answer: 400 for what isn't SDP, 488 for what can't be relayed. */
export function describe(text: string, maxStreams: number, codecs?: CodecFilter): Description | SdpRejected {
  const sdp = parseSdp(text, { media: maxStreams });
  if (sdp instanceof SdpError) return rejected(sdp.reason === 'sdp-too-large' ? 488 : 400, sdp.reason, sdp.toString());
  if (sdp.media.length === 0) return rejected(488, 'sdp-unsupported', 'no streams');
  const streams: StreamDescription[] = [];
  let barred = 0;
  for (const [i, m] of sdp.media.entries()) {
    const odd = checkFormats(m, i);
    if (odd !== undefined) return odd;
    if (codecs !== undefined && !codecs.apply(m)) barred++;
    const s = describeStream(m, i);
    if ('rejected' in s) return s;
    streams.push(s);
  }
  return { sdp, streams, barred };
}

/** More payload types than RTP has make work for nothing; what they refer to is looked up in each other. */
function checkFormats(m: MediaSection, i: number): SdpRejected | undefined {
  if (m.port === 0 || transportOf(m.proto) === undefined) return undefined;
  const { formats } = m;
  if (formats.length > MOST_FORMATS) return rejected(488, 'sdp-too-large', `stream ${i}: ${formats.length} formats`);
  return transportOf(m.proto) !== 'rtp' || formats.every(f => digits(f, 3))
    ? undefined
    : rejected(400, 'sdp-malformed', `stream ${i}: formats`);
}

function describeStream(m: MediaSection, i: number): StreamDescription | SdpRejected {
  if (carriesAddress(m.lines[0]?.text ?? ''))
    return rejected(400, 'sdp-malformed', `stream ${i}: an address in the m= line`);
  const transport = transportOf(m.proto);
  const enabled = m.port !== 0 && transport !== undefined;
  const c = m.connection;
  if (!enabled || c === undefined) return stream(m, transport, false, null, 'inactive', false, 4);
  if (m.portCount !== 1) return rejected(488, 'sdp-unsupported', `stream ${i}: several ports`);
  const address = canonicalAddress(c.address);
  if (address === undefined || c.suffix !== '')
    return rejected(488, 'sdp-unsupported', `stream ${i}: c= is not a plain address`);
  const family = familyOf(address);
  if (m.legacyHold) return stream(m, transport, true, null, heldBy(m.direction), true, c.addressType === 'IP6' ? 6 : 4);
  return stream(m, transport, true, { address, port: m.port }, m.direction, false, family);
}

type Transport = 'rtp' | 'opaque' | undefined;

/** One literal rather than spreads of a common part: those cost 7 µs each on Node 20, more than parsing the body. */
function stream(
  m: MediaSection,
  transport: Transport,
  enabled: boolean,
  rtp: Endpoint | null,
  direction: Direction,
  legacyHold: boolean,
  family: Family,
): StreamDescription {
  const isRtp = transport === 'rtp';
  return {
    kind: m.kind,
    enabled,
    rtp,
    rtcp: isRtp && rtp !== null ? rtcpOf(m, rtp) : null,
    mux: isRtp && m.rtcpMux,
    opaque: transport === 'opaque',
    secure: isRtp && m.proto.includes('SAVP'),
    clockRate: isRtp ? m.clockRate : 0,
    direction,
    legacyHold,
    family,
  };
}

/** RTP profiles without DTLS, and plain datagrams; streams over TCP or DTLS are not relayed yet. */
function transportOf(proto: string): Transport {
  switch (proto.toUpperCase()) {
    case 'RTP/AVP':
    case 'RTP/AVPF':
    case 'RTP/SAVP':
    case 'RTP/SAVPF':
      return 'rtp';
    case 'UDPTL':
    case 'UDP':
      return 'opaque';
    default:
      return undefined;
  }
}

/** a=rtcp (RFC 3605), else the next port up; an address of another family is ignored. */
function rtcpOf(m: MediaSection, rtp: Endpoint): Endpoint | null {
  const a = m.rtcp;
  if (a === undefined) return rtp.port < 65535 ? { address: rtp.address, port: rtp.port + 1 } : null;
  const named = a.connection === undefined ? rtp.address : canonicalAddress(a.connection.address);
  const address = named !== undefined && familyOf(named) === familyOf(rtp.address) ? named : rtp.address;
  return a.port === 0 ? null : { address, port: a.port };
}

function heldBy(direction: Direction): Direction {
  return direction === 'sendrecv' || direction === 'sendonly' ? 'sendonly' : 'inactive';
}
