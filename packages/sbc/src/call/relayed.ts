import { type Mono, PASS, reply, type Tx, type Verdict } from '@drawbridge/core';
import {
  buildRequest,
  type ClientTransaction,
  type ClientUser,
  H,
  headerLine,
  type MessageView,
  type ServerTransaction,
  type ServerUser,
  wayThrough,
} from '@drawbridge/sip';
import { type BodyRules, refuseBody } from '../anchor/body.js';
import type { LateTargets, Onward, Target } from '../decide/plan.js';
import { hide, type Trust } from '../hide/hide.js';
import { outerParties } from '../identity/headers.js';
import type { Side } from '../identity/policy.js';
import type { Inbound } from '../inbound.js';
import { FAILOVER_MS } from '../send/over-hops.js';
import { send } from '../send/send.js';
import type { Shard } from '../shard.js';
import { trunkParties } from '../trunk/parties.js';
import { breadthEach, breadthOf } from './breadth.js';
import { mint } from './identifier.js';
import { hopsLeft } from './setup.js';
import { passesOver, rank, statusAcross } from './status.js';

/** Only an INVITE can be cancelled (RFC 3261 §9.1), and only it is acknowledged. */
const UNATTENDED: ServerUser = { onCancel() {}, onAckMissing() {} };
const RETRY = headerLine('Retry-After', '10');

/** A request outside any dialog on its way to every target at once; the best final response goes back (RFC 3261 §16.7). */
export class Relayed implements ClientUser {
  readonly #shard: Shard;
  readonly #from: Side;
  readonly #method: string;
  readonly #challenges: boolean;
  #st: ServerTransaction | undefined = undefined;
  #open = 0;
  /** Branches that each target may make at once. */
  #breadth = 1;
  /** More targets may still come. */
  #late = false;
  #best: { readonly status: number; readonly headers: string } | undefined = undefined;

  private constructor(shard: Shard, from: Side, method: string, challenges: boolean) {
    this.#shard = shard;
    this.#from = from;
    this.#method = method;
    this.#challenges = challenges;
  }

