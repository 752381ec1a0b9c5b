import { PrefixSet } from '@drawbridge/core';
import { duration } from '@drawbridge/service';
import * as z from 'zod';
import { nextHopUri } from '../locate/config.js';

const span = (fallback: string) => duration().prefault(fallback);

const network = z
  .string({ error: 'a network such as 10.0.0.0/8' })
  .refine(text => PrefixSet.parse([text]) instanceof PrefixSet, {
    error: 'expected a network such as 10.0.0.0/8 or 2001:db8::/32',
  });

/** What may stand in a SIP user part without escapes. */
const user = z.string({ error: 'a user or number' }).regex(/^[A-Za-z0-9_.!~*'()&=+$,;?/-]{1,128}$/, {
  error: 'expected a user or number such as +493012345',
});

const host = z.string({ error: 'a host name' }).regex(/^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]{1,253})$/, {
  error: 'expected a host name or an address, without port',
});

/** A secret stands here, in a file (its first line), or in an environment variable. */
const secret = {
  user: z.string({ error: 'the user the provider gave' }).min(1).max(256),
  password: z.string({ error: 'the password as text, in quotes' }).min(1).max(256).optional(),
  passwordFile: z.string({ error: 'the name of a file' }).min(1).optional(),
  passwordEnv: z
    .string({ error: 'the name of an environment variable' })
    .regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, { error: 'expected the name of an environment variable' })
    .optional(),
};

interface SecretKeys {
  readonly password?: string | undefined;
  readonly passwordFile?: string | undefined;
  readonly passwordEnv?: string | undefined;
}

const oneSecret = (s: SecretKeys): boolean =>
  [s.password, s.passwordFile, s.passwordEnv].filter(x => x !== undefined).length === 1;
const ONE_SECRET = { error: 'expected exactly one of password, passwordFile and passwordEnv' };

/** RFC 3261 §10.2: we register with the provider. */
const register = z
  .strictObject({
    ...secret,
    /** `sip:host` whom the REGISTER names; the trunk's host when absent. It leaves over `next` all the same. */
    registrar: host.optional(),
    /** Digest realm; when absent the one that the registrar's own challenge names. */
    realm: z.string().min(1).max(256).optional(),
    /** The account, when it isn't the digest user. */
    account: user.optional(),
    expires: span('1h'),
    /** User part of our Contact, by which the provider's calls are known. */
    contactUser: user.optional(),
  })
  .refine(oneSecret, ONE_SECRET);

/** Digest toward this trunk for everything but REGISTER. */
const auth = z.strictObject({ ...secret, realm: z.string().min(1).max(256) }).refine(oneSecret, ONE_SECRET);

const options = z.union([
  z.literal(false),
  z.strictObject({
    every: span('30s'),
    timeout: span('5s'),
    failures: z.number().int().min(1).max(100).default(3),
  }),
]);

export const NUMBER_FORMS = ['e164', 'international', 'national', 'digits'] as const;

export const trunk = z.strictObject({
  realm: z.string().optional(),
  /** In order of preference. */
  next: z.array(nextHopUri).min(1),
  /** Networks that may send as this trunk; when absent the addresses of `next`. */
  from: z.array(network).min(1).optional(),
  /** A name that its client certificate must carry: then only TLS counts. */
  certificate: host.optional(),
  /** Host in Request-URI and To toward it; when absent that of the first next hop. */
  host: host.optional(),
  register: register.optional(),
  auth: auth.optional(),
  /** Whether it lives is asked by OPTIONS. */
  options: options.prefault({}),
  /** Calls at once, both directions; per caller toward it; new ones per second toward it. */
  maxCalls: z.number().int().min(1).optional(),
  maxCallsPerCaller: z.number().int().min(1).optional(),
  maxCallsPerSecond: z.number().min(0.1).max(10_000).optional(),
  /** In groups: share among equals, and who comes first (lower first). */
  weight: z.number().int().min(1).max(1000).default(1),
  priority: z.number().int().min(0).max(1000).default(0),
  /** How numbers are written toward it. */
  numbers: z
    .strictObject({
      form: z.enum(NUMBER_FORMS).default('e164'),
      /** `;user=phone` on the Request-URI. */
      phone: z.boolean().default(false),
    })
    .prefault({}),
  /** Before everything else that is dialled toward it. */
  prefix: user.optional(),
  /** User in From toward it: `caller`, or one for all. */
  fromUser: z.union([z.literal('caller'), user]).default('caller'),
  /** Final failures beside 503, silence and lost connections after which the next trunk is tried. */
  failover: z.array(z.number().int().min(400).max(599)).default([500, 502, 504]),
  /** What its 3xx does; when absent `calls.redirect`. */
  redirect: z.enum(['recurse', 'pass', 'refuse']).optional(),
  /** Number, or beginning of numbers with `*` → `user@domain`, `domain` (the number there) or `trunk:NAME`. */
  dids: z.record(z.string().regex(/^\+?[A-Za-z0-9_.-]{0,63}\*?$/), z.string().min(1).max(320)).default({}),
});

export const trunks = z
  .record(z.string().regex(/^[A-Za-z0-9_-]{1,32}$/, { error: 'expected a name of letters, digits, - and _' }), trunk)
  .refine(all => Object.keys(all).length <= 1000, { error: 'expected at most 1000 trunks' })
  .default({});

export type TrunksConfig = DeepReadonly<z.infer<typeof trunks>>;
export type TrunkConfig = TrunksConfig[string];
type DeepReadonly<T> = T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T;
