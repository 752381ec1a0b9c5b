import { X509Certificate } from 'node:crypto';
import type { TlsMaterial } from '@drawbridge/sip';

/** From here on an operator is told, ms. */
export const EXPIRY_WARNING_MS = 14 * 86_400_000;

/** Until when the first certificate of a PEM text is valid, ms since 1970. Throws what the parser says of anything else. */
export function expiryOf(material: Pick<TlsMaterial, 'certificate'>): number {
  return Date.parse(new X509Certificate(material.certificate).validTo);
}

/** A sentence when a certificate is at its end; undefined while there is time. */
export function expiryWarning(realm: string, file: string, expiresAt: number, wall: number): string | undefined {
  const left = expiresAt - wall;
  if (left >= EXPIRY_WARNING_MS) return undefined;
  const days = Math.floor(Math.abs(left) / 86_400_000);
  const when = left < 0 ? `has expired ${days} days ago` : `expires in ${days} days`;
  return `The certificate of realm ${realm} (${file}) ${when}: put a new one in its place, it is read at once.`;
}
