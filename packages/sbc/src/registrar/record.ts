import type { Endpoint } from '@drawbridge/core';
import { parseUri } from '@drawbridge/sip';
import * as z from 'zod';
import type { RealmListener, Transport } from '../realms.js';
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
  transport: z.enum(['udp', 'tcp']),
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
});

export interface StoredBinding {
  readonly fields: Omit<BindingFields, 'flow' | 'expires' | 'registered'>;
  readonly realm: string;
  readonly transport: Transport;
  readonly bind: string;
  readonly peer: Endpoint;
  readonly expiresAt: number;
}

export function writeRecord(b: Binding, listener: RealmListener, expiresAt: number): z.infer<typeof record> {
  const peer = b.flow.peer.get(b.flow.j);
  return {
    v: 1,
    aor: b.aor,
    domain: b.domain,
    kind: b.kind,
    opaque: b.opaque,
    contact: b.contact,
    params: b.params,
    realm: listener.realm.name,
    transport: listener.transport,
    bind: listener.bind.address,
    address: peer.address,
    port: peer.port,
    expiresAt,
    q: b.q,
    callId: b.callId,
    cseq: b.cseq,
    instance: b.instance,
    regId: b.regId,
    path: [...b.path],
    userAgent: b.userAgent,
  };
}

/** Undefined for a record that another version wrote or nobody can read. */
export function readRecord(value: unknown): StoredBinding | undefined {
  const parsed = record.safeParse(value);
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
      instance: r.instance,
      regId: r.regId,
      path: r.path.length === 0 ? NO_PATH : r.path,
      userAgent: r.userAgent,
    },
    realm: r.realm,
    transport: r.transport,
    bind: r.bind,
    peer: { address: r.address, port: r.port },
    expiresAt: r.expiresAt,
  };
}
