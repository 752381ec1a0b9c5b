import { canonicalAddress, PrefixSet } from '@drawbridge/core';
import { duration } from '@drawbridge/service';
import * as z from 'zod';
import { cdrConfig } from './accounting/config.js';
import { opaqueBodies, realmBodies, realmCodecs } from './anchor/config.js';
import { dialogKeys } from './call/config.js';
import { transferSection } from './call/transfer-config.js';
import { forwardingSection } from './forwarding/rules.js';
import { hepConfig } from './hep/config.js';
import { identityConfig, realmHeaders } from './identity/config.js';
import { dnsSection, nextHopUri } from './locate/config.js';
import { pushSection } from './push/config.js';
import { scaleSchema } from './registrar/config.js';
import { checkRouting, routing } from './route/config.js';
import { realmTls, sipPorts, tlsFault } from './transports/config.js';
import { trunks } from './trunk/config.js';

/** A duration with a default; the key may be missing. */
const span = (fallback: string) => duration().prefault(fallback);

const address = z.string({ error: 'an IPv4 or IPv6 address' }).transform((text, ctx) => {
  const canonical = canonicalAddress(text);
  if (canonical !== undefined) return canonical;
  ctx.addIssue({ code: 'custom', message: `expected an IPv4 or IPv6 address, found "${text}"` });
  return z.NEVER;
});

const network = z
  .string({ error: 'a network such as 10.0.0.0/8' })
  .refine(text => PrefixSet.parse([text]) instanceof PrefixSet, {
    error: 'expected a network such as 10.0.0.0/8 or 2001:db8::/32',
  });

const count = (fallback: number) => z.number({ error: 'a whole number' }).int().min(1).default(fallback);

/** At most one address per family. */
const perFamily = z
  .array(address)
  .max(2)
  .refine(list => new Set(list.map(a => a.includes(':'))).size === list.length, {
    error: 'expected at most one IPv4 and one IPv6 address',
  });

const realm = z.strictObject({
  bind: z.union([z.literal('auto'), perFamily.min(1)], {
    error: 'expected `auto` or a list of at most one IPv4 and one IPv6 address',
  }),
  sip: sipPorts,
  tls: realmTls.optional(),
  advertise: perFamily.default([]),
  networks: z.array(network).min(1).default(['0.0.0.0/0', '::/0']),
  headers: realmHeaders,
  codecs: realmCodecs.optional(),
  bodies: realmBodies,
});

const algorithms = z.array(z.enum(['SHA-512-256', 'SHA-256', 'MD5'])).min(1);

const domain = z.discriminatedUnion('kind', [
  /** `algorithms`: instead of those in `auth`, for a domain whose phones know more, or less. */
  z.strictObject({ kind: z.literal('local'), algorithms: algorithms.optional() }),
  z.strictObject({ kind: z.literal('upstream'), realm: z.string().optional(), next: z.array(nextHopUri).min(1) }),
]);

export const METHOD_POLICIES = ['anyone', 'authenticated', 'deny'] as const;
const policy = z.enum(METHOD_POLICIES);

