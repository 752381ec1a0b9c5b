import { type Mono, type Tx, Waiting } from '@drawbridge/core';
import { type ClientTransaction, type ClientUser, H, headerLine, type MessageView, parseParams } from '@drawbridge/sip';
import { SDP, sdpOf } from '../anchor/anchor.js';
import { ALLOW_LINE } from '../hide/hide.js';
import { send, sendAck } from '../send/send.js';
import type { Shard } from '../shard.js';
import type { Leg } from './leg.js';
import { names } from './names.js';
import { ownSessionId } from './session-id.js';

/** RFC 4028 §5: the least that anybody may ask for. */
const LEAST_MS = 90_000;
/** §10: this long before the end, or a third of the interval, whichever is less, there is nothing to wait for any more. */
const MARGIN_MS = 32_000;
const SUPPORTED_TIMER = headerLine('Supported', 'timer');
const REQUIRE_TIMER = headerLine('Require', 'timer');

type Refresher = 'uac' | 'uas';

/** What a request says about session timers. Times in ms. */
export interface TimerAsk {
  /** Its sender takes part. */
  readonly supports: boolean;
  /** 0: none asked for. */
  readonly interval: number;
  readonly minSe: number;
  readonly refresher: Refresher | undefined;
}

export const NO_TIMER: TimerAsk = { supports: false, interval: 0, minSe: LEAST_MS, refresher: undefined };

export function timerAsk(m: MessageView): TimerAsk {
  if (!m.has(H.supported) && !m.has(H.require) && !m.has(H.sessionExpires)) return NO_TIMER;
  const { interval, refresher } = sessionExpires(m);
  return {
    supports: names(m, H.supported, 'timer') || names(m, H.require, 'timer'),
    interval,
    minSe: Math.max(LEAST_MS, deltaMs(m.get(H.minSe))),
    refresher,
  };
}

/** Min-SE for a 422 when the interval is too small for us, '' otherwise (§9). */
export function tooBrief(shard: Shard, ask: TimerAsk): string {
  const policy = shard.o.calls.sessionTimer;
  if (policy === false || !ask.supports || ask.interval === 0 || ask.interval >= policy.minSe) return '';
  return headerLine('Min-SE', seconds(policy.minSe));
}

/** Min-SE of a 422 (§7.3), ms; 0 when it says nothing. */
export function minSeOf(m: MessageView): number {
  return deltaMs(m.get(H.minSe));
}

/** Lines of our INVITE or UPDATE on a leg (§7.1, §7.4). */
export function timerRequest(shard: Shard, leg: Leg): string {
  const policy = shard.o.calls.sessionTimer;
  if (policy === false) return '';
  const minSe = Math.max(policy.minSe, leg.minSe);
  const { timer } = leg;
  const interval = Math.max(minSe, timer === undefined ? policy.expires : timer.interval);
  const role = timer === undefined ? '' : timer.ours ? ';refresher=uac' : ';refresher=uas';
  return `${SUPPORTED_TIMER}Session-Expires: ${seconds(interval)}${role}\r\n${
    minSe > LEAST_MS ? headerLine('Min-SE', seconds(minSe)) : ''
  }`;
}

/** Lines of our 2xx to an INVITE or UPDATE (§9); the leg's time starts anew. */
export function timerReply(shard: Shard, now: Mono, leg: Leg, ask: TimerAsk): string {
  const policy = shard.o.calls.sessionTimer;
  if (policy === false) return '';
  const most = Math.max(policy.expires, ask.minSe);
  const interval = Math.max(policy.minSe, ask.interval === 0 ? most : Math.min(ask.interval, most));
  // Somebody who takes part and has no wish refreshes himself: that keeps his NAT open as well.
  const by: Refresher = ask.supports ? (ask.refresher ?? 'uac') : 'uas';
  timerOf(shard, leg).restart(now, interval, by === 'uas', ask.supports);
  if (!ask.supports && ask.interval === 0) return '';
  return `${ask.supports ? REQUIRE_TIMER : ''}Session-Expires: ${seconds(interval)};refresher=${by}\r\n`;
}

