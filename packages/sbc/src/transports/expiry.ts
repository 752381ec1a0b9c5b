/** From here on an operator is told, ms. */
const SOON_MS = 14 * 86_400_000;

/** A sentence when a certificate is at its end; undefined while there is time. Times are ms since 1970. */
export function expiryWarning(realm: string, file: string, expiresAt: number, wall: number): string | undefined {
  const left = expiresAt - wall;
  if (left >= SOON_MS) return undefined;
  const days = Math.floor(Math.abs(left) / 86_400_000);
  const span = days === 1 ? '1 day' : `${days} days`;
  const when = left < 0 ? `expired ${span} ago` : `expires in ${span}`;
  return `The certificate of realm ${realm} (${file}) ${when}: put a new one in its place, it is taken within seconds.`;
}
