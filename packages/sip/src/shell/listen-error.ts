import { type Endpoint, formatEndpoint } from '@drawbridge/core';
import { SocketError, type SocketReason } from 'node-dgram-raw';

const REASONS: ReadonlyMap<string, SocketReason> = new Map([
  ['EADDRINUSE', 'address-in-use'],
  ['EADDRNOTAVAIL', 'address-not-available'],
  ['EACCES', 'permission'],
  ['EPERM', 'permission'],
  ['EAFNOSUPPORT', 'unsupported'],
]);

/** What the kernel refused, as one sentence that says what to do about it. */
export function listenError(code: string, at: Endpoint): SocketError {
  const reason = REASONS.get(code) ?? 'failed';
  return new SocketError(reason, sentence(reason, code, at), code);
}

function sentence(reason: SocketReason, code: string, at: Endpoint): string {
  const where = formatEndpoint(at);
  switch (reason) {
    case 'address-in-use':
      return `TCP port ${at.port} on ${at.address} is taken; see who holds it with "ss -tlpn 'sport = :${at.port}'", then stop it or choose another port.`;
    case 'address-not-available':
      return `${at.address} is not an address of this machine; see those it has with "ip -br address" and correct the configuration.`;
    case 'permission':
      return `Not allowed to listen on TCP ${where} (${code}); ports below 1024 need root or CAP_NET_BIND_SERVICE, or choose a higher port.`;
    case 'unsupported':
      return `This machine has no ${at.address.includes(':') ? 'IPv6' : 'IPv4'} (${code}); take ${at.address} out of the configuration or switch the protocol on.`;
    case 'failed':
      return `TCP ${where} could not be opened (${code}).`;
  }
}
