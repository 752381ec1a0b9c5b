import type { Credentials, DigestAlgorithm } from '@drawbridge/sip';
import { DIGEST_ALGORITHMS, ha1 } from '@drawbridge/sip';
import * as z from 'zod';
import type { Domains } from './domains.js';
import { canonicalHost } from './domains.js';
import type { StoreWrite } from './store/store.js';

/** Somebody with a password of ours. Only hashes are kept: HA1 per algorithm (RFC 7616 §3.4.2). */
export interface Subscriber {
  readonly user: string;
  readonly domain: string;
  readonly credentials: Credentials;
}

export const SUBSCRIBER_PREFIX = 'subscriber/';

const record = z.object({
  v: z.literal(1),
  user: z.string(),
  domain: z.string(),
  ha1: z.partialRecord(z.enum(DIGEST_ALGORITHMS), z.string().regex(/^[0-9a-f]{32,64}$/)),
});

/** In memory whole, since every challenge looks here; the store is where it comes from and where changes go. */
export class Subscribers {
  readonly #byAor = new Map<string, Subscriber>();

  get size(): number {
    return this.#byAor.size;
  }

  get(user: string, domain: string): Subscriber | undefined {
    return this.#byAor.get(`${user}@${domain}`);
  }

  list(): Subscriber[] {
    return [...this.#byAor.values()].sort((a, b) =>
      a.domain < b.domain ? -1 : a.domain > b.domain ? 1 : a.user < b.user ? -1 : 1,
    );
  }

  /** A record or a change of the store; what it can't read it ignores and returns false. */
  apply(key: string, value: unknown): boolean {
    if (!key.startsWith(SUBSCRIBER_PREFIX)) return false;
    if (value === null) {
      const [, domain, ...user] = key.split('/');
      return this.#byAor.delete(`${decodeURIComponent(user.join('/'))}@${domain ?? ''}`);
    }
    const parsed = record.safeParse(value);
    if (!parsed.success) return false;
    const { user, domain, ha1: hashes } = parsed.data;
    this.#byAor.set(`${user}@${domain}`, { user, domain, credentials: { ha1: hashes } });
    return true;
  }
}

/** The record of a new subscriber, or of a changed password. */
export function subscriberWrite(
  user: string,
  domain: string,
  secret: { readonly password: string } | { readonly ha1: Partial<Record<DigestAlgorithm, string>> },
): StoreWrite {
  const name = canonicalHost(domain);
  const hashes: Partial<Record<DigestAlgorithm, string>> = {};
  if ('ha1' in secret) Object.assign(hashes, secret.ha1);
  else for (const algorithm of DIGEST_ALGORITHMS) hashes[algorithm] = ha1(algorithm, user, name, secret.password);
  return { key: subscriberKey(user, name), value: { v: 1, user, domain: name, ha1: hashes } };
}

export function subscriberKey(user: string, domain: string): string {
  return `${SUBSCRIBER_PREFIX}${canonicalHost(domain)}/${encodeURIComponent(user)}`;
}

export interface NewSubscriber {
  readonly user: string;
  readonly domain: string;
  readonly password?: string | undefined;
  readonly ha1?: Partial<Record<DigestAlgorithm, string>> | undefined;
}

/** Why somebody can't be a subscriber, as a sentence; undefined when he can. */
export function subscriberProblem(s: NewSubscriber, domains?: Domains): string | undefined {
  // No character that ends a quoted string, a user part or a line: such names only make trouble in phones.
  if (!/^[A-Za-z0-9_.!~*'()&=+$,;?/-]{1,64}$/.test(s.user))
    return `"${s.user}" is no user name: use 1 to 64 letters, digits and -_.!~*'()&=+$,;?/`;
  if (s.password !== undefined && (s.password.length < 1 || s.password.length > 128))
    return 'a password has 1 to 128 characters';
  if (s.password === undefined && (s.ha1 === undefined || Object.keys(s.ha1).length === 0))
    return 'a password, or HA1 hashes, are missing';
  if (domains === undefined) return undefined;
  const domain = domains.lookup(s.domain);
  if (domain === undefined) return `${s.domain} is none of the configured domains`;
  return domain.kind === 'local'
    ? undefined
    : `${s.domain} is an upstream domain: its own service keeps its subscribers`;
}
