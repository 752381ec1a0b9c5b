import { isUtf8 } from 'node:buffer';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
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
import type { RawData, WebSocket } from 'ws';
import { Admission } from '../flow/admission.js';
import { isSecure, isWebSocket } from '../flow/flow.js';
import { checkFrame, FRAME, type FramingLimits } from '../flow/framer.js';
import { Stream } from './stream.js';
import type {
  StreamCounters,
  StreamListener,
  StreamListenerOptions,
  StreamTransport,
  TlsMaterial,
} from './stream-options.js';
import { TlsLayer, verifiedNames } from './tls-layer.js';
import { WebSocketLayer } from './websocket-layer.js';

/** Opens the listening socket. Rejects with `SocketError`. */
export async function openStreamListener(options: StreamListenerOptions): Promise<StreamListener> {
  const address = canonicalAddress(options.address);
  if (address === undefined)
    throw new SocketError(
      'address-not-available',
      `"${options.address}" is not an IP address; write it as 192.0.2.1 or 2001:db8::1.`,
    );
  const { transport = 'tcp' } = options;
  if (isSecure(transport) && options.tls === undefined)
    throw new TypeError(`a listener for ${transport} needs a certificate`);
  const at = { address, port: options.port };
  // Before the socket: material that OpenSSL refuses must leave nothing open.
  const tls = isSecure(transport) && options.tls !== undefined ? new TlsLayer(options.tls) : undefined;
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
  return new StreamServer(server, options, transport, tls);
}

/** Serials of streams fill the upper 24 bits of a via. */
const SERIALS = 1 << 24;

class StreamServer implements StreamListener {
  readonly name: string;
  readonly local: Endpoint;
  readonly transport: StreamTransport;
  readonly counters: StreamCounters = {
    accepted: 0,
    dialled: 0,
    closed: 0,
    received: 0,
    sent: 0,
    keepalives: 0,
    framingFaults: 0,
    deadlines: 0,
    strangers: 0,
    unopened: 0,
    turnedAway: 0,
    refused: 0,
  };
  readonly #server: Server;
  readonly #o: Required<Omit<StreamListenerOptions, 'tls' | 'transport'>>;
  readonly #limits: FramingLimits;
  readonly #tls: TlsLayer | undefined;
  readonly #websocket: WebSocketLayer | undefined;
  readonly #streams = new Map<FlowId, Stream>();
  /** Dialled, by far endpoint: what a send to the listener itself may use. Whoever dials us from there is another matter. */
  readonly #byPeer = new Map<string, Stream>();
  readonly #admission: Admission;
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

  constructor(server: Server, options: StreamListenerOptions, transport: StreamTransport, tls: TlsLayer | undefined) {
    const bound = server.address();
    if (bound === null || typeof bound === 'string') throw new TypeError('not a TCP server');
    this.#server = server;
    this.local = { address: canonicalAddress(bound.address) ?? bound.address, port: bound.port };
    this.transport = transport;
    this.#tls = tls;
    this.name = `${transport}:${formatEndpoint(this.local)}`;
    this.#o = {
      maxStreams: 10_000,
      maxPerAddress: 100,
      maxPerNetwork: 1000,
      maxHead: 16_384,
      maxBody: 65_536,
      messageDeadlineMs: 10_000,
      idleMs: 900_000,
      dialMs: 5_000,
      handshakeMs: 5_000,
      authenticateMs: Number.POSITIVE_INFINITY,
      highWater: 262_144,
      stuckMs: 10_000,
      maxPending: 16,
      ...options,
    };
    this.#limits = this.#o;
    this.#admission = new Admission(this.#o);
    this.#websocket = isWebSocket(transport) ? new WebSocketLayer(this.#o.maxHead + this.#o.maxBody) : undefined;
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

  namesOf(via: Via): readonly string[] {
    return this.#streams.get(via)?.certificateNames ?? [];
  }

  isDialled(via: Via): boolean {
    return this.#streams.get(via)?.dialled === true;
  }

  expect(to: Endpoint, name: string): void {
    this.#tls?.expect(to, name, !this.#byPeer.has(formatEndpoint(to)));
  }

  vouch(via: Via): void {
    const stream = this.#streams.get(via);
    if (stream !== undefined) stream.vouched = true;
  }

  renew(material: TlsMaterial): void {
    this.#tls?.renew(material);
  }

