import { type Mono, maskUri, own, PASS, reply, type Tx, type Verdict } from '@drawbridge/core';
import type { MediaSession } from '@drawbridge/media-relay';
import {
  buildRequest,
  type ClientTransaction,
  H,
  headerLine,
  type MessageView,
  OfferAnswer,
  parseNameAddr,
  parseUri,
  wayThrough,
} from '@drawbridge/sip';
import { anchor, isAnchored } from '../anchor/anchor.js';
import { isRefused, readBody } from '../anchor/body.js';
import { forAnybody } from '../anchor/body-policy.js';
import type { Onward, Target } from '../decide/plan.js';
import { ALLOW_LINE, hide } from '../hide/hide.js';
import { outerParty, partyName } from '../hide/party.js';
import { outerParties } from '../identity/headers.js';
import type { Identity, Inbound } from '../inbound.js';
import { FAILOVER_MS } from '../send/over-hops.js';
import { send } from '../send/send.js';
import type { Shard } from '../shard.js';
import { asksSips, isSips } from '../transports/secure.js';
import { trunkParties } from '../trunk/parties.js';
import { breadthEach, comesFrom, freeBreadth, loops } from './breadth.js';
import { Call, type Search } from './call.js';
import { countUp } from './counts.js';
import { Fork } from './fork.js';
import { mint, mintRef } from './identifier.js';
import { type Invitation, Leg, sharesUpstream } from './leg.js';
import { type CallerOptions, NO_OPTIONS, optionsOf } from './options.js';
import { lackedSessionId, learnUuid } from './session-id.js';
import { timerRequest, tooBrief } from './session-timer.js';

const CALLER = 'a';

const SUPPORTED_100REL = headerLine('Supported', '100rel');

/** How a call goes on searching; given to it, since calls don't know how they are set up. */
const SEARCH: Search = { nextGroup: startNextGroup, instead: inviteInstead, also: inviteAlso, again: inviteAgain };

/** A new INVITE and where it may go → a call, its first group of forks on the way. */
export function startCall(
  shard: Shard,
  inbound: Inbound,
  targets: readonly Target[],
  callee: string,
  onward?: Onward,
): Verdict {
  const { now, m, tx } = inbound;
  const call = acceptCall(shard, inbound, callee, onward, targets.length);
  if (!(call instanceof Call)) return call;
  search(call, m, targets, now, tx);
  return PASS;
}

/** A new INVITE → a call without forks yet, or why there can't be one. */
export function acceptCall(
  shard: Shard,
  inbound: Inbound,
  callee: string,
  onward: Onward | undefined,
  forks: number,
): Call | Verdict {
  const { now, m, via, peer, j, tx, identity } = inbound;
  const body = readBody(m, () => ({ policy: forAnybody(shard.m.bodies), across: undefined }));
  if (isRefused(body)) return reply(body.status, body.reason, body.headers);
  if (!hasTarget(m)) return reply(400, 'malformed-header');
  const options = optionsOf(m);
  const minSe = tooBrief(shard, options.timer);
  if (minSe !== '') return reply(422, 'interval-too-brief', minSe);
  if (options.breadth === 0) return reply(440, 'too-many-branches');
  const cameFrom = comesFrom(shard, m);
  if (loops(cameFrom, m.uri)) return reply(482, 'loop-detected');
  const { flows, transactions, relay, realms } = shard.m;
  const flow = flows.of(now, via, peer, j);
  if (flow === undefined) return reply(503, 'queue-full', headerLine('Retry-After', '10'));
  const listener = realms.listener(via);
  const ref = mintRef(shard);
  // The transaction comes first: without one there is no call to clean up.
  let call: Call | undefined;
  const st = transactions.openServer(
    now,
    m,
    flow,
    {
      onCancel: (at, of, cancel, out) => call?.onCancel(at, of, cancel, out),
      onAckMissing: (at, of, out) => call?.onAckMissing(at, of, out),
    },
    tx,
  );
  if (st === undefined) return reply(503, 'transaction-limit', headerLine('Retry-After', '10'));
  const media = relay.session({ id: ref });
  media.leg(CALLER, { realm: listener.realm.name, local: listener.bind.address, seenFrom: peer.address(j) });
  call = openCall(shard, now, {
    ref,
    identity,
    media,
    invite: st,
    callId: own(m.callId),
    caller: identity.kind === 'subscriber' ? identity.aor : partyName(m.get(H.from)),
    callee,
    options,
    onward,
    forks,
  });
  call.cameFrom = cameFrom;
  return call;
}

/** What a call begins with, whoever wants it. */
export interface CallParts {
  readonly ref: string;
  /** Who pays. */
  readonly identity: Identity;
  /** Who speaks, when that is somebody else. */
  readonly party?: Identity | undefined;
  /** Has the leg `a` already. */
  readonly media: MediaSession;
  readonly invite: Invitation;
  readonly callId: string;
  /** `user@domain`. */
  readonly caller: string;
  readonly callee: string;
  readonly options?: CallerOptions | undefined;
  readonly onward?: Onward | undefined;
  readonly forks: number;
}

