import { Worker } from 'node:worker_threads';
import type { PathEvent } from '../path.js';

/** Words of the control block that both sides share. */
export const CONTROL = { stop: 0, truncated: 1, words: 4 } as const;

/** What the thread says to control. */
export type FromThread = { readonly ready: true } | { readonly events: readonly PathEvent[] };

/** A second death within this time is no accident: the path stops. */
const RESTART_WINDOW_MS = 60_000;
const STOP_WITHIN_MS = 3000;

export interface PathThreadOptions {
  readonly script: URL;
  /** Given to every incarnation; holds the shared memory, so that flows outlive a thread. */
  readonly data: Readonly<Record<string, unknown>>;
  readonly onEvent: (event: PathEvent) => void;
  /** A new thread took over from one that died. */
  readonly onRestart?: () => void;
  /** Interrupts a blocking wait, where there is a way. */
  readonly wake?: () => void;
}

/** The thread behind a data path: started, stopped, and once replaced when it dies. */
export class PathThread {
  readonly #o: PathThreadOptions;
  readonly #control = new Int32Array(new SharedArrayBuffer(CONTROL.words * 4));
  #worker: Worker | undefined;
  #exited: Promise<void> = Promise.resolve();
  #stopping = false;
  #died = Number.NEGATIVE_INFINITY;

  private constructor(o: PathThreadOptions) {
    this.#o = o;
  }

  /** Resolves when the thread carries packets; rejects with what stopped it from starting. */
  static async start(o: PathThreadOptions): Promise<PathThread> {
    const thread = new PathThread(o);
    await thread.#spawn();
    return thread;
  }

  /** For tests that kill it. */
  get worker(): Worker | undefined {
    return this.#worker;
  }

  post(message: unknown): void {
    this.#worker?.postMessage(message);
    this.#o.wake?.();
  }

  async close(): Promise<void> {
    this.#stopping = true;
    Atomics.store(this.#control, CONTROL.stop, 1);
    this.post({ stop: true });
    const late = setTimeout(() => void this.#worker?.terminate(), STOP_WITHIN_MS);
    await this.#exited;
    clearTimeout(late);
  }

  #spawn(): Promise<void> {
    const worker = new Worker(this.#o.script, {
      name: 'media',
      workerData: { ...this.#o.data, control: this.#control },
    });
    this.#worker = worker;
    let why = 'the thread ended';
    let ready = false;
    return new Promise((resolve, reject) => {
      worker.on('message', (message: FromThread) => {
        if ('events' in message) for (const event of message.events) this.#o.onEvent(event);
        else {
          ready = true;
          resolve();
        }
      });
      worker.on('error', error => {
        why = error instanceof Error ? error.message : String(error);
      });
      this.#exited = new Promise(exited => {
        worker.on('exit', () => {
          this.#worker = undefined;
          exited();
          if (!ready) reject(new Error(why));
          else if (!this.#stopping) this.#replace(why);
        });
      });
    });
  }

  #replace(why: string): void {
    const now = performance.now();
    const again = now - this.#died < RESTART_WINDOW_MS;
    this.#died = now;
    if (again) {
      this.#o.onEvent({ kind: 'stopped', detail: `${why}; it had died before and is not started a second time` });
      return;
    }
    this.#spawn().then(
      () => {
        this.#o.onRestart?.();
        this.#o.onEvent({ kind: 'restarted', detail: why });
      },
      (error: Error) =>
        this.#o.onEvent({ kind: 'stopped', detail: `${why}; and again at its restart: ${error.message}` }),
    );
  }
}