  start(via: Via, sink: ListenerSink): void {
    if (this.#sink !== undefined || this.#closing !== undefined) return;
    this.#via = via;
    this.#sink = sink;
    const o = this.#o;
    const least = Math.min(o.messageDeadlineMs, o.idleMs, o.dialMs, o.stuckMs, o.handshakeMs, o.authenticateMs);
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
    if (stream.ws === undefined) stream.socket.write(message, 'latin1');
    else if (!sendFrame(stream.ws, message)) return false;
    this.counters.sent++;
    return true;
  }

  #streamTo(to: Endpoints, j: number): Stream | undefined {
    const peer = to.get(j);
    const known = this.#byPeer.get(formatEndpoint(peer));
    if (known !== undefined && !known.ending && !known.socket.destroyed) return known;
    if (this.#sink === undefined || this.#streams.size >= this.#o.maxStreams || peer.port === 0) return undefined;
    let stream: Stream | undefined;
    const opened = (): void => {
      if (stream !== undefined) this.#dialOpened(stream);
    };
    const socket = this.#dial(peer, opened);
    if (socket === undefined) return undefined;
    stream = this.#adopt(socket, peer, true);
    return stream;
  }

  #dial(peer: Endpoint, opened: () => void): Socket | undefined {
    // Clients open WebSockets, nobody else (RFC 7118 §5).
    if (this.#websocket !== undefined) return undefined;
    if (this.#tls !== undefined) {
      const secure = this.#tls.dial(peer, this.local.address, opened);
      return secure?.setNoDelay(true).setKeepAlive(true, 60_000);
    }
    const socket = connect({
      host: peer.address,
      port: peer.port,
      localAddress: this.local.address,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 60_000,
    });
    socket.once('connect', opened);
    return socket;
  }

  #accept(socket: Socket): void {
    const address = canonicalAddress(socket.remoteAddress ?? '');
    const peer = address === undefined ? undefined : { address, port: socket.remotePort ?? 0 };
    if (
      peer === undefined ||
      this.#sink === undefined ||
      this.#streams.size >= this.#o.maxStreams ||
      !this.#admission.enter(peer.address)
    ) {
      this.counters.turnedAway++;
      socket.on('error', () => {});
      socket.resetAndDestroy();
      return;
    }
    this.counters.accepted++;
    const stream = this.#adopt(socket, peer, false);
    if (this.#tls === undefined) return this.#agree(stream, socket);
    this.#tls.accept(socket, secure => {
      if (stream.gone || stream.ending) return void secure.destroy();
      stream.socket = secure;
      secure.on('close', () => this.#gone(stream));
      stream.certificateNames = verifiedNames(secure);
      if (secure.authorized) stream.vouched = true;
      this.#agree(stream, secure);
    });
  }

