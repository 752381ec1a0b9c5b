import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import type { Agent, AgentCall, Script } from './agent.js';
import { Lossy, scriptOf } from './lossy.js';

// It computes all the time: on a machine that is pressed it takes many times as long.
t.setTimeout(110_000);

const SEED = Number(process.env.SEED ?? 20261125);
const MINUTES = Number(process.env.MINUTES ?? 60);
/** Calls a minute. */
const RATE = Number(process.env.RATE ?? 200);

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

/** Everything that may be left behind, counted. */
function held(net: Lossy): Record<string, number> {
  const { world } = net;
  const relay = world.relay.stats();
  return {
    calls: world.border.callCount,
    legs: world.border.shard.legs.size,
    subscriptions: world.border.shard.subscriptions.size,
    bindings: world.registrar.bindings.size,
    server: world.transactions.serverCount,
    client: world.transactions.clientCount,
    flows: world.flows.size,
    sessions: relay.sessions,
    ports: relay.pairsInUse,
  };
}

t.test(`${MINUTES} minutes of ${RATE} calls a minute, 2 % lost: what was taken is given back`, async t => {
  t.comment(`SEED=${SEED} MINUTES=${MINUTES} RATE=${RATE} node packages/sbc/dist/test/hour.test.js`);
  const net = new Lossy(SEED);
  const { world } = net;
  const alice = net.agent('alice', '198.51.100.1:40000');
  const others = [net.agent('bob', '198.51.100.2:40000'), net.agent('carol', '198.51.100.3:40000')] as const;
  const agents: readonly Agent[] = [alice, ...others];
  const scripts = new Map<string, Script>();
  let serial = 0;
  let talked = 0;
  for (const a of agents) {
    a.register();
    a.script = subject => scripts.get(subject) as Script;
  }
  net.run(1000);
  t.ok(
    agents.every(a => a.registered),
    'registered',
  );

  const minute = (): void => {
    for (let n = 0; n < RATE; n++) {
      const subject = `c${serial++}`;
      const script = scriptOf(net.random);
      scripts.set(subject, script);
      const to = others[n % 2] as Agent;
      const call: AgentCall = alice.call(subject, to.aor, script);
      // What the test itself remembers must not grow either.
      alice.after(4 * 60_000, () => {
        if (call.outcome === 'talked') talked++;
        scripts.delete(subject);
        alice.calls.delete(call.callId);
      });
      net.run(60_000 / RATE);
    }
    for (const a of agents) a.register();
    for (const a of others)
      for (const [id, call] of a.calls)
        if (!call.open && call.outcome !== 'pending' && !scripts.has(call.subject)) a.calls.delete(id);
    world.events.length = 0;
    world.lost.length = 0;
  };

  net.loss = 0.02;
  const heap: number[] = [];
  for (let m = 1; m <= MINUTES; m++) {
    minute();
    if (m % 5 !== 0) continue;
    gc();
    heap.push(process.memoryUsage().heapUsed);
  }
  const busy = held(net);
  t.comment(`while busy: ${JSON.stringify(busy)}`);
  t.ok((busy.calls ?? 0) > 20 && (busy.legs ?? 0) > 40 && (busy.ports ?? 0) > 40, 'control: the counters count');
  net.loss = 0;
  for (const a of agents) a.register();
  net.run(6 * 60_000);
  t.ok(talked > (MINUTES * RATE) / 3, `${talked} calls were talked`);
  t.strictSame(held(net), {
    calls: 0,
    legs: 0,
    subscriptions: 0,
    bindings: 3,
    server: 0,
    client: 0,
    flows: 3,
    sessions: 0,
    ports: 0,
  });
  t.equal(world.count('internal-error'), 0);
  const mb = heap.map(b => Math.round(b / 1e5) / 10);
  t.comment(`heap after collection, MB every 5 minutes: ${mb.join(' ')}`);
  // The first quarter fills pools and caches.
  const settled = mb.slice(Math.floor(mb.length / 4));
  const growth = Math.max(...settled.slice(settled.length / 2)) - Math.max(...settled.slice(0, settled.length / 2));
  t.ok(growth < 3, `the heap grows by ${growth.toFixed(1)} MB over the second half`);
});
