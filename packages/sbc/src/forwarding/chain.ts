import { Endpoints, type Mono, own, reply, type Tx, type Verdict } from '@drawbridge/core';
import { buildRequest, MessageView } from '@drawbridge/sip';
import type { LateTargets, Onward, Plan, Target } from '../decide/plan.js';
import type { Identity, Inbound } from '../inbound.js';
import type { Shard } from '../shard.js';
import { type HistoryHeader, type Hop, historyLines, type Why } from './headers.js';
import { type ForwardingRules, type Forwardings, targetUri } from './rules.js';

/** Steps of one call altogether. */
const MOST_HOPS = 5;
/** Outcomes for which a subscriber counts as out of reach before anybody has been asked. */
const OFFLINE: ReadonlySet<string> = new Set(['not-registered', 'flow-gone']);

export interface ForwarderOptions {
  readonly headers: readonly HistoryHeader[];
  /** Without forwarding: what becomes of an INVITE by this identity. */
  decide(shard: Shard, inbound: Inbound): Plan | Verdict;
}

/** Sends calls on as their callees wish. A step goes where the callee could have called himself, with his limits. */
export class Forwarder {
  readonly table: Forwardings;
  readonly o: ForwarderOptions;
  readonly counts: Record<Why | 'stopped', number> = {
    unconditional: 0,
    busy: 0,
    'no-answer': 0,
    offline: 0,
    dnd: 0,
    stopped: 0,
  };

  constructor(table: Forwardings, options: ForwarderOptions) {
    this.table = table;
    this.o = options;
  }

  /** What becomes of an INVITE whose plan is `plan` after its callee's wishes. */
  follow(shard: Shard, inbound: Inbound, plan: Plan | Verdict): Plan | Verdict {
    const callee = calleeOf(shard, inbound.m.uri, plan);
    if (callee === undefined || this.table.get(callee) === undefined) return plan;
    const { via, realm } = inbound;
    return new Chain(this, shard, { via, realm, peer: inbound.peer, j: inbound.j }).begins(
      inbound.now,
      plan,
      callee,
      inbound.tx,
    );
  }
}

interface Origin {
  readonly via: number;
  readonly realm: Inbound['realm'];
  readonly peer: Inbound['peer'];
  readonly j: number;
}

/** One call on its way from callee to callee. */
class Chain implements Onward {
  readonly #f: Forwarder;
  readonly #shard: Shard;
  readonly #origin: Origin;
  /** Who has been tried, so that A → B → A ends. */
  readonly #visited = new Set<string>();
  readonly #hops: Hop[] = [];
  #told = 0;
  #callee = '';
  #rules: ForwardingRules | undefined = undefined;
  #inner: Onward | undefined = undefined;
  #begun: Onward | undefined = undefined;

  constructor(f: Forwarder, shard: Shard, origin: Origin) {
    this.#f = f;
    this.#shard = shard;
    // The columns of a batch are gone when the call fails: one row of them is kept.
    const peer = new Endpoints(1);
    peer.copy(0, origin.peer, origin.j);
    this.#origin = { ...origin, peer, j: 0 };
  }

  get noAnswer(): number | undefined {
    const own = this.#rules?.noAnswer;
    return own === undefined ? this.#inner?.noAnswer : own.seconds * 1000;
  }