  /** The connection is what it should be underneath; on to the first message. */
  #agree(stream: Stream, socket: Socket): void {
    if (this.#websocket === undefined) return this.#carry(stream);
    this.#websocket.accept(socket, ws => {
      if (stream.gone || stream.ending) return ws.terminate();
      stream.ws = ws;
      this.#carry(stream);
    });
  }

  #adopt(socket: Socket, peer: Endpoint, dialled: boolean): Stream {
    const stream = new Stream(this.#nextVia(), socket, peer, dialled, this.#limits, performance.now());
    this.#streams.set(stream.via, stream);
    if (dialled) this.#byPeer.set(formatEndpoint(peer), stream);
    // Told by 'close', which always follows.
    socket.on('error', () => {});
    socket.on('close', () => this.#gone(stream));
    return stream;
  }

  /** SIP flows from here on. */
  #carry(stream: Stream): void {
    stream.open = true;
    stream.waitingSince = 0;
    stream.lastComplete = performance.now();
    const { socket, ws } = stream;
    socket.on('drain', () => {
      if (!stream.ending) stream.stuckSince = 0;
    });
    if (ws === undefined) socket.on('data', (chunk: Buffer) => this.#read(stream, chunk));
    else this.#hear(stream, socket, ws);
    this.#sink?.flow(stream.via, 'opened');
  }

  #nextVia(): FlowId {
    let via: FlowId;
    do {
      this.#serial = (this.#serial + 1) % SERIALS;
      via = this.#serial * 256 + listenerOf(this.#via);
    } while (this.#serial === 0 || this.#streams.has(via));
    return via;
  }

  #dialOpened(stream: Stream): void {
    if (stream.gone || stream.ending) return;
    if (this.#tls !== undefined) stream.certificateNames = verifiedNames(stream.socket as TLSSocket);
    this.counters.dialled++;
    stream.open = true;
    const pending = stream.pending;
    stream.pending = [];
    for (const message of pending) this.#write(stream, message);
    this.flush();
    this.#carry(stream);
  }

  #gone(stream: Stream): void {
    if (stream.gone) return;
    stream.gone = true;
    this.counters.closed++;
    if (!stream.open) this.counters.unopened++;
    if (stream.corked) this.#dirty.splice(this.#dirty.indexOf(stream), 1);
    const key = formatEndpoint(stream.peer);
    if (this.#byPeer.get(key) === stream) this.#byPeer.delete(key);
    if (!stream.dialled) this.#admission.leave(stream.peer.address);
    // A new dial to the same endpoint, begun while this is told, is a stream of its own; `peerOf` still answers.
    if (stream.open) this.#sink?.flow(stream.via, 'closed');
    else if (stream.dialled) this.#sink?.flow(stream.via, 'error');
    this.#streams.delete(stream.via);
  }

  #hear(stream: Stream, socket: Socket, ws: WebSocket): void {
    // Before ws itself reads: the clock of an unfinished message runs from its first bytes until something is complete.
    socket.prependListener('data', () => {
      if (stream.waitingSince === 0) stream.waitingSince = performance.now();
    });
    const complete = (): void => {
      stream.waitingSince = 0;
      stream.lastComplete = performance.now();
    };
    ws.on('message', data => {
      complete();
      if (!stream.ending) this.#frame(stream, bytesOf(data));
    });
    ws.on('ping', data => {
      complete();
      this.counters.keepalives++;
      if (ws.readyState === ws.OPEN && socket.writableLength <= this.#o.highWater) ws.pong(data);
    });
    ws.on('pong', complete);
    // What breaks RFC 6455 or is too long: ws sends a Close that says so, and the connection ends.
    ws.on('error', () => {
      this.counters.framingFaults++;
      stream.ending = true;
      stream.stuckSince = performance.now();
    });
  }

  /** RFC 7118 §5: a frame is a message, whole. */
  #frame(stream: Stream, bytes: Buffer): void {
    const frame = checkFrame(bytes, this.#limits);
    if (frame === FRAME.more) return;
    if (frame === FRAME.keepalive) return this.#pong(stream);
    if (frame === FRAME.message || frame === FRAME.faultyHead) {
      this.#collect(stream, bytes, 0, bytes.length);
      this.#deliver();
    }
    if (frame === FRAME.message) return;
    this.counters.framingFaults++;
    this.#end(stream);
  }

  #read(stream: Stream, chunk: Buffer): void {
    if (stream.ending) return;
    const framer = stream.framer;
    framer.push(chunk);
    let faulty = false;
    for (;;) {
      const frame = framer.next();
      if (frame === FRAME.message || frame === FRAME.faultyHead)
        this.#collect(stream, framer.bytes, framer.at, framer.length);
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

  #collect(stream: Stream, bytes: Buffer, at: number, length: number): void {
    const rx = this.#rx;
    if (rx.count === BATCH) this.#deliver();
    const i = rx.count++;
    rx.bytes = bytes;
    rx.at[i] = at;
    rx.len[i] = length;
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
    if (stream.ws === undefined) stream.socket.write('\r\n', 'latin1');
    else sendFrame(stream.ws, '\r\n');
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
    if (stream.ws === undefined) stream.socket.destroySoon();
    else stream.ws.close(1000);
    // Unread bytes would hold the close back.
    stream.socket.resume();
  }

  #sweep(now: number): void {
    const o = this.#o;
    for (const stream of this.#streams.values()) {
      // The peer has said Close: from there on it has as long as anybody who is to go.
      if (stream.ws !== undefined && stream.ws.readyState !== stream.ws.OPEN && stream.stuckSince === 0)
        stream.stuckSince = now;
      const opening = stream.dialled ? o.dialMs : o.handshakeMs;
      const late =
        (stream.waitingSince > 0 && now - stream.waitingSince > (stream.open ? o.messageDeadlineMs : opening)) ||
        (stream.stuckSince > 0 && now - stream.stuckSince > o.stuckMs) ||
        (stream.open && now - stream.lastComplete > o.idleMs);
      const stranger = !late && !stream.vouched && now - stream.since > o.authenticateMs;
      if (!late && !stranger) continue;
      if (late) this.counters.deadlines++;
      else this.counters.strangers++;
      stream.ending = true;
      stream.socket.destroy();
    }
  }
}

const EMPTY = Buffer.alloc(0);

/** Text where it is UTF-8, as RFC 6455 §5.6 wants of text; binary otherwise. False: it is closing. */
function sendFrame(ws: WebSocket, message: string): boolean {
  if (ws.readyState !== ws.OPEN) return false;
  const bytes = Buffer.from(message, 'latin1');
  ws.send(bytes, { binary: !isUtf8(bytes) });
  return true;
}

function bytesOf(data: RawData): Buffer {
  if (Buffer.isBuffer(data)) return data;
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);
}
