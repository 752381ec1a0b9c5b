import t from 'tap';
import type { Agent, AgentCall, Script } from './agent.js';
import { Lossy, scriptOf } from './lossy.js';

// It computes all the time: on a machine that is pressed it takes many times as long.
t.setTimeout(110_000);

const SEED = Number(process.env.SEED ?? 20261124);
const CALLS = Number(process.env.CALLS ?? 1500);

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