  static start(shard: Shard, inbound: Inbound, targets: readonly Target[], onward?: Onward): Verdict {
    const { now, m, via, peer, j, tx, identity } = inbound;
    const withBody = m.bodyEnd > m.bodyStart;
    const side: Side = { identity, listener: shard.m.realms.listener(via) };
    const no = withBody ? refuseBody(m, m.method, () => rulesFor(shard, side, targets[0])) : undefined;
    if (no !== undefined) return reply(no.status, no.reason, no.headers);
    // RFC 5393: what finds no room is not asked, since it may not wait for the others as a call does.
    const breadth = breadthOf(m);
    if (breadth === 0) return reply(440, 'too-many-branches');
    const asked = targets.slice(0, breadth);
    const flow = shard.m.flows.of(now, via, peer, j);
    if (flow === undefined) return reply(503, 'queue-full', RETRY);
    const shared = targets.some(
      t => t.upstream !== undefined && identity.kind === 'subscriber' && identity.domain === t.upstream,
    );
    const relayed = new Relayed(shard, side, m.method, shared);
    const st = shard.m.transactions.openServer(now, m, flow, UNATTENDED, tx);
    if (st === undefined) return reply(503, 'transaction-limit', RETRY);
    relayed.#st = st;
    relayed.#breadth = breadthEach(breadth, Math.max(1, asked.length), onward?.begin !== undefined);
    for (const target of asked) relayed.#send(now, m, target, tx);
    if (onward?.begin !== undefined) relayed.#begin(now, onward.begin, tx);
    if (relayed.#open === 0) relayed.#finish(now, tx);
    return PASS;
  }

  /** A phone is being woken: the message waits for it, beside those that have it already. */
  #begin(now: Mono, begin: NonNullable<Onward['begin']>, tx: Tx): void {
    const late: LateTargets = {
      wanted: () => this.#late && this.#st?.answered === false,
      ring: (at, targets, out) => {
        for (const target of targets) {
          if (!late.wanted() || this.#st === undefined) return;
          this.#shard.aside.parse(this.#st.request);
          this.#send(at, this.#shard.aside, target, out);
        }
      },
      done: (at, out) => {
        if (!late.wanted()) return;
        this.#late = false;
        this.#note(480, '');
        if (this.#open === 0) this.#finish(at, out);
      },
    };
    this.#late = begin(now, late, tx);
    if (!this.#late && this.#open === 0) this.#note(480, '');
  }

  #send(now: Mono, m: MessageView, target: Target, tx: Tx): void {
    const shard = this.#shard;
    const { transactions } = shard.m;
    const { identity } = this.#from;
    const across = shard.m.identity.crossing(this.#from, target);
    const { from, to } = trunkParties(shard, target, outerParties(across, m));
    const credentials =
      target.upstream !== undefined && identity.kind === 'subscriber' && identity.domain === target.upstream;
    const branch = transactions.newBranch();
    const tag = mint(shard);
    const { listener } = target;
    const { uri, routes } = wayThrough(target.routes, target.uri);
    const text = buildRequest({
      method: m.method,
      uri,
      via: { transport: listener.transport, sentBy: listener.sentBy, branch },
      routes,
      maxForwards: hopsLeft(m),
      from: `${from};tag=${tag}`,
      to,
      callId: mint(shard),
      cseq: 1,
      headers: headerLine('Max-Breadth', String(this.#breadth)) + hide(m, { credentials, challenges: false, across }),
      contentType: m.get(H.contentType),
      body: m.body,
    });
    const timeoutMs = target.timeoutMs ?? (target.otherwise === undefined ? undefined : FAILOVER_MS);
    const ct = send(shard, now, target, { method: m.method, text, branch, user: this, timeoutMs }, tx);
    if (ct === undefined) return;
    ct.tag = target;
    this.#open++;
  }

  onResponse(now: Mono, ct: ClientTransaction, m: MessageView, tx: Tx): void {
    if (m.status < 200) return;
    if (passesOver(m.status, (ct.tag as Target).hops) && this.#elsewhere(now, ct, tx)) return;
    const trust = this.#trust(ct, this.#challenges);
    if (m.status < 300) {
      const body =
        m.bodyEnd > m.bodyStart &&
        refuseBody(m, this.#method, () => rulesFor(this.#shard, ct.tag as Target, this.#from)) === undefined;
      this.#st?.reply(
        now,
        m.status,
        { headers: hide(m, trust), contentType: m.get(H.contentType), body: body ? m.body : '' },
        tx,
      );
    } else {
      const status = statusAcross(m.status, this.#challenges);
      this.#note(status, hide(m, this.#trust(ct, this.#challenges && status === m.status)));
    }
    this.#ended(now, tx);
  }

  /** For responses: from the target back. */
  #trust(ct: ClientTransaction, challenges: boolean): Trust {
    const across = this.#shard.m.identity.crossing(ct.tag as Target, this.#from);
    return { credentials: false, challenges, across };
  }

  onTimeout(now: Mono, ct: ClientTransaction, tx: Tx): void {
    if (this.#elsewhere(now, ct, tx)) return;
    this.#note(408, '');
    this.#ended(now, tx);
  }

  onTransportError(now: Mono, ct: ClientTransaction, tx: Tx): void {
    if (this.#elsewhere(now, ct, tx)) return;
    this.#note(480, '');
    this.#ended(now, tx);
  }

  /** RFC 3263 §4.3, as for calls. */
  #elsewhere(now: Mono, ct: ClientTransaction, tx: Tx): boolean {
    const shard = this.#shard;
    const { otherwise, hops } = ct.tag as Target;
    if (otherwise === undefined || this.#st === undefined || this.#st.answered) return false;
    hops?.failed(now, ct.flow);
    shard.aside.parse(this.#st.request);
    this.#send(now, shard.aside, otherwise, tx);
    this.#ended(now, tx);
    return true;
  }

  #note(status: number, headers: string): void {
    if (this.#best === undefined || rank(status) < rank(this.#best.status)) this.#best = { status, headers };
  }

  #ended(now: Mono, tx: Tx): void {
    this.#open--;
    if (this.#open === 0) this.#finish(now, tx);
  }

  #finish(now: Mono, tx: Tx): void {
    if (this.#st === undefined || this.#st.answered || this.#late) return;
    const best = this.#best ?? { status: 503, headers: RETRY };
    this.#st.reply(now, best.status, { headers: best.headers, reason: 'peer-rejected' }, tx);
  }
}

/** Where nobody is known yet who gets it, what anybody may get. */
function rulesFor(shard: Shard, from: Side, to: Side | undefined): BodyRules {
  return { policy: shard.m.bodies, across: to === undefined ? undefined : shard.m.identity.crossing(from, to) };
}
