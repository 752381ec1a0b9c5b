import { SdpError } from './error.js';
import { type Line, MediaSection, Section } from './section.js';
import {
  type Connection,
  digits,
  formatOrigin,
  type Origin,
  parseConnection,
  parseOrigin,
  parsePort,
} from './value.js';

export interface SdpCaps {
  /** Default 65535. */
  readonly bytes?: number;
  /** m-lines. Default 32. */
  readonly media?: number;
  /** Lines of any section. Default 512. */
  readonly linesPerSection?: number;
}

/**
 * A session description as lines. Reading never changes it; an edit replaces, adds or removes whole lines, and
 * every other line leaves byte-identical, with its own ending.
 */
export class Sdp {
  readonly session: Section;
  readonly media: readonly MediaSection[];

  /** Use `parseSdp`. */
  constructor(session: Section, media: readonly MediaSection[]) {
    this.session = session;
    this.media = media;
  }

  get origin(): Origin {
    return parseOrigin(this.session.get('o') ?? '') as Origin;
  }
  setOrigin(o: Origin): void {
    this.session.set('o', formatOrigin(o));
  }
  /** Session-level c=. */
  get connection(): Connection | undefined {
    return this.session.ownConnection;
  }
  /** a=group lines (RFC 5888), e.g. `BUNDLE 0 1`. */
  get groups(): readonly string[] {
    return [...this.session.attributes('group')].map(a => a.value ?? '');
  }

  format(): string {
    let out = '';
    for (const l of this.session.lines) out += l.text + l.ending;
    for (const m of this.media) for (const l of m.lines) out += l.text + l.ending;
    return out;
  }
}

/**
 * Reads SDP (RFC 8866) as peers send it: CRLF or LF, lines of a section in any order, s= and t= may be missing.
 * What an answer depends on is strict: v=0 first, o= of six fields, m= with a port, c= well-formed and, for every
 * stream that is not refused (port 0), present.
 */
export function parseSdp(text: string, caps: SdpCaps = {}): Sdp | SdpError {
  const most = caps.media ?? 32;
  const perSection = caps.linesPerSection ?? 512;
  if (text.length > (caps.bytes ?? 65_535)) return new SdpError('sdp-too-large', 1, `${text.length} bytes`);
  const ending = (): string => sessionLines[0]?.ending || '\r\n';
  const sessionLines: Line[] = [];
  const mediaLines: Line[][] = [];
  let lines = sessionLines;
  let number = 0;
  for (let at = 0; at < text.length; ) {
    number++;
    const lf = text.indexOf('\n', at);
    const end = lf < 0 ? text.length : lf > at && text.charCodeAt(lf - 1) === 13 ? lf - 1 : lf;
    const line: Line = { text: text.slice(at, end), ending: lf < 0 ? '' : text.slice(end, lf + 1) };
    at = lf < 0 ? text.length : lf + 1;
    if (line.text === '') {
      if (!hasOnlyBreaks(text, at)) return new SdpError('sdp-malformed', number, 'empty line');
      lines.push({ text: '', ending: text.slice(end) });
      break;
    }
    if (line.text.startsWith('m=')) {
      if (mediaLines.length === most) return new SdpError('sdp-too-large', number, `more than ${most} m-lines`);
      lines = [];
      mediaLines.push(lines);
    } else if (lines.length === perSection)
      return new SdpError('sdp-too-large', number, `more than ${perSection} lines in one section`);
    const fault = checkLine(line.text, number, lines === sessionLines) ?? checkTwice(line.text, lines);
    if (fault !== undefined) return new SdpError('sdp-malformed', number, fault);
    lines.push(line);
  }
  if (sessionLines.length === 0) return new SdpError('sdp-malformed', 1, 'empty body');
  const session = new Section(sessionLines, 'session', ending);
  if (session.get('o') === undefined) return new SdpError('sdp-malformed', 2, 'no o= line');
  const media = mediaLines.map(l => new MediaSection(l, session, ending));
  const bare = media.findIndex(m => m.port !== 0 && m.connection === undefined);
  if (bare >= 0) return new SdpError('sdp-malformed', number, `no c= for stream ${bare}`);
  return new Sdp(session, media);
}

function checkLine(text: string, number: number, inSession: boolean): string | undefined {
  const type = text.charCodeAt(0);
  if (text.charCodeAt(1) !== 61 || type < 97 || type > 122) return 'not a type=value line';
  if (text.includes('\0') || text.includes('\r')) return 'NUL or CR inside a line';
  if ((number === 1) !== (type === 118)) return 'v= comes first and once';
  switch (type) {
    case 118:
      return text.trimEnd() === 'v=0' ? undefined : 'v= is not 0';
    case 111:
      return inSession && parseOrigin(text.slice(2)) !== undefined ? undefined : 'o= malformed';
    case 99:
      return parseConnection(text.slice(2)) !== undefined ? undefined : 'c= malformed';
    case 109:
      return checkMedia(text.slice(2));
    default:
      return undefined;
  }
}

/** A second o=, s= or c= would travel behind the one that is read and edited. */
function checkTwice(text: string, lines: readonly Line[]): string | undefined {
  const type = text[0] ?? '';
  return 'osc'.includes(type) && lines.some(l => l.text[0] === type) ? `${type}= twice` : undefined;
}

function checkMedia(value: string): string | undefined {
  const f = value.trimEnd().split(' ');
  if (f.length < 4 || f.includes('')) return 'm= malformed';
  const port = f[1] ?? '';
  const slash = port.indexOf('/');
  if (parsePort(slash < 0 ? port : port.slice(0, slash)) < 0) return 'm= port malformed';
  if (slash >= 0 && (!digits(port.slice(slash + 1), 3) || Number(port.slice(slash + 1)) === 0))
    return 'm= port count malformed';
  return undefined;
}

/** Nothing but line endings from here to the end. */
function hasOnlyBreaks(text: string, from: number): boolean {
  for (let i = from; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c !== 13 && c !== 10) return false;
  }
  return true;
}
