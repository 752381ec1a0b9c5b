import type { Packet } from './capture.js';
import { header, isSip } from './capture.js';

/** What one side must not learn about the other: kind → text as it stands on that side's wire. */
export type Marks = ReadonlyMap<string, string>;

/**
 * The marks of a phone, read from the messages that it sent itself: topology, identifiers and make.
 * `addresses` are those it has and those its NAT has.
 */
export function marksOf(sent: readonly Packet[], addresses: readonly string[]): Marks {
  const marks = new Map<string, string>();
  for (const [n, address] of addresses.entries()) marks.set(`address ${n + 1}`, address);
  const put = (kind: string, value: string | undefined): void => {
    if (value !== undefined && value.length >= 4) marks.set(kind, value);
  };
  for (const p of sent) {
    if (!isSip(p) || header(p.payload, 'Call-ID') === '') continue;
    const inCall =
      /^INVITE /.test(p.payload) || (/^SIP\/2.0 (18|2)/.test(p.payload) && /INVITE/.test(header(p.payload, 'CSeq')));
    if (!inCall) continue;
    const request = p.payload.startsWith('INVITE');
    put('user agent', header(p.payload, request ? 'User-Agent' : 'Server') || header(p.payload, 'User-Agent'));
    put('contact user', /sips?:([^@;>]+)@/.exec(header(p.payload, 'Contact'))?.[1]);
    put('tag', /;tag=([^;]+)/.exec(header(p.payload, request ? 'From' : 'To'))?.[1]);
    put('call id', header(p.payload, 'Call-ID'));
    put('branch', request ? /;branch=z9hG4bK([^;]+)/.exec(header(p.payload, 'Via'))?.[1] : undefined);
    put('o= session', /\r\no=(\S+ \S+)/.exec(p.payload)?.[1]);
    put('nonce', /nonce="([^"]+)"/.exec(p.payload)?.[1]);
  }
  return marks;
}

/** Which marks stand in the SIP payloads of these packets. TCP segments are joined per direction, so that none hides in a seam. */
export function found(marks: Marks, packets: readonly Packet[]): string[] {
  const streams = new Map<string, string>();
  for (const p of packets) {
    if (p.protocol === 'udp' && !isSip(p)) continue;
    const key = p.protocol === 'udp' ? 'udp' : `${p.from}:${p.fromPort}>${p.to}:${p.toPort}`;
    streams.set(key, `${streams.get(key) ?? ''}${p.protocol === 'udp' ? '\n\n' : ''}${p.payload}`);
  }
  const text = [...streams.values()].join('\n\n');
  return [...marks].filter(([, value]) => contains(text, value)).map(([kind, value]) => `${kind} ${value}`);
}

/** Addresses must stand alone: 10.1.0.2 is not in 110.1.0.21. */
function contains(text: string, value: string): boolean {
  if (!/^[\d.]+$/.test(value)) return text.includes(value);
  for (let at = text.indexOf(value); at >= 0; at = text.indexOf(value, at + 1)) {
    if (!/[\d.]/.test(text[at - 1] ?? '') && !/\d/.test(text[at + value.length] ?? '')) return true;
  }
  return false;
}
