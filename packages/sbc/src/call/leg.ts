import type { Mono, Reason, Tx } from '@drawbridge/core';
import type { MediaSession } from '@drawbridge/media-relay';
import {
  type ClientTransaction,
  type Dialog,
  type Flow,
  type MessageView,
  OfferAnswer,
  type ReplyParts,
} from '@drawbridge/sip';
import type { BodyRules } from '../anchor/body.js';
import { STRICT } from '../anchor/body-policy.js';
import type { Keeper } from '../decide/plan.js';
import type { Identity } from '../inbound.js';
import type { HopList } from '../locate/hop-list.js';
import type { RealmListener } from '../realms.js';
import type { Shard } from '../shard.js';
import type { ReliableReplies } from './reliable.js';
import type { SessionTimer } from './session-timer.js';

/** The INVITE that a leg's peer waits on: a server transaction, or a transfer in place of one. */
export interface Invitation {
  /** The whole request while replies can still be made from it. */
  readonly request: string;
  readonly flow: Flow;
  /** A final reply has been given. */
  readonly answered?: boolean;
  /** A reply as text; absent where there is nobody whom it could reach. */
  write?(status: number, o: ReplyParts): string;
  reply(now: Mono, status: number, o: ReplyParts, tx: Tx): void;
  acknowledged(now: Mono): void;
  /** The call is over, whatever its state. */
  callEnded?(now: Mono, tx: Tx): void;
}

/** What two legs belong to: a call, or a subscription. */
export interface LegOwner {
  readonly ref: string;
  readonly media: MediaSession | undefined;
  /** Ends it both ways; `by` is the leg whose end is the cause, undefined when we end it. */
  end(now: Mono, cause: Reason, by: Leg | undefined, tx: Tx): void;
  /** An offer inside the dialog has been answered. */
  renegotiated?(now: Mono): void;
}

export interface LegFields {
  readonly id: string;
  readonly role: 'caller' | 'callee';
  readonly owner: LegOwner;
  readonly listener: RealmListener;
  readonly flow: Flow;
  readonly identity: Identity;
  readonly callId: string;
  readonly localTag: string;
  /** Set on a leg toward an upstream: the domain whose credentials and challenges cross it. */
  readonly upstream: string | undefined;
  /** Set on a leg toward a configured peer: its next hops, of which `flow` leads to one. */
  readonly hops?: HopList | undefined;
  /** Its dialog was set up by a `sips:` URI. */
  readonly sips?: boolean | undefined;
  /** Set on a leg to or from a trunk. */
  readonly keeper?: Keeper | undefined;
}

/**
 * One side of a call: its own Call-ID, tags, Contact, CSeq, route set and o= line. A fork is a pair of legs, one
 * toward its callee and one, with a To tag of its own, toward the caller.
 */
export class Leg {
  readonly id: string;
  readonly role: 'caller' | 'callee';
  readonly call: LegOwner;
  readonly listener: RealmListener;
  readonly identity: Identity;
  readonly callId: string;
  readonly localTag: string;
  readonly upstream: string | undefined;
  readonly hops: HopList | undefined;
  readonly sips: boolean;
  readonly keeper: Keeper | undefined;
  flow: Flow;
  dialog: Dialog | undefined = undefined;
  oa = new OfferAnswer();
  /** The leg on the other side. */
  peer: Leg | undefined = undefined;
  /** Our INVITE on this leg without a final response. */
  inviteOut: ClientTransaction | undefined = undefined;
  /** The peer's INVITE on this leg that we have not answered finally. */
  inviteIn: Invitation | undefined = undefined;
  /** The peer's INVITE that we answered 2xx, until its ACK. */
  unacked: Invitation | undefined = undefined;
  /** What waits for that ACK: a callee sends no BYE before it (RFC 3261 §15). The leg stays until then. */
  onAcked: ((now: Mono, tx: Tx) => void) | undefined = undefined;
  /** Our ACK to this leg's last 2xx, for when that comes again; '' while the peer's ACK must bring the answer. */
  ack = '';
  /** CSeq of our last INVITE on this leg. */
  inviteSeq = 0;
  /** CSeq of the INVITE that the peer opened the dialog with. */
  inviteSeqIn = 0;
  /** Our INVITE on this leg said that we understand reliable provisional responses. */
  offers100rel = false;
  /** RSeq of the peer's last reliable response in order, 0 before the first. */
  rseq = 0;
  /** Our reliable responses to the peer's INVITE. */
  reliable: ReliableReplies | undefined = undefined;
  /** The peer's UPDATE on this leg that we have not answered. */
  updateIn: Invitation | undefined = undefined;
  /** REFERs of the peer's in this dialog. */
  refers = 0;
  /** What the peer's end calls itself in Session-ID (RFC 7989); '' as long as nobody knows. */
  uuid = '';
  timer: SessionTimer | undefined = undefined;
  /** ms: what the peer wants a session interval to be at least (422). */
  minSe = 0;
  /** Its Allow named UPDATE. */
  allowsUpdate = false;
  /** The peer's last description, '' before the first. */
  said = '';
  /** The credentials its last INVITE got through with, '' without: the ACK carries them too. */
  credential = '';
  /** Another dialog that one INVITE of ours made, further downstream: it shares our tag. */
  twin: Leg | undefined = undefined;
  #joined = false;
  #shard: Shard | undefined = undefined;

