import { own } from '@drawbridge/core';
import { nameAddrSpan, parseNameAddr, parseUri, type SipUri, scanNameAddr } from '@drawbridge/sip';

const MOST_DISPLAY = 128;
const span = nameAddrSpan();

/**
 * From or To for the other side, without tag: the display name and `user@domain` stay, port, parameters and any host
 * that is an inner address don't. `fallback` stands for a URI that names no user.
 */
export function outerParty(value: string, hostFor: (host: string) => string, fallback: string): string {
  if (!scanNameAddr(value, 0, value.length, span)) return `<${fallback}>`;
  const display = displayOf(value);
  const uri = parseUri(value.slice(span.uri, span.uriEnd));
  return `${display}<${uri === undefined ? fallback : outerUri(uri, hostFor)}>`;
}

/** The same URI by user and domain, without what else it says. */
export function outerUri(uri: SipUri, hostFor: (host: string) => string): string {
  if (uri.scheme === 'tel') return `tel:${uri.user ?? ''}`;
  const host = hostFor(uri.host);
  return `${uri.scheme}:${uri.user === undefined ? '' : `${uri.user}@`}${host.includes(':') ? `[${host}]` : host}`;
}

/** The display name before an address, as it may go on, with a space behind it; '' when there is none. */
export function outerDisplay(value: string): string {
  return scanNameAddr(value, 0, value.length, span) ? displayOf(value) : '';
}

/** A name that someone reads on a phone: no controls, and no longer than fits there. Byte for byte when it is so already. */
function displayOf(value: string): string {
  if (span.displayEnd === span.display) return '';
  const text = value.slice(span.display, span.displayEnd);
  const quoted = text.charCodeAt(0) === 34;
  if (text.length <= MOST_DISPLAY + 2 && isClean(text)) return `${text} `;
  const inner = cleaned(quoted ? text.slice(1, -1) : text).trim();
  if (inner === '') return '';
  return quoted ? `"${inner}" ` : `${inner} `;
}

/** C0 and DEL, and C1 as UTF-8 says it (C2 80 … C2 9F). */
function controlAt(text: string, i: number): number {
  const c = text.charCodeAt(i);
  if (c < 32 || c === 127) return 1;
  const next = c === 0xc2 ? text.charCodeAt(i + 1) : 0;
  return next >= 0x80 && next <= 0x9f ? 2 : 0;
}

function isClean(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (controlAt(text, i) > 0) return false;
  return true;
}

/** Without controls, cut where a character ends: never inside a UTF-8 sequence, never behind a lone backslash. */
function cleaned(text: string): string {
  let out = '';
  for (let i = 0; i < text.length; ) {
    const control = controlAt(text, i);
    if (control > 0) {
      i += control;
      continue;
    }
    let end = i + 1;
    if (text.charCodeAt(i) === 92) {
      // A pair whose second half is a control goes as a whole.
      const second = controlAt(text, end);
      if (end >= text.length || second > 0) {
        i = end + second;
        continue;
      }
      end++;
    } else while (end < text.length && (text.charCodeAt(end) & 0xc0) === 0x80) end++;
    if (out.length + end - i > MOST_DISPLAY) break;
    out += text.slice(i, end);
    i = end;
  }
  return out;
}

/** `user@host` of a From or To, as written. A name in quotes may hold anything: it is never searched. */
export function partyName(value: string): string {
  const uri = parseUri(parseNameAddr(value)?.uri ?? '');
  if (uri === undefined) return 'anonymous';
  return own(uri.scheme === 'tel' ? (uri.user ?? '') : uri.user === undefined ? uri.host : `${uri.user}@${uri.host}`);
}
