import { drop, PASS, type Reason, reply, type Verdict } from '@drawbridge/core';
import { H, headerLine, tokenList } from '@drawbridge/sip';
import type { Inbound } from '../inbound.js';

/** What we understand of Require and Proxy-Require: done by us, or carried to the side that does it. */
const SUPPORTED: ReadonlySet<string> = new Set([
  '100rel',
  'timer',
  'precondition',
  'path',
  'outbound',
  'gruu',
  'replaces',
  'norefersub',
]);

/** Of what is not known so many are named: an answer is never larger than what it answers. */
const MOST_TAGS = 16;

const STATUS: Partial<Record<Reason, number>> = { 'unsupported-version': 505, 'unsupported-scheme': 416 };

/** Datagram → message view. Malformed requests that can be answered get their 400; the rest is counted and gone. */
export function parse(inbound: Inbound, text: string, framed: boolean): Verdict {
  const { m } = inbound;
  const fault = m.parse(text, framed);
  if (fault !== undefined) {
    return m.answerable && m.method !== 'ACK' ? reply(STATUS[fault] ?? 400, fault) : drop(fault);
  }
  if (!m.isRequest || m.method === 'ACK' || m.method === 'CANCEL') return PASS;
  if (m.maxForwards === 0 && m.method !== 'REGISTER') return reply(483, 'too-many-hops');
  return m.has(H.require) || m.has(H.proxyRequire) ? required(inbound) : PASS;
}

/** RFC 3261 §8.2.2.3: what is required and not known goes back in Unsupported. */
function required({ m }: Inbound): Verdict {
  const unknown: string[] = [];
  for (const h of [H.require, H.proxyRequire]) {
    for (const value of m.list(h))
      for (const tag of tokenList(value) ?? [value]) if (!SUPPORTED.has(tag.toLowerCase())) unknown.push(tag);
  }
  if (unknown.length === 0) return PASS;
  return reply(420, 'unknown-extension', headerLine('Unsupported', unknown.slice(0, MOST_TAGS).join(', ')));
}