/** A 2xx to our INVITE or UPDATE has come (§7.2): a peer that takes no part is refreshed by us. */
export function timerHeard(shard: Shard, now: Mono, leg: Leg, m: MessageView): void {
  const policy = shard.o.calls.sessionTimer;
  if (policy === false) return;
  const said = sessionExpires(m);
  const negotiated = said.interval > 0;
  const interval = negotiated ? Math.max(LEAST_MS, said.interval) : Math.max(policy.expires, leg.minSe);
  timerOf(shard, leg).restart(now, interval, said.refresher !== 'uas', negotiated);
}

/** The session timer of one leg. It waits for the next refresh of ours, or for the end of the peer's patience. */
export class SessionTimer extends Waiting {
  readonly #shard: Shard;
  readonly #leg: Leg;
  /** ms. */
  interval = 0;
  /** We refresh. */
  ours = false;
  /** The peer takes part; otherwise any sign of life will do. */
  negotiated = false;
  #endsAt: Mono = 0;

  constructor(shard: Shard, leg: Leg) {
    super();
    this.#shard = shard;
    this.#leg = leg;
  }

  restart(now: Mono, interval: number, ours: boolean, negotiated: boolean): void {
    this.interval = interval;
    this.ours = ours;
    this.negotiated = negotiated;
    this.#endsAt = now + interval - Math.min(MARGIN_MS, interval / 3);
    this.#shard.m.wheel.arm(this, ours ? now + interval / 2 : this.#endsAt);
  }

  /** A refresh of ours failed, but the peer is alive: again after `ms`, or when half of what is left has gone. */
  again(now: Mono, ms?: number): void {
    if (!this.negotiated && ms === undefined) return this.restart(now, this.interval, true, false);
    this.#shard.m.wheel.arm(this, Math.min(now + (ms ?? (this.#endsAt - now) / 2), this.#endsAt));
  }

  stop(): void {
    this.#shard.m.wheel.cancel(this);
  }

