import { closeSync, openSync } from 'node:fs';
import { KernelError, type KernelReason } from '../errors.js';
import { errnoName, type Libc, pinned } from '../libc.js';
import { type AssembledProgram, encode } from './assembler.js';

/** Commands of bpf(2). */
const MAP_CREATE = 0;
const MAP_LOOKUP = 1;
const MAP_UPDATE = 2;
const MAP_DELETE = 3;
const PROG_LOAD = 5;
const LINK_CREATE = 28;

export const MAP_TYPE = { hash: 1, array: 2, sockmap: 15 } as const;
/** The map's values can be mapped into this process. */
export const F_MMAPABLE = 1 << 10;
export const PROGRAM_TYPE = { socketFilter: 1, skLookup: 30 } as const;
export const ATTACH_TYPE = { skLookup: 36 } as const;

/** What the kernel demands of programs that call GPL helpers; ours carry both licences. */
const LICENSE = 'Dual MIT/GPL';
const LOG_BYTES = 1 << 18;
const LOG_KEPT = 2000;

/** One map: keys and values of fixed size, copied in and out. */
export class BpfMap {
  readonly fd: number;
  readonly name: string;
  readonly key: Buffer;
  readonly value: Buffer;
  readonly #bpf: Bpf;
  readonly #attributes = pinned(32);
  /** Deleting takes no value, and the kernel insists. */
  readonly #keyOnly = pinned(32);

  constructor(bpf: Bpf, fd: number, name: string, keyBytes: number, valueBytes: number) {
    this.#bpf = bpf;
    this.fd = fd;
    this.name = name;
    this.key = pinned(Math.max(8, keyBytes));
    this.value = pinned(Math.max(8, valueBytes));
    this.#attributes.writeUInt32LE(fd, 0);
    this.#attributes.writeBigUInt64LE(bpf.libc.address(this.key), 8);
    this.#attributes.copy(this.#keyOnly);
    this.#attributes.writeBigUInt64LE(bpf.libc.address(this.value), 16);
  }

  /** Stores `value` under `key`. */
  update(): void {
    this.#bpf.command(MAP_UPDATE, this.#attributes, `writing to the map ${this.name}`);
  }
  /** Fills `value`; false when `key` is not there. */
  lookup(): boolean {
    return this.#bpf.try(MAP_LOOKUP, this.#attributes) >= 0;
  }
  delete(): boolean {
    return this.#bpf.try(MAP_DELETE, this.#keyOnly) >= 0;
  }
}

/** bpf(2): maps, programs and links, without libbpf, a compiler or headers. Failures are `KernelError`s. */
export class Bpf {
  readonly libc: Libc;

  constructor(libc: Libc) {
    this.libc = libc;
  }

  createMap(o: {
    type: number;
    keyBytes: number;
    valueBytes: number;
    entries: number;
    flags?: number;
    name: string;
  }): BpfMap {
    const a = pinned(72);
    a.writeUInt32LE(o.type, 0);
    a.writeUInt32LE(o.keyBytes, 4);
    a.writeUInt32LE(o.valueBytes, 8);
    a.writeUInt32LE(o.entries, 12);
    a.writeUInt32LE(o.flags ?? 0, 16);
    a.write(o.name.slice(0, 15), 28, 'latin1');
    return new BpfMap(
      this,
      this.command(MAP_CREATE, a, `creating the map ${o.name}`),
      o.name,
      o.keyBytes,
      o.valueBytes,
    );
  }

  /** Loads a program; a rejection carries the end of the verifier's log. Returns its descriptor. */
  loadProgram(o: {
    type: number;
    attach?: number;
    name: string;
    program: AssembledProgram;
    maps: Readonly<Record<string, number>>;
  }): number {
    const code = pinned(o.program.instructions.length * 8);
    encode(o.program, o.maps, code);
    const license = pinned(16);
    license.write(`${LICENSE}\0`, 'latin1');
    const a = pinned(128);
    a.writeUInt32LE(o.type, 0);
    a.writeUInt32LE(o.program.instructions.length, 4);
    a.writeBigUInt64LE(this.libc.address(code), 8);
    a.writeBigUInt64LE(this.libc.address(license), 16);
    a.write(o.name.slice(0, 15), 48, 'latin1');
    a.writeUInt32LE(o.attach ?? 0, 68);
    const fd = this.try(PROG_LOAD, a);
    if (fd >= 0) return fd;
    const first = this.error(`loading the program ${o.name}`);
    // Again with a log: the kernel says then why, and a log that nobody reads costs time.
    const log = pinned(LOG_BYTES);
    a.writeUInt32LE(1, 24);
    a.writeUInt32LE(log.length, 28);
    a.writeBigUInt64LE(this.libc.address(log), 32);
    const again = this.try(PROG_LOAD, a);
    if (again >= 0) return again;
    const end = log.indexOf(0);
    const said = log
      .toString('latin1', 0, end < 0 ? log.length : end)
      .slice(-LOG_KEPT)
      .trim();
    if (said === '') throw first;
    throw new KernelError('rejected', `The kernel's verifier rejected the program ${o.name}.`, first.code, said);
  }

  /** Attaches an sk_lookup program to this thread's network namespace; lives as long as the descriptor. */
  linkToNamespace(program: number, attach: number): number {
    const namespace = openSync('/proc/thread-self/ns/net', 'r');
    try {
      const a = pinned(64);
      a.writeUInt32LE(program, 0);
      a.writeUInt32LE(namespace, 4);
      a.writeUInt32LE(attach, 8);
      return this.command(LINK_CREATE, a, 'attaching a program to the network namespace');
    } finally {
      closeSync(namespace);
    }
  }

  close(fd: number): void {
    this.libc.close(fd);
  }

  /** The call's result, negative on failure. */
  try(command: number, attributes: Buffer): number {
    return this.libc.bpf(command, attributes, attributes.length);
  }

  command(command: number, attributes: Buffer, doing: string): number {
    const result = this.try(command, attributes);
    if (result < 0) throw this.error(doing);
    return result;
  }

  /** The typed error for the call that has just failed. */
  error(doing: string): KernelError {
    const code = errnoName(this.libc.errno());
    const [reason, what] = EXPLAINED.get(code) ?? (['failed', 'the kernel refused'] as const);
    return new KernelError(reason, `${doing[0]?.toUpperCase()}${doing.slice(1)}: ${what} (${code}).`, code);
  }
}

const EXPLAINED: ReadonlyMap<string, readonly [KernelReason, string]> = new Map([
  ['EPERM', ['permission', 'needs CAP_BPF and CAP_NET_ADMIN (or root)']],
  ['EACCES', ['permission', 'needs CAP_BPF and CAP_NET_ADMIN (or root)']],
  ['ENOSYS', ['unsupported', 'not supported: needs a kernel with bpf(2)']],
  ['EINVAL', ['unsupported', 'not supported: needs Linux 5.9 or newer with CONFIG_BPF_SYSCALL and CONFIG_NET']],
  ['EOPNOTSUPP', ['unsupported', 'not supported by this kernel']],
  ['ENOMEM', ['limit', 'out of memory']],
  ['E2BIG', ['limit', 'it is full']],
] as const);
