import { Endpoints, type Family } from '@drawbridge/core';
import * as C from './constants.js';
import { type Libc, pinned } from './libc.js';
import { readSockaddr, SOCKADDR_WORDS, sockaddrBytes, writeSockaddr } from './sockaddr.js';
import { type OpenSocket, openSocket, setDscp } from './socket.js';
import { FLAGS, HEADER_BYTES, HEADER_WORDS, LENGTH, MessageVector } from './vector.js';

/** struct epoll_event is packed on x86-64 and nowhere else. */
const EVENT_BYTES = process.arch === 'x64' ? 12 : 16;
const EVENT_DATA = EVENT_BYTES - 8;
const WAKE = 0xffff_ffff;
const EVENTS = 256;
const BATCH = 32;
const SLOT = 9216;
const STRIDE = SLOT + 448;

/**
 * Many UDP sockets waited for by one epoll, for a thread that does nothing else. Sockets are told apart by a
 * number of the caller's; `wakeFd` (an eventfd) interrupts the wait.
 */
export class PortSockets {
  readonly bytes = pinned(BATCH * STRIDE);
  readonly at = new Uint32Array(BATCH);
  readonly len = new Uint32Array(BATCH);
  readonly peer = new Endpoints(BATCH);
  truncated = 0;
  readonly #libc: Libc;
  readonly #epoll: number;
  readonly #events = pinned(EVENTS * EVENT_BYTES);
  readonly #event = pinned(EVENT_BYTES);
  readonly #rx: { readonly 4: MessageVector; readonly 6: MessageVector };
  readonly #tx: { readonly 4: MessageVector; readonly 6: MessageVector };
  readonly #wake: number;
  readonly #wakeValue = pinned(8);

  constructor(libc: Libc, wakeFd: number) {
    this.#libc = libc;
    this.#wake = wakeFd;
    this.#epoll = libc.epoll_create1(C.SOCK_CLOEXEC);
    const vector = (family: Family): MessageVector => {
      const v = new MessageVector(libc, BATCH, this.bytes, { nameBytes: sockaddrBytes(family) });
      for (let i = 0; i < BATCH; i++) v.place(i, i * STRIDE, SLOT);
      return v;
    };
    this.#rx = { 4: vector(4), 6: vector(6) };
    this.#tx = { 4: vector(4), 6: vector(6) };
    this.#watch(wakeFd, WAKE);
  }

  /** Opens a socket known as `id` (below 2^32 − 1) and waits for it. Throws SocketError. */
  open(id: number, address: string, port: number, dscp?: number): OpenSocket {
    const opened = openSocket(this.#libc, { address, port }, { receiveBuffer: 1 << 20, sendBuffer: 1 << 20 });
    if (dscp !== undefined) setDscp(this.#libc, opened.fd, opened.family, dscp);
    this.#watch(opened.fd, id);
    return opened;
  }

  /** Waits for a socket that is open already (left by a thread that died). */
  adopt(id: number, fd: number): void {
    this.#watch(fd, id);
  }

  /** Waits at most `ms`; calls `ready` with each id that has datagrams. True when `wakeFd` was among them. */
  wait(ms: number, ready: (id: number) => void): boolean {
    let woken = false;
    const n = this.#libc.epoll_wait(this.#epoll, this.#events, EVENTS, ms);
    for (let k = 0; k < n; k++) {
      const id = this.#events.readUInt32LE(k * EVENT_BYTES + EVENT_DATA);
      if (id !== WAKE) ready(id);
      else {
        this.#libc.read(this.#wake, this.#wakeValue, 8);
        woken = true;
      }
    }
    return woken;
  }

  /** Fills the columns from one socket; how many. */
  receive(fd: number, family: Family): number {
    const v = this.#rx[family];
    const got = this.#libc.recvmmsg(fd, v.headers, BATCH, C.MSG_DONTWAIT, null);
    let kept = 0;
    for (let i = 0; i < got; i++) {
      const h = i * HEADER_WORDS;
      if ((v.head[h + FLAGS]! & C.MSG_TRUNC) !== 0) {
        this.truncated++;
        continue;
      }
      this.at[kept] = i * STRIDE;
      this.len[kept] = v.head[h + LENGTH]!;
      readSockaddr(v.names, i * SOCKADDR_WORDS, this.peer, kept);
      kept++;
    }
    return kept;
  }

  /** Puts datagram `i` of the slab into position `n` of the batch that `send` hands over. */
  place(n: number, family: Family, at: number, len: number, to: Endpoints, j: number): boolean {
    const v = this.#tx[family];
    if (!writeSockaddr(v.names, n * SOCKADDR_WORDS, family, to, j)) return false;
    v.place(n, at, len);
    return true;
  }

  /** Sends positions 0 to n − 1 from one socket and says for each whether the kernel took it. */
  send(fd: number, family: Family, n: number, done: (position: number, sent: boolean) => void): void {
    const v = this.#tx[family];
    for (let head = 0; head < n; ) {
      const sent = this.#libc.sendmmsg(
        fd,
        head === 0 ? v.headers : v.headers.subarray(head * HEADER_BYTES),
        n - head,
        C.MSG_DONTWAIT,
      );
      for (let k = 0; k < Math.max(1, sent); k++) done(head + k, sent > 0);
      head += Math.max(1, sent);
    }
  }

  /** Closing a descriptor takes it out of the epoll. */
  close(fd: number): void {
    this.#libc.close(fd);
  }

  end(): void {
    this.#libc.close(this.#epoll);
  }

  #watch(fd: number, id: number): void {
    this.#event.writeUInt32LE(C.EPOLLIN, 0);
    this.#event.writeUInt32LE(id, EVENT_DATA);
    this.#libc.epoll_ctl(this.#epoll, C.EPOLL_CTL_ADD, fd, this.#event);
  }
}
