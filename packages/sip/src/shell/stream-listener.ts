import { connect, createServer, type Server, type Socket } from 'node:net';
import {
  BATCH,
  canonicalAddress,
  type Endpoint,
  Endpoints,
  type FlowId,
  formatEndpoint,
  isStream,
  type ListenerSink,
  listenerOf,
  type Rx,
  type Via,
} from '@drawbridge/core';
import { bindError, SocketError } from 'node-dgram-raw';
import { FRAME, type FramingLimits } from '../flow/framer.js';
import { Stream } from './stream.js';
import type { StreamCounters, StreamListener, StreamListenerOptions } from './stream-options.js';

/** Opens the listening socket. Rejects with `SocketError`. */
export async function openStreamListener(options: StreamListenerOptions): Promise<StreamListener> {
  const address = canonicalAddress(options.address);
  if (address === undefined)
    throw new SocketError(
      'address-not-available',
      `"${options.address}" is not an IP address; write it as 192.0.2.1 or 2001:db8::1.`,
    );
  const at = { address, port: options.port };
  const server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(bindError(error.code ?? error.message, at, 'TCP')));
    server.listen(
      { host: address, port: options.port, exclusive: true, ipv6Only: address.includes(':'), backlog: 1024 },
      () => {
        server.removeAllListeners('error');
        resolve();
      },
    );
  });
  return new TcpListener(server, options);
}

/** Serials of streams fill the upper 24 bits of a via. */
const SERIALS = 1 << 24;

