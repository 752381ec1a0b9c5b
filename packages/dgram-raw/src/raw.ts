import type { Endpoints, Family } from '@drawbridge/core';
import { bindError } from './bind-error.js';
import * as C from './constants.js';
import { KernelError } from './errors.js';
import { EAGAIN, EINTR, errnoName, type Libc } from './libc.js';
import { SOCKADDR_WORDS, sockaddrBytes, sockaddrOf, swap16, writeSockaddr } from './sockaddr.js';
import { openSocket, setBuffer, setDscp } from './socket.js';
import { HEADER_BYTES, MessageVector } from './vector.js';

const IPV4_HEADER = 20;
const IPV6_HEADER = 40;
const UDP_HEADER = 8;
const TTL = 64;

/** A raw socket whose sender writes the IP header; bound, so that policy routing sees the source address. Throws. */
export function openRawSocket(libc: Libc, address: string, sendBuffer = 16 << 20): number {
  const target = sockaddrOf(address, 0);
  if (target === undefined) throw new TypeError(`not an address: ${address}`);
  // IPPROTO_RAW means "header included" in both families, and such a socket receives nothing.
  const fd = libc.socket(
    target.family === 4 ? C.AF_INET : C.AF_INET6,
    C.SOCK_RAW | C.SOCK_NONBLOCK | C.SOCK_CLOEXEC,
    C.IPPROTO_RAW,
  );
  if (fd < 0) {
    const code = errnoName(libc.errno());
    const denied = code === 'EPERM' || code === 'EACCES';
    throw new KernelError(
      denied ? 'permission' : 'unsupported',
      denied
        ? `Opening a raw socket: needs CAP_NET_RAW or root (${code}).`
        : `Opening a raw socket: not supported here (${code}).`,
      code,
    );
  }
  if (libc.bind(fd, target.bytes, target.bytes.length) < 0) {
    const code = errnoName(libc.errno());
    libc.close(fd);
    throw bindError(code, { address, port: 0 });
  }
  setBuffer(libc, fd, C.SO_SNDBUFFORCE, C.SO_SNDBUF, sendBuffer);
  return fd;
}

export interface RawSenderOptions {
  readonly fd: number;
  /** Source address of everything sent; canonical. */
  readonly address: string;
  /** Holds the payloads, each with `HEADROOM` free bytes in front and at an offset divisible by 4. */
  readonly slab: Buffer;
  /** Messages per system call. */
  readonly batch: number;
  readonly dscp?: number;
}

/**
 * Sends UDP datagrams from any port of one address: IP and UDP headers are written into the headroom in front
 * of the payload, and a batch leaves by one sendmmsg. Routing and the nftables OUTPUT hook apply as ever; ICMP
 * errors are not reported. What exceeds the MTU goes through an ordinary socket, which fragments.
 */
export class RawSender {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #address: string;
  readonly #family: Family;
  readonly #dscp: number | undefined;
  readonly #slab: Buffer;
  readonly #w: Uint32Array;
  readonly #vector: MessageVector;
  readonly #source = new Uint32Array(4);
  /** Words of the source and constants, summed once. */
  readonly #pseudo: number;
  readonly #first: number;
  readonly #tags: Uint32Array;
  readonly #at: Uint32Array;
  readonly #len: Uint32Array;
  #count = 0;
  #id = 1;

  constructor(libc: Libc, o: RawSenderOptions) {
    const source = sockaddrOf(o.address, 0);
    if (source === undefined) throw new TypeError(`not an address: ${o.address}`);
    this.#libc = libc;
    this.#fd = o.fd;
    this.#address = o.address;
    this.#family = source.family;
    this.#dscp = o.dscp;
    this.#slab = o.slab;
    this.#w = new Uint32Array(o.slab.buffer, o.slab.byteOffset, o.slab.byteLength >> 2);
    this.#vector = new MessageVector(libc, o.batch, o.slab, { nameBytes: sockaddrBytes(source.family) });
    this.#tags = new Uint32Array(o.batch);
    this.#at = new Uint32Array(o.batch);
    this.#len = new Uint32Array(o.batch);
    const traffic = ((o.dscp ?? 0) & 63) << 2;
    if (source.family === 4) {
      this.#source[0] = source.bytes.readUInt32LE(4);
      this.#pseudo = this.#source[0]! + 0x1100;
      this.#first = 0x45 | (traffic << 8);
    } else {
      for (let k = 0; k < 4; k++) this.#source[k] = source.bytes.readUInt32LE(8 + 4 * k);
      this.#pseudo = this.#source[0]! + this.#source[1]! + this.#source[2]! + this.#source[3]! + 0x1100;
      this.#first = 0x60 | (traffic >> 4) | ((traffic & 15) << 12);
    }
  }

