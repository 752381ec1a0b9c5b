import { type Mono, maskUri, own, type Reason, type Tx, Waiting } from '@drawbridge/core';
import {
  buildRequest,
  type ClientTransaction,
  type ClientUser,
  type Flow,
  headerLine,
  type MessageView,
  OfferAnswer,
  type ReplyParts,
} from '@drawbridge/sip';
import { anchor, isAnchored, SDP } from '../anchor/anchor.js';
import { decide } from '../decide/decide.js';
import type { Plan } from '../decide/plan.js';
import { ALLOW_LINE } from '../hide/hide.js';
import { outerParty } from '../hide/party.js';
import type { Identity, Inbound } from '../inbound.js';
import { send, sendAck } from '../send/send.js';
import type { Shard } from '../shard.js';
import type { Call } from './call.js';
import { mint, mintRef } from './identifier.js';
import type { Invitation, Leg } from './leg.js';
import { REFER_SUBSCRIPTION_MS, type ReferNotifier } from './notifier.js';
import type { ReferTo } from './refer-to.js';
import { calleeOf, isConfirmed, isFree } from './replaces.js';
import { openCall, search } from './setup.js';
import { SILENT } from './silent-user.js';
import { takeOver } from './takeover.js';

/** The transferor hangs up by itself when it hears of the success; if it doesn't, we do. */
const TRANSFEROR_MS = 10_000;
/** A party that talks already answers a re-INVITE by itself. */
const PATIENCE_MS = 30_000;
/** A re-INVITE that met one of the phone's own comes again, so often. */
const MOST_TRIES = 3;

export interface TransferParts {
  readonly now: Mono;
  readonly tx: Tx;
  /** The transferor's leg, in a call that is answered. */
  readonly by: Leg;
  /** Who is transferred: the other leg of that call. */
  readonly leg: Leg;
  readonly to: ReferTo;
  readonly maxForwards: number;
  readonly notifier: ReferNotifier;
}

/**
 * A REFER that we carry out (RFC 5589): stands for the INVITE that its transferee doesn't send. The target is called
 * without an offer (or asked in its dialog, when it is a party of the transferor's other call); what it offers goes to the
 * transferee in a re-INVITE, and the transferee's answer into the target's ACK (RFC 3725 §4.1). Until then nothing of the
 * first call changes; a transferor that hangs up early leaves the transferee to the call to come.
 */
export class Transfer extends Waiting implements Invitation, ClientUser {
  readonly request: string;
  readonly flow: Flow;
  readonly #shard: Shard;
  readonly #old: Call;
  readonly #by: Leg;
  readonly #leg: Leg;
  readonly #notifier: ReferNotifier;
  readonly #attended: boolean;
  #call: Call | undefined = undefined;
  /** The transferee as the new call's caller. */
  #joining: Leg | undefined = undefined;
  #state: 'asking' | 'joining' | 'joined' | 'over' = 'asking';
  /** The transferee belongs to the new call already, since the transferor has gone. */
  #moved = false;
  #invite: ClientTransaction | undefined = undefined;
  #offer = '';
  #offerType = '';
  #tries = 0;
  #status = 500;

  private constructor(shard: Shard, o: TransferParts, old: Call, request: string, attended: boolean) {
    super();
    this.#shard = shard;
    this.#old = old;
    this.#by = o.by;
    this.#leg = o.leg;
    this.#notifier = o.notifier;
    this.#attended = attended;
    this.request = request;
    this.flow = o.leg.flow;
  }

