import { type Mono, own, PASS, type Reason, reply, type Tx, type Verdict, Waiting } from '@drawbridge/core';
import {
  buildRequest,
  type ClientTransaction,
  type ClientUser,
  Dialog,
  H,
  headerLine,
  type MessageView,
  parseExpires,
  type ServerTransaction,
  type ServerUser,
  wayThrough,
} from '@drawbridge/sip';
import type { Target } from '../decide/plan.js';
import { hide } from '../hide/hide.js';
import { outerParties } from '../identity/headers.js';
import type { Identity, Inbound } from '../inbound.js';
import { FAILOVER_MS } from '../send/over-hops.js';
import { send } from '../send/send.js';
import type { Shard } from '../shard.js';
import { isSips } from '../transports/secure.js';
import { trunkParties } from '../trunk/parties.js';
import { countDown, countUp } from './counts.js';
import { mint, mintRef } from './identifier.js';
import { Leg, type LegOwner, sharesUpstream } from './leg.js';
import { REFER_SUBSCRIPTION_MS } from './notifier.js';
import { hasTarget, hopsLeft } from './setup.js';
import { passesOver, statusAcross } from './status.js';

/** RFC 6665 §3.1.1 leaves it to the event; nobody may hold state here for longer than this without a refresh. */
const LONGEST_S = 24 * 3600;
/** A notifier's last NOTIFY may come this long after the end. */
const GRACE_MS = 32_000;
const RETRY = headerLine('Retry-After', '10');

/**
 * A SUBSCRIBE that makes a dialog (RFC 6665): two legs without media, to the first target. Refreshes and NOTIFYs cross
 * like any request inside a dialog; it ends with its last NOTIFY, or when nobody refreshes it.
 */
export class Subscription extends Waiting implements LegOwner {
  readonly ref: string;
  readonly media = undefined;
  readonly #shard: Shard;
  readonly #legs: readonly Leg[];
  readonly #of: string;

