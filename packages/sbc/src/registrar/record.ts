import type { Endpoint } from '@drawbridge/core';
import { parseUri, TRANSPORTS } from '@drawbridge/sip';
import * as z from 'zod';
import type { RealmListener, Transport } from '../realms.js';
import type { StoreValue } from '../store/store.js';
import { type Binding, type BindingFields, NO_PATH } from './binding.js';

const record = z.object({
  v: z.literal(1),
  aor: z.string(),
  domain: z.string(),
  kind: z.enum(['local', 'upstream']),
  opaque: z.string(),
  contact: z.string(),
  params: z.string(),
  realm: z.string(),
  transport: z.enum(TRANSPORTS),
  bind: z.string(),
  address: z.string(),
  port: z.number(),
  /** Wall clock, milliseconds: monotonic time ends with the process. */
  expiresAt: z.number(),
  q: z.number(),
  callId: z.string(),
  cseq: z.number(),
  instance: z.string(),
  regId: z.number(),
  path: z.array(z.string()),
  userAgent: z.string(),
  /** Wall clock until when the upstream granted, how much that was (ms), and to which digest user. */
  /** '' where there is none and something follows. */
  lease: z.union([z.tuple([z.number(), z.number(), z.string()]), z.literal('')]).optional(),
  serviceRoute: z.array(z.string()).optional(),
});

export interface StoredBinding {
  readonly fields: Omit<BindingFields, 'flow' | 'expires' | 'registered' | 'lease'>;
  readonly lease: readonly [until: number, granted: number, user: string] | undefined;
  readonly realm: string;
  readonly transport: Transport;
  readonly bind: string;
  readonly peer: Endpoint;
  readonly expiresAt: number;
}

/** The order of a stored list. */
const FIELDS = [
  'v',
  'aor',
  'domain',
  'kind',
  'opaque',
  'contact',
  'params',
  'realm',
  'transport',
  'bind',
  'address',
  'port',
  'expiresAt',
  'q',
  'callId',
  'cseq',
  'instance',
  'regId',
  'path',
  'userAgent',
  'lease',
  'serviceRoute',
] as const satisfies readonly (keyof z.infer<typeof record>)[];

/** A list in the order of `FIELDS`: without the names it takes little more than half the room, and half the time. */
export function writeRecord(b: Binding, listener: RealmListener, expiresAt: number): StoreValue {
  const { flow, lease } = b;
  const fields: StoreValue[] = [
    1,
    b.aor,
    b.domain,
    b.kind,
    b.opaque,
    b.contact,
    b.params,
    listener.realm.name,
    listener.transport,
    listener.bind.address,
    flow.peer.address(flow.j),
    flow.peer.port(flow.j),
    Math.round(expiresAt),
    b.q,
    b.callId,
    b.cseq,
    b.instance,
    b.regId,
    b.path,
    b.userAgent,
  ];
  // Most have neither.
  if (lease !== undefined) fields.push([Math.round(expiresAt + lease.until - b.expires), lease.granted, lease.user]);
  if (b.serviceRoute.length > 0) {
    if (lease === undefined) fields.push('');
    fields.push(b.serviceRoute);
  }
  return fields;
}

/** Undefined for a record that another version wrote or nobody can read. Earlier ones were objects with the same names. */
export function readRecord(value: unknown): StoredBinding | undefined {
  const named = Array.isArray(value) ? Object.fromEntries(FIELDS.map((name, i) => [name, value[i]])) : value;
  const parsed = record.safeParse(named);
  if (!parsed.success) return undefined;
  const r = parsed.data;
  if (parseUri(r.contact) === undefined) return undefined;
  return {
    fields: {
      aor: r.aor,
      domain: r.domain,
      kind: r.kind,
      opaque: r.opaque,
      contact: r.contact,
      params: r.params,
      q: r.q,
      callId: r.callId,
      cseq: r.cseq,
      instance: r.instance.toLowerCase(),
      regId: r.regId,
      path: r.path.length === 0 ? NO_PATH : r.path,
      userAgent: r.userAgent,
      serviceRoute: r.serviceRoute ?? NO_PATH,
    },
    lease: r.lease === '' ? undefined : r.lease,
    realm: r.realm,
    transport: r.transport,
    bind: r.bind,
    peer: { address: r.address, port: r.port },
    expiresAt: r.expiresAt,
  };
}
