import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { Assembler } from './bpf/assembler.js';
import { Bpf, PROGRAM_TYPE } from './bpf/bpf.js';
import * as C from './constants.js';
import { int32, type Libc, loadLibc } from './libc.js';
import { openRawSocket } from './raw.js';
import { openSocket } from './socket.js';
import { SteeredSocket } from './steered.js';
import { openUdp } from './udp.js';

/** One thing that this machine can or can't do. */
export interface Probe {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
  /** What to type or change to get it, when `ok` is false. */
  readonly remedy?: string;
}

export interface ProbeReport {
  readonly probes: readonly Probe[];
}

export interface ProbeOptions {
  /** Ports the relay will use, both inclusive; default 30000–39999. */
  readonly relayPorts?: readonly [number, number];
}

/** Descriptors that a thousand calls need where every port is a socket (four each), and some for the rest. */
const DESCRIPTORS = 4096 + 1024;
/** What the relay asks for: all its ports share one queue. */
const RECEIVE_BUFFER = 16 << 20;

/** Asks the machine, for `doctor`. Never throws, and leaves nothing changed. */
export async function probe(options: ProbeOptions = {}): Promise<ProbeReport> {
  const ports = options.relayPorts ?? [30_000, 39_999];
  const libc = await loadLibc();
  const probes: Probe[] = [];
  if (typeof libc === 'string') {
    probes.push({
      name: 'koffi',
      ok: false,
      detail: `${libc}; sockets fall back to node:dgram`,
      remedy: 'run on 64-bit Linux (x64 or arm64) with the packages installed by npm',
    });
  } else {
    probes.push({ name: 'koffi', ok: true, detail: 'C library calls work' });
    probes.push(...(await kernelProbes(libc)));
  }
  probes.push(
    await ipv6(),
    bpffs(),
    memlock(),
    descriptors(),
    reservedPorts(ports),
    receiveBuffer(typeof libc === 'string' ? undefined : libc),
  );
  return { probes };
}

async function kernelProbes(libc: Libc): Promise<Probe[]> {
  const root = 'run as root, or give the process CAP_BPF and CAP_NET_ADMIN';
  return [
    await attempt(
      'recvmmsg',
      'datagrams are received and sent in batches',
      'use a kernel and a container profile that allow recvmmsg and sendmmsg',
      async () => {
        await (await openUdp({ address: '127.0.0.1', port: 0, mode: 'batch' })).close();
      },
    ),
    await attempt('bpf load', 'eBPF programs can be loaded', root, () => {
      const bpf = new Bpf(libc);
      bpf.close(
        bpf.loadProgram({
          type: PROGRAM_TYPE.socketFilter,
          name: 'probe',
          program: new Assembler().opImm('mov', 0, 0).exit().finish(),
          maps: {},
        }),
      );
    }),
    await attempt(
      'sk_lookup',
      'one socket can take a whole range of ports',
      `${root}; needs Linux 5.9 or newer`,
      () => {
        SteeredSocket.open(libc, { addresses: ['127.0.0.1'], firstPort: 1, lastPort: 1 }).close();
      },
    ),
    await attempt(
      'raw socket',
      'media can leave from any port through one socket',
      'run as root, or give the process CAP_NET_RAW',
      () => {
        libc.close(openRawSocket(libc, '127.0.0.1'));
      },
    ),
  ];
}

async function attempt(name: string, good: string, remedy: string, work: () => void | Promise<void>): Promise<Probe> {
  try {
    await work();
    return { name, ok: true, detail: good };
  } catch (error) {
    return { name, ok: false, detail: error instanceof Error ? error.message : String(error), remedy };
  }
}

function ipv6(): Promise<Probe> {
  return attempt(
    'IPv6',
    'IPv6 sockets can be opened',
    'switch IPv6 on (sysctl net.ipv6.conf.all.disable_ipv6=0), or configure IPv4 addresses only',
    async () => {
      await (await openUdp({ address: '::1', port: 0 })).close();
    },
  );
}

function bpffs(): Probe {
  const mounted = (read('/proc/self/mounts') ?? '').split('\n').some(line => line.split(' ')[2] === 'bpf');
  return mounted
    ? { name: 'bpffs', ok: true, detail: 'the bpf file system is mounted' }
    : {
        name: 'bpffs',
        ok: false,
        detail:
          'no bpf file system is mounted; only programs that outlive their process need one, and this version has none',
        remedy: 'mount -t bpf bpf /sys/fs/bpf',
      };
}

