import { type Masked, type Mono, maskUri, type Reason, type Tx, Waiting } from '@drawbridge/core';
import type { MediaSession, StreamFacts } from '@drawbridge/media-relay';
import { headerLine, type MessageView, type ServerTransaction, type ServerUser } from '@drawbridge/sip';
import type { Keeper, LateTargets, Onward, Target } from '../decide/plan.js';
import type { Side } from '../events.js';
import type { Identity } from '../inbound.js';
import { send } from '../send/send.js';
import type { Shard } from '../shard.js';
import { countDown, countUp } from './counts.js';
import type { Fork } from './fork.js';
import type { Invitation, Leg, LegOwner } from './leg.js';
import type { CallerOptions } from './options.js';
import { ownSessionId } from './session-id.js';
import { SILENT } from './silent-user.js';
import { causeOf, rank } from './status.js';
import type { Transfer } from './transfer.js';

export type CallState = 'setup' | 'answered' | 'ended';

/** The way to further callees. */
export interface Search {
  /** The next group of a serial search. */
  nextGroup(call: Call, now: Mono, tx: Tx): void;
  /** A callee in place of one that could not be reached. */
  instead(call: Call, target: Target, now: Mono, tx: Tx): void;
  /** Callees found after the call began, beside those that ring. */
  also(call: Call, targets: readonly Target[], now: Mono, tx: Tx): void;
  /** The INVITE of a fork once more, with what its callee demanded. */
  again(fork: Fork, now: Mono, tx: Tx): void;
}

export interface BestFailure {
  readonly status: number;
  readonly headers: string;
}

/**
 * One call: an INVITE from its caller, forks to its callees, and once answered one pair of legs. It waits on the
 * wheel for the end of the ringing, then for the longest duration allowed.
 */
export class Call extends Waiting implements LegOwner, ServerUser {
  readonly ref: string;
  readonly shard: Shard;
  readonly identity: Identity;
  /** Who speaks at the caller's end: the same, unless a transfer brought it. */
  readonly party: Identity;
  readonly caller: Masked;
  readonly callee: Masked;
  readonly media: MediaSession;
  readonly startedAt: Mono;
  /** ms since 1970, for people. */
  readonly startedWall: number;
  readonly invite: Invitation;
  readonly search: Search;
  readonly options: CallerOptions;
  /** Where to go beyond the targets that are known. */
  readonly onward: Onward | undefined;
  /** The caller's leg, while the call is over and its ACK isn't there yet. */
  #unacked: Leg | undefined = undefined;
  /** The trunk it came from counts it. */
  readonly keeper: Keeper | undefined;
  /** Contacts of redirections that it has followed. */
  readonly redirects = new Set<string>();
  /** More targets may still come. */
  #late = false;
  /** The best failure of those who were tried before the present ones. */
  #before: BestFailure | undefined = undefined;
  /** Subscribers who sent it on: it counts as theirs as well. */
  readonly #sentOnBy: string[] = [];
  #forwardedTo: Masked | undefined = undefined;
  /** The caller's own. */
  readonly callId: string;
  /** Forks under way; the winner alone once answered. */
  forks: Fork[] = [];
  /** Targets not tried yet, in order. */
  waiting: Target[] = [];
  state: CallState = 'setup';
  answeredAt: Mono = 0;
  winner: Fork | undefined = undefined;
  best: BestFailure | undefined = undefined;
  ringing = false;
  /** A transfer of this call that is under way: it says what becomes of the other leg when one ends. */
  transfer: Transfer | undefined = undefined;
  /** Whom a REFER that crossed has sent to take a party's place here (RFC 3891 §8). */
  sent: { readonly who: Identity; readonly replaced: Leg; readonly until: Mono } | undefined = undefined;
  /** References of the call that goes on with a party of this one, and of the one it came from; '' without. */
  transferredTo = '';
  transferredFrom = '';
  /** The fork whose early dialog the caller sees, where it is to see one at a time; and whether with a description. */
  shown: Fork | undefined = undefined;
  shownSdp = false;
  /** The call of ours whose INVITE has come back as this one. */
  cameFrom: Call | undefined = undefined;
  /** Serial number for the next fork's media leg. */
  serial = 0;
  status = 0;
  /** Who has put the other on hold. */
  readonly #holds = new Set<Side>();

  constructor(
    shard: Shard,
    made: {
      ref: string;
      identity: Identity;
      party: Identity;
      caller: Masked;
      callee: Masked;
      media: MediaSession;
      now: Mono;
      invite: Invitation;
      search: Search;
      options: CallerOptions;
      onward: Onward | undefined;
      callId: string;
    },
  ) {
    super();
    this.shard = shard;
    this.ref = made.ref;
    this.identity = made.identity;
    this.party = made.party;
    this.caller = made.caller;
    this.callee = made.callee;
    this.media = made.media;
    this.startedAt = made.now;
    this.startedWall = shard.traces.wall();
    this.invite = made.invite;
    this.search = made.search;
    this.options = made.options;
    this.onward = made.onward;
    this.callId = made.callId;
    this.keeper = shard.m.trunks.keeperOf(made.party);
    this.keeper?.legMade();
  }

