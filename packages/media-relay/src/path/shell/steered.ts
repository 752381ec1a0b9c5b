import { type Libc, openRawSocket, SteeredSocket } from 'node-dgram-raw';
import type { DataPath, DataPathOptions, FlowTable } from '../path.js';
import { PathThread } from './thread.js';

export interface SteeredData extends Record<string, unknown> {
  readonly table: SharedArrayBuffer;
  readonly receive: number;
  /** Per relay address: its raw socket. */
  readonly senders: readonly { readonly fd: number; readonly address: string }[];
}

/** Datagrams are for a thread that sleeps at most this long without looking for a stop. */
const IDLE_MS = 100;

/**
 * One socket receives for all ports of all relay addresses (sk_lookup), one raw socket per address sends. Control
 * only writes shared memory: rows of the table and bits of the port map.
 */
export class SteeredPath implements DataPath {
  readonly paths: DataPath['paths'];
  readonly thread: PathThread;
  readonly #libc: Libc;
  readonly #table: FlowTable;
  readonly #socket: SteeredSocket;
  readonly #senders: readonly number[];

  private constructor(
    libc: Libc,
    o: DataPathOptions,
    because: string,
    thread: PathThread,
    socket: SteeredSocket,
    senders: readonly number[],
  ) {
    this.#libc = libc;
    this.#table = o.table;
    this.thread = thread;
    this.#socket = socket;
    this.#senders = senders;
    this.paths = o.addresses.map(() => ({ kind: 'steered' as const, because }));
  }

  /** Throws KernelError or SocketError where the machine can't; nothing is left behind then. */
  static async open(libc: Libc, o: DataPathOptions, because: string): Promise<SteeredPath> {
    const { table } = o;
    const lastPort = table.firstPort + table.ports - 1;
    const addresses = o.addresses.map(a => a.bind);
    const senders: number[] = [];
    let socket: SteeredSocket | undefined;
    try {
      // Rows lie wherever the ports are drawn: with small pages nearly every packet would wait for the page table.
      libc.hugePages(Buffer.from(table.buffer));
      for (const address of addresses) senders.push(openRawSocket(libc, address));
      socket = SteeredSocket.open(libc, { addresses, firstPort: table.firstPort, lastPort, idleMs: IDLE_MS });
      const data: SteeredData = {
        table: table.buffer,
        receive: socket.fd,
        senders: addresses.map((address, i) => ({ address, fd: senders[i] ?? -1 })),
      };
      const thread = await PathThread.start({
        script: new URL('./steered-thread.js', import.meta.url),
        data,
        onEvent: o.onEvent,
      });
      return new SteeredPath(libc, o, because, thread, socket, senders);
    } catch (error) {
      socket?.close();
      for (const fd of senders) libc.close(fd);
      throw error;
    }
  }

  opened(row: number): void {
    this.#socket.openPort(this.#table.addressOf(row), this.#table.portOf(row));
  }

  closed(row: number): void {
    this.#socket.closePort(this.#table.addressOf(row), this.#table.portOf(row));
  }

  kernelDrops(): number | undefined {
    return this.#socket.drops();
  }

  async close(): Promise<void> {
    await this.thread.close();
    this.#socket.close();
    for (const fd of this.#senders) this.#libc.close(fd);
  }
}
