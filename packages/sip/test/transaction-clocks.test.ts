import { Endpoints, seededRandom } from '@drawbridge/core';
import t from 'tap';
import type { Flow } from '../src/index.js';
import type { TransactionContext } from '../src/transaction/context.js';
import { Transaction } from '../src/transaction/transaction.js';
import { Side } from './network.js';

/** A transaction that does nothing but note when its clocks strike. */
class Clocks extends Transaction {
  readonly struck: string[] = [];
  readonly side: Side;
  constructor(s: Side, flow: Flow) {
    super({ wheel: s.wheel, flows: s.flows } as unknown as TransactionContext, 'OPTIONS', 'z9hG4bK1', flow);
    this.side = s;
  }
  repeat(interval: number): void {
    this.repeatAfter(this.side.now, interval);
  }
  quiet(): void {
    this.stopRepeating();
  }
  end(due: number, event: string): void {
    this.endAt(due, event);
  }
  stop(): void {
    this.stopClocks();
  }
  move(flow: Flow): void {
    this.moveTo(flow);
  }
  get due(): number {
    return this.endsAt;
  }
  /** What struck until `at`, and how many clocks are armed then. */
  until(at: number): [string[], number] {
    const { wheel } = this.side;
    for (let due = wheel.pollTimeout(); due <= at; due = wheel.pollTimeout()) {
      this.side.now = due;
      wheel.advance(due);
    }
    this.side.now = at;
    return [this.struck.splice(0), wheel.size];
  }
  override onAgain(now: number): void {
    this.struck.push(`${now} again`);
  }
  override onEnd(now: number, event: string): void {
    this.struck.push(`${now} ${event}`);
  }
  override longest(): number {
    return 4000;
  }
}

t.test('the two clocks of a transaction: repetitions that double up to a bound, and one end', async t => {
  const s = new Side('a', '192.0.2.1', 'udp', seededRandom(1));
  const flows = [1024, 1025].map(port => {
    const peer = new Endpoints(1);
    peer.set(0, { address: '192.0.2.2', port });
    return s.flows.of(0, 0, peer, 0) as Flow;
  });
  const [first, second] = flows as [Flow, Flow];
  const c = new Clocks(s, first);
  t.same(c.until(1000), [[], 0], 'none is armed at first');
  t.equal(c.due, Number.POSITIVE_INFINITY);
  c.onDue(1000);
  t.same(c.until(1000), [[], 0], 'nor when it is asked too early');

  c.repeat(500);
  t.same(c.until(14_000), [['1500 again', '2500 again', '4500 again', '8500 again', '12500 again'], 1]);
  c.onDue(14_000);
  t.same(c.until(16_500), [['16500 again'], 1], 'asked too early: the next comes when it would have come');
  c.quiet();
  t.same(c.until(40_000), [[], 0]);

  c.end(42_000, 'given-up');
  c.repeat(1500);
  t.equal(c.due, 42_000);
  t.same(c.until(41_000), [[], 1]);
  t.same(c.until(42_000), [['41500 again', '42000 given-up'], 1], 'the end ends no repetition by itself');
  t.equal(c.due, Number.POSITIVE_INFINITY, 'and comes once');
  t.same(c.until(44_500), [['44500 again'], 1]);
  c.end(45_000, 'first');
  c.end(46_000, 'second');
  t.same(c.until(47_000), [['46000 second'], 1], 'a later end replaces the one before');
  c.end(48_000, 'never');
  c.stop();
  t.same([...c.until(60_000), c.due], [[], 0, Number.POSITIVE_INFINITY]);
  c.end(61_000, 'last');
  t.same(c.until(62_000), [['61000 last'], 0], 'what was stopped stays so');

  t.same([first.refs, second.refs], [1, 0]);
  c.move(first);
  t.same([c.flow === first, first.refs, second.refs], [true, 1, 0]);
  c.move(second);
  t.same([c.flow === second, first.refs, second.refs], [true, 0, 1]);
});
