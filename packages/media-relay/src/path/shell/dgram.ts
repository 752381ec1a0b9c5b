import type { DataPath, DataPathOptions } from '../path.js';
import type { RowCommand } from './sockets.js';
import { PathThread } from './thread.js';

export interface DgramData extends Record<string, unknown> {
  readonly table: SharedArrayBuffer;
  readonly addresses: readonly string[];
}

/** node:dgram in a thread: needs nothing and costs most. */
export class DgramPath implements DataPath {
  readonly paths: DataPath['paths'];
  readonly thread: PathThread;
  /** For a thread that takes over: the sockets of a dead one are gone with it. */
  readonly #rows: Set<number>;

  private constructor(o: DataPathOptions, because: string, thread: PathThread, rows: Set<number>) {
    this.thread = thread;
    this.#rows = rows;
    this.paths = o.addresses.map(() => ({ kind: 'dgram' as const, because }));
  }

  static async open(o: DataPathOptions, because: string): Promise<DgramPath> {
    const rows = new Set<number>();
    const data: DgramData = { table: o.table.buffer, addresses: o.addresses.map(a => a.bind) };
    const thread: PathThread = await PathThread.start({
      script: new URL('./dgram-thread.js', import.meta.url),
      data,
      onEvent: o.onEvent,
      onRestart: () => {
        for (const row of rows) thread.post({ open: row } satisfies RowCommand);
      },
    });
    return new DgramPath(o, because, thread, rows);
  }

  opened(row: number): void {
    this.#rows.add(row);
    this.thread.post({ open: row } satisfies RowCommand);
  }

  closed(row: number): void {
    this.#rows.delete(row);
    this.thread.post({ close: row } satisfies RowCommand);
  }

  close(): Promise<void> {
    return this.thread.close();
  }
}
