import { constants as osConstants } from 'node:os';
import {
  BATCH,
  type Endpoint,
  Endpoints,
  type Family,
  formatEndpoint,
  type ListenerSink,
  type Rx,
  type Via,
} from '@drawbridge/core';
import { IP_RECVERR, IPV6_RECVERR, MSG_DONTWAIT, MSG_ERRQUEUE, MSG_TRUNC, SOL_IP, SOL_IPV6 } from './constants.js';
import { EAGAIN, EINTR, int32, type Libc, type PollCallback, type PollHandle, pinned } from './libc.js';
import { readSockaddr, SOCKADDR_WORDS, sockaddrBytes, writeSockaddr } from './sockaddr.js';
import { openSocket, socketDrops } from './socket.js';
import type { UdpCounters, UdpListener, UdpOptions } from './udp.js';
import { CONTROL_LENGTH, FLAGS, HEADER_BYTES, HEADER_WORDS, LENGTH, MessageVector } from './vector.js';

/** The largest UDP payloads: 65,535 less the headers (the IPv6 header is not counted in its length field). */
const MAX_PAYLOAD = { 4: 65_507, 6: 65_527 } as const;
/** Room for the largest datagram, and seven cache lines so that slots don't all start in the same cache set. */
const SLOT = 65_536 + 448;
/** Messages and bytes that may wait while the kernel's send queue is full. */
const QUEUE = 256;
const QUEUE_BYTES = 1 << 20;
/** ICMP errors read at once, and of each as much as one quotes. */
const ERRORS = 16;
const QUOTED = 640;
/** Room for struct cmsghdr, sock_extended_err and the address of who reported it; the word of its errno. */
const CONTROL_BYTES = 64;
const ERRNO = 4;
/** Not EMSGSIZE: the kernel has learnt the path's MTU then, and the next transmission gets through. */
const UNREACHABLE: ReadonlySet<number> = new Set(
  (['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'ENOPROTOOPT', 'EACCES'] as const).map(
    n => osConstants.errno[n as 'EACCES'],
  ),
);
/** Batches per readiness callback: other work of the loop gets its turn. */
const ROUNDS = 4;

/** Node has the method; its types don't. It skips the look-up of the encoding's name. */
type Latin1Buffer = Buffer & { latin1Write(text: string, at: number): number };

/**
 * UDP by recvmmsg and sendmmsg: up to 64 datagrams per system call both ways.
 *
 * Slots hold the largest datagram UDP knows, so nothing is ever cut: 4.2 MB of address space, of which only
 * the pages that datagrams have touched are memory.
 */
export class BatchUdp implements UdpListener {
  readonly name: string;
  readonly local: Endpoint;
  readonly path = 'batch';
  readonly because: string;
  readonly counters: UdpCounters = {
    received: 0,
    sent: 0,
    receiveBatches: 0,
    sendErrors: 0,
    undelivered: 0,
    truncated: 0,
    refused: 0,
  };

  readonly #libc: Libc;
  readonly #fd: number;
  readonly #family: Family;
  readonly #largest: number;
  #sink: ListenerSink | undefined;
  #poll: PollHandle | undefined;
  #closed = false;

  readonly #rxData = pinned(BATCH * SLOT);
  readonly #rxVector: MessageVector;
  readonly #rx: {
    count: number;
    bytes: Buffer;
    at: Uint32Array;
    len: Uint32Array;
    via: Uint32Array;
    peer: Endpoints;
    local: Endpoints;
  };

  readonly #txData = pinned(QUEUE_BYTES) as Latin1Buffer;
  readonly #txVector: MessageVector;
  readonly #errorData = pinned(ERRORS * QUOTED);
  readonly #errorVector: MessageVector;
  /** An ICMP error that waited in the socket has just been taken for a send's own: that send is tried once more. */
  #blamed = false;
  #via: Via = 0;
  /** Queued messages are [#head, #tail) of the vector; their bytes end at #end. */
  #head = 0;
  #tail = 0;
  #end = 0;
  /** The kernel's queue is full; its writability callback goes on. */
  #blocked = false;

  constructor(libc: Libc, options: UdpOptions, because: string) {
    const opened = openSocket(libc, options, {
      receiveBuffer: options.receiveBuffer ?? 4 << 20,
      ...(options.sendBuffer !== undefined && { sendBuffer: options.sendBuffer }),
      ...(options.dscp !== undefined && { dscp: options.dscp }),
    });
    this.#libc = libc;
    this.#fd = opened.fd;
    this.#family = opened.family;
    this.local = opened.local;
    this.name = `udp:${formatEndpoint(opened.local)}`;
    this.because = because;
    const most = MAX_PAYLOAD[opened.family];
    this.#largest = Math.min(options.largest ?? most, most);

    // Without it the kernel keeps what ICMP says of an unconnected socket's datagrams to itself.
    if (opened.family === 4) libc.setsockopt(opened.fd, SOL_IP, IP_RECVERR, int32(1), 4);
    else libc.setsockopt(opened.fd, SOL_IPV6, IPV6_RECVERR, int32(1), 4);

    const nameBytes = sockaddrBytes(opened.family);
    this.#errorVector = new MessageVector(libc, ERRORS, this.#errorData, { nameBytes: 0, controlBytes: CONTROL_BYTES });
    for (let i = 0; i < ERRORS; i++) this.#errorVector.place(i, i * QUOTED, QUOTED);
    this.#rxVector = new MessageVector(libc, BATCH, this.#rxData, { nameBytes });
    this.#txVector = new MessageVector(libc, QUEUE, this.#txData, { nameBytes });
    const at = new Uint32Array(BATCH);
    const local = new Endpoints(BATCH);
    for (let i = 0; i < BATCH; i++) {
      at[i] = i * SLOT;
      this.#rxVector.place(i, i * SLOT, this.#largest);
      local.set(i, opened.local);
    }
    this.#rx = {
      count: 0,
      bytes: this.#rxData,
      at,
      len: new Uint32Array(BATCH),
      via: new Uint32Array(BATCH),
      peer: new Endpoints(BATCH),
      local,
    };
  }

  start(via: Via, sink: ListenerSink): void {
    if (this.#closed || this.#sink !== undefined) return;
    this.#sink = sink;
    this.#via = via;
    this.#rx.via.fill(via);
    this.#poll = this.#libc.poll(this.#fd, { readable: true }, this.#onReady);
  }

  text(_via: Via, to: Endpoints, j: number, message: string): boolean {
    const at = this.#reserve(to, j, message.length);
    if (at < 0) return false;
    this.#txData.latin1Write(message, at);
    this.#queued(at, message.length);
    return true;
  }

  bytes(_via: Via, to: Endpoints, j: number, from: Buffer, at: number, len: number): boolean {
    const slot = this.#reserve(to, j, len);
    if (slot < 0) return false;
    from.copy(this.#txData, slot, at, at + len);
    this.#queued(slot, len);
    return true;
  }

  flush(): void {
    if (this.#blocked || this.#closed) return;
    while (this.#head < this.#tail) {
      const vector =
        this.#head === 0 ? this.#txVector.headers : this.#txVector.headers.subarray(this.#head * HEADER_BYTES);
      const sent = this.#libc.sendmmsg(this.#fd, vector, this.#tail - this.#head, MSG_DONTWAIT);
      if (sent > 0) {
        this.counters.sent += sent;
        this.#head += sent;
        this.#blamed = false;
        continue;
      }
      const errno = this.#libc.errno();
      if (errno === EINTR) continue;
      if (errno === EAGAIN) {
        this.#block(true);
        return;
      }
      // sendmmsg stops at the first message it can't send and, asked again, names the error: that of an earlier datagram,
      // when ICMP has told of one meanwhile. Naming it takes it away, so that a second try tells the two apart.
      if (!this.#blamed) {
        this.#blamed = true;
        continue;
      }
      this.#blamed = false;
      this.counters.sendErrors++;
      this.#head++;
    }
    this.#head = 0;
    this.#tail = 0;
    this.#end = 0;
  }

  hangUp(): void {}

  kernelDrops(): number | undefined {
    return this.#closed ? undefined : socketDrops(this.#libc, this.#fd);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.flush();
    this.#closed = true;
    this.#sink = undefined;
    this.#poll?.close();
    this.#libc.close(this.#fd);
  }

  /** Address of message #tail written and room for its bytes: their offset, or −1 when refused. */
  #reserve(to: Endpoints, j: number, len: number): number {
    if (!this.#closed && len <= MAX_PAYLOAD[this.#family]) {
      if (this.#tail === QUEUE || this.#end + len > QUEUE_BYTES) this.flush();
      const fits = this.#tail < QUEUE && this.#end + len <= QUEUE_BYTES;
      if (fits && writeSockaddr(this.#txVector.names, this.#tail * SOCKADDR_WORDS, this.#family, to, j))
        return this.#end;
    }
    this.counters.refused++;
    return -1;
  }

  #queued(at: number, len: number): void {
    this.#txVector.place(this.#tail, at, len);
    this.#tail++;
    this.#end = at + len;
    if (this.#tail - this.#head >= BATCH) this.flush();
  }

  #block(blocked: boolean): void {
    this.#blocked = blocked;
    if (this.#poll !== undefined) this.#poll.start({ readable: true, writable: blocked }, this.#onReady);
    else setImmediate(() => this.#unblock());
  }

  #unblock(): void {
    if (this.#closed) return;
    this.#blocked = false;
    this.flush();
  }

  readonly #onReady: PollCallback = (status, got) => {
    if (got.writable === true && this.#blocked) {
      this.#block(false);
      this.flush();
    }
    if (got.readable === true || status !== 0) this.#receive();
    // A status other than 0 means that errors wait in the socket; libuv has stopped watching it because of them.
    if (status === 0 || this.#closed) return;
    this.#hearErrors();
    if (!this.#closed) this.#poll?.start({ readable: true, writable: this.#blocked }, this.#onReady);
  };

  /** What ICMP says of datagrams of ours: each comes back with its beginning. Forged reports have to quote what only its receiver has seen. */
  #hearErrors(): void {
    const { head, headers, control, controlWords } = this.#errorVector;
    for (let round = 0; round < ROUNDS; round++) {
      for (let i = 0; i < ERRORS; i++) head[i * HEADER_WORDS + CONTROL_LENGTH] = CONTROL_BYTES;
      const got = this.#libc.recvmmsg(this.#fd, headers, ERRORS, MSG_DONTWAIT | MSG_ERRQUEUE, null);
      if (got <= 0) return;
      for (let i = 0; i < got && this.#sink !== undefined; i++) {
        if (!UNREACHABLE.has(control[i * controlWords + ERRNO]!)) continue;
        this.counters.undelivered = (this.counters.undelivered ?? 0) + 1;
        const length = Math.min(head[i * HEADER_WORDS + LENGTH]!, QUOTED);
        if (length > 0)
          this.#sink.undelivered?.(this.#via, this.#errorData.toString('latin1', i * QUOTED, i * QUOTED + length));
      }
      if (got < ERRORS) return;
    }
  }

  #receive(): void {
    const { head, names, headers } = this.#rxVector;
    const rx = this.#rx;
    for (let round = 0; round < ROUNDS; round++) {
      if (this.#sink === undefined) return;
      const got = this.#libc.recvmmsg(this.#fd, headers, BATCH, MSG_DONTWAIT, null);
      if (got <= 0) {
        if (got < 0 && this.#libc.errno() === EINTR) continue;
        return;
      }
      let kept = 0;
      for (let i = 0; i < got; i++) {
        const h = i * HEADER_WORDS;
        if ((head[h + FLAGS]! & MSG_TRUNC) !== 0) {
          this.counters.truncated++;
          continue;
        }
        rx.at[kept] = i * SLOT;
        rx.len[kept] = head[h + LENGTH]!;
        readSockaddr(names, i * SOCKADDR_WORDS, rx.peer, kept);
        kept++;
      }
      this.counters.received += kept;
      this.counters.receiveBatches++;
      rx.count = kept;
      if (kept > 0) this.#sink.batch(rx satisfies Rx);
      if (got < BATCH) return;
    }
  }
}
