import { type Mono, Waiting } from '@drawbridge/core';
import type { Flow } from '../flow/flow.js';
import type { TransactionContext } from './context.js';

const NEVER = Number.POSITIVE_INFINITY;

/** What the four kinds share: the flow they hold and the two clocks, on one place of the core's wheel. */
export abstract class Transaction extends Waiting {
  readonly method: string;
  readonly branch: string;
  /** For its user to hang on what it likes. */
  tag: unknown = undefined;
  /** @internal */ protected readonly ctx: TransactionContext;
  #flow: Flow;
  /** When to repeat, and after how long next. */
  #again: Mono = NEVER;
  #interval = 0;
  #end: Mono = NEVER;
  #endEvent = '';

  protected constructor(ctx: TransactionContext, method: string, branch: string, flow: Flow) {
    super();
    this.ctx = ctx;
    this.method = method;
    this.branch = branch;
    this.#flow = flow;
    ctx.flows.hold(flow);
  }

  get flow(): Flow {
    return this.#flow;
  }

  protected get reliable(): boolean {
    return this.#flow.transport !== 'udp';
  }

  /** The peer goes on from another address, or on another stream. */
  protected moveTo(flow: Flow): void {
    if (flow === this.#flow) return;
    this.ctx.flows.hold(flow);
    this.ctx.flows.release(this.#flow);
    this.#flow = flow;
  }

  protected repeatAfter(now: Mono, interval: number): void {
    this.#interval = interval;
    this.#again = now + interval;
    this.#arm();
  }

  protected stopRepeating(): void {
    this.#again = NEVER;
    this.#arm();
  }

  /** `event` is stepped at `due`; what was armed before is forgotten. */
  protected endAt(due: Mono, event: string): void {
    this.#end = due;
    this.#endEvent = event;
    this.#arm();
  }

  protected get endsAt(): Mono {
    return this.#end;
  }

  /** @internal */
  onDue(now: Mono): void {
    if (this.#end <= now) {
      const event = this.#endEvent;
      this.#end = NEVER;
      this.#endEvent = '';
      this.#arm();
      this.onEnd(now, event);
      return;
    }
    if (this.#again > now) return this.#arm();
    this.#interval = Math.min(this.#interval * 2, this.longest());
    this.#again = now + this.#interval;
    this.#arm();
    this.onAgain(now);
  }

  /** A state whose time is zero (reliable transports) is left at once, not one tick later. */
  protected endIfDue(now: Mono): void {
    if (this.#end <= now) this.onDue(now);
  }

  protected stopClocks(): void {
    this.#again = NEVER;
    this.#end = NEVER;
    this.ctx.wheel.cancel(this);
  }

  protected abstract onAgain(now: Mono): void;
  protected abstract onEnd(now: Mono, event: string): void;
  /** Upper bound of the doubling interval, ms. */
  protected abstract longest(): number;

  #arm(): void {
    const due = Math.min(this.#again, this.#end);
    if (due === NEVER) this.ctx.wheel.cancel(this);
    else this.ctx.wheel.arm(this, due);
  }
}
