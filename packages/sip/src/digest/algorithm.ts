import { hash as digest } from 'node:crypto';

/** RFC 8760 §2.1, strongest first. */
export const DIGEST_ALGORITHMS = ['SHA-512-256', 'SHA-256', 'MD5'] as const;
export type DigestAlgorithm = (typeof DIGEST_ALGORITHMS)[number];
export type Qop = 'auth' | 'auth-int';

/** What the registrar keeps of a password: HA1 = H(user:realm:password), lower-case hex, per algorithm. */
export interface Credentials {
  readonly ha1: Partial<Record<DigestAlgorithm, string>>;
}

const HASH: Readonly<Record<DigestAlgorithm, string>> = {
  MD5: 'md5',
  'SHA-256': 'sha256',
  'SHA-512-256': 'sha512-256',
};

/** Hex digits of a digest. */
export const DIGEST_LENGTH: Readonly<Record<DigestAlgorithm, number>> = { MD5: 32, 'SHA-256': 64, 'SHA-512-256': 64 };

/** By its name on the wire, in any case; undefined for what we don't do (the `-sess` variants among it). */
export function digestAlgorithm(name: string): DigestAlgorithm | undefined {
  const upper = name.toUpperCase();
  return DIGEST_ALGORITHMS.find(a => a === upper);
}

/** Of the bytes of a latin1 string, as messages are. `hash` takes the bytes of UTF-8, which are the same for ASCII. */
function hash(algorithm: DigestAlgorithm, text: string): string {
  return digest(HASH[algorithm], isAscii(text) ? text : Buffer.from(text, 'latin1'));
}

function isAscii(text: string): boolean {
  let all = 0;
  for (let i = 0; i < text.length; i++) all |= text.charCodeAt(i);
  return all < 0x80;
}

/** HA1 from texts as people type them (UTF-8; RFC 7616 §4). Throws when the user holds a colon. */
export function ha1(algorithm: DigestAlgorithm, user: string, realm: string, password: string): string {
  if (user.includes(':')) throw new TypeError('a digest user name holds no colon');
  return digest(HASH[algorithm], `${user}:${realm}:${password}`);
}

export interface DigestInput {
  readonly algorithm: DigestAlgorithm;
  readonly ha1: string;
  readonly method: string;
  /** As in the `uri` parameter. */
  readonly uri: string;
  readonly nonce: string;
  /** Absent: RFC 2069 style, without nc and cnonce. */
  readonly qop?: Qop | undefined;
  readonly nc?: string;
  readonly cnonce?: string;
  /** Hashed for auth-int. */
  readonly body?: string;
  /** H(A2) without the body, where it is known already. */
  readonly ha2?: string | undefined;
}

/** H(A2) unless qop is auth-int (RFC 7616 §3.4.3). */
export function digestHa2(algorithm: DigestAlgorithm, method: string, uri: string): string {
  return hash(algorithm, `${method}:${uri}`);
}

/** `response` of RFC 7616 §3.4.1. Strings are latin1 strings of the bytes on the wire. */
export function digestResponse(d: DigestInput): string {
  const ha2 =
    d.qop === 'auth-int'
      ? hash(d.algorithm, `${d.method}:${d.uri}:${hash(d.algorithm, d.body ?? '')}`)
      : (d.ha2 ?? digestHa2(d.algorithm, d.method, d.uri));
  if (d.qop === undefined) return hash(d.algorithm, `${d.ha1}:${d.nonce}:${ha2}`);
  return hash(d.algorithm, `${d.ha1}:${d.nonce}:${d.nc ?? ''}:${d.cnonce ?? ''}:${d.qop}:${ha2}`);
}
