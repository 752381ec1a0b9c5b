import { Endpoints, type Family, familyOf } from '@drawbridge/core';
import { ATTACH_TYPE, Bpf, F_MMAPABLE, MAP_TYPE, PROGRAM_TYPE } from './bpf/bpf.js';
import { BITMAP_BYTES, steeringProgram } from './bpf/steer.js';
import * as C from './constants.js';
import { KernelError } from './errors.js';
import { errnoName, int32, type Libc, pinned } from './libc.js';
import { readSockaddr, SOCKADDR_WORDS } from './sockaddr.js';
import { openSocket, setBuffer, socketDrops } from './socket.js';
import { CONTROL_LENGTH, FLAGS, HEADER_WORDS, LENGTH, MessageVector } from './vector.js';

export interface SteeringOptions {
  /** Canonical addresses of this machine, both families. */
  readonly addresses: readonly string[];
  readonly firstPort: number;
  /** Inclusive. */
  readonly lastPort: number;
  /** Bytes, of which the kernel makes twice as many; all ports share one receive queue, so make it large (32 MB: 70,000 short datagrams). */
  readonly receiveBuffer?: number;
  /** The receive call returns after this many ms without a datagram. */
  readonly idleMs?: number;
}

/**
 * One UDP socket that receives for every open port of a range on several addresses, by an sk_lookup program on
 * the network namespace. Opening and closing a port writes one bit of shared memory: no system call.
 *
 * The program goes when this process does. A connected socket on a steered port wins over it, an unconnected
 * one loses.
 */
export class SteeredSocket {
  /** Blocking; hand it to `SteeredReceiver`, in any thread of this process. */
  readonly fd: number;
  readonly #libc: Libc;
  readonly #descriptors: readonly number[];
  #bits: Uint8Array | undefined;
  readonly #mapped: { readonly unmap: () => void };

  private constructor(
    libc: Libc,
    fd: number,
    descriptors: readonly number[],
    mapped: { bits: Uint8Array; unmap: () => void },
  ) {
    this.#libc = libc;
    this.fd = fd;
    this.#descriptors = descriptors;
    this.#bits = mapped.bits;
    this.#mapped = mapped;
  }

  /** Throws KernelError or SocketError; leaves nothing behind when it does. */
  static open(libc: Libc, o: SteeringOptions): SteeredSocket {
    const bpf = new Bpf(libc);
    const descriptors: number[] = [];
    let mapped: { bits: Uint8Array; unmap: () => void } | undefined;
    try {
      const fd = receiveSocket(libc, o);
      descriptors.push(fd);
      const socks = bpf.createMap({
        type: MAP_TYPE.sockmap,
        keyBytes: 4,
        valueBytes: 8,
        entries: 1,
        name: 'relay_socks',
      });
      descriptors.push(socks.fd);
      const ports = bpf.createMap({
        type: MAP_TYPE.array,
        keyBytes: 4,
        valueBytes: BITMAP_BYTES,
        entries: o.addresses.length,
        flags: F_MMAPABLE,
        name: 'relay_ports',
      });
      descriptors.push(ports.fd);
      mapped = libc.map(ports.fd, o.addresses.length * BITMAP_BYTES);
      const program = bpf.loadProgram({
        type: PROGRAM_TYPE.skLookup,
        attach: ATTACH_TYPE.skLookup,
        name: 'relay_steer',
        program: steeringProgram(o.addresses, o.firstPort, o.lastPort),
        maps: { socks: socks.fd, ports: ports.fd },
      });
      descriptors.push(program);
      socks.key.writeUInt32LE(0, 0);
      socks.value.writeBigUInt64LE(BigInt(fd), 0);
      socks.update();
      descriptors.push(bpf.linkToNamespace(program, ATTACH_TYPE.skLookup));
      return new SteeredSocket(libc, fd, descriptors, mapped);
    } catch (error) {
      mapped?.unmap();
      for (const fd of descriptors) libc.close(fd);
      throw error;
    }
  }

