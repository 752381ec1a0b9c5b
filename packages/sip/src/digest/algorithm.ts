/** RFC 8760 §2.1, strongest first. */
export const DIGEST_ALGORITHMS = ['SHA-512-256', 'SHA-256', 'MD5'] as const;
export type DigestAlgorithm = (typeof DIGEST_ALGORITHMS)[number];
export type Qop = 'auth' | 'auth-int';

/** What the registrar keeps of a password: HA1 = H(user:realm:password), lower-case hex, per algorithm. */
export interface Credentials {
  readonly ha1: Partial<Record<DigestAlgorithm, string>>;
}
