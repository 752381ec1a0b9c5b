import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import {
  BATCH,
  canonicalAddress,
  type Endpoint,
  Endpoints,
  type Family,
  familyOf,
  formatEndpoint,
  type ListenerSink,
  type Rx,
  type Via,
} from '@drawbridge/core';
import { bindError } from './bind-error.js';
import { SocketError } from './errors.js';
import type { UdpCounters, UdpListener, UdpOptions } from './udp.js';

const MAX_PAYLOAD = { 4: 65_507, 6: 65_527 } as const;
/** Messages that may wait inside libuv. */
const QUEUE = 256;
/** Room for one batch of ordinary messages, or for one datagram of the largest size after another. */
const SLAB = 1 << 18;

/** Same interface on node:dgram: one datagram per callback, gathered into batches for one turn of the loop. */
export class FallbackUdp implements UdpListener {
  readonly name: string;
  readonly local: Endpoint;
  readonly path = 'dgram';
  readonly because: string;
  readonly counters: UdpCounters = { received: 0, sent: 0, receiveBatches: 0, sendErrors: 0, truncated: 0, refused: 0 };

  readonly #socket: Socket;
  readonly #family: Family;
  readonly #largest: number;
  readonly #rx: {
    count: number;
    bytes: Buffer;
    at: Uint32Array;
    len: Uint32Array;
    via: Uint32Array;
    peer: Endpoints;
    local: Endpoints;
  };
  #sink: ListenerSink | undefined;
  #end = 0;
  #scheduled = false;
  #closing: Promise<void> | undefined;

  private constructor(socket: Socket, options: UdpOptions, because: string) {
    const bound = socket.address();
    this.#socket = socket;
    this.local = { address: canonicalAddress(bound.address) ?? bound.address, port: bound.port };
    this.name = `udp:${formatEndpoint(this.local)}`;
    this.because = because;
    this.#family = familyOf(this.local.address);
    this.#largest = Math.min(options.largest ?? SLAB, MAX_PAYLOAD[this.#family]);
    const local = new Endpoints(BATCH);
    for (let i = 0; i < BATCH; i++) local.set(i, this.local);
    this.#rx = {
      count: 0,
      bytes: Buffer.alloc(SLAB),
      at: new Uint32Array(BATCH),
      len: new Uint32Array(BATCH),
      via: new Uint32Array(BATCH),
      peer: new Endpoints(BATCH),
      local,
    };
    // After bind the only asynchronous errors are those of sends and receives: counted, never thrown.
    socket.on('error', () => {
      this.counters.sendErrors++;
    });
  }

  static async open(options: UdpOptions, because: string): Promise<FallbackUdp> {
    const address = canonicalAddress(options.address);
    if (address === undefined)
      throw new SocketError(
        'address-not-available',
        `"${options.address}" is not an IP address; write it as 192.0.2.1 or 2001:db8::1.`,
      );
    const family = familyOf(address);
    const socket = createSocket({
      type: family === 4 ? 'udp4' : 'udp6',
      ipv6Only: family === 6,
      recvBufferSize: options.receiveBuffer ?? 4 << 20,
      ...(options.sendBuffer !== undefined && { sendBufferSize: options.sendBuffer }),
      // The default lookup goes through the resolver even for literals and costs a fifth of all the work.
      lookup: (host, _options, callback) => callback(null, host, family),
    });
    await new Promise<void>((resolve, reject) => {
      socket.once('error', (error: NodeJS.ErrnoException) => {
        socket.close();
        reject(bindError(error.code ?? error.message, { address, port: options.port }));
      });
      socket.bind({ address, port: options.port, exclusive: true }, () => {
        socket.removeAllListeners('error');
        resolve();
      });
    });
    return new FallbackUdp(socket, options, because);
  }

  start(via: Via, sink: ListenerSink): void {
    if (this.#closing !== undefined || this.#sink !== undefined) return;
    this.#sink = sink;
    this.#rx.via.fill(via);
    this.#socket.on('message', (message, from) => this.#take(message, from));
  }

  text(_via: Via, to: Endpoints, j: number, message: string): boolean {
    return this.#fits(to, j, message.length) && this.#send(Buffer.from(message, 'latin1'), to, j);
  }

  bytes(_via: Via, to: Endpoints, j: number, from: Buffer, at: number, len: number): boolean {
    return this.#fits(to, j, len) && this.#send(Buffer.from(from.subarray(at, at + len)), to, j);
  }

  flush(): void {}
  hangUp(): void {}

  kernelDrops(): number | undefined {
    return undefined;
  }

  close(): Promise<void> {
    this.#sink = undefined;
    this.#closing ??= new Promise(resolve => this.#socket.close(() => resolve()));
    return this.#closing;
  }

  #fits(to: Endpoints, j: number, len: number): boolean {
    const fits =
      this.#closing === undefined &&
      len <= MAX_PAYLOAD[this.#family] &&
      to.family(j) === this.#family &&
      this.#socket.getSendQueueCount() < QUEUE;
    if (!fits) this.counters.refused++;
    return fits;
  }

  #send(bytes: Buffer, to: Endpoints, j: number): true {
    try {
      this.#socket.send(bytes, to.port(j), to.address(j), error => {
        if (error === null) this.counters.sent++;
        else this.counters.sendErrors++;
      });
    } catch {
      // node:dgram throws for port 0, which the batched path counts.
      this.counters.sendErrors++;
    }
    return true;
  }

  #take(message: Buffer, from: RemoteInfo): void {
    const rx = this.#rx;
    if (message.length > this.#largest) {
      this.counters.truncated++;
      return;
    }
    if (rx.count === BATCH || this.#end + message.length > SLAB) this.#deliver();
    const i = rx.count;
    // A link-local source carries its zone (`%eth0`), which a packed address has no room for.
    const zone = from.address.indexOf('%');
    if (!rx.peer.set(i, { address: zone < 0 ? from.address : from.address.slice(0, zone), port: from.port })) return;
    message.copy(rx.bytes, this.#end);
    rx.at[i] = this.#end;
    rx.len[i] = message.length;
    this.#end += message.length;
    rx.count = i + 1;
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    const rx = this.#rx;
    if (rx.count > 0 && this.#sink !== undefined) {
      this.counters.received += rx.count;
      this.counters.receiveBatches++;
      this.#sink.batch(rx satisfies Rx);
    }
    rx.count = 0;
    this.#end = 0;
  }
}
