import { familyOf, formatEndpoint, type Listener } from '@drawbridge/core';
import { isSecure, openStreamListener, type StreamListener } from '@drawbridge/sip';
import { openUdp, SocketError, type UdpListener } from 'node-dgram-raw';
import type { Config } from '../config.js';
import type { PlannedListener, RealmPlan } from '../plan-realms.js';
import type { OpenedListener } from '../realms.js';
import type { Certificates } from './certificates.js';
import { StartError } from './start-error.js';

export interface Sockets {
  /** In the driver's order: the place is the `via`. */
  readonly listeners: readonly Listener[];
  readonly opened: readonly OpenedListener[];
  readonly udp: readonly (UdpListener | undefined)[];
  readonly streams: readonly (StreamListener | undefined)[];
  readonly warnings: readonly string[];
}

/**
 * Opens every planned socket. An address that this machine hasn't got (no IPv6, say) is left out with a warning as
 * long as its realm has another; a port that is taken or forbidden ends the start, since half a border helps nobody.
 */
export async function openSockets(
  plan: RealmPlan,
  limits: Config['limits'],
  certificates: Certificates,
): Promise<Sockets> {
  const listeners: Listener[] = [];
  const opened: OpenedListener[] = [];
  const udp: (UdpListener | undefined)[] = [];
  const streams: (StreamListener | undefined)[] = [];
  const warnings: string[] = [];
  try {
    for (const realm of plan.realms) {
      let open = 0;
      for (const l of realm.listeners) {
        try {
          const socket = await openOne(l, limits, certificates);
          listeners.push(socket.listener);
          udp.push(socket.udp);
          streams.push(socket.stream);
          // Port 0 takes a free one, which only the socket knows.
          const port = socket.port;
          opened.push({
            realm: l.realm,
            transport: l.transport,
            bind: { address: l.bind.address, port },
            advertise: { address: l.advertise.address, port: l.advertise.port === 0 ? port : l.advertise.port },
          });
          open++;
        } catch (error) {
          if (
            !(error instanceof SocketError) ||
            (error.reason !== 'address-not-available' && error.reason !== 'unsupported')
          )
            throw error;
          warnings.push(
            `Realm ${realm.name} goes on without ${l.transport} ${formatEndpoint(l.bind)}: ${error.message}`,
          );
          if (familyOf(l.bind.address) === 4 && realm.addresses.length === 1) throw error;
        }
      }
      if (open === 0)
        throw new StartError(
          `Realm ${realm.name} has no socket: ${warnings.at(-1) ?? 'give it an address in `bind` and a port in `sip`.'}`,
        );
    }
    if (listeners.length === 0)
      throw new StartError('There is nothing to listen on: give a realm an address in `bind`.');
    if (listeners.length > 255)
      throw new StartError(`${listeners.length} sockets are too many: a border has at most 255.`);
  } catch (error) {
    await Promise.all(listeners.map(l => l.close()));
    if (error instanceof SocketError) throw new StartError(error.message);
    throw error;
  }
  return { listeners, opened, udp, streams, warnings };
}

async function openOne(
  l: PlannedListener,
  limits: Config['limits'],
  certificates: Certificates,
): Promise<{ listener: Listener; udp: UdpListener | undefined; stream: StreamListener | undefined; port: number }> {
  if (l.transport === 'udp') {
    const socket = await openUdp({ address: l.bind.address, port: l.bind.port });
    return { listener: socket, udp: socket, stream: undefined, port: socket.local.port };
  }
  const certificate = isSecure(l.transport) ? certificates.of(l.realm) : undefined;
  const stream = await openStreamListener({
    address: l.bind.address,
    port: l.bind.port,
    transport: l.transport,
    tls: certificate === undefined ? undefined : { ...certificate.tls, material: certificate.files.material },
    maxStreams: limits.streams,
    maxPerAddress: limits.streamsPerAddress,
    maxPerNetwork: limits.streamsPerNetwork,
    authenticateMs: limits.authenticateWithin,
  });
  certificate?.files.use(material => stream.renew(material));
  return { listener: stream, udp: undefined, stream, port: stream.local.port };
}
