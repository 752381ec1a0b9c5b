import type { Libc } from 'node-dgram-raw';
import type { DataPath, DataPathOptions } from '../path.js';
import { PathThread } from './thread.js';

export interface SocketsData extends Record<string, unknown> {
  readonly table: SharedArrayBuffer;
  readonly wake: number;
  /** Descriptor + 1 per row, written by the thread: outlives it. */
  readonly descriptors: Int32Array;
  readonly addresses: readonly string[];
}

export interface RowCommand {
  readonly open?: number;
  readonly close?: number;
}

const EFD_NONBLOCK_CLOEXEC = 0x80800;

/** A socket per port, opened and read in the thread: for machines where the kernel won't steer. */
export class SocketsPath implements DataPath {
  readonly paths: DataPath['paths'];
  readonly thread: PathThread;
  readonly #libc: Libc;
  readonly #wake: number;
  readonly #descriptors: Int32Array;

  private constructor(
    libc: Libc,
    o: DataPathOptions,
    because: string,
    thread: PathThread,
    wake: number,
    descriptors: Int32Array,
  ) {
    this.#libc = libc;
    this.#wake = wake;
    this.#descriptors = descriptors;
    this.thread = thread;
    this.paths = o.addresses.map(() => ({ kind: 'sockets' as const, because }));
  }

  static async open(libc: Libc, o: DataPathOptions, because: string): Promise<SocketsPath> {
    const wake = libc.eventfd(0, EFD_NONBLOCK_CLOEXEC);
    const descriptors = new Int32Array(new SharedArrayBuffer(o.table.rows * 4));
    const one = Buffer.from(new ArrayBuffer(8));
    one.writeBigUInt64LE(1n);
    const data: SocketsData = { table: o.table.buffer, wake, descriptors, addresses: o.addresses.map(a => a.bind) };
    try {
      const thread = await PathThread.start({
        script: new URL('./sockets-thread.js', import.meta.url),
        data,
        onEvent: o.onEvent,
        wake: () => void libc.write(wake, one, 8),
      });
      return new SocketsPath(libc, o, because, thread, wake, descriptors);
    } catch (error) {
      libc.close(wake);
      throw error;
    }
  }

  opened(row: number): void {
    this.thread.post({ open: row } satisfies RowCommand);
  }

  closed(row: number): void {
    this.thread.post({ close: row } satisfies RowCommand);
  }

  async close(): Promise<void> {
    await this.thread.close();
    for (const d of this.#descriptors) if (d > 0) this.#libc.close(d - 1);
    this.#libc.close(this.#wake);
  }
}
