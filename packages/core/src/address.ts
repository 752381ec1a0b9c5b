/** An address and port as people and configuration write them; `address` is canonical text without brackets. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}
export type Family = 4 | 6;

const V4_IN_V6 = 0xffff;

/**
 * Parses IPv4 or IPv6 text (brackets allowed) into four big-endian words, IPv4 as ::ffff:a.b.c.d
 * (RFC 4291 §2.5.5.2), so that both spellings of one host are one value.
 * Returns false for anything else; `out` is then unspecified.
 */
export function parseAddressWords(text: string, out: Uint32Array, at: number): boolean {
  let s = text;
  if (s.charCodeAt(0) === 91) {
    if (s.charCodeAt(s.length - 1) !== 93) return false;
    s = s.slice(1, -1);
  }
  if (!s.includes(':')) {
    const v4 = parseV4(s);
    if (v4 < 0) return false;
    out[at] = 0;
    out[at + 1] = 0;
    out[at + 2] = V4_IN_V6;
    out[at + 3] = v4;
    return true;
  }
  return parseV6(s, out, at);
}

/** Dotted quad to a number, -1 when it is not one. No octal, no short forms. */
function parseV4(s: string): number {
  if (s.length < 7 || s.length > 15) return -1;
  let value = 0;
  let octet = -1;
  let dots = 0;
  let digits = 0;
  for (let i = 0; i < s.length; i++) {
    const c = s.charCodeAt(i);
    if (c === 46) {
      if (octet < 0 || ++dots > 3) return -1;
      value = value * 256 + octet;
      octet = -1;
      digits = 0;
      continue;
    }
    if (c < 48 || c > 57) return -1;
    if (digits > 0 && octet === 0) return -1;
    octet = digits === 0 ? c - 48 : octet * 10 + (c - 48);
    if (++digits > 3 || octet > 255) return -1;
  }
  return dots === 3 && octet >= 0 ? value * 256 + octet : -1;
}

function parseV6(text: string, out: Uint32Array, at: number): boolean {
  if (text.length > 45) return false;
  let s = text;
  const lastColon = s.lastIndexOf(':');
  if (s.includes('.', lastColon)) {
    const v4 = parseV4(s.slice(lastColon + 1));
    if (v4 < 0) return false;
    s = `${s.slice(0, lastColon + 1)}${(v4 >>> 16).toString(16)}:${(v4 & 0xffff).toString(16)}`;
  }
  const gap = s.indexOf('::');
  if (gap >= 0 && s.indexOf('::', gap + 1) >= 0) return false;
  const head = gap < 0 ? s.split(':') : gap === 0 ? [] : s.slice(0, gap).split(':');
  const tail = gap < 0 || gap + 2 === s.length ? [] : s.slice(gap + 2).split(':');
  const missing = 8 - head.length - tail.length;
  if (gap < 0 ? missing !== 0 : missing < 1) return false;
  const groups = [...head, ...new Array<string>(missing).fill('0'), ...tail];
  for (let g = 0; g < 8; g++) {
    const group = groups[g] ?? '';
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return false;
    const v = Number.parseInt(group, 16);
    const w = at + (g >> 1);
    out[w] = g & 1 ? ((out[w]! << 16) | v) >>> 0 : v;
  }
  return true;
}

/** Canonical text of four words: dotted quad for v4-in-v6, RFC 5952 otherwise. */
export function formatAddressWords(w: Uint32Array, at: number): string {
  const a = w[at]!;
  const b = w[at + 1]!;
  const c = w[at + 2]!;
  const d = w[at + 3]!;
  if (a === 0 && b === 0 && c === V4_IN_V6) {
    return `${d >>> 24}.${(d >>> 16) & 255}.${(d >>> 8) & 255}.${d & 255}`;
  }
  const groups = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff, c >>> 16, c & 0xffff, d >>> 16, d & 0xffff];
  let bestAt = -1;
  let bestLen = 1;
  for (let i = 0; i < 8; i++) {
    let n = 0;
    while (i + n < 8 && groups[i + n] === 0) n++;
    if (n > bestLen) {
      bestAt = i;
      bestLen = n;
    }
  }
  const hex = groups.map(g => g.toString(16));
  if (bestAt < 0) return hex.join(':');
  return `${hex.slice(0, bestAt).join(':')}::${hex.slice(bestAt + bestLen).join(':')}`;
}

const scratch = new Uint32Array(4);

/** Canonical spelling of an address, or undefined when the text is not one. */
export function canonicalAddress(text: string): string | undefined {
  return parseAddressWords(text, scratch, 0) ? formatAddressWords(scratch, 0) : undefined;
}

export function familyOf(address: string): Family {
  return address.includes(':') ? 6 : 4;
}

/** `host` as it stands in a URI or in `host:port`: IPv6 in brackets. */
export function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

export function formatEndpoint(e: Endpoint): string {
  return `${bracketed(e.address)}:${e.port}`;
}

/** `1.2.3.4:5060`, `[::1]:5060`, or an address alone with `defaultPort`. */
export function parseEndpoint(text: string, defaultPort?: number): Endpoint | undefined {
  const close = text.lastIndexOf(']');
  const colon = text.lastIndexOf(':');
  const hasPort = close >= 0 ? colon > close : colon >= 0 && text.indexOf(':') === colon;
  const address = canonicalAddress(hasPort ? text.slice(0, colon) : text);
  if (address === undefined) return undefined;
  if (!hasPort) return defaultPort === undefined ? undefined : { address, port: defaultPort };
  const digits = text.slice(colon + 1);
  if (!/^\d{1,5}$/.test(digits)) return undefined;
  const port = Number(digits);
  return port <= 65535 ? { address, port } : undefined;
}
