import type { AddressInfo } from 'node:net';
import { bracketed, canonicalAddress, type Endpoint, familyOf, formatEndpoint, parseEndpoint } from '@drawbridge/core';
import { createAdaptorServer } from '@hono/node-server';
import { Hono } from 'hono';
import { SocketError } from 'node-dgram-raw';
import type { Health } from './health.js';
import type { Metrics } from './metrics.js';

export interface AdminOptions {
  /** `127.0.0.1:8080`; port 0 takes a free one. */
  readonly listen: string;
  readonly metrics: Metrics;
  readonly health: Health;
  /** Served beneath `/`, after `/metrics`, `/healthz` and `/readyz`. */
  readonly routes?: Hono;
  /** Names under which browsers and tools reach this API besides address literals and `localhost`. */
  readonly names?: readonly string[];
}

export interface Admin {
  readonly address: Endpoint;
  /** `http://127.0.0.1:8080` */
  readonly url: string;
  close(): Promise<void>;
}

/** Serves metrics, health and the given routes. Rejects with a `SocketError` when it can't listen. */
export async function startAdmin(o: AdminOptions): Promise<Admin> {
  const at = parseEndpoint(o.listen);
  if (at === undefined) throw new TypeError(`admin: ${o.listen} is not an address and port`);
  const app = new Hono();
  app.use('*', async (c, next) => {
    if (!trustworthy(c.req.header('host'), c.req.header('origin'), o.names ?? [])) {
      return c.json({ error: 'this API answers only to addresses and to the names in admin.names' }, 403);
    }
    return next();
  });
  app.get('/metrics', async c => c.body(await o.metrics.text(), 200, { 'content-type': o.metrics.contentType }));
  app.get('/healthz', c => c.json({ status: 'ok', uptimeSeconds: Math.round(process.uptime()) }));
  app.get('/readyz', c => c.json({ ready: o.health.ready, parts: o.health.parts }, o.health.ready ? 200 : 503));
  if (o.routes !== undefined) app.route('/', o.routes);
  app.notFound(c => c.json({ error: `nothing at ${c.req.path}` }, 404));
  app.onError((error, c) => c.json({ error: error.message }, 500));

  const server = createAdaptorServer({ fetch: app.fetch });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(cannotListen(error, at)));
    server.listen(at.port, at.address, () => resolve());
  });
  server.on('error', () => {});
  const bound = server.address() as AddressInfo;
  const address: Endpoint = { address: canonicalAddress(bound.address) ?? bound.address, port: bound.port };
  return {
    address,
    url: `http://${formatEndpoint(address)}`,
    close() {
      return new Promise(resolve => {
        server.close(() => resolve());
        if ('closeAllConnections' in server) server.closeAllConnections();
      });
    },
  };
}

/**
 * A page in the operator's browser can reach a loopback port: by a name that it makes resolve there, or by a
 * request across origins. Address literals can't be rebound, so only they, localhost and known names pass.
 */
function trustworthy(host: string | undefined, origin: string | undefined, names: readonly string[]): boolean {
  if (!known(host, names)) return false;
  if (origin === undefined) return true;
  return origin === `http://${host}` || origin === `https://${host}`;
}

function known(host: string | undefined, names: readonly string[]): boolean {
  if (host === undefined) return false;
  const name = host.replace(/:\d+$/, '').toLowerCase();
  return name === 'localhost' || canonicalAddress(name) !== undefined || names.includes(name);
}

function cannotListen(error: NodeJS.ErrnoException, at: Endpoint): SocketError {
  const where = `${bracketed(at.address)}:${at.port}`;
  switch (error.code) {
    case 'EADDRINUSE':
      return new SocketError(
        'address-in-use',
        `Another program listens on ${where}: stop it, or give admin.listen another port.`,
      );
    case 'EADDRNOTAVAIL':
      return new SocketError(
        'address-not-available',
        `${at.address} is not an address of this machine${familyOf(at.address) === 6 ? ', or it has no IPv6' : ''}: correct admin.listen.`,
      );
    case 'EACCES':
      return new SocketError(
        'permission',
        `This user may not listen on ${where}: give admin.listen a port above 1023, or the process CAP_NET_BIND_SERVICE.`,
      );
    default:
      return new SocketError('failed', `Can't listen on ${where}: ${error.message}.`);
  }
}
