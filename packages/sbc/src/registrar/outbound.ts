import { own } from '@drawbridge/core';
import {
  H,
  hasToken,
  headerLine,
  type MessageView,
  parseNameAddr,
  parseUri,
  safeValue,
  type Transport,
} from '@drawbridge/sip';
import type { Inbound } from '../inbound.js';
import { NO_PATH } from './binding.js';
import type { Refusal, Wanted } from './request.js';

/** Most Path values, and most bytes of all of them: each goes into every request toward the contact. */
const MAX_PATH = 16;
const MAX_PATH_BYTES = 2048;

/**
 * RFC 3327 §5.3, from a configured edge only: anybody else's Path would send our requests where he likes. A route that
 * can't be kept whole leads nowhere, so it is refused, not cut.
 */
export function trustedPath({ m, trustedEdge }: Inbound): readonly string[] | Refusal {
  if (!trustedEdge || !m.has(H.path)) return NO_PATH;
  const path = m.list(H.path);
  if (path.length > MAX_PATH || path.reduce((sum, p) => sum + p.length, 0) > MAX_PATH_BYTES)
    return { status: 400, reason: 'path-too-long' };
  if (!path.every(isRoute)) return { status: 400, reason: 'malformed-header' };
  return path.map(own);
}

/** A value that can stand in a Route. */
export function isRoute(value: string): boolean {
  const uri = parseUri(parseNameAddr(value)?.uri ?? '');
  return uri !== undefined && uri.scheme !== 'tel' && value.startsWith('<') && safeValue(value);
}

/** `Path` of the 200 for a phone that knows it; any other gets its binding all the same (decision 040). */
export function pathLines(m: MessageView, path: readonly string[]): string {
  if (path.length === 0 || !supports(m, 'path')) return '';
  let out = '';
  for (const p of path) out += headerLine('Path', p);
  return out;
}

/**
 * RFC 5626 §6. `applied`: the phone asked and its first hop knows how. `ignored`: reg-id has no meaning on this way;
 * `plain`: there was none.
 */
export function outboundOf(
  m: MessageView,
  wanted: Wanted,
  path: readonly string[],
): 'plain' | 'ignored' | 'applied' | Refusal {
  if (!wanted.contacts.some(c => c.regId > 0 && c.instance !== '')) return 'plain';
  const supported = supports(m, 'outbound');
  if (m.list(H.via).length > 1 && !path.some(hasOb))
    return supported ? { status: 439, reason: 'edge-lacks-outbound' } : 'ignored';
  // One such REGISTER stands for one flow.
  if (wanted.contacts.filter(c => c.seconds > 0).length > 1) return { status: 400, reason: 'malformed-header' };
  return supported ? 'applied' : 'plain';
}

/** reg-id off: the contacts count by their URI. */
export function withoutRegId(wanted: Wanted): Wanted {
  return { ...wanted, contacts: wanted.contacts.map(c => ({ ...c, regId: 0 })) };
}

/** What a 200 says when outbound was applied: the flow is kept alive by the phone, at the latest after so many seconds. */
export function outboundLines(
  transport: Transport,
  keepalive: { readonly start: number; readonly max: number },
): string {
  const seconds = Math.floor((transport === 'udp' ? keepalive.start : keepalive.max) / 1000);
  return `Require: outbound\r\nSupported: outbound\r\nFlow-Timer: ${seconds}\r\n`;
}

export function supports(m: MessageView, option: string): boolean {
  return m.has(H.supported) && hasToken(m.list(H.supported), option);
}

function hasOb(value: string): boolean {
  return parseUri(parseNameAddr(value)?.uri ?? '')?.params.has('ob') === true;
}