  constructor(f: LegFields) {
    this.id = f.id;
    this.role = f.role;
    this.call = f.owner;
    this.listener = f.listener;
    this.flow = f.flow;
    this.identity = f.identity;
    this.callId = f.callId;
    this.localTag = f.localTag;
    this.upstream = f.upstream;
    this.hops = f.hops;
    this.sips = f.sips === true;
    this.keeper = f.keeper;
  }

  /** A leg to or from the same peer, for another dialog that the same INVITE made. */
  branch(localTag: string): Leg {
    const { id, role, call: owner, listener, flow, identity, callId, upstream, hops, sips, keeper } = this;
    const leg = new Leg({
      id,
      role,
      owner,
      listener,
      flow,
      identity,
      callId,
      localTag,
      upstream,
      hops,
      sips,
      keeper,
    });
    leg.inviteIn = this.inviteIn;
    leg.inviteSeq = this.inviteSeq;
    leg.uuid = this.role === 'caller' ? this.uuid : '';
    leg.offers100rel = this.offers100rel;
    leg.credential = this.credential;
    return leg;
  }

  /** The same dialog as a leg of another call: what this leg still does is its old call's until `follow`. */
  adopted(owner: LegOwner, id: string, role: 'caller' | 'callee'): Leg {
    const { listener, flow, identity, callId, localTag, upstream, sips } = this;
    const leg = new Leg({ id, role, owner, listener, flow, identity, callId, localTag, upstream, sips });
    leg.dialog = this.dialog;
    leg.inviteSeq = this.inviteSeq;
    leg.uuid = this.uuid;
    leg.allowsUpdate = this.allowsUpdate;
    leg.minSe = this.minSe;
    leg.said = this.said;
    return leg;
  }

  /** Takes the dialog over from the leg that had it: from now on its requests come here. */
  follow(shard: Shard, old: Leg): void {
    this.flow = old.flow;
    this.unacked = old.unacked;
    this.refers = old.refers;
    old.leave(shard);
    old.dialog = undefined;
    old.inviteOut = undefined;
    this.join(shard);
  }

  /** Our Contact toward this leg's peer: our own tag as user, our own address; `sips:` where the dialog is (RFC 3261 §12.1.1). */
  get contact(): string {
    const { sentBy, uriTransport, transport } = this.listener;
    if (!this.sips) return `<sip:${this.localTag}@${sentBy}${uriTransport}>`;
    return `<sips:${this.localTag}@${sentBy}${transport === 'wss' ? uriTransport : ''}>`;
  }

  via(branch: string): { readonly transport: string; readonly sentBy: string; readonly branch: string } {
    return { transport: this.listener.transport, sentBy: this.listener.sentBy, branch };
  }

  /** What a body from this leg to another may hold. */
  bodyRules(to: Leg): BodyRules {
    const m = this.#shard?.m;
    return m === undefined
      ? { policy: STRICT, across: undefined }
      : { policy: m.bodies, across: m.identity.crossing(this, to) };
  }

  /** A leg that is found by its tag, and holds its flow, until `leave`. */
  join(shard: Shard): void {
    this.#joined = true;
    this.#shard = shard;
    this.twin = shard.legs.get(this.localTag);
    shard.legs.set(this.localTag, this);
    shard.m.flows.hold(this.flow);
    this.keeper?.legMade();
  }

  leave(shard: Shard): void {
    if (!this.#joined) return;
    this.#joined = false;
    this.reliable?.stop();
    this.timer?.stop();
    let first = shard.legs.get(this.localTag);
    if (first === this) first = this.twin;
    else for (let l = first; l !== undefined; l = l.twin) if (l.twin === this) l.twin = this.twin;
    if (first === undefined) shard.legs.delete(this.localTag);
    else shard.legs.set(this.localTag, first);
    shard.m.flows.release(this.flow);
    this.keeper?.legGone();
  }

  moveTo(shard: Shard, flow: Flow): void {
    if (this.#joined) {
      shard.m.flows.hold(flow);
      shard.m.flows.release(this.flow);
    }
    this.flow = flow;
  }

  /** Whether an in-dialog request's ids are those of this leg. Before there is a dialog only our own ids are known. */
  matches(m: MessageView): boolean {
    return this.dialog === undefined ? m.callId === this.callId && m.toTag === this.localTag : this.dialog.matches(m);
  }
}

/** Credentials cross to the upstream they are meant for, and its challenges back; nowhere else. */
export function sharesUpstream(subscriber: Leg, upstream: Leg): boolean {
  return (
    upstream.upstream !== undefined &&
    subscriber.identity.kind === 'subscriber' &&
    subscriber.identity.domain === upstream.upstream
  );
}
