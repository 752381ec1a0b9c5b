import { type Endpoints, parseAddressWords } from '@drawbridge/core';
import { isParam, paramSpan, scanParam } from '../header/param.js';
import { viaHost } from '../header/via.js';
import { isToken } from './chars.js';
import { H, type HeaderId } from './header-id.js';
import { headerLine, mustBeLines, mustBeSafe } from './line.js';
import { reasonPhrase } from './reason-phrase.js';
import type { MessageView } from './view.js';

export interface ReplyOptions {
  readonly phrase?: string | undefined;
  /** Where the request came from: gives `received` and `rport` on the top Via (RFC 3261 §18.2.1, RFC 3581 §4). */
  readonly peer?: Endpoints | undefined;
  readonly j?: number | undefined;
  /** Added to a To that has none. */
  readonly toTag?: string | undefined;
  /** Further header lines, each with its CRLF. */
  readonly headers?: string | undefined;
  readonly contentType?: string | undefined;
  readonly body?: string | undefined;
}

/**
 * A response to the request in `m` (RFC 3261 §8.2.6): Via, From, To, Call-ID and CSeq are its own, the rest is ours.
 * Record-Route is copied where the response makes a dialog (§12.1.1), Timestamp into a 100 (§8.2.6.1).
 * Works on a request that failed to parse as long as it is `answerable`. Throws on options that could break the message.
 */
export function buildReply(m: MessageView, status: number, o: ReplyOptions): string {
  const phrase = o.phrase ?? reasonPhrase(status);
  mustBeSafe('reason phrase', phrase);
  const headers = o.headers ?? '';
  mustBeLines(headers);
  const body = o.body ?? '';
  const type = o.contentType === undefined || body === '' ? '' : headerLine('Content-Type', o.contentType);
  return `SIP/2.0 ${status} ${phrase}\r\n${vias(m, o)}${m.line(m.first(H.from))}${to(m, o.toTag)}${m.line(m.first(H.callId))}${m.line(m.first(H.cseq))}${
    makesDialog(m, status) ? lines(m, H.recordRoute) : ''
  }${status === 100 ? lines(m, H.timestamp) : ''}${headers}${type}Content-Length: ${body.length}\r\n\r\n${body}`;
}

function lines(m: MessageView, h: HeaderId): string {
  let out = '';
  for (let i = m.first(h); i >= 0; i = m.next(i)) out += m.line(i);
  return out;
}

function makesDialog(m: MessageView, status: number): boolean {
  if (status <= 100 || status >= 300) return false;
  const method = m.method;
  return method === 'INVITE' || method === 'SUBSCRIBE' || method === 'REFER' || method === 'NOTIFY';
}

function to(m: MessageView, tag: string | undefined): string {
  const i = m.first(H.to);
  const line = m.line(i);
  if (tag === undefined || m.toTag !== '') return line;
  if (!isToken(tag)) throw new TypeError('a tag must be a token');
  return `${line.slice(0, -2)};tag=${tag}\r\n`;
}

function vias(m: MessageView, o: ReplyOptions): string {
  const top = m.first(H.via);
  let out = o.peer === undefined ? m.line(top) : topVia(m, top, o.peer, o.j ?? 0);
  for (let i = m.next(top); top >= 0 && i >= 0; i = m.next(i)) out += m.line(i);
  return out;
}

const param = paramSpan();

/** The first Via line with `received` and `rport` of its first via-parm set; what the sender put there is dropped. */
function topVia(m: MessageView, top: number, peer: Endpoints, j: number): string {
  const s = m.text;
  const v = m.via;
  if (v.end === 0) return m.line(top);
  let kept = '';
  let at = v.params;
  while (at < v.end) {
    const from = at;
    at = scanParam(s, at + 1, v.end, param);
    if (at < 0) return m.line(top);
    if (!isParam(s, param, 'received') && !isParam(s, param, 'rport')) kept += s.slice(from, at);
  }
  const address = peer.address(j);
  const start = m.lineAt(top);
  const added = v.rport
    ? `;received=${address};rport=${peer.port(j)}`
    : sameHost(viaHost(s, v), peer, j)
      ? ''
      : `;received=${address}`;
  const line = m.line(top);
  return `${s.slice(start, v.params)}${kept}${added}${line.slice(v.end - start)}`;
}

const words = new Uint32Array(4);

/** RFC 3261 §18.2.1: a domain name, or an address that isn't the packet's, gets `received`. */
function sameHost(host: string, peer: Endpoints, j: number): boolean {
  if (!parseAddressWords(host, words, 0)) return false;
  const at = j * 5;
  return (
    peer.words[at] === words[0] &&
    peer.words[at + 1] === words[1] &&
    peer.words[at + 2] === words[2] &&
    peer.words[at + 3] === words[3]
  );
}
