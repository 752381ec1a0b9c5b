import { canonicalAddress } from '@drawbridge/core';

const SEQUENCE = 0x30;
const SET = 0x31;
const OID = 0x06;
const OCTETS = 0x04;
/** [0] EXPLICIT version and [3] EXPLICIT extensions of a TBSCertificate (RFC 5280 §4.1). */
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;
/** GeneralName choices (RFC 5280 §4.2.1.6). */
const DNS = 0x82;
const URI = 0x86;
const ADDRESS = 0x87;
const ALT_NAME = '2.5.29.17';
const COMMON_NAME = '2.5.4.3';
/** Names in one certificate; one with more is nobody's. */
const MAX_NAMES = 256;
const MAX_NAME = 255;

/**
 * Whom a certificate names, as RFC 5922 §7.1 reads it: the hosts of its `sip:` URIs; where it has none, its DNS names;
 * and the common name only when there is no subjectAltName at all. Its addresses count in every case but the last.
 * Lower case, addresses canonical, no wildcards. Empty when the certificate can't be read or when any name
 * in it holds what no name may hold: a NUL is an attempt at passing for another.
 *
 * Read from the DER itself, since lengths say where a name ends and no rendering as text keeps that.
 */
export function certificateNames(der: Uint8Array): readonly string[] {
  try {
    return read(Buffer.from(der.buffer, der.byteOffset, der.byteLength));
  } catch (error) {
    if (error instanceof Malformed) return [];
    throw error;
  }
}

/** Exact, but for case and a final dot (RFC 5922 §7.2). */
export function namesHost(names: readonly string[], host: string): boolean {
  const wanted = canonicalName(host);
  return wanted !== undefined && names.includes(wanted);
}

class Malformed extends Error {}

interface Element {
  readonly tag: number;
  readonly start: number;
  readonly end: number;
}

function read(b: Buffer): readonly string[] {
  const certificate = element(b, 0, b.length);
  if (certificate.tag !== SEQUENCE) throw new Malformed();
  const tbs = element(b, certificate.start, certificate.end);
  // serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo, then what is optional.
  const parts = children(b, tbs).filter(e => e.tag !== VERSION);
  const subject = parts[4];
  const extensions = parts.find(e => e.tag === EXTENSIONS);
  if (subject === undefined) throw new Malformed();
  const alt = extensions === undefined ? undefined : altName(b, extensions);
  if (alt === undefined) return commonNames(b, subject).filter(n => canonicalAddress(n) === undefined);
  const uris: string[] = [];
  const hosts: string[] = [];
  const addresses: string[] = [];
  for (const e of children(b, alt)) {
    if (e.tag === URI) {
      const host = sipHost(text(b, e));
      if (host !== undefined) uris.push(host);
    } else if (e.tag === DNS) {
      const name = canonicalName(text(b, e));
      if (name !== undefined && canonicalAddress(name) === undefined) hosts.push(name);
    } else if (e.tag === ADDRESS) {
      const address = addressOf(b, e);
      if (address !== undefined) addresses.push(address);
    }
  }
  return [...(uris.length > 0 ? uris : hosts), ...addresses];
}

function altName(b: Buffer, extensions: Element): Element | undefined {
  for (const extension of children(b, element(b, extensions.start, extensions.end))) {
    const [id, ...rest] = children(b, extension);
    const value = rest.at(-1);
    if (id === undefined || value === undefined || oid(b, id) !== ALT_NAME) continue;
    if (value.tag !== OCTETS) throw new Malformed();
    return element(b, value.start, value.end);
  }
  return undefined;
}

function commonNames(b: Buffer, subject: Element): string[] {
  const names: string[] = [];
  for (const set of children(b, subject)) {
    if (set.tag !== SET) throw new Malformed();
    for (const attribute of children(b, set)) {
      const [id, value] = children(b, attribute);
      if (id === undefined || value === undefined || oid(b, id) !== COMMON_NAME) continue;
      const name = canonicalName(text(b, value));
      if (name !== undefined) names.push(name);
    }
  }
  return names;
}

/** A `sip:` URI with nothing in front of the host names a domain; every other URI something else (RFC 5922 §7.1). */
function sipHost(uri: string): string | undefined {
  if (uri.slice(0, 4).toLowerCase() !== 'sip:' || uri.includes('@')) return undefined;
  const rest = uri.slice(4);
  const stop = rest.search(/[;?]/);
  const host = stop < 0 ? rest : rest.slice(0, stop);
  return canonicalName(host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host);
}

/** One spelling; undefined for what is no host, a wildcard included. */
function canonicalName(name: string): string | undefined {
  const address = canonicalAddress(name);
  if (address !== undefined) return address;
  const host = name.endsWith('.') ? name.slice(0, -1) : name;
  return /^[A-Za-z0-9_.-]{1,253}$/.test(host) ? host.toLowerCase() : undefined;
}

function addressOf(b: Buffer, { start, end }: Element): string | undefined {
  const bytes = b.subarray(start, end);
  if (bytes.length === 4) return canonicalAddress(bytes.join('.'));
  if (bytes.length !== 16) return undefined;
  return canonicalAddress(bytes.toString('hex').replace(/(....)(?!$)/g, '$1:'));
}

/** A name's characters. One outside the visible ASCII makes the whole certificate nobody's. */
function text(b: Buffer, { start, end }: Element): string {
  if (end - start > MAX_NAME) throw new Malformed();
  for (let i = start; i < end; i++) {
    const c = b[i]!;
    // A common name may hold spaces and UTF-8 (then it is no host); none may hold controls.
    if (c < 32 || c === 127) throw new Malformed();
  }
  return b.toString('latin1', start, end);
}

function oid(b: Buffer, { tag, start, end }: Element): string {
  if (tag !== OID || end === start || end - start > 16) return '';
  const first = b[start]!;
  let out = `${Math.floor(first / 40)}.${first % 40}`;
  let value = 0;
  for (let i = start + 1; i < end; i++) {
    value = value * 128 + (b[i]! & 0x7f);
    if ((b[i]! & 0x80) !== 0) continue;
    out += `.${value}`;
    value = 0;
  }
  return out;
}

function children(b: Buffer, { start, end }: Element): Element[] {
  const list: Element[] = [];
  for (let at = start; at < end; ) {
    const e = element(b, at, end);
    if (list.length >= MAX_NAMES) throw new Malformed();
    list.push(e);
    at = e.end;
  }
  return list;
}

function element(b: Buffer, at: number, limit: number): Element {
  if (at + 2 > limit) throw new Malformed();
  const tag = b[at]!;
  let start = at + 2;
  let length = b[at + 1]!;
  if (length > 127) {
    const size = length & 0x7f;
    if (size === 0 || size > 3 || start + size > limit) throw new Malformed();
    length = b.readUIntBE(start, size);
    start += size;
  }
  if (start + length > limit) throw new Malformed();
  return { tag, start, end: start + length };
}
