import fc from 'fast-check';
import t from 'tap';
import { type Mono, TimerTable, TimerWheel, Waiting } from '../src/index.js';

const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
t.comment(`seed ${seed}`);

class Probe extends Waiting {
  readonly fired: Mono[] = [];
  readonly react: ((now: Mono, self: Probe) => void) | undefined;

  constructor(react?: (now: Mono, self: Probe) => void) {
    super();
    this.react = react;
  }
  onDue(now: Mono): void {
    this.fired.push(now);
    this.react?.(now, this);
  }
}

t.test('a timer fires once, never early, at most one tick late', async t => {
  const wheel = new TimerWheel(1000);
  const p = new Probe();
  wheel.arm(p, 1234);
  t.ok(wheel.armed(p));
  t.equal(wheel.size, 1);
  wheel.advance(1233.9);
  t.same(p.fired, []);
  wheel.advance(1240);
  t.same(p.fired, [1240]);
  t.notOk(wheel.armed(p));
  t.equal(wheel.size, 0);
  wheel.advance(5000);
  t.same(p.fired, [1240], 'not again');
});

t.test('what is armed for the past fires at the next tick', async t => {
  const wheel = new TimerWheel(1000);
  const p = new Probe();
  wheel.arm(p, 0);
  wheel.advance(1000);
  t.same(p.fired, []);
  wheel.advance(1010);
  t.same(p.fired, [1010]);
});

t.test('re-arming moves, cancelling takes out, both any number of times', async t => {
  const wheel = new TimerWheel(0);
  const p = new Probe();
  wheel.cancel(p);
  wheel.arm(p, 100);
  wheel.arm(p, 300);
  wheel.arm(p, 200);
  t.equal(wheel.size, 1);
  wheel.advance(150);
  t.same(p.fired, []);
  wheel.advance(200);
  t.same(p.fired, [200]);
  wheel.arm(p, 400);
  wheel.cancel(p);
  wheel.cancel(p);
  wheel.advance(1000);
  t.same(p.fired, [200]);
  t.equal(wheel.pollTimeout(), Number.POSITIVE_INFINITY);
});

t.test('deadlines further away than one turn of the wheel keep their turn', async t => {
  const wheel = new TimerWheel(0);
  const near = new Probe();
  const far = new Probe();
  const hours = new Probe();
  wheel.arm(near, 20);
  wheel.arm(far, 20 + 1024 * 10);
  wheel.arm(hours, 12 * 3_600_000);
  wheel.advance(20);
  t.same([near.fired.length, far.fired.length], [1, 0], 'the same slot, another turn');
  wheel.advance(20 + 1024 * 10);
  t.equal(far.fired.length, 1);
  t.equal(hours.fired.length, 0);
  wheel.advance(12 * 3_600_000);
  t.equal(hours.fired.length, 1);
});

t.test('after a long pause everything overdue fires, in one call', async t => {
  const wheel = new TimerWheel(0);
  const all = Array.from({ length: 500 }, () => new Probe());
  for (const [i, p] of all.entries()) wheel.arm(p, i * 137);
  const later = new Probe();
  wheel.arm(later, 10_000_000);
  t.equal(wheel.advance(9_999_000), false);
  t.ok(all.every(p => p.fired.length === 1));
  t.equal(later.fired.length, 0);
  wheel.advance(10_000_000);
  t.equal(later.fired.length, 1);
});

t.test('the budget bounds one call; the rest asks to go on and loses nothing', async t => {
  const wheel = new TimerWheel(0);
  const all = Array.from({ length: 25 }, () => new Probe());
  for (const p of all) wheel.arm(p, 100);
  t.equal(wheel.advance(100, 10), true);
  t.equal(all.filter(p => p.fired.length === 1).length, 10);
  t.ok(wheel.pollTimeout() <= 100, 'still due');
  t.equal(wheel.advance(100, 10), true);
  t.equal(wheel.advance(100, 10), false);
  t.ok(all.every(p => p.fired.length === 1));
});

t.test('a budget that ends inside an overdue slot goes on with the slots before it not lost', async t => {
  const wheel = new TimerWheel(0);
  const probes: Probe[] = [];
  for (let i = 0; i < 60; i++) {
    const p = new Probe();
    probes.push(p);
    wheel.arm(p, (i % 3) * 10_240 + 50 + (i % 7) * 10);
  }
  let calls = 0;
  while (wheel.advance(50_000, 7)) if (++calls > 100) return t.fail('never ends');
  t.equal(probes.filter(p => p.fired.length === 1).length, 60);
});

