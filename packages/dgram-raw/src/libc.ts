import { constants, endianness } from 'node:os';

/**
 * The C library calls this package makes, bound once per thread. Lengths are bytes. Every call returns −1
 * on failure and leaves the reason in `errno()`, as in C.
 */
export interface Libc {
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Buffer, length: number): number;
  getsockname(fd: number, address: Buffer, length: Buffer): number;
  setsockopt(fd: number, level: number, name: number, value: Buffer, length: number): number;
  getsockopt(fd: number, level: number, name: number, value: Buffer, length: Buffer): number;
  recvmmsg(fd: number, vector: Buffer, count: number, flags: number, timeout: null): number;
  sendmmsg(fd: number, vector: Buffer, count: number, flags: number): number;
  epoll_create1(flags: number): number;
  epoll_ctl(epoll: number, operation: number, fd: number, event: Buffer | null): number;
  epoll_wait(epoll: number, events: Buffer, max: number, timeoutMs: number): number;
  eventfd(value: number, flags: number): number;
  read(fd: number, into: Buffer, length: number): number;
  write(fd: number, from: Buffer, length: number): number;
  usleep(microseconds: number): number;
  close(fd: number): number;
  /** Shared memory of a map, readable and writable. Throws when the kernel refuses. Don't touch `bits` after `unmap`. */
  map(fd: number, bytes: number): { readonly bits: Uint8Array; unmap(): void };
  /** Asks for huge pages behind this memory, before it is touched: advice, never an error. */
  hugePages(bytes: Buffer): void;
  bpf(command: number, attributes: Buffer, size: number): number;
  errno(): number;
  /** Where the bytes live. Does not keep them alive: whoever hands an address to the kernel holds the buffer. */
  address(bytes: Buffer): bigint;
  /** Readiness on this thread's event loop, level-triggered. */
  poll(fd: number, wanted: Readiness, callback: PollCallback): PollHandle;
}

export interface Readiness {
  readonly readable?: boolean;
  readonly writable?: boolean;
}

/** koffi 3.3 hands over libuv's status (0, or a negative errno) before the events; its types leave it out. */
export type PollCallback = (status: number, got: Readiness) => void;

export interface PollHandle {
  start(wanted: Readiness, callback: PollCallback): void;
  stop(): void;
  close(): void;
}

const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MADV_HUGEPAGE = 14;
const PAGE = 4096n;
const SYS_BPF: Readonly<Record<string, number>> = { x64: 321, arm64: 280 };

let bound: Libc | string | undefined;

/** The bound calls, or a sentence that says why there are none here. */
export async function loadLibc(): Promise<Libc | string> {
  bound ??= await bindLibc();
  return bound;
}

async function bindLibc(): Promise<Libc | string> {
  if (process.platform !== 'linux') return `batched sockets need Linux, this is ${process.platform}`;
  const sysBpf = SYS_BPF[process.arch];
  // The structures below are laid out for 64-bit little-endian Linux.
  if (sysBpf === undefined || endianness() !== 'LE')
    return `batched sockets need x64 or arm64, this is ${process.arch}`;
  try {
    const { default: koffi } = await import('koffi');
    const lib = koffi.load(null);
    const call = <F>(definition: string): F => lib.func(definition) as unknown as F;
    const syscall = call<(n: number, a: number, b: Buffer, c: number) => number>(
      'long syscall(long, long, void *, long)',
    );
    const mmap = call<
      (at: null, length: number, protection: number, flags: number, fd: number, offset: number) => unknown
    >('void *mmap(void *, size_t, int, int, int, long)');
    const madvise = call<(at: bigint, length: bigint, advice: number) => number>('int madvise(size_t, size_t, int)');
    const munmap = call<(at: unknown, length: number) => number>('int munmap(void *, size_t)');
    return {
      socket: call('int socket(int, int, int)'),
      bind: call('int bind(int, const void *, int)'),
      getsockname: call('int getsockname(int, void *, void *)'),
      setsockopt: call('int setsockopt(int, int, int, const void *, int)'),
      getsockopt: call('int getsockopt(int, int, int, void *, void *)'),
      recvmmsg: call('int recvmmsg(int, void *, unsigned int, int, void *)'),
      sendmmsg: call('int sendmmsg(int, void *, unsigned int, int)'),
      epoll_create1: call('int epoll_create1(int)'),
      epoll_ctl: call('int epoll_ctl(int, int, int, void *)'),
      epoll_wait: call('int epoll_wait(int, void *, int, int)'),
      eventfd: call('int eventfd(unsigned int, int)'),
      read: call('long read(int, void *, size_t)'),
      write: call('long write(int, const void *, size_t)'),
      usleep: call('int usleep(unsigned int)'),
      close: call('int close(int)'),
      map(fd, bytes) {
        const at = mmap(null, bytes, PROT_READ_WRITE, MAP_SHARED, fd, 0);
        if (BigInt(koffi.address(at)) >= 0xffff_ffff_ffff_f000n) throw new Error(`mmap: ${errnoName(koffi.errno())}`);
        const bits = new Uint8Array(koffi.view(at, bytes));
        return { bits, unmap: () => void munmap(at, bytes) };
      },
      hugePages(bytes) {
        const from = koffi.address(bytes);
        const first = (from + PAGE - 1n) & -PAGE;
        const end = (from + BigInt(bytes.length)) & -PAGE;
        if (end > first) madvise(first, end - first, MADV_HUGEPAGE);
      },
      bpf: (command, attributes, size) => Number(syscall(sysBpf, command, attributes, size)),
      errno: () => koffi.errno(),
      address: bytes => koffi.address(bytes),
      poll: koffi.node.poll as unknown as Libc['poll'],
    };
  } catch (error) {
    return `koffi could not be loaded: ${error instanceof Error ? error.message : String(error)}`;
  }
}

const NAMES: ReadonlyMap<number, string> = new Map(Object.entries(constants.errno).map(([name, n]) => [n, name]));

/** `EADDRINUSE` for 98; the number as text when it has no name. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`;
}

export const EAGAIN = constants.errno.EAGAIN;
export const EINTR = constants.errno.EINTR;

/**
 * Memory that the kernel may write to. Never from Node's pool and never small enough to live inside V8's
 * moving heap; the owner keeps the Buffer in a field for as long as the kernel knows its address.
 */
export function pinned(bytes: number): Buffer {
  return Buffer.from(new ArrayBuffer(bytes));
}

/** A 32-bit integer as setsockopt wants it. */
export function int32(value: number): Buffer {
  const b = pinned(4);
  b.writeInt32LE(value);
  return b;
}
