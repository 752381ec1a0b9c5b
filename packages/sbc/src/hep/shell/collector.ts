import { createSocket, type Socket } from 'node:dgram';
import { connect, type Socket as TcpSocket } from 'node:net';
import { type Endpoint, parseEndpoint } from '@drawbridge/core';

/** Bytes that wait for a TCP collector at most. */
const HIGH_WATER = 4 * 1024 * 1024;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

/** The way to a HEP collector. Nothing waits for it: what it can't take is lost, and the mirror counts it. */
export interface Collector {
  send(packet: Buffer): boolean;
  close(): void;
}

/** `udp:10.0.0.9:9060` or `tcp:…`, as the schema has let it through. */
export function openCollector(to: string): Collector {
  const at = parseEndpoint(to.slice(4));
  if (at === undefined) throw new TypeError(`not an endpoint: ${to}`);
  return to.startsWith('udp') ? new UdpCollector(at) : new TcpCollector(at);
}

class UdpCollector implements Collector {
  readonly #socket: Socket;
  #ready = false;

  constructor(to: Endpoint) {
    this.#socket = createSocket(to.address.includes(':') ? 'udp6' : 'udp4');
    // ECONNREFUSED while the collector is away.
    this.#socket.on('error', () => {});
    this.#socket.unref();
    this.#socket.connect(to.port, to.address, () => {
      this.#ready = true;
    });
  }

  send(packet: Buffer): boolean {
    if (!this.#ready) return false;
    this.#socket.send(packet, () => {});
    return true;
  }

  close(): void {
    this.#ready = false;
    this.#socket.close();
  }
}

class TcpCollector implements Collector {
  readonly #to: Endpoint;
  #socket: TcpSocket | undefined;
  #pause = FIRST_PAUSE_MS;
  #again: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(to: Endpoint) {
    this.#to = to;
    this.#dial();
  }

  send(packet: Buffer): boolean {
    const socket = this.#socket;
    if (socket === undefined || socket.destroyed || socket.writableLength + packet.length > HIGH_WATER) return false;
    socket.write(packet);
    return true;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#again);
    this.#socket?.destroy();
  }

  #dial(): void {
    const socket = connect({ host: this.#to.address, port: this.#to.port, noDelay: true });
    this.#socket = socket;
    socket.unref();
    socket.on('connect', () => {
      this.#pause = FIRST_PAUSE_MS;
    });
    socket.on('error', () => {});
    // A collector has nothing to say.
    socket.resume();
    socket.on('close', () => {
      if (this.#closed) return;
      this.#socket = undefined;
      this.#again = setTimeout(() => this.#dial(), this.#pause);
      this.#again.unref();
      this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE_MS);
    });
  }
}
