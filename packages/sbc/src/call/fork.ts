import type { Mono, Reason, Tx } from '@drawbridge/core';
import {
  type ClientTransaction,
  type ClientUser,
  Dialog,
  type Flow,
  headerLine,
  type MessageView,
} from '@drawbridge/sip';
import { anchor, type Given, isAnchored, NO_BODY, sdpOf } from '../anchor/anchor.js';
import type { Target } from '../decide/plan.js';
import { ALLOW_LINE, hide, type Trust } from '../hide/hide.js';
import { redirected, ringRedirected } from '../route/redirect.js';
import { sendAck } from '../send/send.js';
import type { Call } from './call.js';
import { canMeet } from './demands.js';
import { mint } from './identifier.js';
import { type Leg, sharesUpstream } from './leg.js';
import { allowsUpdate } from './names.js';
import { acknowledgeReliable, inOrder, ReliableReplies, rseqOf } from './reliable.js';
import { lackedSessionId, learnUuid, ownSessionId } from './session-id.js';
import { timerHeard, timerReply } from './session-timer.js';
import { hiddenBehind, takeShown } from './shown.js';
import { passesOver, statusAcross } from './status.js';
import { endUnwanted } from './unwanted.js';

export interface InviteParties {
  readonly from: string;
  readonly to: string;
  readonly uri: string;
  readonly routes?: readonly string[] | undefined;
  /** Further lines of its INVITE. */
  readonly headers?: string | undefined;
}

/** A leg of another call on its way into this one. */
export interface Takeover {
  /** It has accepted: it belongs here now. */
  won(now: Mono, tx: Tx): void;
  /** It has refused, and stays where it was. */
  lost(): void;
  /** It has accepted what can't be carried out: its old call can't go on either. */
  spoilt(now: Mono, tx: Tx): void;
}

/** Dialogs that one INVITE of ours may make downstream; further ones are not shown to the caller. */
const MOST_BRANCHES = 8;
/** Times that one callee may have its INVITE changed. */
const MOST_RETRIES = 3;

/**
 * One callee of a call: the leg toward it, the leg with a To tag of its own toward the caller, and its INVITE. Where a
 * proxy downstream forks once more, each further To tag is a `branch`: a fork of its own that shares INVITE and media leg.
 */
export class Fork implements ClientUser {
  readonly call: Call;
  caller: Leg;
  readonly callee: Leg;
  /** The callee is a party of another call, asked inside its dialog there. */
  takeover: Takeover | undefined = undefined;
  invite: ClientTransaction | undefined = undefined;
  /** Where the INVITE goes instead when this callee can't be reached. */
  otherwise: Target | undefined = undefined;
  /** ms until silence of the callee counts as failure. */
  timeoutMs: number | undefined = undefined;
  /** What our INVITE offers, until the call is answered; '' when the callee owes the offer. */
  offer: Given = NO_BODY;
  /** The answer in a reliable response that the caller was only shown: its 2xx repeats it. */
  #owed: Given | undefined = undefined;
  /** The answer in the callee's reliable response, until the call is answered. */
  #answer = '';
  /** Branches that this callee may make of its INVITE at once (RFC 5393). */
  breadth = 0;
  /** Times that the INVITE was sent again on the callee's demand. */
  #sentAgain = 0;
  /** From and To of our INVITE without tags, and its Request-URI, kept for the dialog that its response makes. */
  readonly parties: InviteParties;
  /** The fork whose INVITE this is a branch of. */
  readonly #trunk: Fork | undefined;
  readonly #branches: Fork[] = [];
  #cancelled = false;

  constructor(call: Call, caller: Leg, callee: Leg, parties: InviteParties, trunk?: Fork) {
    this.#trunk = trunk;
    this.call = call;
    this.caller = caller;
    this.callee = callee;
    this.parties = parties;
    caller.peer = callee;
    callee.peer = caller;
  }

  /** Another leg becomes the caller's: the party that a transfer brings. */
  takeCaller(leg: Leg): void {
    this.caller = leg;
    leg.peer = this.callee;
    this.callee.peer = leg;
  }

  cancel(now: Mono, tx: Tx, headers: string): void {
    this.#cancelled = true;
    this.invite?.cancel(now, tx, headers);
  }