t.test('onDue may re-arm itself, arm and cancel others', async t => {
  const wheel = new TimerWheel(0);
  const again = new Probe((now, self) => self.fired.length < 3 && wheel.arm(self, now + 50));
  const victim = new Probe();
  const fresh = new Probe();
  const killer = new Probe(now => {
    wheel.cancel(victim);
    wheel.arm(fresh, now);
  });
  wheel.arm(again, 100);
  wheel.arm(victim, 100);
  wheel.arm(killer, 100);
  for (let now = 0; now <= 400; now += 10) wheel.advance(now);
  t.same(again.fired, [100, 150, 200]);
  t.same(killer.fired, [100]);
  t.same(victim.fired, [], 'cancelled by its neighbour in the same slot');
  t.same(fresh.fired, [110], 'armed for now from inside: the next tick, not the same call');
});

t.test('an onDue that arms for now for ever cannot keep a call busy', async t => {
  const wheel = new TimerWheel(0);
  const p = new Probe(now => wheel.arm(p, now));
  wheel.arm(p, 10);
  wheel.advance(1000);
  t.equal(p.fired.length, 1);
  wheel.advance(1010);
  t.equal(p.fired.length, 2);
});

t.test('what an onDue throws costs that timer alone', async t => {
  const wheel = new TimerWheel(0);
  const before = new Probe();
  const after = new Probe();
  wheel.arm(before, 50);
  wheel.arm(
    new Probe(() => {
      throw new Error('a bug');
    }),
    50,
  );
  wheel.arm(after, 60);
  t.throws(() => wheel.advance(100), new Error('a bug'));
  wheel.advance(100);
  t.same([before.fired.length, after.fired.length, wheel.size], [1, 1, 0]);
});

t.test('a clock that steps back fires nothing and forgets nothing', async t => {
  const wheel = new TimerWheel(50_000);
  const p = new Probe();
  wheel.arm(p, 50_100);
  wheel.advance(50_050);
  wheel.advance(10_000);
  t.same(p.fired, []);
  wheel.advance(50_100);
  t.same(p.fired, [50_100]);
});

t.test('never is a deadline, not-a-number is none', async t => {
  const wheel = new TimerWheel(0);
  const p = new Probe();
  wheel.arm(p, 100);
  wheel.arm(p, Number.POSITIVE_INFINITY);
  t.notOk(wheel.armed(p));
  t.equal(wheel.size, 0);
  t.throws(() => wheel.arm(p, Number.NaN), new TypeError('a deadline is a number of milliseconds'));
});

t.test('an empty wheel that is armed again waits for the new deadline, not an old one', async t => {
  const wheel = new TimerWheel(0);
  const p = new Probe();
  wheel.arm(p, 100);
  wheel.cancel(p);
  wheel.arm(p, 5000);
  t.equal(wheel.pollTimeout(), 5000);
});

/** What the wheel must do, the slow way. */
class Model {
  readonly due = new Map<number, number>();
  at: number;

  constructor(now: number) {
    this.at = Math.floor(now / 10);
  }
  arm(id: number, due: number): void {
    this.due.set(id, Math.max(Math.ceil(due / 10), this.at + 1));
  }
}

type Step =
  | { readonly do: 'arm'; readonly id: number; readonly after: number }
  | { readonly do: 'cancel'; readonly id: number }
  | { readonly do: 'advance'; readonly by: number; readonly budget: number };

const after = fc.oneof(
  fc.integer({ min: -50, max: 300 }),
  fc.integer({ min: 9_000, max: 25_000 }),
  fc.constantFrom(0, 10, 10_230, 10_240, 10_250),
);
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.record({ do: fc.constant('arm' as const), id: fc.nat(15), after }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('cancel' as const), id: fc.nat(15) }) },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('advance' as const),
        by: fc.oneof(fc.nat(40), fc.nat(500), fc.integer({ min: 5_000, max: 60_000 })),
        budget: fc.constantFrom(1, 2, 3, 1024),
      }),
    },
  ),
  { maxLength: 80 },
);

