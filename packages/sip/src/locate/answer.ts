import { canonicalAddress } from '@drawbridge/core';
import { type Answer, type DecodedPacket, decode, encode } from 'dns-packet';

export type DnsType = 'A' | 'AAAA' | 'SRV' | 'NAPTR' | 'TXT';

export interface DnsQuestion {
  /** Absolute, in lower case, without the final dot. */
  readonly name: string;
  readonly type: DnsType;
}

/** Names are in lower case without the final dot; the root is ''. */
export type DnsRecord =
  | { readonly type: 'A' | 'AAAA'; readonly address: string }
  | {
      readonly type: 'SRV';
      readonly priority: number;
      readonly weight: number;
      readonly port: number;
      readonly target: string;
    }
  | {
      readonly type: 'NAPTR';
      readonly order: number;
      readonly preference: number;
      readonly flags: string;
      readonly services: string;
      readonly regexp: string;
      readonly replacement: string;
    }
  /** Its strings joined (RFC 1035 §3.3.14), as latin1. */
  | { readonly type: 'TXT'; readonly text: string };

/** What is known of a question now. */
export interface DnsAnswer {
  /** Of the type that was asked for; none: there is no such name or record, or nobody answered. */
  readonly records: readonly DnsRecord[];
  /** Monotonic ms: when to ask again. */
  readonly until: number;
  /** Older than its time to live, and nobody gives a newer one. */
  readonly stale: boolean;
  /** Why there are no records, or no newer ones. */
  readonly why: string;
}

/** One message, read. */
export type DnsReading =
  | { readonly kind: 'records'; readonly records: readonly DnsRecord[]; readonly ttlS: number }
  /** RFC 2308: there is no such name, or no record of this type; undefined: without SOA nobody says for how long. */
  | { readonly kind: 'none'; readonly why: 'no such name' | 'no such record'; readonly ttlS: number | undefined }
  /** The server would not or could not say. */
  | { readonly kind: 'refused'; readonly why: string }
  | { readonly kind: 'malformed' };

/** Most records of one answer, and most aliases in a row. */
const MOST_RECORDS = 64;
const MOST_ALIASES = 8;
/** RFC 2181 §8: with the top bit set a TTL is zero. */
const LONGEST_TTL_S = 2 ** 31 - 1;

/** Never throws. The records of the name that was asked, or of what it is an alias of; all else in the message is ignored. */
export function readAnswer(message: Uint8Array, question: DnsQuestion): DnsReading {
  let packet: DecodedPacket;
  try {
    packet = decode(Buffer.from(message.buffer, message.byteOffset, message.byteLength));
  } catch {
    return { kind: 'malformed' };
  }
  if (!answers(packet, question)) return { kind: 'malformed' };
  // The types leave the code of the reply out.
  const { rcode } = packet as { rcode?: string };
  if (rcode !== 'NOERROR' && rcode !== 'NXDOMAIN') return { kind: 'refused', why: rcode?.toLowerCase() ?? 'no code' };
  const all = packet.answers ?? [];
  let name = question.name;
  let ttlS = LONGEST_TTL_S;
  for (let hops = 0; ; hops++) {
    const records: DnsRecord[] = [];
    let alias: string | undefined;
    for (const a of all) {
      if (!('data' in a) || a.class !== 'IN' || dnsName(a.name) !== name) continue;
      if (a.type === 'CNAME') {
        alias = dnsName(a.data);
        ttlS = Math.min(ttlS, seconds(a.ttl));
      } else if (a.type === question.type && records.length < MOST_RECORDS) {
        const record = recordOf(a.type, a.data);
        if (record === undefined) continue;
        records.push(record);
        ttlS = Math.min(ttlS, seconds(a.ttl));
      }
    }
    if (records.length > 0) return { kind: 'records', records, ttlS };
    if (alias === undefined || hops === MOST_ALIASES) break;
    name = alias;
  }
  const why = rcode === 'NXDOMAIN' ? 'no such name' : 'no such record';
  return { kind: 'none', why, ttlS: negativeTtl(packet) };
}

