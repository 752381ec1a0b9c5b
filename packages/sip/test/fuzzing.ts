import { readdirSync, readFileSync } from 'node:fs';
import { type Random, REASONS } from '@drawbridge/core';
import {
  acceptList,
  aorOf,
  buildReply,
  formatUri,
  H,
  MessageView,
  parseAuth,
  parseContact,
  parseContacts,
  parseCSeq,
  parseNameAddr,
  parseRAck,
  parseUri,
  parseVia,
  Splice,
  tokenList,
  uriEqual,
} from '../src/index.js';

/**
 * Invariant: whatever the bytes are, `parse` returns undefined or a Reason; no accessor and no header parser throws;
 * an accepted message, spliced without an edit, is the same message; a reply to an accepted or answerable request is
 * one message with one head that is accepted itself, as far as what it repeats was well-formed.
 */
const CORPUS = new URL('../../test/corpus/rfc4475/', import.meta.url);

const PLAIN = [
  'INVITE sip:b@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport\r\nMax-Forwards: 70\r\nFrom: "A \\"q\\"" <sip:a@example.org>;tag=f1\r\nTo: <sip:b@[2001:db8::1]>\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\nContact: <sip:a@192.0.2.1>;q=0.5\r\nAuthorization: Digest username="a", realm="r", nc=1\r\nContent-Type: application/sdp\r\nContent-Length: 4\r\n\r\nbody',
  'SIP/2.0 200 OK\r\nv: SIP/2.0/TCP a;branch=z9hG4bKb , SIP/2.0/UDP b\r\nf: sip:a@h;tag=1\r\nt: sip:b@h;tag=2\r\ni: x\r\nCSeq: 2\r\n INVITE\r\nm: *\r\nl: 0\r\n\r\n',
];

/** What mutations start from. */
export const SEEDS: readonly string[] = [
  ...PLAIN,
  ...readdirSync(CORPUS)
    .filter(f => f.endsWith('.dat'))
    .sort()
    .map(f => readFileSync(new URL(f, CORPUS), 'latin1')),
];

const PIECES = [
  '\r\n',
  '\n',
  '\r',
  '\0',
  '\r\n ',
  ':',
  ';',
  ',',
  '"',
  '\\',
  '<',
  '>',
  '@',
  '%',
  '%00',
  ' ',
  '\t',
  '[',
  ']',
  '=',
  '?',
  'Via: ',
  'v:',
  'l: ',
  'Content-Length: 9999\r\n',
  'To: <sip:x>\r\n',
  'tag=',
  'branch=',
  '4294967296',
  '-1',
  '9'.repeat(40),
  '\xff',
  '\x80',
  '__proto__: 1\r\n',
  'SIP/2.0 ',
  'INVITE ',
];

export function mutated(random: Random): string {
  const below = (n: number): number => random.u32() % n;
  let text = SEEDS[below(SEEDS.length)] ?? '';
  for (let n = below(6); n >= 0; n--) {
    const at = below(text.length + 1);
    const length = below(20);
    const kind = below(6);
    if (kind === 0) text = text.slice(0, at) + text.slice(at + length);
    else if (kind === 1) text = text.slice(0, at) + (PIECES[below(PIECES.length)] ?? '') + text.slice(at);
    else if (kind === 2) text = text.slice(0, at) + String.fromCharCode(below(256)) + text.slice(at + 1);
    else if (kind === 3) text = text.slice(0, at) + text.slice(below(text.length + 1));
    else if (kind === 4) text = text.slice(0, at) + text.slice(at, at + length).repeat(1 + below(150)) + text.slice(at);
    else text = text.slice(0, at) + (SEEDS[below(SEEDS.length)] ?? '').slice(below(300));
  }
  return text;
}

const m = new MessageView();
const again = new MessageView();
const REASON_SET: ReadonlySet<string> = new Set(REASONS);

/** Throws where the invariant breaks; true when the message was accepted. */
export function check(text: string, framed: boolean): boolean {
  const fault = m.parse(text, framed);
  if (fault !== undefined && !REASON_SET.has(fault)) throw new Error(`no Reason: ${fault}`);
  readAll();
  if (fault === undefined) checkAccepted(text);
  else if (m.answerable) checkReply(400, false);
  return fault === undefined;
}

function readAll(): void {
  void [
    m.branch,
    m.sentBy,
    m.viaTransport,
    m.callId,
    m.fromTag,
    m.toTag,
    m.body,
    m.contentType,
    m.named('X-None'),
    m.named('__proto__'),
  ];
  const uri = parseUri(m.uri);
  if (uri !== undefined) {
    const back = parseUri(formatUri(uri));
    if (back === undefined || !uriEqual(uri, back) || aorOf(back) !== aorOf(uri))
      throw new Error(`URI changed: ${m.uri}`);
  }
  for (let i = 0; i < m.count; i++) {
    const value = m.value(i);
    if (/[\r\n\0]/.test(value) && !/\0/.test(m.text)) throw new Error(`value ${i} is not one line`);
    void [m.name(i), m.id(i), m.next(i), m.list(m.id(i))];
    void [
      parseNameAddr(value),
      parseContact(value),
      parseVia(value),
      parseAuth(value),
      parseCSeq(value),
      parseRAck(value),
      tokenList(value),
      acceptList(value),
      parseUri(value),
    ];
  }
  parseContacts(m);
}

function checkAccepted(text: string): void {
  const spliced = new Splice(m).build();
  const had = m.has(H.contentLength);
  const plain = text.slice(m.startAt, m.bodyEnd);
  if (had && spliced !== plain) throw new Error('a splice without edits changed the message');
  if (again.parse(spliced, true) !== undefined) throw new Error('a spliced message is not accepted');
  if (again.count !== m.count + (had ? 0 : 1)) throw new Error('a spliced message has other headers');
  if (again.callId !== m.callId || again.cseq !== m.cseq || again.branch !== m.branch || again.body !== m.body)
    throw new Error('a spliced message reads differently');
  if (m.isRequest) checkReply(200, true);
}

function checkReply(status: number, accepted: boolean): void {
  const text = buildReply(m, status, { toTag: 'ours', headers: 'X-Mark: 1\r\n' });
  const fault = again.parse(text, true);
  if (accepted && fault !== undefined) throw new Error(`a reply is not accepted: ${fault}`);
  if (text.indexOf('\r\n\r\n') !== text.length - 4) throw new Error('a reply has two heads');
  if (again.status !== status || again.named('X-Mark') !== '1') throw new Error('a reply lost its own fields');
  for (const h of [H.from, H.to, H.callId, H.cseq, H.contentLength])
    if (again.next(again.first(h)) >= 0) throw new Error(`header ${h} twice in a reply`);
  if (
    accepted &&
    (again.callId !== m.callId || again.cseq !== m.cseq || again.branch !== m.branch || again.toTag === '')
  )
    throw new Error('a reply reads differently');
}
