import { parseUri, safeValue } from '@drawbridge/sip';
import * as z from 'zod';
import { canonicalHost } from '../domains.js';
import type { StoreWrite } from '../store/store.js';

/** `bob@example.org`, `sip:…`, or a number or user of the subscriber's own domain. */
const target = z
  .string({ error: 'a user, a number or an address such as bob@example.org' })
  .max(256)
  .refine(to => safeValue(to) && parseUri(targetUri(to, 'example.org')) !== undefined, {
    error: 'expected a user, a number or an address such as bob@example.org',
  });

/** What one subscriber wants done with calls to him. */
export const forwardingRules = z.strictObject({
  /** Every call, at once. */
  unconditional: target.optional(),
  /** When his phones say 486 or 600, and while he does not want to be disturbed. */
  busy: target.optional(),
  noAnswer: z
    .strictObject({
      to: target,
      /** How long his phones ring first. */
      seconds: z.number({ error: 'a number of seconds' }).int().min(3).max(180).default(20),
    })
    .optional(),
  /** When none of his phones can be reached. */
  offline: target.optional(),
  /** Do not disturb: calls find him busy. */
  dnd: z.boolean().default(false),
});

export type ForwardingRules = z.infer<typeof forwardingRules>;

/** `forwarding`: by address; what the API stores for somebody comes first. */
export const forwardingSection = z
  .record(
    z.string().regex(/^[^@\s]{1,64}@[A-Za-z0-9_.:[\]-]{1,253}$/, { error: 'expected USER@DOMAIN' }),
    forwardingRules,
  )
  .default({});

export const FORWARDING_PREFIX = 'forwarding/';

const record = z.object({ v: z.literal(1), user: z.string(), domain: z.string(), rules: forwardingRules });

/** Where calls to whom go instead: from the configuration, and over it what the store has. */
export class Forwardings {
  readonly #configured = new Map<string, ForwardingRules>();
  readonly #stored = new Map<string, ForwardingRules>();

  constructor(configured: Readonly<Record<string, ForwardingRules>> = {}) {
    for (const [aor, rules] of Object.entries(configured)) {
      const at = aor.lastIndexOf('@');
      this.#configured.set(`${aor.slice(0, at)}@${canonicalHost(aor.slice(at + 1))}`, rules);
    }
  }

  /** Nobody forwards anything. */
  get empty(): boolean {
    return this.#configured.size === 0 && this.#stored.size === 0;
  }

  get size(): number {
    return new Set([...this.#configured.keys(), ...this.#stored.keys()]).size;
  }

  get(aor: string): ForwardingRules | undefined {
    return this.#stored.get(aor) ?? this.#configured.get(aor);
  }

  /** A record or a change of the store; what it can't read it ignores and returns false. */
  apply(key: string, value: unknown): boolean {
    if (!key.startsWith(FORWARDING_PREFIX)) return false;
    if (value === null) {
      const [, domain, ...user] = key.split('/');
      return this.#stored.delete(`${decodeURIComponent(user.join('/'))}@${domain ?? ''}`);
    }
    const parsed = record.safeParse(value);
    if (!parsed.success) return false;
    this.#stored.set(`${parsed.data.user}@${parsed.data.domain}`, parsed.data.rules);
    return true;
  }
}

/** `rules` null: as configured again. */
export function forwardingWrite(user: string, domain: string, rules: ForwardingRules | null): StoreWrite {
  const name = canonicalHost(domain);
  return {
    key: `${FORWARDING_PREFIX}${name}/${encodeURIComponent(user)}`,
    value: rules === null ? null : { v: 1, user, domain: name, rules },
  };
}

/** A target as a Request-URI, seen from a subscriber of this domain. */
export function targetUri(to: string, domain: string): string {
  if (/^(sips?|tel):/i.test(to)) return to;
  return to.includes('@') ? `sip:${to}` : `sip:${to}@${domain.includes(':') ? `[${domain}]` : domain}`;
}
