import { type Mono, type Tx, Waiting } from '@drawbridge/core';
import { H, headerLine, type MessageView } from '@drawbridge/sip';
import type { Given } from '../anchor/anchor.js';
import { send } from '../send/send.js';
import type { Shard } from '../shard.js';
import type { Call } from './call.js';
import type { Leg } from './leg.js';
import { names } from './names.js';
import { ownSessionId } from './session-id.js';
import { SILENT } from './silent-user.js';

export const REQUIRE_100REL = headerLine('Require', '100rel');

/** Reliable responses that wait for the PRACK of the one before; further ones are not sent. */
const MOST_WAITING = 16;
const HIGHEST_FIRST = 0x3fffffff;

/** RSeq of a reliable provisional response (RFC 3262 §4), 0 of every other message. */
export function rseqOf(m: MessageView): number {
  if (m.status <= 100 || m.status >= 200 || m.toTag === '' || !m.has(H.rseq) || !names(m, H.require, '100rel'))
    return 0;
  const value = m.get(H.rseq).trim();
  return /^\d{1,10}$/.test(value) ? Number(value) : 0;
}

/** RFC 3262 §4: the callee's responses in their order, each once. What comes too early will come again. */
export function inOrder(callee: Leg, rseq: number): boolean {
  if (callee.rseq !== 0 && rseq !== callee.rseq + 1) return false;
  callee.rseq = rseq;
  return true;
}

/** Our own PRACK, for a caller that doesn't know of reliable responses. */
export function acknowledgeReliable(shard: Shard, now: Mono, callee: Leg, rseq: number, tx: Tx): void {
  const { dialog } = callee;
  if (dialog === undefined) return;
  const branch = shard.m.transactions.newBranch();
  const text = dialog.request('PRACK', {
    via: callee.via(branch),
    headers: rackLine(callee, rseq) + ownSessionId(callee),
  });
  send(shard, now, callee, { method: 'PRACK', text, branch, user: SILENT }, tx);
}

/** RAck of a PRACK for a response to our INVITE on this leg. */
export function rackLine(callee: Leg, rseq: number): string {
  return headerLine('RAck', `${rseq} ${callee.inviteSeq} INVITE`);
}

export interface ReliableReply {
  readonly status: number;
  readonly headers: string;
  readonly given: Given;
  /** RSeq that the callee gave it; 0 when its response wasn't reliable, so that its PRACK ends here. */
  readonly theirs: number;
}

interface Sent extends ReliableReply {
  readonly rseq: number;
  readonly text: string;
}

/**
 * Our reliable provisional responses on one early dialog (RFC 3262 §3): one at a time, each sent again at doubling
 * intervals until its PRACK. After 64·T1 without one the INVITE fails.
 */
export class ReliableReplies extends Waiting {
  readonly #call: Call;
  readonly #leg: Leg;
  readonly #waiting: ReliableReply[] = [];
  #sent: Sent | undefined = undefined;
  #acknowledged = false;
  #rseq: number;
  #interval = 0;
  #giveUpAt: Mono = 0;

  constructor(call: Call, leg: Leg) {
    super();
    this.#call = call;
    this.#leg = leg;
    this.#rseq = call.shard.m.random.u32() & HIGHEST_FIRST;
  }

  /** §3: a 2xx may not overtake an unacknowledged description. */
  get holdsAnswer(): boolean {
    return this.#open?.given.sdp === true || this.#waiting.some(r => r.given.sdp);
  }

  send(now: Mono, r: ReliableReply, tx: Tx): void {
    if (this.#open === undefined) this.#start(now, r, tx);
    else if (this.#waiting.length < MOST_WAITING) this.#waiting.push(r);
  }

  /** The response that a PRACK's RAck names and that nobody has acknowledged. */
  find(m: MessageView): ReliableReply | undefined {
    const [rseq, cseq, method] = m
      .get(H.rack)
      .trim()
      .split(/[ \t]+/, 4);
    const open = this.#open;
    return open !== undefined &&
      rseq === String(open.rseq) &&
      cseq === String(this.#leg.inviteSeqIn) &&
      method === 'INVITE'
      ? open
      : undefined;
  }

  /** The PRACK of what `find` found has been taken. */
  acknowledged(now: Mono, tx: Tx): void {
    this.#acknowledged = true;
    this.#call.shard.m.wheel.cancel(this);
    const next = this.#waiting.shift();
    if (next !== undefined && this.#call.invite.answered !== true) this.#start(now, next, tx);
  }

  stop(): void {
    this.#call.shard.m.wheel.cancel(this);
  }

  override onDue(now: Mono): void {
    const { invite, shard } = this.#call;
    const open = this.#open;
    // After the final response nothing is repeated, but a late PRACK still finds what it is for (§3).
    if (open === undefined || invite.answered === true) return;
    const { tx } = shard.m.transactions;
    if (now >= this.#giveUpAt) return this.#call.refuse(now, 504, 'timeout', '', 'caller', tx);
    this.#interval *= 2;
    shard.m.wheel.arm(this, Math.min(now + this.#interval, this.#giveUpAt));
    invite.reply(now, open.status, { written: open.text }, tx);
  }

  get #open(): Sent | undefined {
    return this.#acknowledged ? undefined : this.#sent;
  }

  #start(now: Mono, r: ReliableReply, tx: Tx): void {
    const { invite, shard } = this.#call;
    this.#rseq++;
    const text = invite.write?.(r.status, {
      toTag: this.#leg.localTag,
      headers: `${REQUIRE_100REL}RSeq: ${this.#rseq}\r\n${r.headers}`,
      contentType: r.given.contentType,
      body: r.given.body,
    });
    if (text === undefined) return;
    this.#sent = { ...r, rseq: this.#rseq, text };
    this.#acknowledged = false;
    const { t1 } = shard.m.transactions;
    this.#interval = t1;
    this.#giveUpAt = now + 64 * t1;
    shard.m.wheel.arm(this, now + t1);
    invite.reply(now, r.status, { written: text }, tx);
  }
}
