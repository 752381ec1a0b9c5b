import { connectionTo, type MediaSection, type Origin, type Section } from '@drawbridge/sdp';
import { carriesAddress } from './address-scan.js';
import type { Description } from './describe.js';

/** What one stream looks like to the leg that gets the description. */
export interface OutStream {
  /** 0 = the stream is refused or off. */
  readonly port: number;
  readonly mux: boolean;
}

/** Everything else stays behind: i=, u=, e=, p=, r=, z=, k= and unknown types say who and where. */
const SESSION_LINES = 'voscbta';
const MEDIA_LINES = 'mcba';

/**
 * Attributes that concern the path we replace, or that name hosts: ICE (we are the only address), BUNDLE and
 * rtcp-mux-only (each stream has its own ports), and descriptions of sources and programs.
 */
const DROPPED: ReadonlySet<string> = new Set([
  'candidate',
  'remote-candidates',
  'end-of-candidates',
  'ice-ufrag',
  'ice-pwd',
  'ice-options',
  'ice-lite',
  'ice-mismatch',
  'ice-pacing',
  'rtcp-mux-only',
  'bundle-only',
  'ssrc',
  'ssrc-group',
  'msid',
  'tool',
  'source-filter',
  'alt',
  'altc',
  'nortpproxy',
]);

/**
 * Turns the far end's description into ours, in place: our o=, c= and ports; same m-lines in the same order; no
 * address of the far end left in any line.
 */
export function rewrite(
  d: Description,
  out: { origin: Origin; address: string; streams: readonly OutStream[] },
): string {
  const { sdp } = d;
  const connection = connectionTo(out.address);
  allow(sdp.session, SESSION_LINES);
  sdp.session.set('s', '-');
  if (sdp.connection !== undefined) sdp.session.setConnection(connection);
  sdp.session.removeAttributes(a => a.name === 'group' && (a.value ?? '').startsWith('BUNDLE'));
  for (const [i, m] of sdp.media.entries()) {
    const stream = out.streams[i] ?? { port: 0, mux: false };
    allow(m, MEDIA_LINES);
    m.setPort(stream.port);
    if (m.ownConnection !== undefined) m.setConnection(connection);
    writeRtcp(m, stream);
    if (d.streams[i]?.legacyHold) m.setDirection(d.streams[i]?.direction ?? 'inactive');
  }
  sdp.setOrigin(out.origin);
  return sdp.format();
}

/** Each side agrees on rtcp-mux with us alone (RFC 5761 §5.1.1); a=rtcp stays only where it says something (RFC 3605). */
function writeRtcp(m: MediaSection, stream: OutStream): void {
  const named = m.has('rtcp');
  m.removeAttributes(
    a => (a.name === 'rtcp-mux' && !stream.mux) || (a.name === 'rtcp' && (stream.mux || stream.port === 0)),
  );
  if (stream.port === 0) return;
  if (stream.mux) m.setAttribute('rtcp-mux');
  else if (named) m.setAttribute('rtcp', String(stream.port + 1));
}

function allow(section: Section, types: string): void {
  section.remove((type, value) => !types.includes(type) || (type !== 'c' && carriesAddress(value)));
  section.removeAttributes(a => DROPPED.has(a.name));
}
