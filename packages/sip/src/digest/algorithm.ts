import { createHash } from 'node:crypto';

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

function hash(algorithm: DigestAlgorithm, text: string, encoding: 'latin1' | 'utf8' = 'latin1'): string {
  return createHash(HASH[algorithm]).update(text, encoding).digest('hex');
}

/** HA1 from texts as people type them (UTF-8; RFC 7616 §4). Throws when the user holds a colon. */
export function ha1(algorithm: DigestAlgorithm, user: string, realm: string, password: string): string {
  if (user.includes(':')) throw new TypeError('a digest user name holds no colon');
  return hash(algorithm, `${user}:${realm}:${password}`, 'utf8');
}

export interface DigestInput {
  readonly algorithm: DigestAlgorithm;
  readonly ha1: string;
  readonly method: string;
  /** As in the `uri` parameter. */
  readonly uri: string;
  readonly nonce: string;
  /** Absent: RFC 2069 style, without nc and cnonce. */
  readonly qop?: Qop;
  readonly nc?: string;
  readonly cnonce?: string;
  /** Hashed for auth-int. */
  readonly body?: string;
}

/** `response` of RFC 7616 §3.4.1. Strings are latin1 strings of the bytes on the wire. */
export function digestResponse(d: DigestInput): string {
  const a2 = d.qop === 'auth-int' ? `${d.method}:${d.uri}:${hash(d.algorithm, d.body ?? '')}` : `${d.method}:${d.uri}`;
  const ha2 = hash(d.algorithm, a2);
  if (d.qop === undefined) return hash(d.algorithm, `${d.ha1}:${d.nonce}:${ha2}`);
  return hash(d.algorithm, `${d.ha1}:${d.nonce}:${d.nc ?? ''}:${d.cnonce ?? ''}:${d.qop}:${ha2}`);
}
