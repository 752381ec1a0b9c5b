import { type Endpoint, type Family, formatEndpoint } from '@drawbridge/core';
import * as C from './constants.js';
import { SocketError, type SocketReason } from './errors.js';
import { errnoName, int32, type Libc, pinned } from './libc.js';
import { endpointOf, sockaddrOf } from './sockaddr.js';

const REASONS: ReadonlyMap<string, SocketReason> = new Map([
  ['EADDRINUSE', 'address-in-use'],
  ['EADDRNOTAVAIL', 'address-not-available'],
  ['EACCES', 'permission'],
  ['EPERM', 'permission'],
  ['EAFNOSUPPORT', 'unsupported'],
  ['EPROTONOSUPPORT', 'unsupported'],
]);

/** The typed error for an address that could not be bound, whichever implementation met it. */
export function bindError(code: string, at: Endpoint): SocketError {
  const reason = REASONS.get(code) ?? 'failed';
  return new SocketError(reason, sentence(reason, code, at), code);
}

function sentence(reason: SocketReason, code: string, at: Endpoint): string {
  const where = formatEndpoint(at);
  switch (reason) {
    case 'address-in-use':
      return `UDP port ${at.port} on ${at.address} is taken; see who holds it with "ss -ulpn 'sport = :${at.port}'", then stop it or choose another port.`;
    case 'address-not-available':
      return `${at.address} is not an address of this machine; see those it has with "ip -br address" and correct the configuration.`;
    case 'permission':
      return at.port > 0 && at.port < 1024
        ? `Not allowed to open UDP ${where}; ports below 1024 need root or CAP_NET_BIND_SERVICE, or choose a higher port.`
        : `Not allowed to open UDP ${where} (${code}); run with the needed rights or choose another address.`;
    case 'unsupported':
      return `This machine has no ${at.address.includes(':') ? 'IPv6' : 'IPv4'} (${code}); take ${at.address} out of the configuration or switch the protocol on.`;
    case 'failed':
      return `UDP ${where} could not be opened (${code}).`;
  }
}

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
