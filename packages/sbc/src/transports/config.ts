import * as z from 'zod';

const port = z
  .number({ error: 'a port number' })
  .int()
  .min(0, { error: 'expected a port from 0 to 65535' })
  .max(65535, { error: 'expected a port from 0 to 65535' });

/** Where a realm listens, per transport; `false`: not at all. TLS and `wss` need the realm's `tls`. */
export const sipPorts = z
  .strictObject({
    udp: z.union([port, z.literal(false)]).default(5060),
    tcp: z.union([port, z.literal(false)]).default(5060),
    tls: z.union([port, z.literal(false)]).default(false),
    ws: z.union([port, z.literal(false)]).default(false),
    wss: z.union([port, z.literal(false)]).default(false),
  })
  .prefault({});

/** Certificate of a realm, as PEM files; read again whenever they change. */
export const realmTls = z.strictObject({
  /** The certificate and those between it and its authority, in this order. */
  certificate: z.string().min(1),
  key: z.string().min(1),
  /** Authorities that vouch for those we dial and for client certificates, instead of the public ones. */
  ca: z.string().min(1).optional(),
  clientCertificates: z.enum(['none', 'request', 'require']).default('none'),
  minVersion: z.enum(['TLSv1.2', 'TLSv1.3']).default('TLSv1.2'),
});

export type RealmTls = z.infer<typeof realmTls>;

/** What is missing, as a path in the realm and a sentence. */
export function tlsFault(realm: {
  readonly sip: { readonly tls: number | false; readonly wss: number | false };
  readonly tls?: unknown;
}): { path: string[]; message: string } | undefined {
  if (realm.tls !== undefined) return undefined;
  const transport = realm.sip.tls !== false ? 'tls' : realm.sip.wss !== false ? 'wss' : undefined;
  return transport === undefined
    ? undefined
    : {
        path: ['sip', transport],
        message: `expected a certificate for it: add tls: { certificate: FILE.pem, key: FILE.pem } to the realm, or set sip.${transport} to false`,
      };
}
