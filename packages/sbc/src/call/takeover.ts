import type { Mono, Tx } from '@drawbridge/core';
import type { ClientTransaction, MessageView } from '@drawbridge/sip';
import { anchor, isAnchored } from '../anchor/anchor.js';
import { ALLOW_LINE, hide } from '../hide/hide.js';
import { send } from '../send/send.js';
import { Call } from './call.js';
import { Fork, type Takeover } from './fork.js';
import type { Leg } from './leg.js';
import { callerLeg, hopsLeft, referredBy } from './setup.js';

/** A party that talks already answers a re-INVITE by itself. */
const PATIENCE_MS = 32_000;

/**
 * A party of another call becomes this call's callee: a re-INVITE inside its dialog, offered in this call's session. Until
 * it accepts it stays where it is, with the media it has. `m`: the INVITE whose caller it will hear.
 */
export function takeOver(call: Call, leg: Leg, m: MessageView, now: Mono, tx: Tx): void {
  const { shard } = call;
  const old = leg.call;
  const { dialog } = leg;
  if (!(old instanceof Call) || dialog === undefined) return call.refuse(now, 481, 'no-dialog', '', 'border', tx);
  const caller = callerLeg(call);
  caller.join(shard);
  call.serial++;
  const callee = leg.adopted(call, `b${call.serial}`, 'callee');
  call.media.adopt(callee.id, old.media, leg.id);
  const fork = new Fork(call, caller, callee, {
    from: dialog.localUri,
    to: dialog.remoteUri,
    uri: dialog.remoteTarget,
  });
  const moving = new Moving(call, old, leg, callee);
  fork.takeover = moving;
  call.forks.push(fork);
  shard.m.wheel.arm(call, now + PATIENCE_MS);
  const anchored = anchor(caller, callee, m, 'INVITE');
  if (!isAnchored(anchored)) return call.refuse(now, anchored.status, anchored.reason, '', 'caller', tx);
  const branch = shard.m.transactions.newBranch();
  const text = dialog.request('INVITE', {
    via: callee.via(branch),
    maxForwards: hopsLeft(m),
    headers:
      ALLOW_LINE +
      hide(m, { credentials: false, challenges: false, across: shard.m.identity.crossing(caller, callee) }) +
      referredBy(shard, call.identity, m),
    contact: callee.contact,
    contentType: anchored.contentType,
    body: anchored.body,
  });
  callee.inviteSeq = dialog.localSeq;
  const invite = send(shard, now, callee, { method: 'INVITE', text, branch, user: fork, timerC: PATIENCE_MS }, tx);
  if (invite === undefined) return call.refuse(now, 503, 'transaction-limit', '', 'border', tx);
  fork.invite = invite;
  callee.inviteOut = invite;
  moving.asked(invite);
}

class Moving implements Takeover {
  readonly #call: Call;
  readonly #old: Call;
  readonly #leg: Leg;
  readonly #callee: Leg;
  #invite: ClientTransaction | undefined = undefined;

  constructor(call: Call, old: Call, leg: Leg, callee: Leg) {
    this.#call = call;
    this.#old = old;
    this.#leg = leg;
    this.#callee = callee;
  }

  asked(invite: ClientTransaction): void {
    this.#invite = invite;
    this.#leg.inviteOut = invite;
  }

  won(now: Mono, tx: Tx): void {
    const call = this.#call;
    const old = this.#old;
    this.#callee.follow(call.shard, this.#leg);
    call.shard.traces.note(call.ref, this.#callee.callId, this.#callee.id);
    old.transferredTo = call.ref;
    call.transferredFrom = old.ref;
    call.shard.transfers.replaced++;
    old.end(now, 'replaced', undefined, tx);
  }

  lost(): void {
    if (this.#leg.inviteOut === this.#invite) this.#leg.inviteOut = undefined;
  }

  spoilt(now: Mono, tx: Tx): void {
    this.lost();
    this.#old.end(now, 'offer-answer-violation', undefined, tx);
  }
}