  /**
   * Takes the payload at `at`, to leave from `port` to endpoint `j`; `tag` comes back from `flush`. False when
   * the destination is of the other family.
   */
  queue(at: number, len: number, port: number, to: Endpoints, j: number, tag: number): boolean {
    const i = this.#count;
    const name = i * SOCKADDR_WORDS;
    const names = this.#vector.names;
    if (!writeSockaddr(names, name, this.#family, to, j)) return false;
    const w = this.#w;
    const u = (at - UDP_HEADER) >> 2;
    const udpLength = len + UDP_HEADER;
    const wireLength = swap16(udpLength);
    const ports = (swap16(port) | (names[name]! & 0xffff0000)) >>> 0;
    // A raw socket takes a protocol where others take a port: 0 means its own.
    names[name] = names[name]! & 0xffff;
    let sum = this.#pseudo + wireLength * 2 + ports;
    let header: number;
    if (this.#family === 4) {
      header = IPV4_HEADER;
      const to4 = names[name + 1]!;
      sum += to4;
      // Never 0, which would make the kernel look for an identification of its own.
      this.#id = this.#id === 0xffff ? 1 : this.#id + 1;
      w[u - 5] = this.#first | (swap16(udpLength + IPV4_HEADER) << 16);
      w[u - 4] = this.#id;
      w[u - 3] = TTL | (C.IPPROTO_UDP << 8);
      w[u - 2] = this.#source[0]!;
      w[u - 1] = to4;
    } else {
      header = IPV6_HEADER;
      w[u - 10] = this.#first;
      w[u - 9] = wireLength | (C.IPPROTO_UDP << 16) | (TTL << 24);
      for (let k = 0; k < 4; k++) {
        const word = names[name + 2 + k]!;
        w[u - 8 + k] = this.#source[k]!;
        w[u - 4 + k] = word;
        sum += word;
      }
    }
    w[u] = ports;
    w[u + 1] = (wireLength | (checksum(w, this.#slab, at, len, sum) << 16)) >>> 0;
    this.#vector.place(i, at - UDP_HEADER - header, udpLength + header);
    this.#tags[i] = tag;
    this.#at[i] = at;
    this.#len[i] = len;
    this.#count = i + 1;
    return true;
  }

  get full(): boolean {
    return this.#count === this.#tags.length;
  }

  /** Sends everything queued and says for each `tag` whether the kernel took it. */
  flush(done: (tag: number, sent: boolean) => void): void {
    const count = this.#count;
    this.#count = 0;
    for (let head = 0; head < count; ) {
      const vector = head === 0 ? this.#vector.headers : this.#vector.headers.subarray(head * HEADER_BYTES);
      const sent = this.#libc.sendmmsg(this.#fd, vector, count - head, C.MSG_DONTWAIT);
      if (sent > 0) {
        for (let k = 0; k < sent; k++) done(this.#tags[head + k]!, true);
        head += sent;
        continue;
      }
      const errno = this.#libc.errno();
      if (errno === EINTR) continue;
      if (errno === EAGAIN) {
        // The device can't keep up: media that waits is worth nothing.
        for (; head < count; head++) done(this.#tags[head]!, false);
        return;
      }
      done(this.#tags[head]!, errno === EMSGSIZE && this.#fragmented(head));
      head++;
    }
  }

  /** Rare: a socket of its own for one datagram longer than the MTU. */
  #fragmented(i: number): boolean {
    const at = this.#at[i]!;
    const u = (at - UDP_HEADER) >> 2;
    const ports = this.#w[u]!;
    try {
      const { fd, family } = openSocket(this.#libc, { address: this.#address, port: swap16(ports & 0xffff) }, {});
      if (this.#dscp !== undefined) setDscp(this.#libc, fd, family, this.#dscp);
      const one = new MessageVector(this.#libc, 1, this.#slab, { nameBytes: sockaddrBytes(family) });
      const name = i * SOCKADDR_WORDS;
      one.names.set(this.#vector.names.subarray(name, name + SOCKADDR_WORDS));
      one.names[0] = one.names[0]! | (ports & 0xffff0000);
      one.place(0, at, this.#len[i]!);
      const sent = this.#libc.sendmmsg(fd, one.headers, 1, C.MSG_DONTWAIT);
      this.#libc.close(fd);
      return sent === 1;
    } catch {
      return false;
    }
  }
}

const EMSGSIZE = 90;

/**
 * UDP checksum (RFC 768) of `start` plus the payload. 2^32 ≡ 1 modulo 65,535, so whole words may be added up and
 * reduced once; the result is never 0, which would mean "no checksum".
 */
function checksum(w: Uint32Array, bytes: Buffer, at: number, len: number, start: number): number {
  let sum = start;
  let other = 0;
  let k = at >> 2;
  const end = (at + len) >> 2;
  // Two sums: an addition waits for the one before it, and there is nothing else to do meanwhile.
  for (; k + 1 < end; k += 2) {
    sum += w[k]!;
    other += w[k + 1]!;
  }
  if (k < end) sum += w[k]!;
  sum += other;
  const rest = len & 3;
  if (rest > 0) {
    const b = end << 2;
    sum += bytes[b]! | (rest > 1 ? bytes[b + 1]! << 8 : 0) | (rest > 2 ? bytes[b + 2]! << 16 : 0);
  }
  const low = sum >>> 0;
  let folded = (low & 0xffff) + (low >>> 16) + (((sum - low) / 0x1_0000_0000) | 0);
  folded = (folded & 0xffff) + (folded >>> 16);
  folded = (folded & 0xffff) + (folded >>> 16);
  return folded === 0xffff ? 0xffff : 0xffff - folded;
}
