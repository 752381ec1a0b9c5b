import type { Endpoint, Family } from '@drawbridge/core';
import { bindError } from './bind-error.js';
import * as C from './constants.js';
import { SocketError } from './errors.js';
import { errnoName, int32, type Libc, pinned } from './libc.js';
import { endpointOf, sockaddrOf } from './sockaddr.js';

export interface OpenSocket {
  readonly fd: number;
  readonly family: Family;
  readonly local: Endpoint;
}

export interface SocketSettings {
  readonly receiveBuffer?: number;
  readonly sendBuffer?: number;
  readonly dscp?: number;
  /** An IPv6 socket for an IPv4 address (bound as ::ffff:a.b.c.d), so that it can take both families. */
  readonly dual?: boolean;
}

/** A non-blocking UDP socket bound to one address. Throws SocketError; leaves nothing open when it does. */
export function openSocket(libc: Libc, at: Endpoint, settings: SocketSettings, blocking = false): OpenSocket {
  const target = sockaddrOf(at.address, at.port);
  if (target === undefined)
    throw new SocketError(
      'address-not-available',
      `"${at.address}" is not an IP address; write it as 192.0.2.1 or 2001:db8::1.`,
    );
  const family = settings.dual === true ? 6 : target.family;
  const bytes = family === target.family ? target.bytes : mapped(target.bytes);
  const type = C.SOCK_DGRAM | C.SOCK_CLOEXEC | (blocking ? 0 : C.SOCK_NONBLOCK);
  const fd = libc.socket(family === 4 ? C.AF_INET : C.AF_INET6, type, 0);
  if (fd < 0) throw bindError(errnoName(libc.errno()), at);
  if (family === 6) libc.setsockopt(fd, C.SOL_IPV6, C.IPV6_V6ONLY, int32(settings.dual === true ? 0 : 1), 4);
  if (settings.receiveBuffer !== undefined) setBuffer(libc, fd, C.SO_RCVBUFFORCE, C.SO_RCVBUF, settings.receiveBuffer);
  if (settings.sendBuffer !== undefined) setBuffer(libc, fd, C.SO_SNDBUFFORCE, C.SO_SNDBUF, settings.sendBuffer);
  if (settings.dscp !== undefined) setDscp(libc, fd, family, settings.dscp);
  if (libc.bind(fd, bytes, bytes.length) < 0) {
    const code = errnoName(libc.errno());
    libc.close(fd);
    throw bindError(code, at);
  }
  const name = pinned(28);
  const length = int32(28);
  libc.getsockname(fd, name, length);
  return { fd, family, local: endpointOf(name) };
}

/** A sockaddr_in as the sockaddr_in6 of ::ffff:a.b.c.d. */
function mapped(v4: Buffer): Buffer {
  const bytes = pinned(28);
  bytes.writeUInt16LE(C.AF_INET6, 0);
  v4.copy(bytes, 2, 2, 4);
  bytes.writeUInt16BE(0xffff, 18);
  v4.copy(bytes, 20, 4, 8);
  return bytes;
}

/** Beyond net.core.*mem_max where we may, up to it where we may not: never an error. */
export function setBuffer(libc: Libc, fd: number, force: number, plain: number, bytes: number): void {
  const value = int32(Math.min(bytes, 0x3fffffff));
  if (libc.setsockopt(fd, C.SOL_SOCKET, force, value, 4) < 0) libc.setsockopt(fd, C.SOL_SOCKET, plain, value, 4);
}

export function setDscp(libc: Libc, fd: number, family: Family, dscp: number): void {
  const value = int32((dscp & 63) << 2);
  if (family === 4) libc.setsockopt(fd, C.SOL_IP, C.IP_TOS, value, 4);
  else libc.setsockopt(fd, C.SOL_IPV6, C.IPV6_TCLASS, value, 4);
}

/** Datagrams dropped at this socket's receive queue since it was opened. */
export function socketDrops(libc: Libc, fd: number): number | undefined {
  const value = pinned(C.SK_MEMINFO_WORDS * 4);
  const length = int32(value.length);
  if (libc.getsockopt(fd, C.SOL_SOCKET, C.SO_MEMINFO, value, length) < 0) return undefined;
  return value.readUInt32LE(C.SK_MEMINFO_DROPS * 4);
}