  /** The leg toward the caller: the winner's, or before that any fork's. */
  get callerLeg(): Leg | undefined {
    return (this.winner ?? this.forks[0])?.caller;
  }

  override onDue(now: Mono): void {
    const tx = this.shard.m.transactions.tx;
    if (this.state === 'answered')
      return this.end(now, this.transferredTo === '' ? 'call-duration' : 'transferred', undefined, tx);
    if (this.state !== 'setup') return;
    this.#late = false;
    this.cancelForks(now, tx);
    this.failed(now, { status: 480, headers: '' }, tx);
    this.groupDone(now, tx);
  }

  /** RFC 3261 §9.2: the CANCEL has its 200 already; the INVITE gets 487 and every fork is cancelled. */
  onCancel(now: Mono, _st: ServerTransaction, _m: MessageView, tx: Tx): void {
    if (this.state !== 'setup') return;
    this.refuse(now, 487, 'cancelled', '', 'caller', tx);
  }

  /** The caller never acknowledged our 2xx: RFC 3261 §13.3.1.4 says BYE. */
  onAckMissing(now: Mono, st: ServerTransaction, tx: Tx): void {
    if (st !== this.invite) return;
    if (this.state === 'answered') this.end(now, 'ack-missing', undefined, tx);
    else this.#unacked?.onAcked?.(now, tx);
  }

  /** Ends the call both ways, whatever its state. The leg whose end is the cause gets no BYE of ours. */
  end(now: Mono, cause: Reason, by: Leg | undefined, tx: Tx): void {
    const side: Side = by === undefined ? 'border' : by.role === 'caller' ? 'caller' : 'callee';
    if (this.state === 'setup') {
      // §15: a caller may give up with BYE what is still early; its INVITE then ends as if cancelled.
      if (by !== undefined && by.role === 'caller' && cause === 'normal-clearing')
        return this.refuse(now, 487, 'cancelled', '', side, tx);
      return this.refuse(now, cause === 'shutdown' || cause === 'draining' ? 503 : 480, cause, '', side, tx);
    }
    if (this.state !== 'answered') return;
    this.transfer?.callEnds(now, by, tx);
    const pair = this.winner;
    if (pair !== undefined)
      for (const leg of [pair.caller, pair.callee]) {
        // A 481 from a caller that hasn't even got our 2xx yet doesn't end what that 2xx will make.
        const gone = leg === by && (cause === 'normal-clearing' || leg.unacked !== this.invite);
        if (!gone) this.#leave(now, leg, cause, tx);
      }
    this.#close(now, cause, side);
  }

  /** The caller's INVITE fails: forks are cancelled, the call is over. */
  refuse(now: Mono, status: number, cause: Reason, headers: string, by: Side, tx: Tx): void {
    if (this.state !== 'setup') return;
    this.status = status;
    this.cancelForks(now, tx);
    this.invite.reply(now, status, { headers, reason: cause }, tx);
    this.#close(now, cause, by);
  }

  failed(_now: Mono, f: BestFailure, _tx: Tx): void {
    if (this.best === undefined || rank(f.status) < rank(this.best.status)) this.best = f;
  }

  /** Asks for the targets that aren't known yet. */
  begin(now: Mono, tx: Tx, further = false): void {
    const { onward } = this;
    if (onward === undefined) return;
    const late: LateTargets = {
      wanted: () => this.#late && this.state === 'setup',
      ring: (at, targets, out) => {
        if (late.wanted()) this.search.also(this, targets, at, out);
      },
      done: (at, out) => {
        if (!late.wanted()) return;
        this.#late = false;
        this.groupDone(at, out);
      },
    };
    this.#late = (further ? onward.further?.(now, late, tx) : onward.begin?.(now, late, tx)) === true;
    this.#tellForwarded(now, tx);
  }