/** The whole file (`drawbridge.yaml`). Every key has a default. Durations come out in milliseconds. */
export const configSchema = z
  .strictObject({
    realms: z.union([z.literal('auto'), z.record(z.string().regex(/^[A-Za-z0-9_-]{1,32}$/), realm)]).default('auto'),
    /** Absent: one local domain named after the machine's primary address. */
    domains: z.record(z.string().regex(/^[A-Za-z0-9_.:[\]-]{1,253}$/), domain).optional(),
    trunks,
    ...routing,
    registrar: z
      .strictObject({
        minExpires: span('60s'),
        maxExpires: span('1h'),
        defaultExpires: span('10m'),
        maxContacts: count(10),
        maxBindings: count(200_000),
        /** Forwarded REGISTERs per second that unproven sources share, and how many may be under way. */
        unprovenRate: count(100),
        unprovenPending: count(500),
        ...scaleSchema,
      })
      .prefault({}),
    auth: z
      .strictObject({
        /** Strongest first. Many phones fail on a challenge that names anything but MD5, even beside MD5. */
        algorithms: algorithms.default(['MD5']),
        qop: z
          .array(z.enum(['auth', 'auth-int']))
          .min(1)
          .default(['auth', 'auth-int']),
        nonceLifetime: span('5m'),
        /** Requests on a flow that a subscriber registered need no credentials of their own. */
        trustRegisteredFlow: z.boolean().default(false),
      })
      .prefault({}),
    identity: identityConfig,
    keepalive: z.strictObject({ min: span('15s'), max: span('180s'), start: span('30s') }).prefault({}),
    calls: z
      .strictObject({
        noAnswer: span('60s'),
        timerC: span('181s'),
        maxDuration: span('12h'),
        max: count(10_000),
        perSubscriber: count(10),
        forking: z.enum(['parallel', 'serial']).default('parallel'),
        transfer: transferSection,
        ...dialogKeys,
        /** What a 3xx of a callee or trunk does: its contacts are rung, shown to the caller, or neither. */
        redirect: z.enum(['recurse', 'pass', 'refuse']).default('refuse'),
        /** What tells a callee that, and by whom, a call was forwarded to him. */
        forwardingHeaders: z.array(z.enum(['Diversion', 'History-Info'])).default(['Diversion']),
        /** How long a drain waits for calls to end by themselves. */
        drainWithin: span('1h'),
      })
      .prefault({}),
    media: z
      .strictObject({
        ports: z
          .tuple([z.number().int().min(1024).max(65534), z.number().int().min(1025).max(65535)])
          .refine(([low, high]) => low < high, { error: 'expected the lower port first' })
          .default([30_000, 39_999]),
        path: z.enum(['auto', 'steered', 'sockets', 'dgram']).default('auto'),
        inactivity: span('60s'),
        opaqueBodies,
        latchWindow: span('5s'),
        sites: z.record(z.string(), z.array(network).min(1)).default({}),
      })
      .prefault({}),
    methods: z
      .strictObject({
        OPTIONS: policy.default('anyone'),
        MESSAGE: policy.default('authenticated'),
        INFO: policy.default('authenticated'),
        SUBSCRIBE: policy.default('authenticated'),
        NOTIFY: policy.default('authenticated'),
        PUBLISH: policy.default('authenticated'),
        REFER: policy.default('deny'),
        UPDATE: policy.default('authenticated'),
      })
      .prefault({}),
    limits: z
      .strictObject({
        transactions: count(100_000),
        flows: count(200_000),
        streams: count(10_000),
        streamsPerAddress: count(100),
        /** Per IPv4 /24 or IPv6 /48. */
        streamsPerNetwork: count(1000),
        /** A stream over which nobody has proven himself is closed after this. */
        authenticateWithin: span('10s'),
      })
      .prefault({}),
    dns: dnsSection,
    push: pushSection,
    forwarding: forwardingSection,
    store: z
      .strictObject({ kind: z.enum(['lmdb', 'memory']).default('lmdb'), path: z.string().min(1).default('var/store') })
      .prefault({}),
    cdr: cdrConfig.prefault({}),
    hep: hepConfig,
    log: z
      .strictObject({
        level: z.enum(['trace', 'debug', 'info', 'warn', 'error']).default('info'),
        personal: z.enum(['masked', 'plain']).default('masked'),
      })
      .prefault({}),
    admin: z.strictObject({ listen: z.string().min(1).default('127.0.0.1:8080') }).prefault({}),
    timers: z.strictObject({ t1: span('500ms'), t2: span('4s'), t4: span('5s') }).prefault({}),
  })
  .superRefine((c, ctx) => {
    const complain = (path: (string | number)[], message: string): void =>
      ctx.addIssue({ code: 'custom', path, message });
    for (const [name, r] of c.realms === 'auto' ? [] : Object.entries(c.realms)) {
      const fault = tlsFault(r);
      if (fault !== undefined) complain(['realms', name, ...fault.path], fault.message);
    }
    const names = c.realms === 'auto' ? ['default', 'loopback'] : Object.keys(c.realms);
    for (const [name, t] of Object.entries(c.trunks))
      if (t.realm !== undefined && !names.includes(t.realm))
        complain(['trunks', name, 'realm'], `expected one of the realms ${names.join(', ')}, found "${t.realm}"`);
    checkRouting(c, complain);
    // A name that names nothing would leave whom it was meant for trusted, or with transfers allowed.
    const named = (path: (string | number)[], name: string, what: string, known: readonly string[]): void => {
      if (!known.includes(name)) complain(path, `expected ${what} (${known.join(', ')})`);
    };
    const sides = [...names, ...Object.keys(c.trunks), ...Object.keys(c.domains ?? {})];
    for (const [i, n] of c.identity.trusted.entries()) named(['identity', 'trusted', i], n, 'a realm', names);
    for (const [i, n] of c.identity.untrusted.entries())
      named(['identity', 'untrusted', i], n, 'an upstream domain, a trunk or a realm', sides);
    for (const n of typeof c.calls.transfer === 'string' ? [] : Object.keys(c.calls.transfer))
      named(['calls', 'transfer', n], n, 'a realm', names);
    for (const [name, d] of Object.entries(c.domains ?? {})) {
      if (d.kind !== 'upstream' || d.realm === undefined) continue;
      if (!names.includes(d.realm))
        complain(['domains', name, 'realm'], `expected one of the realms ${names.join(', ')}, found "${d.realm}"`);
    }
    if (c.registrar.minExpires > c.registrar.maxExpires)
      complain(['registrar', 'minExpires'], 'expected at most maxExpires');
    if (c.keepalive.min > c.keepalive.max) complain(['keepalive', 'min'], 'expected at most keepalive.max');
    if (c.calls.timerC <= 180_000) complain(['calls', 'timerC'], 'expected more than 3 minutes (RFC 3261 §16.6)');
  });

export type Config = DeepReadonly<z.infer<typeof configSchema>>;
export type MethodPolicy = (typeof METHOD_POLICIES)[number];

type DeepReadonly<T> = T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T;

/** What runs when no file says otherwise. */
export const EMBEDDED_DEFAULT = '# the embedded default: everything at its default value\n{}\n';

/** Frozen all the way down: configuration changes only by a reload that builds a new one. */
export function freezeConfig(c: z.infer<typeof configSchema>): Config {
  const freeze = (v: unknown): void => {
    if (typeof v !== 'object' || v === null || Object.isFrozen(v)) return;
    Object.freeze(v);
    for (const inner of Object.values(v)) freeze(inner);
  };
  freeze(c);
  return c;
}
