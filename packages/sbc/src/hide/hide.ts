import { headerLine, type MessageView, nameAddrSpan, parseUri, scanNameAddr, splitList } from '@drawbridge/sip';
import { CROSS, CROSSING, OPTION_TAGS } from './allow.js';

/**
 * Header lines of the inner message that the other side may see, in their order; runs of untouched lines are one slice.
 * `trust`: credentials go to the upstream they are meant for and its challenges come back.
 */
export function hide(m: MessageView, trust: { readonly credentials: boolean; readonly challenges: boolean }): string {
  let out = '';
  let run = -1;
  const n = m.count;
  for (let i = 0; i < n; i++) {
    const how = CROSSING[m.id(i)]!;
    const asIs =
      how === CROSS.asIs ||
      (how === CROSS.credential && trust.credentials) ||
      (how === CROSS.challenge && trust.challenges);
    if (asIs) {
      if (run < 0) run = m.lineAt(i);
      continue;
    }
    if (run >= 0) {
      out += m.text.slice(run, m.lineAt(i));
      run = -1;
    }
    if (how === CROSS.supported) out += supported(m.value(i));
    else if (how === CROSS.reason) out += reason(m.value(i));
  }
  if (run >= 0) out += m.text.slice(run, endOfHeaders(m));
  return out;
}

/** Up to the empty line, which is not ours to copy. */
function endOfHeaders(m: MessageView): number {
  const last = m.count - 1;
  return m.lineAt(last) + m.line(last).length;
}

function supported(value: string): string {
  const tags = splitList(value).filter(tag => OPTION_TAGS.has(tag.toLowerCase()));
  return tags.length === 0 ? '' : headerLine('Supported', tags.join(', '));
}

/** RFC 3326: protocol and cause stay; the text may quote a host. */
function reason(value: string): string {
  let out = '';
  for (const one of splitList(value)) {
    const protocol = /^[A-Za-z0-9._-]{1,32}/.exec(one)?.[0];
    const cause = /;\s*cause=(\d{1,3})(?!\d)/i.exec(one)?.[1];
    if (protocol !== undefined && cause !== undefined) out += headerLine('Reason', `${protocol};cause=${cause}`);
  }
  return out;
}

const span = nameAddrSpan();

/**
 * From or To for the other side, without tag: the display name and `user@domain` stay, port, parameters and any host
 * that is an inner address don't. `fallback` stands for a URI that names no user.
 */
export function outerParty(value: string, hostFor: (host: string) => string, fallback: string): string {
  if (!scanNameAddr(value, 0, value.length, span)) return `<${fallback}>`;
  const uri = parseUri(value.slice(span.uri, span.uriEnd));
  const display = span.displayEnd > span.display ? `${value.slice(span.display, span.displayEnd)} ` : '';
  if (uri === undefined) return `${display}<${fallback}>`;
  if (uri.scheme === 'tel') return `${display}<tel:${uri.user ?? ''}>`;
  const host = hostFor(uri.host);
  return `${display}<${uri.scheme}:${uri.user === undefined ? '' : `${uri.user}@`}${host.includes(':') ? `[${host}]` : host}>`;
}

export const ALLOWED_METHODS = 'INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, MESSAGE, UPDATE, SUBSCRIBE, NOTIFY';
export const ALLOW_LINE = headerLine('Allow', ALLOWED_METHODS);
