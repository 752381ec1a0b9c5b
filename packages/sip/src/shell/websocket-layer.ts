import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';

/** Bytes of an upgrade request's head. */
const MAX_UPGRADE = 8192;
/** Frames that one message may come in. */
const MAX_FRAGMENTS = 1024;

/** The WebSocket upgrade over the connections of one listener (RFC 6455 §4.2, RFC 7118 §4). */
export class WebSocketLayer {
  readonly #http: Server;
  readonly #ws: WebSocketServer;
  readonly #waiting = new WeakMap<Duplex, (ws: WebSocket) => void>();

  constructor(maxMessage: number) {
    this.#ws = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      maxPayload: maxMessage,
      maxFragments: MAX_FRAGMENTS,
      maxBufferedChunks: 4 * MAX_FRAGMENTS,
      perMessageDeflate: false,
      // Pongs are ours: they must not pile up for a peer that doesn't read.
      autoPong: false,
      handleProtocols: () => 'sip',
    });
    this.#http = createServer({ maxHeaderSize: MAX_UPGRADE, keepAlive: false }, (_request, response) => {
      response.writeHead(426, { Connection: 'close', Upgrade: 'websocket', 'Sec-WebSocket-Protocol': 'sip' }).end();
    });
    this.#http.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    this.#http.on('clientError', (_error, socket) => socket.destroy());
  }

  /** `done` is called once both sides speak WebSocket and SIP over it; when they don't the connection just ends. */
  accept(socket: Socket, done: (ws: WebSocket) => void): void {
    this.#waiting.set(socket, done);
    this.#http.emit('connection', socket);
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => {});
    const done = this.#waiting.get(socket);
    this.#waiting.delete(socket);
    if (done === undefined) return void socket.destroy();
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map(p => p.trim());
    // RFC 7118 §4.1: without `sip` among the offers there is nothing to agree on.
    if (!offered.includes('sip')) return refuse(socket, '400 Bad Request');
    this.#ws.handleUpgrade(request, socket, head, done);
  }
}

function refuse(socket: Duplex, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nSec-WebSocket-Protocol: sip\r\nContent-Length: 0\r\n\r\n`);
}