  begins(now: Mono, plan: Plan | Verdict, callee: string, tx: Tx): Plan | Verdict {
    const last = this.#follow(now, plan, own(callee), tx);
    if (last.do !== 'forward') return last;
    return { ...last, targets: this.#marked(last.targets), callee, onward: this };
  }

  begin(now: Mono, late: LateTargets, tx: Tx): boolean {
    const inner = this.#inner;
    if (inner?.begin === undefined || inner === this.#begun) return false;
    this.#begun = inner;
    const ring: LateTargets['ring'] = (at, targets, out) => late.ring(at, this.#marked(targets), out);
    return inner.begin(now, { ring, done: late.done, wanted: late.wanted }, tx);
  }

  further(now: Mono, late: LateTargets, tx: Tx): boolean {
    return this.begin(now, late, tx);
  }

  instead(now: Mono, status: number, tx: Tx): readonly Target[] | undefined {
    const more = this.#inner?.instead?.(now, status, tx);
    if (more !== undefined) return this.#marked(more);
    const step = this.#after(status);
    const next = step === undefined ? undefined : this.#step(now, step.to, step.why, tx);
    if (next === undefined) return undefined;
    const last = this.#follow(now, next.plan, next.callee, tx);
    return last.do === 'forward' ? this.#marked(last.targets) : undefined;
  }

  /** Steps that the caller has not heard of yet. */
  hops(): readonly Hop[] {
    const fresh = this.#hops.slice(this.#told);
    this.#told = this.#hops.length;
    return fresh;
  }

  /** Follows what needs no ringing: unconditional, do not disturb, out of reach. The plan it ends with; its callee is the current one. */
  #follow(now: Mono, plan: Plan | Verdict, callee: string, tx: Tx): Plan | Verdict {
    for (let at = plan, who = callee; ; ) {
      this.#visited.add(who);
      this.#callee = who;
      this.#rules = this.#f.table.get(who);
      this.#inner = at.do === 'forward' ? at.onward : undefined;
      const rules = this.#rules;
      const off = at.do === 'reply' && OFFLINE.has(at.reason);
      if (rules === undefined || (at.do !== 'forward' && !off)) return at;
      let to: string | undefined;
      let why: Why = 'offline';
      if (rules.unconditional !== undefined) [to, why] = [rules.unconditional, 'unconditional'];
      else if (rules.dnd) {
        if (rules.busy === undefined) return reply(486, 'busy');
        [to, why] = [rules.busy, 'dnd'];
      } else if (off) to = rules.offline;
      if (to === undefined) return at;
      const next = this.#step(now, to, why, tx);
      if (next === undefined) return at.do === 'reply' ? at : reply(480, 'forwarding-stopped');
      at = next.plan;
      who = next.callee;
    }
  }

  /** Where the current callee has calls sent that ended so. */
  #after(status: number): { readonly to: string; readonly why: Why } | undefined {
    const rules = this.#rules;
    if (rules === undefined) return undefined;
    if (status === 486 || status === 600) return rules.busy === undefined ? undefined : { to: rules.busy, why: 'busy' };
    if (status !== 408 && status !== 480) return undefined;
    if (rules.noAnswer !== undefined) return { to: rules.noAnswer.to, why: 'no-answer' };
    return rules.offline === undefined ? undefined : { to: rules.offline, why: 'offline' };
  }

  /** One step on, as the current callee's own call: undefined when there have been enough, or it comes back to somebody. */
  #step(now: Mono, to: string, why: Why, tx: Tx): { plan: Plan | Verdict; callee: string } | undefined {
    const from = this.#callee;
    const domain = from.slice(from.lastIndexOf('@') + 1);
    const uri = targetUri(to, domain);
    const addressed = this.#shard.m.domains.address(uri);
    const callee = addressed?.aor ?? uri;
    if (this.#hops.length >= MOST_HOPS || this.#visited.has(callee)) {
      this.#f.counts.stopped++;
      return undefined;
    }
    const identity: Identity = { kind: 'subscriber', user: from.slice(0, from.lastIndexOf('@')), domain, aor: from };
    const plan = this.#f.o.decide(this.#shard, this.#inbound(now, uri, from, identity, tx));
    this.#f.counts[why]++;
    this.#hops.push({ from, to: uri, why });
    return { plan, callee: calleeOf(this.#shard, uri, plan) ?? callee };
  }

  /** The INVITE that the callee would send himself. */
  #inbound(now: Mono, uri: string, from: string, identity: Identity, tx: Tx): Inbound {
    const m = new MessageView();
    m.parse(
      buildRequest({
        method: 'INVITE',
        uri,
        via: { transport: 'UDP', sentBy: 'forwarding.invalid', branch: 'z9hG4bK-forwarding' },
        maxForwards: 70,
        from: `<${targetUri(from, '')}>;tag=forwarding`,
        to: `<${uri}>`,
        callId: 'forwarding',
        cseq: 1,
      }),
    );
    const { via, realm, peer, j } = this.#origin;
    return { now, m, via, peer, j, realm, identity, trustedEdge: false, flow: undefined, tx, target: undefined };
  }

  #marked(targets: readonly Target[]): readonly Target[] {
    const lines = historyLines(this.#hops, this.#f.o.headers);
    return lines === '' ? targets : targets.map(t => marked(t, lines));
  }
}

function marked(t: Target, lines: string): Target {
  return { ...t, headers: lines, otherwise: t.otherwise === undefined ? undefined : marked(t.otherwise, lines) };
}

/** Whose wishes count for a call with this plan; nobody's when it leaves for another service. */
function calleeOf(shard: Shard, uri: string, plan: Plan | Verdict): string | undefined {
  if (plan.do === 'forward') return plan.targets[0]?.upstream === undefined ? plan.callee : undefined;
  if (plan.do !== 'reply' || !OFFLINE.has(plan.reason)) return undefined;
  if ('callee' in plan && typeof plan.callee === 'string') return plan.callee;
  return shard.m.domains.address(uri)?.aor;
}