  /** `of`: the subscriber on whose account it goes, '' for a peer. */
  constructor(shard: Shard, ref: string, of: string, legs: (owner: LegOwner) => readonly Leg[]) {
    super();
    this.#shard = shard;
    this.ref = ref;
    this.#of = of;
    if (of !== '') countUp(shard.subscriptionsOf, of);
    this.#legs = legs(this);
    shard.subscriptions.set(ref, this);
    for (const leg of this.#legs) leg.join(shard);
  }

  /** Nobody refreshed it in time. */
  override onDue(): void {
    this.#leave();
  }

  keepFor(now: Mono, seconds: number): void {
    this.#shard.m.wheel.arm(this, now + Math.min(seconds, LONGEST_S) * 1000 + GRACE_MS);
  }

  end(_now: Mono, _cause: Reason, _by: Leg | undefined, _tx: Tx): void {
    this.#leave();
  }

  #leave(): void {
    this.#shard.m.wheel.cancel(this);
    if (this.#shard.subscriptions.delete(this.ref) && this.#of !== '') countDown(this.#shard.subscriptionsOf, this.#of);
    for (const leg of this.#legs) leg.leave(this.#shard);
  }
}

/** A new SUBSCRIBE, or a REFER that makes a subscription, across the border. `lines`: mapped for the other side. */
export function startSubscription(shard: Shard, inbound: Inbound, target: Target, lines = ''): Verdict {
  const { now, m, via, peer, j, tx, identity } = inbound;
  if (!hasTarget(m)) return reply(400, 'malformed-header');
  if (shard.subscriptions.size >= shard.o.calls.max) return reply(503, 'call-limit', RETRY);
  const mine = identity.kind === 'subscriber' ? (shard.subscriptionsOf.get(identity.aor) ?? 0) : 0;
  if (mine >= shard.o.calls.subscriptionsPerSubscriber) return reply(403, 'session-limit');
  const flow = shard.m.flows.of(now, via, peer, j);
  const opened: ServerUser = { onCancel() {}, onAckMissing() {} };
  const st = flow === undefined ? undefined : shard.m.transactions.openServer(now, m, flow, opened, tx);
  if (st === undefined) return reply(503, 'transaction-limit', RETRY);
  subscribe(shard, now, { st, identity, lines }, m, target, tx);
  return PASS;
}

/** Who asked, and the transaction in which he waits. */
interface Asker {
  readonly st: ServerTransaction;
  readonly identity: Identity;
  /** Header lines mapped for the other side. */
  readonly lines: string;
}

/** The SUBSCRIBE to one target, with legs of its own. */
function subscribe(shard: Shard, now: Mono, asker: Asker, m: MessageView, target: Target, tx: Tx): void {
  const { st, identity, lines } = asker;
  const { flow } = st;
  const listener = shard.m.realms.listener(flow.via);
  const across = shard.m.identity.crossing({ identity, listener }, target);
  const parties = trunkParties(shard, target, outerParties(across, m));
  const legs = { subscriber: undefined as Leg | undefined, notifier: undefined as Leg | undefined };
  const subscription = new Subscription(
    shard,
    mintRef(shard),
    identity.kind === 'subscriber' ? own(identity.aor) : '',
    owner => {
      const subscriber = new Leg({
        id: 'a',
        role: 'caller',
        owner,
        listener,
        flow,
        identity,
        callId: own(m.callId),
        localTag: mint(shard),
        upstream: identity.kind === 'peer' ? identity.domain : undefined,
        hops: shard.hopsOf(identity),
        sips: isSips(m.uri),
      });
      const notifier = new Leg({
        id: 'b1',
        role: 'callee',
        owner,
        listener: target.listener,
        flow: target.flow,
        identity: target.identity,
        callId: mint(shard),
        localTag: mint(shard),
        upstream: target.upstream,
        keeper: target.keeper,
        hops: target.hops,
        sips: isSips(target.uri),
      });
      subscriber.peer = notifier;
      notifier.peer = subscriber;
      subscriber.dialog = Dialog.asServer(m, subscriber.localTag, flow);
      subscriber.dialog.confirm();
      legs.subscriber = subscriber;
      legs.notifier = notifier;
      return [subscriber, notifier];
    },
  );
  const { subscriber, notifier } = legs;
  if (subscriber === undefined || notifier === undefined) return;
  subscription.keepFor(now, 64);
  const branch = shard.m.transactions.newBranch();
  const { uri, routes } = wayThrough(target.routes, target.uri);
  const text = buildRequest({
    method: m.method,
    uri,
    via: notifier.via(branch),
    routes,
    maxForwards: hopsLeft(m),
    from: `${parties.from};tag=${notifier.localTag}`,
    to: parties.to,
    callId: notifier.callId,
    cseq: 1,
    contact: notifier.contact,
    headers: lines + hide(m, { credentials: sharesUpstream(subscriber, notifier), challenges: false, across }),
  });
  const user = new FirstSubscribe(shard, subscription, asker, { subscriber, notifier, parties, target });
  const timeoutMs = target.otherwise === undefined ? undefined : FAILOVER_MS;
  if (send(shard, now, notifier, { method: m.method, text, branch, user, timeoutMs }, tx) === undefined)
    user.fail(now, 503, RETRY, tx);
}

interface SubscribeWay {
  readonly subscriber: Leg;
  readonly notifier: Leg;
  readonly parties: { readonly from: string; readonly to: string };
  readonly target: Target;
}

/** The response to the SUBSCRIBE that opens a subscription. Its first NOTIFY may overtake it. */
class FirstSubscribe implements ClientUser {
  readonly #shard: Shard;
  readonly #subscription: Subscription;
  readonly #asker: Asker;
  readonly #way: SubscribeWay;

  constructor(shard: Shard, subscription: Subscription, asker: Asker, way: SubscribeWay) {
    this.#shard = shard;
    this.#subscription = subscription;
    this.#asker = asker;
    this.#way = way;
  }

  onResponse(now: Mono, ct: ClientTransaction, m: MessageView, tx: Tx): void {
    if (m.status < 200) return;
    const { subscriber, notifier, parties, target } = this.#way;
    if (passesOver(m.status, notifier.hops) && this.#elsewhere(now, ct, tx)) return;
    const challenges = sharesUpstream(subscriber, notifier);
    const across = this.#shard.m.identity.crossing(notifier, subscriber);
    if (m.status >= 300) {
      const status = statusAcross(m.status, challenges);
      return this.fail(
        now,
        status,
        hide(m, { credentials: false, challenges: challenges && status === m.status, across }),
        tx,
      );
    }
    notifier.dialog ??= Dialog.asClient(
      {
        callId: notifier.callId,
        localTag: notifier.localTag,
        localUri: parties.from,
        remoteUri: parties.to,
        localSeq: 1,
      },
      m,
      ct.flow,
    );
    if (notifier.dialog.remoteTarget === '') notifier.dialog.remoteTarget = target.uri;
    const granted = parseExpires(m.get(H.expires));
    // A REFER's own subscription has no Expires: its notifier says in the first NOTIFY how long it lasts.
    this.#subscription.keepFor(
      now,
      granted >= 0 ? granted : ct.method === 'REFER' ? REFER_SUBSCRIPTION_MS / 1000 : 3600,
    );
    this.#asker.st.reply(
      now,
      m.status,
      {
        toTag: subscriber.localTag,
        headers: headerLine('Contact', subscriber.contact) + hide(m, { credentials: false, challenges: false, across }),
      },
      tx,
    );
  }

  onTimeout(now: Mono, ct: ClientTransaction, tx: Tx): void {
    if (!this.#elsewhere(now, ct, tx)) this.fail(now, 480, '', tx);
  }

  onTransportError(now: Mono, ct: ClientTransaction, tx: Tx): void {
    if (!this.#elsewhere(now, ct, tx)) this.fail(now, 480, '', tx);
  }

  /** RFC 3263 §4.3, as for calls; not once a NOTIFY has shown that somebody serves it there. */
  #elsewhere(now: Mono, ct: ClientTransaction, tx: Tx): boolean {
    const { notifier, target } = this.#way;
    if (target.otherwise === undefined || notifier.dialog !== undefined) return false;
    notifier.hops?.failed(now, ct.flow);
    this.#subscription.end(now, 'peer-rejected', undefined, tx);
    const { aside } = this.#shard;
    aside.parse(this.#asker.st.request);
    subscribe(this.#shard, now, this.#asker, aside, target.otherwise, tx);
    return true;
  }

  fail(now: Mono, status: number, headers: string, tx: Tx): void {
    this.#asker.st.reply(now, status, { headers, reason: 'peer-rejected' }, tx);
    this.#subscription.end(now, 'peer-rejected', undefined, tx);
  }
}

/** A NOTIFY that overtook the 200 to its SUBSCRIBE makes the dialog (RFC 6665 §4.4.1). */
export function adoptNotify(leg: Leg, m: MessageView): void {
  if (leg.dialog !== undefined || m.method !== 'NOTIFY' || !(leg.call instanceof Subscription)) return;
  const dialog = Dialog.asServer(m, leg.localTag, leg.flow);
  if (dialog.remoteTarget === '') return;
  leg.dialog = dialog;
  leg.dialog.confirm();
  leg.dialog.localSeq = 1;
  leg.dialog.remoteSeq = m.cseq - 1;
}