t.test('against a naive model: nothing early, nothing lost, nothing twice', async t => {
  fc.assert(
    fc.property(fc.nat(30_000), steps, (start, script) => {
      const wheel = new TimerWheel(start);
      const model = new Model(start);
      let now = start;
      let fired: number[] = [];
      const probes = Array.from({ length: 16 }, (_, id) => new Probe(() => fired.push(id)));
      for (const s of script) {
        if (s.do === 'arm') {
          wheel.arm(probes[s.id] as Probe, now + s.after);
          model.arm(s.id, now + s.after);
        } else if (s.do === 'cancel') {
          wheel.cancel(probes[s.id] as Probe);
          model.due.delete(s.id);
        } else {
          now += s.by;
          const tick = Math.floor(now / 10);
          const expected = [...model.due].filter(([, due]) => due <= tick).map(([id]) => id);
          const bound = wheel.pollTimeout();
          if (expected.length > 0 && bound > now) throw new Error(`pollTimeout ${bound} sleeps past ${now}`);
          fired = [];
          let calls = 0;
          while (wheel.advance(now, s.budget)) if (++calls > 50) throw new Error('never ends');
          if (String([...fired].sort()) !== String([...expected].sort()))
            throw new Error(`fired ${fired}, expected ${expected}`);
          for (const id of expected) model.due.delete(id);
          model.at = Math.max(model.at, tick);
        }
        if (wheel.size !== model.due.size) throw new Error(`size ${wheel.size}, expected ${model.due.size}`);
        if (model.due.size === 0 && wheel.pollTimeout() !== Number.POSITIVE_INFINITY)
          throw new Error('an empty wheel waits');
      }
      return true;
    }),
    { seed, numRuns: 3000 },
  );
  t.pass('3000 scripts');
});

t.test('against the model with arms and cancels from inside onDue', async t => {
  const act = fc.record({ cancel: fc.nat(15), arm: fc.nat(15), after: fc.integer({ min: -20, max: 12_000 }) });
  fc.assert(
    fc.property(
      fc.array(fc.record({ id: fc.nat(15), after }), { minLength: 1, maxLength: 30 }),
      fc.array(act, { minLength: 1, maxLength: 20 }),
      fc.array(fc.integer({ min: 1, max: 15_000 }), { minLength: 1, maxLength: 20 }),
      (arms, acts, pauses) => {
        const wheel = new TimerWheel(0);
        const due = new Map<number, number>();
        let now = 0;
        let used = 0;
        const armBoth = (id: number, at: number): void => {
          wheel.arm(probes[id] as Probe, at);
          due.set(id, at);
        };
        const probes: Probe[] = Array.from(
          { length: 16 },
          (_, id) =>
            new Probe(at => {
              const wanted = due.get(id);
              if (wanted === undefined) throw new Error(`${id} fired without being armed`);
              if (wanted > at) throw new Error(`${id} fired at ${at}, due ${wanted}`);
              due.delete(id);
              const a = acts[used++];
              if (a === undefined) return;
              wheel.cancel(probes[a.cancel] as Probe);
              due.delete(a.cancel);
              armBoth(a.arm, at + a.after);
            }),
        );
        for (const a of arms) armBoth(a.id, a.after);
        for (const pause of pauses) {
          now += pause;
          while (wheel.advance(now, 4));
          // A tick later, what a handler armed for the past has fired too.
          while (wheel.advance(now + 20, 4));
          now += 20;
          if (wheel.size !== due.size) throw new Error(`size ${wheel.size}, expected ${due.size}`);
        }
        now += 100_000;
        for (let i = 0; i < 50; i++, now += 13_000) while (wheel.advance(now));
        if (wheel.size !== 0) throw new Error(`${wheel.size} never fired`);
        return true;
      },
    ),
    { seed, numRuns: 2000 },
  );
  t.pass('2000 scripts');
});

t.test('a timer table holds one deadline per kind and gives the earliest first', async t => {
  const table = new TimerTable(['a', 'b', 'c']);
  t.equal(table.next(), Number.POSITIVE_INFINITY);
  t.equal(table.take(1e9), undefined);
  table.set('a', 300);
  table.set('b', 100);
  table.set('c', 200);
  t.equal(table.next(), 100);
  t.equal(table.take(99), undefined);
  t.equal(table.take(250), 'b');
  t.equal(table.take(250), 'c');
  t.equal(table.take(250), undefined, 'a is not due');
  t.equal(table.get('a'), 300);
  t.equal(table.get('b'), Number.POSITIVE_INFINITY, 'taken');
  table.stop('a');
  t.equal(table.next(), Number.POSITIVE_INFINITY);
});