/** The message that says just this: for answers from elsewhere than a name server. */
export function writeAnswer(question: DnsQuestion, records: readonly DnsRecord[], ttlS: number): Uint8Array {
  const of = { name: question.name, class: 'IN', ttl: ttlS } as const;
  const found = records.map(r => recordLine(of, r));
  return encode({ type: 'response', questions: [{ ...question, class: 'IN' }], answers: found });
}

function recordLine(of: { readonly name: string; readonly class: 'IN'; readonly ttl: number }, r: DnsRecord): Answer {
  switch (r.type) {
    case 'A':
    case 'AAAA':
      return { ...of, type: r.type, data: r.address };
    case 'SRV':
      return { ...of, type: 'SRV', data: { ...r, target: r.target === '' ? '.' : r.target } };
    case 'NAPTR':
      return { ...of, type: 'NAPTR', data: { ...r, replacement: r.replacement === '' ? '.' : r.replacement } };
    case 'TXT':
      return { ...of, type: 'TXT', data: Buffer.from(r.text, 'latin1') };
  }
}

/** Whether a message is a response to just this question. */
export function answers(packet: DecodedPacket, question: DnsQuestion): boolean {
  const [asked, more] = packet.questions ?? [];
  return (
    packet.type === 'response' &&
    asked !== undefined &&
    more === undefined &&
    asked.type === question.type &&
    (asked.class ?? 'IN') === 'IN' &&
    dnsName(asked.name) === question.name
  );
}

/** One spelling per name. */
export function dnsName(name: unknown): string {
  if (typeof name !== 'string') return '';
  const lower = name.toLowerCase();
  return lower.endsWith('.') ? lower.slice(0, -1) : lower;
}

/** What can be asked: labels of 1 to 63 octets, 253 in all. */
export function isDnsName(name: string): boolean {
  return isHost(name) && name.split('.').every(label => label.length <= 63);
}

/** Letters, digits, hyphen and underscore: what a host or service name consists of. Anything else would end up in a log line or a URI. */
function isHost(name: string): boolean {
  return name.length <= 253 && /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/.test(name);
}

function recordOf(type: DnsType, data: unknown): DnsRecord | undefined {
  const d = data as Record<string, unknown>;
  switch (type) {
    case 'A':
    case 'AAAA': {
      const address = typeof data === 'string' ? canonicalAddress(data) : undefined;
      return address === undefined || isNowhere(address) ? undefined : { type, address };
    }
    case 'SRV': {
      const target = dnsName(d.target);
      if (target !== '' && !isHost(target)) return undefined;
      return { type, priority: number(d.priority), weight: number(d.weight), port: number(d.port), target };
    }
    case 'NAPTR': {
      const replacement = dnsName(d.replacement);
      if (replacement !== '' && !isHost(replacement)) return undefined;
      return {
        type,
        order: number(d.order),
        preference: number(d.preference),
        flags: string(d.flags),
        services: string(d.services),
        regexp: string(d.regexp),
        replacement,
      };
    }
    case 'TXT':
      return { type, text: (Array.isArray(data) ? data : [data]).map(string).join('') };
  }
}

/** Addresses that mean no host: a request there would come back to us, or go to everybody. */
function isNowhere(address: string): boolean {
  return (
    address === '0.0.0.0' ||
    address === '::' ||
    address === '255.255.255.255' ||
    /^(?:22[4-9]|23\d)\./.test(address) ||
    /^ff/i.test(address)
  );
}

function negativeTtl(packet: DecodedPacket): number | undefined {
  for (const a of packet.authorities ?? []) {
    if (a.type !== 'SOA' || !('data' in a)) continue;
    return Math.min(seconds(a.ttl), seconds(a.data.minimum));
  }
  return undefined;
}

function seconds(ttl: number | undefined): number {
  return ttl === undefined || ttl > LONGEST_TTL_S ? 0 : ttl;
}

function number(x: unknown): number {
  return typeof x === 'number' ? x : 0;
}

function string(x: unknown): string {
  if (typeof x === 'string') return x;
  return Buffer.isBuffer(x) ? x.toString('latin1') : '';
}
