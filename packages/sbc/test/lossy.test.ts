import { type Endpoint, formatEndpoint, type Mono, type Random, seededRandom } from '@drawbridge/core';
import t from 'tap';
import { Agent, type AgentCall, type Script } from './agent.js';
import { ACCESS_UDP, BORDER, BorderWorld } from './harness.js';

const SEED = Number(process.env.SEED ?? 20261124);
const CALLS = Number(process.env.CALLS ?? 1500);

interface InFlight {
  readonly due: Mono;
  readonly order: number;
  readonly deliver: () => void;
}

/** A border and phones with a network between them that loses, doubles and reorders. */
class Lossy {
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

function scriptOf(random: Random): Script {
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

for (const loss of [0, 0.05, 0.2]) {
  t.test(`${CALLS} calls, ${loss * 100} % lost, ${loss * 100} % doubled, ${loss * 100} % overtaken`, async t => {
    const seed = SEED + loss * 100;
    t.comment(`SEED=${SEED} CALLS=${CALLS} node packages/sbc/dist/test/lossy.test.js`);
    const net = new Lossy(seed);
    const { world } = net;
    const alice = net.agent('alice', '198.51.100.1:40000');
    const others = [net.agent('bob', '198.51.100.2:40000'), net.agent('carol', '198.51.100.3:40000')] as const;
    const scripts = new Map<string, Script>();
    for (const a of [alice, ...others]) {
      a.register();
      a.script = subject => scripts.get(subject) as Script;
    }
    net.run(1000);
    t.ok(alice.registered && others.every(a => a.registered), 'all are registered before anything is lost');
    const idle = world.flows.size;
    net.loss = loss;

    const placed: { subject: string; from: AgentCall }[] = [];
    for (let n = 0; n < CALLS; n++) {
      const subject = `c${n}`;
      const script = scriptOf(net.random);
      scripts.set(subject, script);
      const to = others[n % 2] as Agent;
      placed.push({ subject, from: alice.call(subject, to.aor, script) });
      net.run(net.random.u32() % 100);
    }
    net.run(5 * 60_000);

    const callees = new Map<Script, AgentCall>();
    for (const a of others) for (const c of a.calls.values()) callees.set(c.script, c);
    const seen = { talked: 0, cancelled: 0, failed: 0, unanswered: 0, disagreed: 0 };
    const stuck: string[] = [];
    for (const p of placed) {
      const callee = callees.get(p.from.script);
      if (p.from.open || callee?.open === true || p.from.outcome === 'pending' || p.from.outcome === 'talking')
        stuck.push(`${p.subject}: ${p.from.outcome} / ${callee?.outcome}`);
      if (p.from.outcome === 'talked') seen.talked++;
      else if (p.from.outcome === 'cancelled') seen.cancelled++;
      else if (p.from.outcome === 'unanswered') seen.unanswered++;
      else seen.failed++;
      const agree =
        (p.from.outcome === 'talked') === (callee?.outcome === 'talked') ||
        // It answered while the caller gave up: the border acknowledged and ended it.
        (p.from.outcome === 'cancelled' && callee?.outcome === 'talked');
      if (!agree) {
        seen.disagreed++;
        if (process.env.VERBOSE !== undefined)
          t.comment(`${p.subject} ${p.from.outcome} / ${callee?.outcome} ${JSON.stringify(p.from.script)}`);
      }
    }
    t.comment(JSON.stringify({ ...seen, carried: net.carried, lost: net.lost, doubled: net.doubled }));
    t.strictSame(stuck, [], 'no call is stuck');
    t.ok(seen.talked > CALLS / 3, 'calls came about');
    t.ok(seen.cancelled > CALLS / 50 && seen.failed > CALLS / 20, 'others failed, as their scripts say');
    // Where all repetitions of something are lost one end gives up by itself.
    t.ok(seen.disagreed <= (loss < 0.1 ? 0 : CALLS / 500), `${seen.disagreed} calls that their ends saw differently`);
    t.equal(world.border.callCount, 0);
    t.equal(world.border.shard.legs.size, 0);
    t.equal(world.relay.size, 0);
    t.equal(world.relay.stats().pairsInUse, 0, 'no port is left');
    t.equal(world.transactions.clientCount + world.transactions.serverCount, 0);
    t.equal(world.flows.size, idle);
    t.equal(world.count('internal-error'), 0);
  });
}