  override onDue(now: Mono): void {
    const leg = this.#leg;
    if (leg.dialog?.state !== 'confirmed') return;
    const { wheel, transactions } = this.#shard.m;
    // A tick is what the wheel may be late by.
    if (!this.ours || now + wheel.tick >= this.#endsAt)
      return leg.call.end(now, 'session-expired', undefined, transactions.tx);
    wheel.arm(this, this.#endsAt);
    new Refresh(this.#shard, leg, this).send(now, transactions.tx);
  }
}

/** While something else is under way on the leg. */
const BUSY_MS = 2000;

/**
 * One refresh of ours (RFC 4028 §7.4): UPDATE where the peer knows that, otherwise an INVITE with the description that it
 * was last told, unchanged. Nothing of it reaches the other leg.
 */
class Refresh implements ClientUser {
  readonly #shard: Shard;
  readonly #leg: Leg;
  readonly #timer: SessionTimer;
  #ct: ClientTransaction | undefined = undefined;
  #invite = false;

  constructor(shard: Shard, leg: Leg, timer: SessionTimer) {
    this.#shard = shard;
    this.#leg = leg;
    this.#timer = timer;
  }

  send(now: Mono, tx: Tx): void {
    const leg = this.#leg;
    const { dialog, peer } = leg;
    if (dialog === undefined || dialog.state !== 'confirmed') return;
    if (isBusy(leg) || (peer !== undefined && isBusy(peer))) return this.#timer.again(now, BUSY_MS);
    const body = leg.allowsUpdate ? undefined : leg.call.media?.repeat(leg.id);
    this.#invite = body !== undefined;
    const method = this.#invite ? 'INVITE' : 'UPDATE';
    const branch = this.#shard.m.transactions.newBranch();
    const text = dialog.request(method, {
      via: leg.via(branch),
      headers: ALLOW_LINE + timerRequest(this.#shard, leg) + ownSessionId(leg),
      contact: leg.contact,
      contentType: SDP,
      body,
    });
    if (this.#invite) {
      leg.oa.note('out', 'INVITE', true);
      leg.inviteSeq = dialog.localSeq;
      leg.ack = '';
    }
    this.#ct = send(this.#shard, now, leg, { method, text, branch, user: this }, tx);
    if (this.#invite) leg.inviteOut = this.#ct;
  }

  onResponse(now: Mono, _ct: ClientTransaction, m: MessageView, tx: Tx): void {
    if (m.status < 200) return;
    if (m.status >= 300) return this.#refused(now, m, tx);
    const leg = this.#leg;
    if (this.#invite) {
      if (leg.inviteOut !== this.#ct) {
        if (leg.ack !== '') sendAck(this.#shard, now, leg, leg.ack, tx);
        return;
      }
      leg.inviteOut = undefined;
      this.#accepted(now, m, tx);
    }
    leg.dialog?.refresh(m);
    timerHeard(this.#shard, now, leg, m);
  }

  onTimeout(now: Mono, _ct: ClientTransaction, tx: Tx): void {
    this.#leg.call.end(now, 'peer-gone', undefined, tx);
  }

  onTransportError(now: Mono, _ct: ClientTransaction, tx: Tx): void {
    this.#leg.call.end(now, 'flow-gone', undefined, tx);
  }

  #accepted(now: Mono, m: MessageView, tx: Tx): void {
    const leg = this.#leg;
    const { dialog, peer } = leg;
    const { media } = leg.call;
    if (dialog === undefined) return;
    const text = dialog.request('ACK', {
      via: leg.via(this.#shard.m.transactions.newBranch()),
      cseq: leg.inviteSeq,
      headers: ownSessionId(leg),
    });
    leg.ack = sendAck(this.#shard, now, leg, text, tx);
    const sdp = sdpOf(m);
    if (leg.oa.note('in', '2xx', sdp !== undefined) !== 'answer' || sdp === undefined || peer === undefined) {
      leg.oa.rollback();
      media?.rollback(leg.id);
      return;
    }
    media?.answer({ from: leg.id, to: peer.id, sdp, seenFrom: leg.flow.address, final: true });
  }

  #refused(now: Mono, m: MessageView, tx: Tx): void {
    const leg = this.#leg;
    if (this.#invite) {
      if (leg.inviteOut === this.#ct) leg.inviteOut = undefined;
      leg.inviteSeq = 0;
      leg.oa.note('in', 'non-2xx', false);
      leg.call.media?.rollback(leg.id);
    }
    switch (m.status) {
      case 408:
      case 481:
        return leg.call.end(now, 'peer-gone', leg, tx);
      case 422:
        if (minSeOf(m) <= leg.minSe) break;
        leg.minSe = minSeOf(m);
        return this.send(now, tx);
      case 405:
      case 501:
        if (!leg.allowsUpdate) break;
        leg.allowsUpdate = false;
        return this.send(now, tx);
      case 491:
        return this.#timer.again(now, this.#backOff());
    }
    this.#timer.again(now);
  }

  /** RFC 3261 §14.1: who made the Call-ID waits longer. */
  #backOff(): number {
    const { random } = this.#shard.m;
    return this.#leg.role === 'callee' ? 2100 + 10 * (random.u32() % 191) : 10 * (random.u32() % 201);
  }
}

function isBusy(leg: Leg): boolean {
  return (
    leg.inviteIn !== undefined ||
    leg.inviteOut !== undefined ||
    leg.unacked !== undefined ||
    leg.updateIn !== undefined ||
    leg.oa.state !== 'stable'
  );
}

function timerOf(shard: Shard, leg: Leg): SessionTimer {
  leg.timer ??= new SessionTimer(shard, leg);
  return leg.timer;
}

function sessionExpires(m: MessageView): { readonly interval: number; readonly refresher: Refresher | undefined } {
  if (!m.has(H.sessionExpires)) return { interval: 0, refresher: undefined };
  const value = m.get(H.sessionExpires);
  const semi = value.indexOf(';');
  const refresher = semi < 0 ? undefined : parseParams(value, semi, value.length)?.get('refresher')?.toLowerCase();
  return {
    interval: deltaMs(semi < 0 ? value : value.slice(0, semi)),
    refresher: refresher === 'uac' || refresher === 'uas' ? refresher : undefined,
  };
}

/** delta-seconds in ms; 0 for what is none. More than a day says no more than a day. */
function deltaMs(text: string): number {
  const digits = /^[ \t]*(\d{1,10})[ \t]*(?:;|$)/.exec(text)?.[1];
  return digits === undefined ? 0 : Math.min(Number(digits), 86_400) * 1000;
}

function seconds(ms: number): string {
  return String(Math.ceil(ms / 1000));
}