class TcpListener implements StreamListener {
  readonly name: string;
  readonly local: Endpoint;
  readonly counters: StreamCounters = {
    accepted: 0,
    dialled: 0,
    closed: 0,
    received: 0,
    sent: 0,
    keepalives: 0,
    framingFaults: 0,
    deadlines: 0,
    turnedAway: 0,
    refused: 0,
  };
  readonly #server: Server;
  readonly #o: Required<StreamListenerOptions>;
  readonly #limits: FramingLimits;
  readonly #streams = new Map<FlowId, Stream>();
  /** By far endpoint: what a send to the listener itself may use. */
  readonly #byPeer = new Map<string, Stream>();
  readonly #perAddress = new Map<string, number>();
  readonly #dirty: Stream[] = [];
  readonly #rx: {
    count: number;
    bytes: Buffer;
    readonly at: Uint32Array;
    readonly len: Uint32Array;
    readonly via: Uint32Array;
    readonly peer: Endpoints;
    readonly local: Endpoints;
  };
  #via: Via = 0;
  #sink: ListenerSink | undefined;
  #serial = 0;
  #sweeper: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;

  constructor(server: Server, options: StreamListenerOptions) {
    const bound = server.address();
    if (bound === null || typeof bound === 'string') throw new TypeError('not a TCP server');
    this.#server = server;
    this.local = { address: canonicalAddress(bound.address) ?? bound.address, port: bound.port };
    this.name = `tcp:${formatEndpoint(this.local)}`;
    this.#o = {
      maxStreams: 10_000,
      maxPerAddress: 100,
      maxHead: 16_384,
      maxBody: 65_536,
      messageDeadlineMs: 10_000,
      idleMs: 900_000,
      dialMs: 5_000,
      highWater: 262_144,
      stuckMs: 10_000,
      maxPending: 16,
      ...options,
    };
    this.#limits = this.#o;
    const local = new Endpoints(BATCH);
    for (let i = 0; i < BATCH; i++) local.set(i, this.local);
    this.#rx = {
      count: 0,
      bytes: Buffer.alloc(0),
      at: new Uint32Array(BATCH),
      len: new Uint32Array(BATCH),
      via: new Uint32Array(BATCH),
      peer: new Endpoints(BATCH),
      local,
    };
    server.on('connection', socket => this.#accept(socket));
    // Out of descriptors: the connection stays in the backlog, and is counted when the kernel gives it up.
    server.on('error', () => {
      this.counters.turnedAway++;
    });
  }

  get streams(): number {
    return this.#streams.size;
  }

  peerOf(via: Via): Endpoint | undefined {
    return this.#streams.get(via)?.peer;
  }

  start(via: Via, sink: ListenerSink): void {
    if (this.#sink !== undefined || this.#closing !== undefined) return;
    this.#via = via;
    this.#sink = sink;
    const o = this.#o;
    const least = Math.min(o.messageDeadlineMs, o.idleMs, o.dialMs, o.stuckMs);
    this.#sweeper = setInterval(() => this.#sweep(performance.now()), Math.min(1000, Math.max(20, least / 4)));
    this.#sweeper.unref();
  }

  text(via: Via, to: Endpoints, j: number, message: string): boolean {
    const stream = isStream(via) ? this.#streams.get(via) : this.#streamTo(to, j);
    return (stream !== undefined && this.#write(stream, message)) || this.#refuse();
  }

  bytes(via: Via, to: Endpoints, j: number, from: Buffer, at: number, len: number): boolean {
    return this.text(via, to, j, from.toString('latin1', at, at + len));
  }

  flush(): void {
    for (const stream of this.#dirty) {
      stream.corked = false;
      stream.socket.uncork();
    }
    this.#dirty.length = 0;
  }

  hangUp(flow: FlowId): void {
    const stream = this.#streams.get(flow);
    if (stream !== undefined) this.#end(stream);
  }

  close(): Promise<void> {
    this.#sink = undefined;
    clearInterval(this.#sweeper);
    this.#closing ??= new Promise(resolve => {
      this.#server.close(() => resolve());
      for (const stream of this.#streams.values()) stream.socket.destroy();
    });
    return this.#closing;
  }

  #refuse(): false {
    this.counters.refused++;
    return false;
  }

  #write(stream: Stream, message: string): boolean {
    if (stream.ending || stream.socket.destroyed) return false;
    if (!stream.open) {
      if (stream.pending.length >= this.#o.maxPending) return false;
      stream.pending.push(message);
      return true;
    }
    if (stream.socket.writableLength + message.length > this.#o.highWater) {
      if (stream.stuckSince === 0) stream.stuckSince = performance.now();
      return false;
    }
    if (!stream.corked) {
      stream.corked = true;
      stream.socket.cork();
      this.#dirty.push(stream);
    }
    stream.socket.write(message, 'latin1');
    this.counters.sent++;
    return true;
  }

  #streamTo(to: Endpoints, j: number): Stream | undefined {
    const peer = to.get(j);
    const known = this.#byPeer.get(formatEndpoint(peer));
    if (known !== undefined && !known.ending && !known.socket.destroyed) return known;
    if (this.#sink === undefined || this.#streams.size >= this.#o.maxStreams || peer.port === 0) return undefined;
    const socket = connect({
      host: peer.address,
      port: peer.port,
      localAddress: this.local.address,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 60_000,
    });
    const stream = this.#adopt(socket, peer, true);
    socket.once('connect', () => this.#opened(stream));
    return stream;
  }

  #accept(socket: Socket): void {
    const address = canonicalAddress(socket.remoteAddress ?? '');
    const peer = address === undefined ? undefined : { address, port: socket.remotePort ?? 0 };
    if (
      peer === undefined ||
      this.#sink === undefined ||
      this.#streams.size >= this.#o.maxStreams ||
      !this.#admit(peer.address)
    ) {
      this.counters.turnedAway++;
      socket.on('error', () => {});
      socket.resetAndDestroy();
      return;
    }
    this.counters.accepted++;
    this.#sink.flow(this.#adopt(socket, peer, false).via, 'opened');
  }

  #admit(address: string): boolean {
    const key = prefixOf(address);
    const n = this.#perAddress.get(key) ?? 0;
    if (n >= this.#o.maxPerAddress) return false;
    this.#perAddress.set(key, n + 1);
    return true;
  }

  #adopt(socket: Socket, peer: Endpoint, dialled: boolean): Stream {
    const stream = new Stream(this.#nextVia(), socket, peer, dialled, this.#limits, performance.now());
    this.#streams.set(stream.via, stream);
    this.#byPeer.set(formatEndpoint(peer), stream);
    socket.on('data', chunk => this.#read(stream, chunk));
    socket.on('drain', () => {
      if (!stream.ending) stream.stuckSince = 0;
    });
    // Told by 'close', which always follows.
    socket.on('error', () => {});
    socket.on('close', () => this.#gone(stream));
    return stream;
  }

  #nextVia(): FlowId {
    let via: FlowId;
    do {
      this.#serial = (this.#serial + 1) % SERIALS;
      via = this.#serial * 256 + listenerOf(this.#via);
    } while (this.#serial === 0 || this.#streams.has(via));
    return via;
  }

  #opened(stream: Stream): void {
    stream.open = true;
    stream.waitingSince = 0;
    stream.lastComplete = performance.now();
    this.counters.dialled++;
    const pending = stream.pending;
    stream.pending = [];
    for (const message of pending) this.#write(stream, message);
    this.flush();
    this.#sink?.flow(stream.via, 'opened');
  }

  #gone(stream: Stream): void {
    this.counters.closed++;
    if (stream.corked) this.#dirty.splice(this.#dirty.indexOf(stream), 1);
    const key = formatEndpoint(stream.peer);
    if (this.#byPeer.get(key) === stream) this.#byPeer.delete(key);
    if (!stream.dialled) this.#leave(stream.peer.address);
    // A new dial to the same endpoint, begun while this is told, is a stream of its own; `peerOf` still answers.
    this.#sink?.flow(stream.via, stream.open ? 'closed' : 'error');
    this.#streams.delete(stream.via);
  }

  #leave(address: string): void {
    const key = prefixOf(address);
    const n = (this.#perAddress.get(key) ?? 1) - 1;
    if (n > 0) this.#perAddress.set(key, n);
    else this.#perAddress.delete(key);
  }

  #read(stream: Stream, chunk: Buffer): void {
    if (stream.ending) return;
    const framer = stream.framer;
    framer.push(chunk);
    let faulty = false;
    for (;;) {
      const frame = framer.next();
      if (frame === FRAME.message || frame === FRAME.faultyHead) this.#collect(stream);
      else if (frame === FRAME.keepalive) this.#pong(stream);
      if (frame === FRAME.more) break;
      faulty = frame === FRAME.faultyHead || frame === FRAME.fault;
      if (faulty) break;
    }
    this.#deliver();
    if (faulty) {
      this.counters.framingFaults++;
      this.#end(stream);
      return;
    }
    if (!framer.partial) stream.waitingSince = 0;
    else if (stream.waitingSince === 0) stream.waitingSince = performance.now();
  }

  #collect(stream: Stream): void {
    const rx = this.#rx;
    const framer = stream.framer;
    if (rx.count === BATCH) this.#deliver();
    const i = rx.count++;
    rx.bytes = framer.bytes;
    rx.at[i] = framer.at;
    rx.len[i] = framer.length;
    rx.via[i] = stream.via;
    rx.peer.set(i, stream.peer);
    this.counters.received++;
    stream.lastComplete = performance.now();
    // The clock of an unfinished message begins anew with each message.
    stream.waitingSince = 0;
  }

  #deliver(): void {
    const rx = this.#rx;
    if (rx.count === 0) return;
    this.#sink?.batch(rx as Rx);
    rx.count = 0;
    rx.bytes = EMPTY;
  }

  #pong(stream: Stream): void {
    this.counters.keepalives++;
    stream.lastComplete = performance.now();
    if (stream.ending || stream.socket.destroyed || stream.socket.writableLength > this.#o.highWater) return;
    stream.socket.write('\r\n', 'latin1');
  }

  /** No more reading; what was written still goes out. */
  #end(stream: Stream): void {
    if (stream.ending) return;
    stream.ending = true;
    stream.stuckSince = performance.now();
    if (!stream.open) {
      stream.socket.destroy();
      return;
    }
    stream.socket.destroySoon();
    // Unread bytes would hold the close back.
    stream.socket.resume();
  }

  #sweep(now: number): void {
    const o = this.#o;
    for (const stream of this.#streams.values()) {
      const late =
        (stream.waitingSince > 0 && now - stream.waitingSince > (stream.open ? o.messageDeadlineMs : o.dialMs)) ||
        (stream.stuckSince > 0 && now - stream.stuckSince > o.stuckMs) ||
        (stream.open && now - stream.lastComplete > o.idleMs);
      if (!late) continue;
      this.counters.deadlines++;
      stream.ending = true;
      stream.socket.destroy();
    }
  }
}

const EMPTY = Buffer.alloc(0);

/** What the cap per address counts by: one IPv4 address, one IPv6 /64. */
function prefixOf(address: string): string {
  if (!address.includes(':')) return address;
  const e = new Endpoints(1);
  return e.set(0, { address, port: 0 }) ? `${e.words[0]}:${e.words[1]}` : address;
}
