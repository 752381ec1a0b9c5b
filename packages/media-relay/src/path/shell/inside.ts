import { parentPort, workerData } from 'node:worker_threads';
import type { Mono } from '@drawbridge/core';
import { type Libc, loadLibc } from 'node-dgram-raw';
import { Forwarder } from '../../forward.js';
import { FlowTable, HEADER_F64, type PathEvent } from '../path.js';
import { CONTROL, type FromThread } from './thread.js';

interface CommonData {
  readonly control: Int32Array;
  readonly table: SharedArrayBuffer;
}

/** What every data path's thread has: the flow table, the forwarder, the clock and the way to control. */
export class Inside {
  readonly table: FlowTable;
  readonly forwarder: Forwarder;
  readonly #control: Int32Array;
  readonly #clock: number;
  #events: PathEvent[] = [];
  #batches = 0;

  constructor() {
    const data = workerData as CommonData;
    this.#control = data.control;
    this.table = new FlowTable(data.table);
    this.forwarder = new Forwarder(this.table, event => {
      this.#events.push(event);
    });
    // performance.now() starts at zero in every thread; the table says how control's clock relates to hrtime.
    this.#clock =
      Number(process.hrtime.bigint()) / 1e6 - performance.now() - (this.table.f64[HEADER_F64.clockOffset] ?? 0);
  }

  /** Control's clock. */
  now(): Mono {
    return performance.now() + this.#clock;
  }

  get stopped(): boolean {
    return Atomics.load(this.#control, CONTROL.stop) !== 0;
  }

  ready(): void {
    this.#say({ ready: true });
  }

  event(event: PathEvent): void {
    this.#events.push(event);
  }

  /** At the end of every batch: tells control what happened and keeps the header's figures. */
  endBatch(truncated: number): void {
    const f = this.table.f64;
    f[HEADER_F64.batches] = ++this.#batches;
    f[HEADER_F64.truncated] = truncated;
    if (this.#events.length === 0) return;
    this.#say({ events: this.#events });
    this.#events = [];
  }

  #say(message: FromThread): void {
    parentPort?.postMessage(message);
  }
}

/** The calls, in a thread that is only started where control has them too. */
export async function libcInside(): Promise<Libc> {
  const libc = await loadLibc();
  if (typeof libc === 'string') throw new Error(libc);
  return libc;
}