  /** Every fork of a group has failed: the next group rings, or the caller hears the best of the failures. */
  groupDone(now: Mono, tx: Tx): void {
    if (this.state !== 'setup' || this.forks.length > 0) return;
    const best = this.best ?? { status: 480, headers: '' };
    if (this.waiting.length > 0 && best.status < 600) return this.search.nextGroup(this, now, tx);
    if (this.#late && best.status < 600) return;
    const instead = this.onward?.instead?.(now, best.status, tx);
    if (instead !== undefined) {
      // What the next ones say is judged by itself; in the end the caller hears the best of all, the first among equals.
      if (this.#before === undefined || rank(best.status) < rank(this.#before.status)) this.#before = best;
      this.best = undefined;
      this.waiting.push(...instead);
      this.begin(now, tx, true);
      if (this.waiting.length > 0 || this.#late) return this.search.nextGroup(this, now, tx);
    }
    const before = this.#before;
    const last = before === undefined || rank(best.status) < rank(before.status) ? best : before;
    this.refuse(now, last.status, causeOf(last.status), last.headers, 'callee', tx);
  }

  /** CANCEL to every fork but `except`; what they still answer is dealt with by the fork itself. */
  cancelForks(now: Mono, tx: Tx, except?: Fork): void {
    const headers = except === undefined ? '' : headerLine('Reason', 'SIP;cause=200;text="Call completed elsewhere"');
    for (const fork of this.forks) {
      if (!fork.carries(except)) fork.cancel(now, tx, headers);
      fork.leave(except);
    }
    this.forks = except === undefined ? [] : [except];
  }

  facts(): readonly StreamFacts[] {
    return this.media.streams;
  }

  /** An offer was answered: says so when it put somebody on hold, or took him off. */
  renegotiated(now: Mono): void {
    const streams = this.media.streams;
    for (const side of ['caller', 'callee'] as const) {
      const leg = side === 'caller' ? this.winner?.caller : this.winner?.callee;
      const own = streams.filter(s => s.leg === leg?.id);
      const holds = own.length > 0 && own.every(s => s.direction === 'sendonly' || s.direction === 'inactive');
      if (holds === this.#holds.has(side)) continue;
      if (holds) this.#holds.add(side);
      else this.#holds.delete(side);
      this.shard.m.outbox.push({ kind: holds ? 'call-held' : 'call-resumed', ref: this.ref, at: now, by: side });
    }
  }

  /** BYE now, or to a caller whose ACK is still to come, then: its phone may not even have the 2xx yet (§15). */
  #leave(now: Mono, leg: Leg, cause: Reason, tx: Tx): void {
    if (leg.unacked !== this.invite || cause === 'ack-missing') return this.#bye(now, leg, cause, tx);
    this.#unacked = leg;
    leg.onAcked = (at, out) => {
      leg.onAcked = undefined;
      this.#bye(at, leg, cause, out);
      leg.leave(this.shard);
    };
  }

  #bye(now: Mono, leg: Leg, cause: Reason, tx: Tx): void {
    const { dialog } = leg;
    if (dialog === undefined || dialog.state === 'ended') return;
    dialog.end();
    const { transactions } = this.shard.m;
    // A callee whose 2xx waits for the answer in the caller's ACK must hear an ACK before the BYE (§13.2.2.4).
    if (leg.ack === '' && leg.inviteSeq > 0 && leg.inviteOut === undefined) {
      transactions.ack(
        now,
        leg.flow,
        dialog.request('ACK', {
          via: leg.via(transactions.newBranch()),
          cseq: leg.inviteSeq,
          headers: ownSessionId(leg),
        }),
        tx,
      );
    }
    const branch = transactions.newBranch();
    const headers =
      cause === 'normal-clearing'
        ? ''
        : headerLine('Reason', `SIP;cause=${cause === 'media-inactive' ? 408 : 200};text="${cause}"`);
    const text = dialog.request('BYE', { via: leg.via(branch), headers: headers + ownSessionId(leg) });
    send(this.shard, now, leg, { method: 'BYE', text, branch, user: SILENT }, tx);
  }

  /** RFC 3261 §21.1.3. A caller who wants provisionals reliable hears of the ringing instead. */
  #tellForwarded(now: Mono, tx: Tx): void {
    const hops = this.onward?.hops?.() ?? [];
    for (const { from, to, why } of hops) {
      this.#sentOnBy.push(from);
      countUp(this.shard.perSubscriber, from);
      this.#forwardedTo = maskUri(to);
      const named = { from: maskUri(`sip:${from}`), to: this.#forwardedTo, why };
      this.shard.m.outbox.push({ kind: 'call-forwarded', ref: this.ref, at: now, ...named });
    }
    if (hops.length > 0 && this.options.reliable !== 'required') this.invite.reply(now, 181, {}, tx);
  }

  #close(now: Mono, cause: Reason, by: Side): void {
    const talked = this.state === 'answered' ? now - this.answeredAt : 0;
    this.state = 'ended';
    this.cameFrom = undefined;
    const media = this.media.streams;
    const { shard } = this;
    shard.m.wheel.cancel(this);
    this.media.close();
    for (const fork of this.forks) fork.leave();
    this.forks = [];
    shard.calls.delete(this.ref);
    this.keeper?.legGone();
    this.invite.callEnded?.(now, this.shard.m.transactions.tx);
    if (this.identity.kind === 'subscriber') countDown(shard.perSubscriber, this.identity.aor);
    for (const aor of this.#sentOnBy) countDown(shard.perSubscriber, aor);
    shard.m.outbox.push({
      kind: 'call-ended',
      ref: this.ref,
      at: now,
      caller: this.caller,
      callee: this.callee,
      cause,
      by,
      status: this.status,
      lastedMs: now - this.startedAt,
      talkedMs: talked,
      media,
      forwardedTo: this.#forwardedTo,
      transferredTo: this.transferredTo,
      transferredFrom: this.transferredFrom,
    });
  }
}