  /** Undefined when the target is being called; otherwise the status that says why not. The REFER is answered by its caller. */
  static start(shard: Shard, old: Call, o: TransferParts): number | undefined {
    const { now, tx, by, leg, to } = o;
    const found = to.replaces;
    const attended = found !== undefined && isConfirmed(found);
    if (attended && !isFree(found)) return 491;
    // A consultation that still rings is given up, and its callee called anew for the transferee.
    if (found !== undefined && !attended) found.call.refuse(now, 487, 'replaced', '', 'border', tx);
    const request = inviteFor(shard, o);
    shard.aside.parse(request);
    const callId = own(shard.aside.callId);
    const plan = attended ? undefined : route(shard, o, shard.aside);
    if (typeof plan === 'number') return plan;
    const transfer = new Transfer(shard, o, old, request, attended);
    const ref = mintRef(shard);
    const media = shard.m.relay.session({ id: ref });
    media.adopt('a', old.media, leg.id);
    const call = openCall(shard, now, {
      ref,
      identity: plan?.identity ?? by.identity,
      party: leg.identity,
      media,
      invite: transfer,
      callId,
      caller: calleeOf(leg),
      callee: plan === undefined ? (found === undefined ? '' : calleeOf(found.survivor)) : plan.callee,
      onward: plan?.onward,
      forks: plan?.targets.length ?? 1,
    });
    call.transferredFrom = old.ref;
    transfer.#call = call;
    transfer.#joining = leg.adopted(call, 'a', 'caller');
    old.transfer = transfer;
    shard.transfers.underWay++;
    shard.m.wheel.arm(transfer, now + REFER_SUBSCRIPTION_MS);
    o.notifier.progress(now, 100, tx);
    shard.aside.parse(request);
    if (plan !== undefined) search(call, shard.aside, plan.targets, now, tx);
    else if (found !== undefined) takeOver(call, found.survivor, shard.aside, now, tx);
    return undefined;
  }

  /** Whose REFER this is may ask how it goes. */
  isOf(leg: Leg): ReferNotifier | undefined {
    return leg === this.#by ? this.#notifier : undefined;
  }

  override onDue(now: Mono): void {
    const { tx } = this.#shard.m.transactions;
    if (this.#state === 'joining' && this.#invite === undefined) {
      this.#shard.m.wheel.arm(this, now + PATIENCE_MS);
      return this.#ask(now, tx);
    }
    this.#status = 408;
    this.#call?.end(now, 'no-answer', undefined, tx);
  }

  reply(now: Mono, status: number, o: ReplyParts, tx: Tx): void {
    if (status < 200) return this.#notifier.progress(now, status, tx);
    if (status >= 300) return this.#failed(now, status, tx);
    // The stand-in for the transferee has no dialog that anybody could end.
    const standIn = this.#call?.winner?.caller;
    standIn?.dialog?.end();
    if (standIn !== undefined) standIn.unacked = undefined;
    this.#state = 'joining';
    this.#offer = o.body ?? '';
    this.#offerType = o.contentType ?? SDP;
    this.#ask(now, tx);
  }

  /** Nobody acknowledges what we did not send. */
  acknowledged(): void {}