/** A call that counts and is found, without forks yet. */
export function openCall(shard: Shard, now: Mono, o: CallParts): Call {
  const { ref, identity, media, invite, callId, onward } = o;
  const call = new Call(shard, {
    search: SEARCH,
    options: o.options ?? NO_OPTIONS,
    party: o.party ?? identity,
    onward,
    ref,
    identity,
    media,
    now,
    invite,
    callId,
    caller: maskUri(`sip:${o.caller}`),
    callee: maskUri(`sip:${o.callee}`),
  });
  shard.calls.set(ref, call);
  shard.traces.note(ref, callId, CALLER);
  if (identity.kind === 'subscriber') countUp(shard.perSubscriber, identity.aor);
  shard.m.outbox.push({
    kind: 'call-started',
    ref,
    at: now,
    caller: call.caller,
    callee: call.callee,
    from: invite.flow.peer.get(invite.flow.j),
    realm: shard.m.realms.of(invite.flow.via).name,
    forks: o.forks,
  });
  return call;
}

/** Rings the targets of a call, group by group; `m` is its INVITE. */
export function search(call: Call, m: MessageView, targets: readonly Target[], now: Mono, tx: Tx): void {
  call.waiting = targets.length < 2 ? targets.slice() : targets.toSorted((x, y) => y.q - x.q);
  call.begin(now, tx);
  ring(call, m, now, tx);
}

/** The next group of a serial search: the INVITE is read again from its transaction. */
function startNextGroup(call: Call, now: Mono, tx: Tx): void {
  const { aside } = call.shard;
  aside.parse(call.invite.request);
  ring(call, aside, now, tx);
}

/** Rings every target of the highest q that is left (all of them, or one at a time when forking is serial). */
function ring(call: Call, m: MessageView, now: Mono, tx: Tx): void {
  const { shard } = call;
  const q = call.waiting[0]?.q ?? 0;
  const size = shard.o.calls.forking === 'serial' ? 1 : call.waiting.findIndex(t => t.q < q);
  const free = freeBreadth(call);
  // Who finds no room waits for those before him.
  const group = call.waiting.splice(0, Math.min(size < 0 ? call.waiting.length : size, free));
  const breadth = breadthEach(free, group.length, call.onward?.begin !== undefined);
  shard.m.wheel.arm(call, now + (call.onward?.noAnswer ?? shard.o.calls.noAnswer));
  for (const target of group) {
    if (call.state !== 'setup') return;
    inviteFork(call, target, m, breadth, now, tx);
  }
  call.groupDone(now, tx);
}

/** Callees found after the call began. */
function inviteAlso(call: Call, targets: readonly Target[], now: Mono, tx: Tx): void {
  const { aside } = call.shard;
  const free = freeBreadth(call);
  const breadth = breadthEach(free, targets.length, true);
  call.waiting.push(...targets.slice(Math.max(0, free)));
  for (const target of targets.slice(0, Math.max(0, free))) {
    if (call.state !== 'setup') return;
    aside.parse(call.invite.request);
    inviteFork(call, target, aside, breadth, now, tx);
  }
}

/** A callee in place of one that could not be reached. */
function inviteInstead(call: Call, target: Target, now: Mono, tx: Tx): void {
  const { aside } = call.shard;
  aside.parse(call.invite.request);
  inviteFork(call, target, aside, breadthEach(freeBreadth(call), 1, false), now, tx);
}

/** call → anchor → hide → send, for one callee. */
function inviteFork(call: Call, target: Target, m: MessageView, breadth: number, now: Mono, tx: Tx): void {
  const fork = makeFork(call, target, m);
  fork.breadth = breadth;
  learnUuid(call.shard, fork.caller, m);
  const { callee, caller } = fork;
  call.forks.push(fork);
  const anchored = anchor(caller, callee, m, 'INVITE');
  if (!isAnchored(anchored))
    return call.refuse(now, anchored.status, anchored.reason, anchored.headers ?? '', 'caller', tx);
  fork.offer = anchored;
  fork.otherwise = target.otherwise;
  fork.timeoutMs = target.timeoutMs;
  // Of several callees that owe the offer only one may make it before the answer: their media has one place at the caller.
  // The same holds where the caller is to see one of them.
  const sole = call.forks.length === 1;
  callee.offers100rel =
    call.options.reliable !== 'no' && (sole || (anchored.sdp && call.shard.o.calls.earlyDialogs === 'all'));
  sendInvite(fork, m, now, tx);
}

/** The same INVITE once more (RFC 3261 §8.1.3.5): same Call-ID and tag, the next CSeq, with what the callee demanded. */
function inviteAgain(fork: Fork, now: Mono, tx: Tx): void {
  const { call, callee } = fork;
  const { aside } = call.shard;
  aside.parse(call.invite.request);
  callee.oa = new OfferAnswer();
  callee.oa.note('out', 'INVITE', fork.offer.sdp);
  sendInvite(fork, aside, now, tx);
}

