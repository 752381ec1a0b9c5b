import type { AskId, Core, FlowChange, FlowId, Mono, Rx, Tx, Via } from './contract.js';
import type { Endpoints } from './endpoints.js';

/**
 * One listener as the driver sees it: a batched UDP socket (node-dgram-raw) or a stream server (sip/shell).
 * It delivers batches of its own and sends what the core hands out.
 */
export interface Listener {
  /** Human name for logs and tables: `udp:192.0.2.1:5060`. */
  readonly name: string;
  /** Called once; `via` is this listener's index. The listener keeps `sink` and calls it from its own readiness callback. */
  start(via: Via, sink: ListenerSink): void;
  /** Queues one message (copied at once). `via` is the listener itself or one of its streams. */
  text(via: Via, to: Endpoints, j: number, message: string): boolean;
  bytes(via: Via, to: Endpoints, j: number, from: Buffer, at: number, len: number): boolean;
  /** Hands everything queued to the kernel. Called at the end of every turn. */
  flush(): void;
  /** Closes one stream; a UDP listener ignores it. */
  hangUp(flow: FlowId): void;
  close(): Promise<void>;
}

export interface ListenerSink {
  /** `rx` is valid until this returns. */
  batch(rx: Rx): void;
  flow(flow: FlowId, what: FlowChange): void;
  /** The network says that a datagram of ours did not arrive: as much of it as came back, as latin1. */
  undelivered?(via: Via, quoted: string): void;
}

export interface DriverModules<E> {
  readonly listeners: readonly Listener[];
  /** Monotonic milliseconds. */
  now(): Mono;
  /** Every event of the core, in order, after the turn that made it. Must not throw. */
  onEvent(event: E): void;
  /** What a bug threw out of a handler: logged and counted, the next message is served. */
  onFault(error: unknown): void;
}

/** Turns any core into a running service: batches in, sends out, one timer, events drained after every turn. */
export class Driver<E, A> {
  readonly #core: Core<E, A>;
  readonly #m: DriverModules<E>;
  readonly #tx: Tx;
  /** Ids and answers in turn, until the microtask that hands them over. */
  #answers: (AskId | A)[] = [];
  #timer: NodeJS.Timeout | undefined;
  #timerDue = Number.POSITIVE_INFINITY;
  #refused = 0;
  #closed = false;

  constructor(core: Core<E, A>, modules: DriverModules<E>) {
    this.#core = core;
    this.#m = modules;
    const listeners = modules.listeners;
    const refuse = (): boolean => {
      this.#refused++;
      return false;
    };
    this.#tx = {
      text(via, to, j, message) {
        return listeners[via & 0xff]?.text(via, to, j, message) || refuse();
      },
      inPlace(rx, i, at, len, via, to, j) {
        return listeners[via & 0xff]?.bytes(via, to, j, rx.bytes, rx.at[i]! + at, len) || refuse();
      },
    };
  }

  /** Sends that a listener refused (queue full, stream gone). */
  get refused(): number {
    return this.#refused;
  }

  start(): void {
    this.#m.listeners.forEach((listener, via) => {
      listener.start(via, {
        batch: rx => this.#turn(now => this.#core.handleBatch(now, rx, this.#tx)),
        undelivered: (via, quoted) => this.#turn(now => this.#core.handleUndelivered?.(now, via, quoted, this.#tx)),
        flow: (flow, what) => this.#turn(now => this.#core.handleFlow(now, flow, what, this.#tx)),
      });
    });
    this.#turn(() => {});
  }

  /** The outside's reply to a question that left as an event. Those that come together (one commit's) are one turn, so that what they send leaves together. */
  answer(id: AskId, answer: A): void {
    this.#answers.push(id, answer);
    if (this.#answers.length > 2) return;
    queueMicrotask(() => {
      const list = this.#answers;
      this.#answers = [];
      this.#turn(now => {
        for (let i = 0; i < list.length; i += 2) this.#answered(now, list[i] as AskId, list[i + 1] as A);
      });
    });
  }

  /** Runs work of the shell's (API calls, reload) as a turn of its own, with a `Tx`. */
  run(work: (now: Mono, tx: Tx) => void): void {
    this.#turn(now => work(now, this.#tx));
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    await Promise.all(this.#m.listeners.map(l => l.close()));
  }

  /** A fault with one answer keeps no other from being heard. */
  #answered(now: Mono, id: AskId, answer: A): void {
    try {
      this.#core.handleAnswer(now, id, answer, this.#tx);
    } catch (error) {
      this.#m.onFault(error);
    }
  }

  #turn(work: (now: Mono) => void): void {
    if (this.#closed) return;
    try {
      work(this.#m.now());
    } catch (error) {
      this.#m.onFault(error);
    }
    this.#drain();
    for (const listener of this.#m.listeners) {
      try {
        listener.flush();
      } catch (error) {
        this.#m.onFault(error);
      }
    }
    this.#arm();
  }

  #drain(): void {
    for (let e = this.#core.pollEvent(); e !== undefined; e = this.#core.pollEvent()) {
      try {
        this.#m.onEvent(e);
      } catch (error) {
        this.#m.onFault(error);
      }
    }
  }

  /** One timer for the whole core; moved only when the core wants to be called earlier. */
  #arm(): void {
    const due = this.#core.pollTimeout();
    if (this.#timer !== undefined) {
      if (due >= this.#timerDue) return;
      clearTimeout(this.#timer);
    }
    this.#timerDue = due;
    if (due === Number.POSITIVE_INFINITY) {
      this.#timer = undefined;
      return;
    }
    const wait = Math.max(0, Math.ceil(due - this.#m.now()));
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#timerDue = Number.POSITIVE_INFINITY;
        this.#turn(now => this.#core.handleTimeout(now, this.#tx));
      },
      Math.min(wait, 0x7fffffff),
    );
  }
}