  /** From now on datagrams to this port of address number `address` are received here. */
  openPort(address: number, port: number): void {
    const at = address * BITMAP_BYTES + (port >> 3);
    if (this.#bits !== undefined) this.#bits[at] = this.#bits[at]! | (1 << (port & 7));
  }

  closePort(address: number, port: number): void {
    const at = address * BITMAP_BYTES + (port >> 3);
    if (this.#bits !== undefined) this.#bits[at] = this.#bits[at]! & ~(1 << (port & 7));
  }

  /** Datagrams dropped because the queue was full. */
  drops(): number | undefined {
    return this.#bits === undefined ? undefined : socketDrops(this.#libc, this.fd);
  }

  /** The receiving thread must have stopped. */
  close(): void {
    if (this.#bits === undefined) return;
    this.#bits = undefined;
    for (const fd of [...this.#descriptors].reverse()) this.#libc.close(fd);
    this.#mapped.unmap();
  }
}

/**
 * One socket takes both families when it is an IPv6 one that isn't V6ONLY; binding it to a genuine IPv6 address
 * would make it that, so it is bound to ::ffff:127.0.0.1, and outside the range: nothing but what is steered
 * reaches it from outside.
 */
function receiveSocket(libc: Libc, o: SteeringOptions): number {
  const family: Family = o.addresses.some(a => familyOf(a) === 6) ? 6 : 4;
  const fd = boundOutside(libc, family, o);
  setBuffer(libc, fd, C.SO_RCVBUFFORCE, C.SO_RCVBUF, o.receiveBuffer ?? 32 << 20);
  const idle = o.idleMs ?? 100;
  const timeout = pinned(16);
  timeout.writeBigInt64LE(BigInt(Math.trunc(idle / 1000)), 0);
  timeout.writeBigInt64LE(BigInt((idle % 1000) * 1000), 8);
  libc.setsockopt(fd, C.SOL_SOCKET, C.SO_RCVTIMEO, timeout, 16);
  const wanted: [number, number][] = [[C.SOL_IP, C.IP_ORIGDSTADDR]];
  if (family === 6) wanted.push([C.SOL_IPV6, C.IPV6_ORIGDSTADDR]);
  for (const [level, name] of wanted) {
    if (libc.setsockopt(fd, level, name, int32(1), 4) < 0) {
      const code = errnoName(libc.errno());
      libc.close(fd);
      throw new KernelError(
        'unsupported',
        `Not supported: needs a kernel that tells the original destination of datagrams (${code}).`,
        code,
      );
    }
  }
  return fd;
}

const TRIES = 64;

function boundOutside(libc: Libc, family: Family, o: SteeringOptions): number {
  const inside: number[] = [];
  try {
    for (let k = 0; k < TRIES; k++) {
      const opened = openSocket(libc, { address: '127.0.0.1', port: 0 }, { dual: family === 6 }, true);
      if (opened.local.port < o.firstPort || opened.local.port > o.lastPort) return opened.fd;
      // Held until another was found, or the kernel might offer the same port again.
      inside.push(opened.fd);
    }
  } finally {
    for (const fd of inside) libc.close(fd);
  }
  throw new KernelError(
    'limit',
    `No free UDP port outside ${o.firstPort}–${o.lastPort}: widen net.ipv4.ip_local_port_range or narrow the relay's ports.`,
  );
}

/** Bytes in front of every payload in the slab: a sender builds its IP and UDP headers there. */
export const HEADROOM = 64;
/** Bytes of one ancillary item that holds a sockaddr_in6. */
const CONTROL_BYTES = 48;
const STRIDE = 9216 + HEADROOM + 448;

const HUGE_PAGE = 2 << 20;

/** Every slot is a page of its own or two, and with small pages each datagram would wait for a walk of the page table. */
function slab(libc: Libc, bytes: number): Buffer {
  // Whole huge pages; what is never touched costs nothing.
  const whole = Math.ceil(bytes / HUGE_PAGE) * HUGE_PAGE;
  const all = pinned(whole + HUGE_PAGE);
  const skip = HUGE_PAGE - Number(libc.address(all) % BigInt(HUGE_PAGE));
  libc.hugePages(all.subarray(skip, skip + whole));
  return all.subarray(skip, skip + bytes);
}

/** Receives from a steered socket into one slab, columns of source, original destination, offset and length. */
export class SteeredReceiver {
  readonly bytes: Buffer;
  readonly at: Uint32Array;
  readonly len: Uint32Array;
  readonly peer: Endpoints;
  /** Where the datagram was sent to: address and port of ours. */
  readonly local: Endpoints;
  readonly batch: number;
  /** Datagrams longer than a slot (9,216 bytes). */
  truncated = 0;
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #vector: MessageVector;

  constructor(libc: Libc, fd: number, batch = 256) {
    this.#libc = libc;
    this.#fd = fd;
    this.batch = batch;
    this.bytes = slab(libc, batch * STRIDE);
    this.at = new Uint32Array(batch);
    this.len = new Uint32Array(batch);
    this.peer = new Endpoints(batch);
    this.local = new Endpoints(batch);
    this.#vector = new MessageVector(libc, batch, this.bytes, { nameBytes: 28, controlBytes: CONTROL_BYTES });
    for (let i = 0; i < batch; i++) this.#vector.place(i, i * STRIDE + HEADROOM, 9216);
  }

  /**
   * Waits for at least one datagram, at most the socket's idle time, and takes what is there. Returns how many
   * columns are filled; 0 when idle, negative errno when the socket is broken.
   */
  receive(): number {
    const { head, names, headers, control, controlWords } = this.#vector;
    const got = this.#libc.recvmmsg(this.#fd, headers, this.batch, C.MSG_WAITFORONE, null);
    if (got < 0) {
      const errno = this.#libc.errno();
      return errno === 11 || errno === 4 ? 0 : -errno;
    }
    let kept = 0;
    for (let i = 0; i < got; i++) {
      const h = i * HEADER_WORDS;
      const c = i * controlWords;
      const flags = head[h + FLAGS]!;
      const written = head[h + CONTROL_LENGTH]!;
      head[h + CONTROL_LENGTH] = CONTROL_BYTES;
      // IPv6 names are 28 bytes long; recvmmsg writes back what it used.
      head[h + 2] = 28;
      if ((flags & C.MSG_TRUNC) !== 0) {
        this.truncated++;
        continue;
      }
      if (written === 0) continue;
      this.at[kept] = i * STRIDE + HEADROOM;
      this.len[kept] = head[h + LENGTH]!;
      readSockaddr(names, i * SOCKADDR_WORDS, this.peer, kept);
      readSockaddr(control, c + 4, this.local, kept);
      kept++;
    }
    return kept;
  }
}