function sendInvite(fork: Fork, m: MessageView, now: Mono, tx: Tx): void {
  const { call, callee, caller } = fork;
  const { shard } = call;
  const { from, to } = fork.parties;
  const { uri, routes } = wayThrough(fork.parties.routes, fork.parties.uri);
  const branch = shard.m.transactions.newBranch();
  callee.inviteSeq++;
  const text = buildRequest({
    method: 'INVITE',
    uri,
    via: callee.via(branch),
    routes,
    maxForwards: hopsLeft(m),
    from: `${from};tag=${callee.localTag}`,
    to,
    callId: callee.callId,
    cseq: callee.inviteSeq,
    contact: callee.contact,
    headers:
      ALLOW_LINE +
      (callee.offers100rel ? SUPPORTED_100REL : '') +
      timerRequest(shard, callee) +
      headerLine('Max-Breadth', String(fork.breadth)) +
      lackedSessionId(callee, m) +
      hide(m, {
        credentials: sharesUpstream(caller, callee),
        challenges: false,
        across: shard.m.identity.crossing(caller, callee),
      }) +
      referredBy(shard, call.identity, m) +
      (fork.parties.headers ?? ''),
    contentType: fork.offer.contentType,
    body: fork.offer.body,
  });
  const timeoutMs = fork.timeoutMs ?? (fork.otherwise === undefined ? undefined : FAILOVER_MS);
  const replaced = (ct: ClientTransaction): void => {
    fork.invite = ct;
    callee.inviteOut = ct;
  };
  const invite = send(shard, now, callee, { method: 'INVITE', text, branch, user: fork, timeoutMs, replaced }, tx);
  if (invite === undefined)
    return call.refuse(now, 503, 'transaction-limit', headerLine('Retry-After', '10'), 'border', tx);
  fork.invite = invite;
  callee.inviteOut = invite;
}

/** The caller's side of one fork: a leg with a To tag of its own. */
export function callerLeg(call: Call): Leg {
  const { shard, invite } = call;
  const caller = new Leg({
    id: CALLER,
    role: 'caller',
    owner: call,
    listener: shard.m.realms.listener(invite.flow.via),
    flow: invite.flow,
    identity: call.party,
    callId: call.callId,
    localTag: mint(shard),
    upstream: call.party.kind === 'peer' ? call.party.domain : undefined,
    sips: asksSips(invite.request),
    keeper: call.party.kind === 'trunk' ? call.keeper : undefined,
    hops: shard.hopsOf(call.party),
  });
  caller.inviteIn = invite;
  return caller;
}

function makeFork(call: Call, target: Target, m: MessageView): Fork {
  const { shard } = call;
  const caller = callerLeg(call);
  call.serial++;
  const callee = new Leg({
    id: `b${call.serial}`,
    role: 'callee',
    owner: call,
    listener: target.listener,
    flow: target.flow,
    identity: target.identity,
    callId: mint(shard) + mint(shard).slice(0, 6),
    localTag: mint(shard),
    upstream: target.upstream,
    hops: target.hops,
    sips: isSips(target.uri),
    keeper: target.keeper,
  });
  call.media.leg(callee.id, {
    realm: target.listener.realm.name,
    local: target.listener.bind.address,
    seenFrom: target.flow.address,
  });
  shard.traces.note(call.ref, callee.callId, callee.id);
  caller.join(shard);
  callee.join(shard);
  const parties = outerParties(shard.m.identity.crossing(caller, callee), m);
  const { from, to } = trunkParties(shard, target, parties);
  return new Fork(call, caller, callee, { from, to, uri: target.uri, routes: target.routes, headers: target.headers });
}

/** RFC 3892: who asked for this request, as every party is shown. What proves it names hosts and stays here. */
export function referredBy(shard: Shard, from: Identity, m: MessageView): string {
  if (!m.has(H.referredBy)) return '';
  return headerLine(
    'Referred-By',
    outerParty(m.get(H.referredBy), shard.m.identity.hostFor(from), 'sip:anonymous@anonymous.invalid'),
  );
}

/** RFC 3261 §8.1.1.8: what opens a dialog says where its sender is reached, in a URI that a request can carry. */
export function hasTarget(m: MessageView): boolean {
  const contacts = m.list(H.contact);
  const uri = contacts.length === 1 ? (parseNameAddr(contacts[0] ?? '')?.uri ?? '') : '';
  const scheme = parseUri(uri)?.scheme;
  return scheme === 'sip' || scheme === 'sips';
}

/** RFC 7332: the count goes on across a B2BUA. */
export function hopsLeft(m: MessageView): number {
  return m.maxForwards < 0 ? 70 : m.maxForwards - 1;
}
