import { duration, nearest } from '@drawbridge/service';
import * as z from 'zod';
import type { TrunksConfig } from '../trunk/config.js';

const NAME = /^[A-Za-z0-9_-]{1,32}$/;
const trunkName = z.string({ error: 'the name of a trunk' }).min(1).max(32);

/** A user or number, or its beginning with `*` at the end; `*` alone is everything. */
const pattern = z.string({ error: 'a number such as +4930*' }).regex(/^[+A-Za-z0-9_.!~'()&=$,;?/@-]{0,128}\*?$/, {
  error: 'expected a number or user, or its beginning followed by *',
});
const patterns = z.union([pattern.transform(p => [p]), z.array(pattern).min(1).max(1000)]);
const names = z.union([trunkName.transform(n => [n]), z.array(trunkName).min(1).max(100)]);
const hosts = z.union([
  z
    .string()
    .min(1)
    .transform(h => [h]),
  z.array(z.string().min(1)).min(1).max(100),
]);

const clock = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, { error: 'expected a time such as 08:30' });
export const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;

const when = z.strictObject({
  /** The number, after normalisation, or the user as dialled. */
  to: patterns.optional(),
  /** The caller: his user, his number as the trunk names it, or `user@domain`. */
  from: patterns.optional(),
  /** Only calls that come in from these trunks. Without it only calls of subscribers and upstreams match. */
  trunk: names.optional(),
  /** Host of the Request-URI; `*` is any. Without it our own domains, our own addresses and tel URIs. */
  domain: hosts.optional(),
  time: z
    .strictObject({
      days: z.array(z.enum(DAYS)).min(1).optional(),
      from: clock.default('00:00'),
      /** Before this time; at or before `from` it means the next day. */
      to: clock.default('00:00'),
      zone: z.string().refine(isZone, { error: 'expected a time zone such as Europe/Berlin' }).default('UTC'),
    })
    .optional(),
});

/** One place a route leads to. */
const place = z.union(
  [
    z.strictObject({ trunk: trunkName }),
    z.strictObject({ group: z.string() }),
    z.strictObject({ prefixes: z.string() }),
    z.strictObject({ enum: z.string() }),
    z.strictObject({ address: z.string().regex(/^[^@\s]{1,128}@[^@\s]{1,253}$/, { error: 'expected user@domain' }) }),
    z.strictObject({ domain: z.string() }),
    z.strictObject({ reject: z.number().int().min(400).max(699) }),
  ],
  {
    error: 'expected one of { trunk }, { group }, { prefixes }, { enum }, { address }, { domain } and { reject }',
  },
);

export const route = z.strictObject({
  name: z.string().regex(NAME, { error: 'expected a name of letters, digits, - and _' }),
  when: when.prefault({}),
  /** Tried in order until somebody takes the call. */
  to: z.union([place.transform(p => [p]), z.array(place).min(1).max(20)]),
  /** What the number becomes before it goes there: `strip` characters off, `prepend` put before. */
  rewrite: z
    .strictObject({
      strip: z.number().int().min(0).max(64).default(0),
      prepend: z
        .string()
        .regex(/^[+A-Za-z0-9_.-]{0,32}$/)
        .default(''),
    })
    .optional(),
});

export const STRATEGIES = ['priority', 'weighted', 'roundRobin', 'hash'] as const;
const group = z.strictObject({
  trunks: z.array(trunkName).min(1).max(100),
  strategy: z.enum(STRATEGIES).default('priority'),
  /** Whose calls stay together with `hash`. */
  by: z.enum(['caller', 'callee']).default('caller'),
});

const prefixEntry = z.strictObject({
  prefix: z.string().regex(/^\+?[0-9]{0,20}$/, { error: 'expected digits, with or without +' }),
  trunk: trunkName,
  cost: z.number().min(0).default(0),
});