  /** Whether a fork rides on this one's INVITE. */
  carries(fork: Fork | undefined): boolean {
    return fork === this || (fork !== undefined && fork.#trunk === this);
  }

  /** With its branches; `except` stays. */
  leave(except?: Fork): void {
    for (const branch of this.#branches) if (branch !== except) branch.leave();
    if (this === except) return;
    if (this.caller.onAcked === undefined) this.caller.leave(this.call.shard);
    this.callee.leave(this.call.shard);
  }

  onResponse(now: Mono, ct: ClientTransaction, m: MessageView, tx: Tx): void {
    if (m.status >= 300) return this.#refused(now, m, tx);
    const branch = this.#branchOf(m);
    learnUuid(this.call.shard, branch.callee, m);
    if (m.status >= 200) branch.#accepted(now, ct.flow, m, tx);
    else branch.#provisional(now, m, tx);
  }

  onTimeout(now: Mono, _ct: ClientTransaction, tx: Tx): void {
    if (!this.#elsewhere(now, tx)) this.#gone(now, { status: 408, headers: '' }, tx);
  }

  onTransportError(now: Mono, _ct: ClientTransaction, tx: Tx): void {
    if (!this.#elsewhere(now, tx)) this.#gone(now, { status: 480, headers: '' }, tx);
  }

  /** The dialog that a response belongs to, made when its To tag is new. */
  #branchOf(m: MessageView): Fork {
    const { call, callee, caller } = this;
    const first = callee.dialog;
    if (m.toTag === '' || first === undefined || first.remoteTag === m.toTag) return this;
    const known = this.#branches.find(b => b.callee.dialog?.remoteTag === m.toTag);
    if (known !== undefined) return known;
    if (call.state !== 'setup' || this.#cancelled || this.#branches.length === MOST_BRANCHES) return this;
    const branch = new Fork(call, caller.branch(mint(call.shard)), callee.branch(callee.localTag), this.parties, this);
    branch.caller.oa = caller.oa.fork();
    branch.callee.oa = callee.oa.fork();
    branch.callee.dialog = branch.#calleeDialog(m, callee.flow);
    branch.caller.join(call.shard);
    branch.callee.join(call.shard);
    this.#branches.push(branch);
    return branch;
  }

  get #givenUp(): boolean {
    return (this.#trunk ?? this).#cancelled;
  }

  /** RFC 3263 §4.3: the next hop said nothing, can't be reached or is overloaded, and there is another. */
  #elsewhere(now: Mono, tx: Tx): boolean {
    const { call, callee, otherwise } = this;
    if (otherwise === undefined || call.state !== 'setup' || this.#cancelled) return false;
    callee.hops?.failed(now, callee.flow);
    call.forks = call.forks.filter(x => x !== this);
    this.leave();
    call.media.dropLeg(callee.id);
    call.search.instead(call, otherwise, now, tx);
    return true;
  }

  #provisional(now: Mono, m: MessageView, tx: Tx): void {
    const { call, caller, callee } = this;
    if (call.state !== 'setup' || this.#givenUp) return;
    const rseq = callee.offers100rel ? rseqOf(m) : 0;
    if (rseq > 0 && !inOrder(callee, rseq)) return;
    if (m.toTag !== '' && callee.dialog === undefined) callee.dialog = this.#calleeDialog(m, callee.flow);
    this.#callerDialog();
    const { reliable } = call.options;
    const hidden = hiddenBehind(this);
    if (hidden !== undefined) return this.#ringsToo(now, m, hidden, tx);
    const reliably = reliable === 'required' || (reliable === 'supported' && rseq > 0);
    let given: Given = NO_BODY;
    // A description that may get lost is no answer: in a reliable response it would be one (RFC 3262 §5).
    if (rseq > 0 || !reliably) {
      const anchored = anchor(callee, caller, m, rseq > 0 ? '1xx-reliable' : '1xx', reliably ? '1xx-reliable' : '1xx');
      if (isAnchored(anchored)) {
        given = anchored;
        if (anchored.role === 'answer') this.#answer = sdpOf(m) ?? '';
        if (anchored.sdp) call.shownSdp = true;
      } else if (rseq > 0) return this.#hopeless(now, anchored.status, tx);
      if (rseq > 0 && !reliably && given.sdp) this.#owed = given;
    }
    const headers =
      headerLine('Contact', caller.contact) + ALLOW_LINE + lackedSessionId(caller, m) + hide(m, this.#trust());
    if (reliably) {
      caller.reliable ??= new ReliableReplies(call, caller);
      caller.reliable.send(now, { status: m.status, headers, given, theirs: rseq }, tx);
    } else {
      call.invite.reply(
        now,
        m.status,
        { toTag: caller.localTag, headers, contentType: given.contentType, body: given.body },
        tx,
      );
      if (rseq > 0) acknowledgeReliable(call.shard, now, callee, rseq, tx);
    }
    if (!call.ringing) {
      call.ringing = true;
      call.shard.m.outbox.push({ kind: 'call-ringing', ref: call.ref, at: now, leg: callee.id, status: m.status });
    }
  }

  /** One more callee rings: the caller hears of it in the dialog that it sees, without a description. */
  #ringsToo(now: Mono, m: MessageView, shown: Fork, tx: Tx): void {
    const { call } = this;
    const leg = shown.caller;
    const headers = headerLine('Contact', leg.contact) + ALLOW_LINE + hide(m, this.#trust());
    if (leg.reliable !== undefined && call.options.reliable === 'required')
      leg.reliable.send(now, { status: m.status, headers, given: NO_BODY, theirs: 0 }, tx);
    else call.invite.reply(now, m.status, { toTag: leg.localTag, headers }, tx);
  }

  /** The first 2xx wins. It may come again, from another downstream fork, or after we gave up: each gets its ACK. */
  #accepted(now: Mono, flow: Flow, m: MessageView, tx: Tx): void {
    const { call, callee } = this;
    const { shard } = call;
    if (call.winner === this && callee.dialog?.remoteTag === m.toTag) {
      if (callee.ack !== '') sendAck(shard, now, callee, callee.ack, tx);
      return;
    }
    if (call.state !== 'setup' || this.#givenUp) return this.#notWanted(now, flow, m, tx);
    // It will come again until we acknowledge it.
    if (this.caller.reliable?.holdsAnswer === true) return;
    takeShown(this);
    const { caller } = this;

    call.winner = this;
    this.offer = NO_BODY;
    if (callee.dialog?.remoteTag === m.toTag) callee.dialog.confirm(m);
    else callee.dialog = this.#calleeDialog(m, callee.flow);
    this.#callerDialog().confirm();
    callee.inviteOut = undefined;
    call.cancelForks(now, tx, this);
    const delayed = callee.oa.delayed;
    const anchored = anchor(callee, caller, m, '2xx');
    if (!isAnchored(anchored)) return this.#unusable(now, anchored.status, anchored.reason, tx);
    const given = this.#owed ?? anchored;
    caller.allowsUpdate = call.options.update;
    callee.allowsUpdate = allowsUpdate(m);
    timerHeard(shard, now, callee, m);
    if (this.#owed !== undefined) caller.oa.note('out', '2xx', true);
    // Another dialog of the same INVITE may have answered since, and media goes where it said.
    if (this.#answer !== '' && (this.#trunk ?? this).#branches.length > 0) {
      const { address } = callee.flow;
      call.media.answer({
        from: callee.id,
        to: caller.id,
        sdp: this.#answer,
        seenFrom: address,
        final: true,
        again: true,
      });
    }
    this.#answer = '';
    call.media.select(callee.id);
    if (this.takeover !== undefined) {
      callee.dialog.refresh(m);
      this.takeover.won(now, tx);
    }
    call.state = 'answered';
    call.answeredAt = now;
    call.status = m.status;
    caller.inviteIn = undefined;
    caller.unacked = call.invite;
    call.invite.reply(
      now,
      m.status,
      {
        toTag: caller.localTag,
        headers:
          headerLine('Contact', caller.contact) +
          ALLOW_LINE +
          timerReply(shard, now, caller, call.options.timer) +
          lackedSessionId(caller, m) +
          hide(m, this.#trust()),
        contentType: given.contentType,
        body: given.body,
      },
      tx,
    );
    // With a delayed offer the answer comes in the caller's ACK, and ours waits for it.
    if (!delayed) this.#acknowledge(now, tx);
    shard.m.wheel.arm(call, now + shard.o.calls.maxDuration);
    shard.m.outbox.push({
      kind: 'call-answered',
      ref: call.ref,
      at: now,
      leg: callee.id,
      to: callee.flow.peer.get(callee.flow.j),
    });
  }

  #refused(now: Mono, m: MessageView, tx: Tx): void {
    if (passesOver(m.status, this.callee.hops) && this.#elsewhere(now, tx)) return;
    if ((m.status === 421 || m.status === 422) && this.#again(now, m, tx)) return;
    if (m.status < 400 && this.#redirected(now, m, tx)) return;
    const trust = this.#trust();
    const status = statusAcross(m.status, trust.challenges);
    this.callee.oa.note('in', 'non-2xx', false);
    this.#gone(
      now,
      { status, headers: hide(m, { ...trust, challenges: trust.challenges && status === m.status }) },
      tx,
    );
  }

  /** The INVITE goes once more as the callee wants it. */
  #again(now: Mono, m: MessageView, tx: Tx): boolean {
    const { call, callee } = this;
    if (call.state !== 'setup' || this.#cancelled || this.takeover !== undefined) return false;
    if (this.#sentAgain === MOST_RETRIES || !canMeet(this, m)) return false;
    this.#sentAgain++;
    for (const branch of this.#branches.splice(0)) branch.leave();
    callee.dialog = undefined;
    callee.rseq = 0;
    call.search.again(this, now, tx);
    return true;
  }

  /** An early answer that can't be used: the callee is cancelled, and the search goes on without it. */
  #hopeless(now: Mono, status: number, tx: Tx): void {
    const trunk = this.#trunk ?? this;
    trunk.invite?.cancel(now, tx);
    trunk.#gone(now, { status, headers: '' }, tx);
    trunk.#cancelled = true;
  }

  /** A 3xx that policy follows, or shows to the caller. */
  #redirected(now: Mono, m: MessageView, tx: Tx): boolean {
    const { call } = this;
    if (call.state !== 'setup' || this.#cancelled || this.takeover !== undefined) return false;
    const to = redirected(call.shard, call, this.callee, m, now);
    if (to === undefined) return false;
    this.callee.oa.note('in', 'non-2xx', false);
    if (to.do === 'pass') {
      this.#gone(now, { status: 302, headers: to.headers }, tx);
      return true;
    }
    // Its breadth is theirs now.
    this.#out();
    ringRedirected(call, to.targets, now, tx);
    call.groupDone(now, tx);
    return true;
  }

  /** No part of the call any more. */
  #out(): void {
    const { call } = this;
    this.callee.inviteOut = undefined;
    call.forks = call.forks.filter(x => x !== this);
    this.leave();
    call.media.dropLeg(this.callee.id);
  }

  #gone(now: Mono, f: { status: number; headers: string }, tx: Tx): void {
    const { call } = this;
    this.callee.inviteOut = undefined;
    this.takeover?.lost();
    if (call.state !== 'setup' || this.#cancelled) return;
    this.#out();
    call.failed(now, f, tx);
    // §16.7 step 5: a 6xx ends the search everywhere.
    if (f.status >= 600) call.cancelForks(now, tx);
    call.groupDone(now, tx);
  }

  /** Answered too late, or by a second downstream fork: ACK, then BYE (RFC 3261 §13.2.2.4). */
  #notWanted(now: Mono, flow: Flow, m: MessageView, tx: Tx): void {
    if (this.takeover !== undefined) {
      this.#acknowledge(now, tx);
      return this.takeover.spoilt(now, tx);
    }
    endUnwanted(this.call.shard, now, this.callee, this.#calleeDialog(m, flow), flow, tx);
  }

  /** The callee's answer can't be used: it is acknowledged and ended, and the caller hears why. */
  #unusable(now: Mono, status: number, reason: Reason, tx: Tx): void {
    const { call, callee } = this;
    this.#acknowledge(now, tx);
    if (this.takeover !== undefined) this.takeover.spoilt(now, tx);
    else if (callee.dialog !== undefined) endUnwanted(call.shard, now, callee, callee.dialog, callee.flow, tx, true);
    call.winner = undefined;
    call.refuse(now, status, reason, '', 'callee', tx);
  }

  #acknowledge(now: Mono, tx: Tx): void {
    const { transactions } = this.call.shard.m;
    const { callee } = this;
    if (callee.dialog === undefined) return;
    const text = callee.dialog.request('ACK', {
      via: callee.via(transactions.newBranch()),
      cseq: callee.inviteSeq,
      headers: ownSessionId(callee),
    });
    callee.ack = sendAck(this.call.shard, now, callee, text, tx);
  }

  #calleeDialog(m: MessageView, flow: Flow): Dialog {
    const { callee } = this;
    const dialog = Dialog.asClient(
      {
        callId: callee.callId,
        localTag: callee.localTag,
        localUri: this.parties.from,
        remoteUri: this.parties.to,
        // What we asked in the early dialog counts: our BYE may not come with a CSeq that was used.
        localSeq: callee.dialog?.remoteTag === m.toTag ? callee.dialog.localSeq : callee.inviteSeq,
      },
      m,
      flow,
    );
    // Contact is mandatory in what makes a dialog (RFC 3261 §12.1.1); without a usable one the way there is all we know.
    if (dialog.remoteTarget === '') dialog.remoteTarget = this.parties.uri;
    return dialog;
  }

  #callerDialog(): Dialog {
    const { caller, call } = this;
    if (caller.dialog === undefined) {
      const { aside } = call.shard;
      aside.parse(call.invite.request);
      caller.dialog = Dialog.asServer(aside, caller.localTag, caller.flow);
      caller.inviteSeqIn = aside.cseq;
    }
    return caller.dialog;
  }

  /** For responses: from the callee to the caller. */
  #trust(): Trust {
    const { caller, callee, call } = this;
    const across = call.shard.m.identity.crossing(callee, caller);
    return { credentials: false, challenges: sharesUpstream(caller, callee), across };
  }
}
