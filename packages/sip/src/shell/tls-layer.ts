import { isIP, type Socket } from 'node:net';
import {
  type ConnectionOptions,
  connect,
  createSecureContext,
  createServer,
  type Server,
  type TLSSocket,
} from 'node:tls';
import { type Endpoint, formatEndpoint } from '@drawbridge/core';
import { certificateNames, namesHost } from '../flow/certificate-names.js';
import type { StreamTls, TlsMaterial } from './stream-options.js';

/** Endpoints whose owner's name is remembered. */
const MAX_EXPECTED = 10_000;
const NOBODY: readonly string[] = [];

/** TLS over the connections of one listener, both ways. The context is looked up per connection, so that it can be replaced. */
export class TlsLayer {
  readonly #server: Server;
  readonly #minVersion: 'TLSv1.2' | 'TLSv1.3';
  /** Connections under handshake, by far endpoint. */
  readonly #shaking = new Map<string, { readonly raw: Socket; readonly done: (socket: TLSSocket) => void }>();
  readonly #expected = new Map<string, readonly string[]>();
  #material: TlsMaterial;

  constructor(tls: StreamTls) {
    this.#minVersion = tls.minVersion ?? 'TLSv1.2';
    this.#material = tls.material;
    const asks = tls.clientCertificates ?? 'none';
    this.#server = createServer({
      ...this.#context(tls.material),
      requestCert: asks !== 'none',
      rejectUnauthorized: asks === 'require',
      handshakeTimeout: 60_000,
    });
    this.#server.on('secureConnection', socket => this.#secured(socket));
    // Its connection's end tells the listener.
    this.#server.on('tlsClientError', (_error, socket) => socket.destroy());
    this.#server.on('error', () => {});
  }

  renew(material: TlsMaterial): void {
    const context = this.#context(material);
    // Throws before anything has changed.
    createSecureContext(context);
    this.#server.setSecureContext(context);
    this.#material = material;
  }

  /** `done` is called once the handshake is over; when it fails the connection just ends. */
  accept(raw: Socket, done: (socket: TLSSocket) => void): void {
    const key = keyOf(raw);
    // Two connections from one endpoint can't be: the older one is dead, and its end has not been told yet.
    this.#shaking.get(key)?.raw.destroy();
    this.#shaking.set(key, { raw, done });
    raw.once('close', () => {
      if (this.#shaking.get(key)?.raw === raw) this.#shaking.delete(key);
    });
    this.#server.emit('connection', raw);
  }

  /** `afresh`: nothing is under way to there, so that earlier names are of no concern any more. */
  expect(to: Endpoint, name: string, afresh: boolean): void {
    const key = formatEndpoint(to);
    const known = (afresh ? undefined : this.#expected.get(key)) ?? NOBODY;
    if (known.includes(name)) return;
    if (!this.#expected.has(key) && this.#expected.size >= MAX_EXPECTED) {
      const oldest = this.#expected.keys().next();
      if (oldest.done !== true) this.#expected.delete(oldest.value);
    }
    this.#expected.set(key, [...known, name]);
  }

  /** Undefined: nobody has said whose certificate to expect there. `done` is called once the far end has proven itself. */
  dial(to: Endpoint, localAddress: string, done: () => void): TLSSocket | undefined {
    const key = formatEndpoint(to);
    const first = this.#expected.get(key)?.[0];
    if (first === undefined) return undefined;
    const options: ConnectionOptions & { localAddress: string } = {
      host: to.address,
      port: to.port,
      localAddress,
      secureContext: createSecureContext(this.#context(this.#material)),
      ...(isIP(first) === 0 ? { servername: first } : {}),
      rejectUnauthorized: true,
      checkServerIdentity: (_host, certificate) => {
        try {
          const named = certificateNames(certificate.raw);
          // Names that came while it was opening count as well: messages for them wait for this connection.
          const missing = (this.#expected.get(key) ?? [first]).find(n => !namesHost(named, n));
          return missing === undefined ? undefined : new Error(`the certificate does not name ${missing}`);
        } catch (error) {
          return error instanceof Error ? error : new Error(String(error));
        }
      },
    };
    const socket = connect(options);
    socket.once('secureConnect', done);
    return socket;
  }

  #secured(socket: TLSSocket): void {
    socket.on('error', () => {});
    const key = keyOf(socket);
    const waiting = this.#shaking.get(key);
    this.#shaking.delete(key);
    if (waiting === undefined) socket.destroy();
    else waiting.done(socket);
  }

  #context(m: TlsMaterial): { cert: string; key: string; minVersion: 'TLSv1.2' | 'TLSv1.3'; ca?: string } {
    const base = { cert: m.certificate, key: m.key, minVersion: this.#minVersion };
    return m.ca === undefined ? base : { ...base, ca: m.ca };
  }
}

/** Whom the certificate at the far end names, if that was verified. Never throws: a TLS callback must not. */
export function verifiedNames(socket: TLSSocket): readonly string[] {
  try {
    if (!socket.authorized) return NOBODY;
    const { raw } = socket.getPeerCertificate();
    return raw === undefined ? NOBODY : certificateNames(raw);
  } catch {
    return NOBODY;
  }
}

function keyOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort}`;
}