export const routing = {
  /** Without a country only +… and the international prefix are understood. */
  numbering: z
    .strictObject({
      country: z
        .string()
        .regex(/^[1-9]\d{0,2}$/, { error: 'expected a country code such as "49"' })
        .optional(),
      area: z
        .string()
        .regex(/^\d{1,6}$/)
        .optional(),
      international: z
        .string()
        .regex(/^\d{0,6}$/)
        .default('00'),
      national: z
        .string()
        .regex(/^\d{0,3}$/)
        .default('0'),
      /** Digits of a whole E.164 number, country code included. */
      minLength: z.number().int().min(3).max(15).default(7),
      maxLength: z.number().int().min(3).max(15).default(15),
    })
    .refine(n => n.minLength <= n.maxLength, { error: 'expected minLength to be at most maxLength' })
    .prefault({}),
  groups: z.record(z.string().regex(NAME), group).default({}),
  /** Longest match, then the least cost: a list here, or a CSV file with the columns prefix, trunk, cost. */
  prefixes: z
    .record(
      z.string().regex(NAME),
      z.union([
        z.strictObject({ file: z.string().min(1) }),
        z.strictObject({ table: z.array(prefixEntry).max(100_000) }),
      ]),
    )
    .default({}),
  /** DNS zones that know SIP addresses of numbers (RFC 6116), and how long an answer may take. */
  enum: z
    .record(
      z.string().regex(NAME),
      z.strictObject({
        zone: z
          .string()
          .regex(/^[A-Za-z0-9.-]{1,200}$/)
          .default('e164.arpa'),
        timeout: duration().prefault('2s'),
      }),
    )
    .default({}),
  routes: z.array(route).max(10_000).default([]),
  emergency: z
    .strictObject({
      numbers: z
        .array(z.string().regex(/^\+?\d{2,8}$/))
        .min(1)
        .max(50)
        .default(['112', '911']),
      trunks: z.array(trunkName).min(1).max(20),
      /** Emergency calls at once: their only cap. */
      max: z.number().int().min(1).default(50),
      /** Callers who prove nothing get through too. */
      unauthenticated: z.boolean().default(false),
    })
    .optional(),
};

const all = z.object(routing);
export type RoutingConfig = DeepReadonly<z.infer<typeof all>>;
export type RouteConfig = RoutingConfig['routes'][number];
export type PlaceConfig = RouteConfig['to'][number];
type DeepReadonly<T> = T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T;

type Complain = (path: (string | number)[], message: string) => void;

/** Names that name nothing, and what a route can't do. Told in words, with the nearest name that exists. */
export function checkRouting(
  c: z.infer<typeof all> & {
    readonly trunks: TrunksConfig;
    readonly domains?: Readonly<Record<string, unknown>> | undefined;
  },
  complain: Complain,
): void {
  const trunks = Object.keys(c.trunks);
  const known =
    (what: string, list: readonly string[]) =>
    (path: (string | number)[], name: string): void => {
      if (!list.includes(name)) complain(path, `expected ${what}, found "${name}"${hint(name, list)}`);
    };
  const trunk = known('the name of a trunk', trunks);
  const group = known('the name of a group', Object.keys(c.groups));
  const prefixes = known('the name of a prefix table', Object.keys(c.prefixes));
  const zone = known('the name of an enum zone', Object.keys(c.enum));
  for (const [name, g] of Object.entries(c.groups))
    for (const [i, t] of g.trunks.entries()) trunk(['groups', name, 'trunks', i], t);
  for (const [name, p] of Object.entries(c.prefixes))
    if ('table' in p) for (const [i, e] of p.table.entries()) trunk(['prefixes', name, 'table', i, 'trunk'], e.trunk);
  for (const [i, t] of (c.emergency?.trunks ?? []).entries()) trunk(['emergency', 'trunks', i], t);
  const seen = new Set<string>();
  for (const [i, r] of c.routes.entries()) {
    if (seen.has(r.name))
      complain(['routes', i, 'name'], `expected a name of its own, found "${r.name}" a second time`);
    seen.add(r.name);
    for (const t of r.when.trunk ?? []) trunk(['routes', i, 'when', 'trunk'], t);
    for (const [k, p] of r.to.entries()) {
      const at = ['routes', i, 'to', ...(r.to.length > 1 ? [k] : [])];
      if ('trunk' in p) trunk([...at, 'trunk'], p.trunk);
      else if ('group' in p) group([...at, 'group'], p.group);
      else if ('prefixes' in p) prefixes([...at, 'prefixes'], p.prefixes);
      else if ('enum' in p) {
        zone([...at, 'enum'], p.enum);
        if (k > 0) complain([...at, 'enum'], 'expected enum before every other place: its answer comes later');
      } else if ('reject' in p && k < r.to.length - 1) complain([...at, 'reject'], 'expected reject to come last');
    }
  }
  for (const [name, t] of Object.entries(c.trunks))
    for (const [number, to] of Object.entries(t.dids)) {
      if (to.startsWith('trunk:')) trunk(['trunks', name, 'dids', number], to.slice(6));
      else if (c.domains !== undefined && !Object.keys(c.domains).includes(to.slice(to.indexOf('@') + 1)))
        complain(
          ['trunks', name, 'dids', number],
          `expected user@domain, domain or trunk:NAME of this border, found "${to}"${hint(to.slice(to.indexOf('@') + 1), Object.keys(c.domains))}`,
        );
    }
}

function hint(given: string, choices: readonly string[]): string {
  const near = nearest(given, choices);
  return near === undefined ? '' : `; did you mean ${near}?`;
}

function isZone(zone: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone });
    return true;
  } catch {
    return false;
  }
}
