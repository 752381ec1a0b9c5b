import { seededRandom } from '@drawbridge/core';

/** Distinct well-formed messages in the rotation. */
export const DISTINCT = 64;
/** One message in so many is malformed. */
export const MALFORMED_EVERY = 100;

/** What a border's socket sees: 64 well-formed messages, and malformed ones that every parser under test rejects. */
export interface ParseWork {
  /** Buffers in the order in which they are parsed; repeated until the time is up. */
  readonly rotation: readonly Buffer[];
  readonly malformedPerRotation: number;
}

export function parseWork(seed: number): ParseWork {
  const messages = Array.from({ length: DISTINCT }, (_, i) => Buffer.from(message(i, seed), 'latin1'));
  const malformed = MALFORMED.map(text => Buffer.from(text, 'latin1'));
  const rotation: Buffer[] = [];
  let wrong = 0;
  for (let i = 0; i < DISTINCT * MALFORMED_EVERY; i++) {
    const bad = i % MALFORMED_EVERY === MALFORMED_EVERY - 1;
    rotation.push((bad ? malformed[wrong++ % malformed.length] : messages[i % DISTINCT]) as Buffer);
  }
  return { rotation, malformedPerRotation: wrong };
}

const REST =
  'Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKbad\r\nFrom: <sip:a@example.org>;tag=1\r\nTo: <sip:b@example.org>\r\nCall-ID: bad@example.org\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n';
const MALFORMED = [`INVITE sip:b@example.org\r\n${REST}`, `SIP/2.0 banana OK\r\n${REST}`, `INVITE\r\n${REST}`];

interface Names {
  readonly via: string;
  readonly from: string;
  readonly to: string;
  readonly callId: string;
  readonly contact: string;
  readonly length: string;
  readonly type: string;
  readonly supported: string;
}

const LONG: Names = {
  via: 'Via',
  from: 'From',
  to: 'To',
  callId: 'Call-ID',
  contact: 'Contact',
  length: 'Content-Length',
  type: 'Content-Type',
  supported: 'Supported',
};
const COMPACT: Names = {
  via: 'v',
  from: 'f',
  to: 't',
  callId: 'i',
  contact: 'm',
  length: 'l',
  type: 'c',
  supported: 'k',
};

const KINDS = ['invite', 'trying', 'ringing', 'ok', 'ack', 'bye', 'register', 'options'] as const;
type Kind = (typeof KINDS)[number];

/** Every kind in eight forms: long, long, long, compact, compact, folded, folded, through two proxies. */
function message(i: number, seed: number): string {
  const kind = KINDS[i % KINDS.length] as Kind;
  const form = Math.floor(i / KINDS.length);
  const random = seededRandom(seed * 1000 + i);
  const hex = (): string => random.u32().toString(16).padStart(8, '0');
  const names = form === 3 || form === 4 ? COMPACT : LONG;
  const fold = form === 5 || form === 6 ? '\r\n ' : '';
  const hops = form === 7 ? 3 : 1;
  const user = `user${random.u32() % 10000}`;
  const callee = `+4420${hex()}`;
  const host = `198.51.100.${1 + (random.u32() % 250)}`;
  const response = kind === 'trying' || kind === 'ringing' || kind === 'ok';
  const method = kind === 'invite' || response ? 'INVITE' : kind.toUpperCase();
  const lines: string[] = [];
  for (let hop = 0; hop < hops; hop++) {
    lines.push(
      `${names.via}: SIP/2.0/UDP ${hop === hops - 1 ? host : `10.0.0.${hop + 1}`}:${5060 + hop};branch=z9hG4bK${hex()}${hex()}${fold};rport`,
    );
  }
  if (hops > 1) lines.push('Record-Route: <sip:10.0.0.1;lr>', 'Record-Route: <sip:10.0.0.2;lr>');
  const toTag = kind === 'ringing' || kind === 'ok' || kind === 'ack' || kind === 'bye' ? `;tag=${hex()}` : '';
  if (!response) lines.push('Max-Forwards: 70');
  lines.push(`${names.from}: "User ${user}" <sip:${user}@example.org>${fold};tag=${hex()}`);
  lines.push(`${names.to}: <sip:${callee}@example.org>${toTag}`);
  lines.push(`${names.callId}: ${hex()}${hex()}@${host}`);
  lines.push(`CSeq: ${1 + (random.u32() % 50000)} ${method}`);
  if (kind !== 'trying')
    lines.push(`${names.contact}: <sip:${user}@${host}:5060>${kind === 'register' ? ';expires=600' : ''}`);
  lines.push(`User-Agent: Phone/${1 + (random.u32() % 9)}.2${fold} (desk)`);
  if (kind !== 'ack' && kind !== 'trying')
    lines.push('Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE', `${names.supported}: replaces, timer`);
  const body = kind === 'invite' || kind === 'ok' ? sdp(host, random.u32() % 20000) : '';
  if (body !== '') lines.push(`${names.type}: application/sdp`);
  lines.push(`${names.length}: ${body.length}`);
  return `${startLine(kind, method, callee)}\r\n${lines.join('\r\n')}\r\n\r\n${body}`;
}

function startLine(kind: Kind, method: string, callee: string): string {
  if (kind === 'trying') return 'SIP/2.0 100 Trying';
  if (kind === 'ringing') return 'SIP/2.0 180 Ringing';
  if (kind === 'ok') return 'SIP/2.0 200 OK';
  return kind === 'register' ? 'REGISTER sip:example.org SIP/2.0' : `${method} sip:${callee}@example.org SIP/2.0`;
}

function sdp(host: string, port: number): string {
  return `v=0\r\no=- ${port} 1 IN IP4 ${host}\r\ns=-\r\nc=IN IP4 ${host}\r\nt=0 0\r\nm=audio ${10000 + port} RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n`;
}
