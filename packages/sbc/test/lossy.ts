import { type Endpoint, formatEndpoint, type Mono, type Random, seededRandom } from '@drawbridge/core';
import { Agent, type Script } from './agent.js';
import { ACCESS_UDP, BORDER, BorderWorld } from './harness.js';

interface InFlight {
  readonly due: Mono;
  readonly order: number;
  readonly deliver: () => void;
}

/** A border and phones with a network between them that loses, doubles and reorders. */
export class Lossy {
  readonly world: BorderWorld;
  readonly agents = new Map<string, Agent>();
  readonly random: Random;
  loss = 0;
  lost = 0;
  doubled = 0;
  carried = 0;
  /** A heap by `due`. */
  readonly #queue: InFlight[] = [];
  #order = 0;

  constructor(seed: number) {
    this.random = seededRandom(seed);
    this.world = new BorderWorld({
      config: { calls: { perSubscriber: 100_000, max: 100_000 }, limits: { transactions: 500_000 } },
      relay: { ports: [20000, 59999], inactivityMs: 0 },
    });
    this.world.recording = false;
    this.world.loses = w => {
      const agent = this.agents.get(w.peer);
      if (agent !== undefined) this.#carry(() => agent.receive(this.world.now, w.text));
      return true;
    };
  }

  agent(user: string, at: string): Agent {
    const agent = new Agent({
      user,
      at,
      border: `${BORDER}:5060`,
      now: this.world.now,
      random: this.random,
      send: (from: Endpoint, text: string) =>
        this.#carry(() => this.world.receive(text, formatEndpoint(from), ACCESS_UDP)),
    });
    this.agents.set(at, agent);
    return agent;
  }

  chance(p: number): boolean {
    return this.random.u32() / 2 ** 32 < p;
  }

  run(ms: number): void {
    const end = this.world.now + ms;
    for (;;) {
      let due = Math.min(this.#queue[0]?.due ?? Number.POSITIVE_INFINITY, this.world.border.pollTimeout());
      for (const a of this.agents.values()) due = Math.min(due, a.wheel.pollTimeout());
      if (due > end) break;
      this.world.pass(Math.max(0, due - this.world.now));
      for (const a of this.agents.values()) a.advance(this.world.now);
      while (this.#queue[0] !== undefined && this.#queue[0].due <= this.world.now) this.#pop()?.deliver();
    }
    this.world.pass(Math.max(0, end - this.world.now));
    for (const a of this.agents.values()) a.advance(this.world.now);
  }

  #carry(deliver: () => void): void {
    const copies = this.chance(this.loss) ? 2 : 1;
    if (copies === 2) this.doubled++;
    for (let n = 0; n < copies; n++) {
      if (this.chance(this.loss)) {
        this.lost++;
        continue;
      }
      this.carried++;
      // Most take 20 ms; one in `loss` is overtaken by what was sent up to a second later.
      const delay = 20 + (this.chance(this.loss) ? this.random.u32() % 1000 : 0);
      this.#push({ due: this.world.now + delay, order: this.#order++, deliver });
    }
  }

  #push(f: InFlight): void {
    const q = this.#queue;
    let i = q.length;
    q.push(f);
    while (i > 0) {
      const up = (i - 1) >> 1;
      if (!before(f, q[up])) break;
      q[i] = q[up] as InFlight;
      i = up;
    }
    q[i] = f;
  }

  #pop(): InFlight | undefined {
    const q = this.#queue;
    const top = q[0];
    const last = q.pop();
    if (last === undefined || q.length === 0) return top;
    let i = 0;
    for (;;) {
      let down = 2 * i + 1;
      if (down >= q.length) break;
      if (before(q[down + 1], q[down])) down++;
      if (!before(q[down], last)) break;
      q[i] = q[down] as InFlight;
      i = down;
    }
    q[i] = last;
    return top;
  }
}

function before(a: InFlight | undefined, b: InFlight | undefined): boolean {
  if (a === undefined || b === undefined) return a !== undefined;
  return a.due < b.due || (a.due === b.due && a.order < b.order);
}

/** What happens in one call, by chance: most are answered and renegotiated now and then, some are refused, cancelled or let ring. */
export function scriptOf(random: Random): Script {
  const pick = (n: number): number => random.u32() % n;
  const kind = pick(10);
  return {
    answerAfter: kind === 9 ? 0 : 200 + pick(8000),
    status: kind === 8 ? 486 : kind === 7 ? 603 : 200,
    cancelAfter: kind === 6 || kind === 5 ? 100 + pick(8000) : 0,
    by: pick(2) === 0 ? 'caller' : 'callee',
    // Some end while the answer is still on its way.
    talkFor: pick(4) === 0 ? pick(500) : 1000 + pick(20_000),
    holdAfter: pick(3) === 0 ? 1 + pick(5000) : 0,
    holdBy: pick(2) === 0 ? 'caller' : 'callee',
  };
}
