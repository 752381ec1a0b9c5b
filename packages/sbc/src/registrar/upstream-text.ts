import { formatUri, H, headerLine, type MessageView, parseUri, safeValue } from '@drawbridge/sip';
import type { NextHop } from '../locate/hop-list.js';

/** Our contact at one upstream, for one phone. */
export function ourContact(opaque: string, hop: NextHop): string {
  return `sip:${opaque}@${hop.listener.sentBy}${hop.listener.uriTransport}`;
}

/** Scheme, user and host of an address-of-record; nothing else of it concerns the upstream. */
export function bare(uri: string | undefined, otherwise: string): string {
  const u = parseUri(uri ?? otherwise) ?? parseUri(otherwise);
  if (u === undefined || u.scheme === 'tel') return otherwise;
  return formatUri({ scheme: u.scheme, user: u.user, host: u.host, port: undefined, params: new Map(), headers: '' });
}

/** What of the phone's request goes on beside what is ours: credentials, interval, name of the product. Nothing else. */
export function carried(m: MessageView, credentials: boolean, expires: boolean): string {
  const proof = credentials
    ? copy(m, H.authorization, 'Authorization') + copy(m, H.proxyAuthorization, 'Proxy-Authorization')
    : '';
  return proof + (expires ? copy(m, H.expires, 'Expires') : '') + copy(m, H.userAgent, 'User-Agent');
}

/** The phone has just answered a nonce of ours: its user needn't be asked for the password again (RFC 7616 §3.3). */
export function stale(challenge: string): string {
  return /\bstale[ \t]*=/i.test(challenge)
    ? challenge.replace(/\bstale[ \t]*=[ \t]*"?\w+"?/i, 'stale=true')
    : `${challenge},stale=true`;
}

/** Header lines of a message as they stand, or changed. */
export function copy(m: MessageView, h: number, name: string, change?: (value: string) => string): string {
  let out = '';
  for (let i = m.first(h); i >= 0; i = m.next(i)) {
    const value = m.value(i);
    if (safeValue(value) && value !== '') out += headerLine(name, change === undefined ? value : change(value));
  }
  return out;
}
