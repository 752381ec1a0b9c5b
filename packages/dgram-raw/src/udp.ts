import type { Endpoint, Listener } from '@drawbridge/core';
import { BatchUdp } from './batch.js';
import { SocketError } from './errors.js';
import { FallbackUdp } from './fallback.js';
import { loadLibc } from './libc.js';

export interface UdpOptions {
  /** One address of this machine, IPv4 or IPv6 (IPv6 sockets take IPv6 only), without brackets. */
  readonly address: string;
  /** 0 = any free port; `local` then tells which. */
  readonly port: number;
  /** `auto` (the default) takes the batched path where it works, and says in `because` why not where it doesn't. */
  readonly mode?: 'auto' | 'batch' | 'dgram';
  /** Bytes of the kernel's receive queue; default 4 MiB. Above net.core.rmem_max it needs CAP_NET_ADMIN. */
  readonly receiveBuffer?: number;
  readonly sendBuffer?: number;
  /** Differentiated services code point of everything sent, 0–63. */
  readonly dscp?: number;
  /** Longest datagram accepted, bytes; longer ones are dropped and counted as truncated. Default: all that UDP carries. */
  readonly largest?: number;
}

/** Since the socket was opened; read them at any time. */
export interface UdpCounters {
  received: number;
  sent: number;
  /** System calls (batch) or deliveries (dgram) that brought at least one datagram. */
  receiveBatches: number;
  /** Datagrams that the kernel would not take (no route, refused by a filter, too long): counted, never thrown. */
  sendErrors: number;
  /** Datagrams of ours that the network reported as not delivered (ICMP unreachable); undefined where it can't be heard. */
  undelivered?: number;
  /** Datagrams longer than the receive slot: dropped. */
  truncated: number;
  /** Sends answered with `false`: queue full, closed, or longer than UDP carries. */
  refused: number;
}

export interface UdpListener extends Listener {
  readonly local: Endpoint;
  readonly path: 'batch' | 'dgram';
  readonly because: string;
  readonly counters: Readonly<UdpCounters>;
  /** Datagrams the kernel dropped because our receive queue was full; undefined where it can't be asked. */
  kernelDrops(): number | undefined;
}

/** Opens one UDP socket on one address. Rejects with `SocketError`. */
export async function openUdp(options: UdpOptions): Promise<UdpListener> {
  const mode = options.mode ?? 'auto';
  if (mode === 'dgram') return FallbackUdp.open(options, withoutDscp('asked for', options));
  const libc = await loadLibc();
  if (typeof libc !== 'string')
    return new BatchUdp(libc, options, mode === 'batch' ? 'asked for' : 'recvmmsg and sendmmsg work here');
  if (mode === 'batch') throw new SocketError('unsupported', `${libc}; leave the mode at "auto" to take node:dgram.`);
  return FallbackUdp.open(options, withoutDscp(libc, options));
}

function withoutDscp(because: string, options: UdpOptions): string {
  return options.dscp === undefined ? because : `${because}; node:dgram cannot mark packets, so the DSCP is not set`;
}