function memlock(): Probe {
  const name = 'memlock';
  const [major = 0, minor = 0] = release().split('.').map(Number);
  if (major > 5 || (major === 5 && minor >= 11))
    return { name, ok: true, detail: 'this kernel does not count eBPF memory against RLIMIT_MEMLOCK' };
  const limit = softLimit('Max locked memory');
  const ok = limit >= 64 << 20;
  return {
    name,
    ok,
    detail: `RLIMIT_MEMLOCK is ${limit} bytes`,
    ...(!ok && { remedy: 'ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit' }),
  };
}

function descriptors(): Probe {
  const limit = softLimit('Max open files');
  const ok = limit >= DESCRIPTORS;
  return {
    name: 'rlimit nofile',
    ok,
    detail: `${limit} descriptors; a socket per port takes four for each call`,
    ...(!ok && { remedy: `ulimit -n 65536, or LimitNOFILE=65536 in the unit` }),
  };
}

/** A limit of /proc/self/limits; Infinity for "unlimited", 0 when it can't be read. */
function softLimit(name: string): number {
  const line = (read('/proc/self/limits') ?? '').split('\n').find(l => l.startsWith(name));
  const word = line?.slice(name.length).trim().split(/ +/)[0];
  return word === 'unlimited' ? Number.POSITIVE_INFINITY : Number(word ?? 0);
}

/** Ports from which the kernel takes source ports for others must not be the relay's. */
function reservedPorts([first, last]: readonly [number, number]): Probe {
  const name = 'ip_local_reserved_ports';
  const range = (read('/proc/sys/net/ipv4/ip_local_port_range') ?? '32768 60999').trim().split(/\s+/).map(Number);
  const [low = 32_768, high = 60_999] = range;
  const from = Math.max(low, first);
  const to = Math.min(high, last);
  if (from > to)
    return {
      name,
      ok: true,
      detail: `the relay's ports ${first}–${last} lie outside the ephemeral range ${low}–${high}`,
    };
  const reserved = parseRanges(read('/proc/sys/net/ipv4/ip_local_reserved_ports') ?? '');
  let free = 0;
  for (let port = from; port <= to; port++) if (!reserved.some(([a, b]) => port >= a && port <= b)) free++;
  if (free === 0) return { name, ok: true, detail: `the relay's ports ${first}–${last} are reserved` };
  return {
    name,
    ok: false,
    detail: `the kernel may give ${free} of the relay's ports ${first}–${last} to other programs (ephemeral range ${low}–${high})`,
    remedy: `sysctl -w net.ipv4.ip_local_reserved_ports=${[...reserved, [first, last]].map(([a, b]) => (a === b ? a : `${a}-${b}`)).join(',')}`,
  };
}

/** `8080,30000-39999` to pairs. */
function parseRanges(text: string): [number, number][] {
  return text
    .trim()
    .split(',')
    .filter(part => part !== '')
    .map(part => {
      const [a = 0, b = a] = part.split('-').map(Number);
      return [a, b];
    });
}

function receiveBuffer(libc: Libc | undefined): Probe {
  const name = 'rmem_max';
  const limit = Number(read('/proc/sys/net/core/rmem_max') ?? 0);
  if (libc !== undefined && mayForce(libc))
    return { name, ok: true, detail: `net.core.rmem_max is ${limit}, and we may go beyond it` };
  const ok = limit >= RECEIVE_BUFFER;
  return {
    name,
    ok,
    detail: `net.core.rmem_max is ${limit} bytes; all relay ports share one queue of ${RECEIVE_BUFFER}`,
    ...(!ok && { remedy: `sysctl -w net.core.rmem_max=${RECEIVE_BUFFER}, or give the process CAP_NET_ADMIN` }),
  };
}

function mayForce(libc: Libc): boolean {
  try {
    const { fd } = openSocket(libc, { address: '127.0.0.1', port: 0 }, {});
    const may = libc.setsockopt(fd, C.SOL_SOCKET, C.SO_RCVBUFFORCE, int32(RECEIVE_BUFFER), 4) === 0;
    libc.close(fd);
    return may;
  } catch {
    return false;
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}