  /** The old call ends. When its transferor hangs up the other party waits on for the new one; otherwise that is over too. */
  callEnds(now: Mono, by: Leg | undefined, tx: Tx): void {
    const call = this.#call;
    if (call === undefined || this.#state === 'joined' || this.#state === 'over') return;
    // Across a negotiation with who hangs up the transferee can't be kept: nobody could complete it.
    const { inviteIn, inviteOut } = this.#leg;
    if (by === this.#by && inviteIn === undefined && inviteOut === this.#invite) {
      this.#moved = true;
      this.#old.transferredTo = call.ref;
      this.#joining?.follow(this.#shard, this.#leg);
      return;
    }
    call.end(now, 'peer-gone', undefined, tx);
  }

  callEnded(now: Mono, tx: Tx): void {
    this.#failed(now, this.#status, tx);
  }

  onResponse(now: Mono, ct: ClientTransaction, m: MessageView, tx: Tx): void {
    const joining = this.#joining;
    if (m.status < 200 || joining === undefined) return;
    if (m.status >= 300) return ct === this.#invite ? this.#refused(now, m.status, tx) : undefined;
    if (joining.ack !== '' && joining.inviteSeq === m.cseq) {
      sendAck(this.#shard, now, joining, joining.ack, tx);
      return;
    }
    if (joining.dialog === undefined) return;
    joining.dialog.refresh(m);
    const branch = this.#shard.m.transactions.newBranch();
    const ack = joining.dialog.request('ACK', { via: joining.via(branch), cseq: joining.inviteSeq });
    joining.ack = sendAck(this.#shard, now, joining, ack, tx);
    this.#asked(undefined);
    if (this.#state === 'joining') this.#join(now, m, tx);
    // The new call ended meanwhile: what this party agreed to can't stand.
    else if (!this.#moved) this.#old.end(now, 'offer-answer-violation', undefined, tx);
  }

  onTimeout(now: Mono, _ct: ClientTransaction, tx: Tx): void {
    this.#gone(now, 'peer-gone', tx);
  }

  onTransportError(now: Mono, _ct: ClientTransaction, tx: Tx): void {
    this.#gone(now, 'flow-gone', tx);
  }

  /** The target's offer goes to the transferee. */
  #ask(now: Mono, tx: Tx): void {
    const shard = this.#shard;
    const joining = this.#joining;
    if (joining?.dialog === undefined || joining.dialog.state === 'ended') return this.#giveUp(now, 480, tx);
    const busy = this.#moved ? joining : this.#leg;
    if (busy.inviteIn !== undefined || busy.inviteOut !== undefined || busy.unacked !== undefined)
      return this.#later(now, tx);
    if (!this.#moved) joining.flow = this.#leg.flow;
    joining.oa = new OfferAnswer();
    joining.oa.note('out', 'INVITE', true);
    const branch = shard.m.transactions.newBranch();
    const text = joining.dialog.request('INVITE', {
      via: joining.via(branch),
      contact: joining.contact,
      headers: ALLOW_LINE,
      contentType: this.#offerType,
      body: this.#offer,
    });
    joining.inviteSeq = joining.dialog.localSeq;
    joining.ack = '';
    const ct = send(shard, now, joining, { method: 'INVITE', text, branch, user: this, timerC: PATIENCE_MS }, tx);
    if (ct === undefined) return this.#giveUp(now, 503, tx);
    this.#asked(ct);
  }

  /** Our INVITE to the transferee is under way, or not any more. */
  #asked(ct: ClientTransaction | undefined): void {
    const busy = this.#moved ? this.#joining : this.#leg;
    if (busy !== undefined && (ct !== undefined || busy.inviteOut === this.#invite)) busy.inviteOut = ct;
    this.#invite = ct;
  }

  #join(now: Mono, m: MessageView, tx: Tx): void {
    const shard = this.#shard;
    const call = this.#call;
    const joining = this.#joining;
    const pair = call?.winner;
    if (call === undefined || joining === undefined || pair === undefined || pair.callee.dialog === undefined) return;
    const { caller: standIn, callee } = pair;
    joining.oa.note('in', '2xx', true);
    const anchored = anchor(standIn, callee, m, 'ACK');
    if (!isAnchored(anchored)) {
      this.#status = anchored.status;
      call.end(now, anchored.reason, undefined, tx);
      if (!this.#moved) this.#old.end(now, anchored.reason, undefined, tx);
      return;
    }
    const text = pair.callee.dialog.request('ACK', {
      via: callee.via(shard.m.transactions.newBranch()),
      cseq: callee.inviteSeq,
      contentType: anchored.contentType,
      body: anchored.body,
    });
    callee.ack = sendAck(shard, now, callee, text, tx);
    this.#state = 'joined';
    if (!this.#moved) joining.follow(shard, this.#leg);
    standIn.leave(shard);
    pair.takeCaller(joining);
    shard.traces.note(call.ref, joining.callId, joining.id);
    call.renegotiated(now);
    this.#old.transferredTo = call.ref;
    this.#release();
    shard.transfers.done++;
    shard.m.outbox.push({
      kind: 'call-transferred',
      ref: this.#old.ref,
      at: now,
      into: call.ref,
      by: maskUri(`sip:${calleeOf(this.#by)}`),
      to: call.callee,
      attended: this.#attended,
    });
    this.#notifier.done(now, 200, tx);
    if (this.#old.state === 'answered') shard.m.wheel.arm(this.#old, now + TRANSFEROR_MS);
  }

  #refused(now: Mono, status: number, tx: Tx): void {
    this.#asked(undefined);
    if (this.#state !== 'joining') return;
    if (status === 491 && this.#tries < MOST_TRIES) return this.#later(now, tx);
    this.#giveUp(now, status, tx);
    if ((status === 481 || status === 408) && !this.#moved) this.#old.end(now, 'peer-gone', this.#leg, tx);
  }

  /** RFC 3261 §14.1: whoever chose the Call-ID waits longer. */
  #later(now: Mono, tx: Tx): void {
    this.#tries++;
    if (this.#tries > MOST_TRIES) return this.#giveUp(now, 491, tx);
    const wait = (this.#shard.m.random.u32() % 190) * 10;
    this.#shard.m.wheel.arm(this, now + wait + (this.#leg.role === 'callee' ? 2100 : 10));
  }

  /** The target has answered, the transferee can't be had. */
  #giveUp(now: Mono, status: number, tx: Tx): void {
    this.#status = status;
    this.#call?.end(now, 'peer-rejected', undefined, tx);
  }

  #gone(now: Mono, reason: Reason, tx: Tx): void {
    this.#asked(undefined);
    if (this.#state !== 'joining') return;
    this.#giveUp(now, 480, tx);
    if (!this.#moved) this.#old.end(now, reason, this.#leg, tx);
  }

  /** The transferor hears it; the transferee stays with it, or is let go when it has hung up. */
  #failed(now: Mono, status: number, tx: Tx): void {
    if (this.#state === 'joined' || this.#state === 'over') return;
    this.#state = 'over';
    this.#release();
    this.#shard.transfers.failed++;
    this.#invite?.cancel(now, tx);
    this.#notifier.done(now, status, tx);
    const joining = this.#joining;
    if (!this.#moved || joining === undefined) return;
    const { dialog } = joining;
    if (dialog !== undefined && dialog.state !== 'ended') {
      dialog.end();
      const branch = this.#shard.m.transactions.newBranch();
      const headers = headerLine('Reason', `SIP;cause=${status};text="transfer failed"`);
      const text = dialog.request('BYE', { via: joining.via(branch), headers });
      send(this.#shard, now, joining, { method: 'BYE', text, branch, user: SILENT }, tx);
    }
    joining.leave(this.#shard);
  }

  #release(): void {
    this.#shard.transfers.underWay--;
    this.#shard.m.wheel.cancel(this);
    if (this.#old.transfer === this) this.#old.transfer = undefined;
  }
}

/**
 * The INVITE that the transferee would have sent: From as the transferor was shown it, so that nobody learns more than he
 * did, and the transferor in Referred-By (RFC 3892).
 */
function inviteFor(shard: Shard, { by, leg, to, maxForwards }: TransferParts): string {
  const { identity } = shard.m;
  const fallback = 'sip:anonymous@anonymous.invalid';
  const shown = by.dialog?.localUri ?? '';
  const hidden = shown.includes('@anonymous.invalid');
  const from = hidden ? shown : outerParty(shown, identity.hostFor(leg.identity), fallback);
  const referrer = outerParty(by.dialog?.remoteUri ?? '', identity.hostFor(by.identity), fallback);
  return buildRequest({
    method: 'INVITE',
    uri: to.uri,
    via: leg.via(shard.m.transactions.newBranch()),
    maxForwards,
    from: `${from};tag=${mint(shard)}`,
    to: `<${to.uri}>`,
    callId: mint(shard),
    cseq: 1,
    contact: leg.contact,
    headers: headerLine('Referred-By', referrer) + (hidden ? headerLine('Privacy', 'id') : ''),
  });
}

type Forward = Extract<Plan, { do: 'forward' }> & { readonly identity: Identity };

/**
 * Where the new call may go: what the transferor may call, and the transferor pays. A trunk that sends somebody back to
 * its own domain may not do that itself: there the transferee calls.
 */
function route(shard: Shard, { now, tx, by, leg }: TransferParts, m: MessageView): Forward | number {
  const itsOwn = by.identity.kind === 'peer' && shard.m.domains.address(m.uri)?.domain.name === by.identity.domain;
  const who = itsOwn ? leg : by;
  const inbound: Inbound = {
    now,
    m,
    via: who.flow.via,
    peer: who.flow.peer,
    j: who.flow.j,
    realm: who.listener.realm,
    identity: who.identity,
    trustedEdge: false,
    flow: who.flow,
    tx,
    target: undefined,
  };
  const plan = decide(shard, inbound);
  if (plan.do === 'forward') return { ...plan, identity: who.identity };
  return plan.do === 'reply' ? plan.status : 503;
}
