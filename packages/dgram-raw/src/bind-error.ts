import { type Endpoint, formatEndpoint } from '@drawbridge/core';
import { SocketError, type SocketReason } from './errors.js';

const REASONS: ReadonlyMap<string, SocketReason> = new Map([
  ['EADDRINUSE', 'address-in-use'],
  ['EADDRNOTAVAIL', 'address-not-available'],
  ['EACCES', 'permission'],
  ['EPERM', 'permission'],
  ['EAFNOSUPPORT', 'unsupported'],
  ['EPROTONOSUPPORT', 'unsupported'],
]);

/** The typed error for an address that could not be bound, whichever implementation met it. */
export function bindError(code: string, at: Endpoint, protocol: 'UDP' | 'TCP' = 'UDP'): SocketError {
  const reason = REASONS.get(code) ?? 'failed';
  return new SocketError(reason, sentence(reason, code, at, protocol), code);
}

function sentence(reason: SocketReason, code: string, at: Endpoint, protocol: 'UDP' | 'TCP'): string {
  const where = formatEndpoint(at);
  switch (reason) {
    case 'address-in-use':
      return `${protocol} port ${at.port} on ${at.address} is taken; see who holds it with "ss ${protocol === 'UDP' ? '-ulpn' : '-tlpn'} 'sport = :${at.port}'", then stop it or choose another port.`;
    case 'address-not-available':
      return `${at.address} is not an address of this machine; see those it has with "ip -br address" and correct the configuration.`;
    case 'permission':
      return at.port > 0 && at.port < 1024
        ? `Not allowed to open ${protocol} ${where}; ports below 1024 need root or CAP_NET_BIND_SERVICE, or choose a higher port.`
        : `Not allowed to open ${protocol} ${where} (${code}); run with the needed rights or choose another address.`;
    case 'unsupported':
      return `This machine has no ${at.address.includes(':') ? 'IPv6' : 'IPv4'} (${code}); take ${at.address} out of the configuration or switch the protocol on.`;
    case 'failed':
      return `${protocol} ${where} could not be opened (${code}).`;
  }
}
