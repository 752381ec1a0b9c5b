import { drop, type Mono, PASS, reply, type Tx, type Verdict } from '@drawbridge/core';
import { headerLine, type MessageView, type ServerTransaction, type ServerUser } from '@drawbridge/sip';
import { anchor, hasSdp, isAnchored, NO_BODY } from '../anchor/anchor.js';
import { ALLOW_LINE } from '../hide/hide.js';
import type { Inbound } from '../inbound.js';
import { sendAck } from '../send/send.js';
import type { Shard } from '../shard.js';
import { Exchange } from './exchange.js';
import type { Leg } from './leg.js';
import { refer, subscribeToRefer } from './refer.js';
import { answerRefresh, isRefresh } from './refresh.js';
import { rackLine } from './reliable.js';
import { ownSessionId } from './session-id.js';
import { timerAsk, tooBrief } from './session-timer.js';

/** Nobody waits for anything after our own final reply. */
const ANSWERED: ServerUser = { onCancel() {}, onAckMissing() {} };
/** What may cross before the answer. A re-INVITE has to wait for it (RFC 3261 §14.1). */
const EARLY: ReadonlySet<string> = new Set(['UPDATE', 'INFO', 'NOTIFY']);
const GONE = reply(481, 'no-dialog');

/** The leg that a request belongs to, by our tag in its To. */
export function legOf(shard: Shard, m: MessageView): Leg | undefined {
  for (let leg = shard.legs.get(m.toTag); leg !== undefined; leg = leg.twin) if (leg.matches(m)) return leg;
  return undefined;
}

/** The flow is the dialog's, or its address on a new port: NATs rebind, and the leg goes with them. */
export function authoriseFlow(shard: Shard, inbound: Inbound, leg: Leg): Verdict {
  // An ACK can't be challenged: from another address it is nobody's.
  if (inbound.m.method === 'ACK' && !fromLeg(shard, inbound, leg)) return drop('wrong-source');
  const verdict = shard.m.authenticator.authenticateInDialog(inbound, leg.flow, leg.identity);
  if (verdict.do !== 'pass' || leg.identity.kind !== 'subscriber') return verdict;
  const { now, via, peer, j } = inbound;
  if (leg.flow.alive && leg.flow.via === via && leg.flow.peer.equal(leg.flow.j, peer, j)) return verdict;
  const flow = shard.m.flows.of(now, via, peer, j);
  if (flow === undefined) return reply(503, 'queue-full');
  leg.moveTo(shard, flow);
  leg.call.media?.reopen(leg.id, peer.address(j));
  shard.m.outbox.push({ kind: 'call-moved', ref: leg.call.ref, at: now, leg: leg.id, to: peer.get(j) });
  return verdict;
}

function fromLeg(shard: Shard, inbound: Inbound, { flow, identity }: Leg): boolean {
  const { via, peer, j } = inbound;
  if (flow.peer.sameAddress(flow.j, peer, j)) return true;
  if (identity.kind === 'trunk') return shard.m.trunks.isPeerOf(identity.trunk, via, peer, j, inbound.flow);
  return identity.kind === 'peer' && shard.m.domains.isPeerOf(identity.domain, via, peer, j);
}

/** A request inside a dialog → what it does to the call, or across to the other leg. */
export function callInDialog(shard: Shard, inbound: Inbound, leg: Leg): Verdict {
  const { m } = inbound;
  if (m.method === 'ACK') return acknowledged(shard, inbound, leg);
  if (leg.dialog?.accepts(m) === 'lower-cseq') return reply(500, 'lower-cseq');
  switch (m.method) {
    case 'BYE':
      return bye(shard, inbound, leg);
    case 'OPTIONS':
      return answer(shard, inbound, 200, ALLOW_LINE);
    case 'REFER':
      return refer(shard, inbound, leg);
    case 'INVITE':
    case 'UPDATE':
    case 'INFO':
    case 'MESSAGE':
    case 'NOTIFY':
      return across(shard, inbound, leg);
    case 'SUBSCRIBE':
      return subscribeToRefer(shard, inbound, leg) ?? across(shard, inbound, leg);
    case 'PRACK':
      return prack(shard, inbound, leg);
    default:
      return reply(405, 'method-not-allowed', ALLOW_LINE);
  }
}

function across(shard: Shard, inbound: Inbound, leg: Leg): Verdict {
  const { peer } = leg;
  // A party between two calls: what it asks for has to wait for the other one.
  if (peer === undefined)
    return inbound.m.method === 'INVITE' || inbound.m.method === 'UPDATE' ? reply(491, 'glare') : GONE;
  if (leg.dialog?.state === 'early' && !EARLY.has(inbound.m.method)) {
    return reply(500, 'request-pending', headerLine('Retry-After', '1'));
  }
  if (inbound.m.method === 'INVITE' || inbound.m.method === 'UPDATE') {
    const minSe = tooBrief(shard, timerAsk(inbound.m));
    if (minSe !== '') return reply(422, 'interval-too-brief', minSe);
    if (isRefresh(inbound.m, leg, peer)) return answerRefresh(shard, inbound, leg, peer);
  }
  const refused = Exchange.start(shard, inbound, leg, peer);
  return refused === undefined
    ? PASS
    : reply(refused.status, refused.reason, headerLine('Retry-After', String(shard.m.random.u32() % 11)));
}

/** RFC 3262 §3: the acknowledgement of a reliable response of ours goes on to whoever sent that; with what it offers or answers. */
function prack(shard: Shard, inbound: Inbound, leg: Leg): Verdict {
  const { now, m, tx } = inbound;
  const { peer, reliable } = leg;
  const found = reliable?.find(m);
  if (reliable === undefined || found === undefined || peer === undefined) return GONE;
  if (found.theirs === 0) {
    const verdict = hasSdp(m) ? reply(488, 'offer-answer-violation') : answer(shard, inbound, 200, '');
    if (verdict.do === 'pass') reliable.acknowledged(now, tx);
    return verdict;
  }
  const refused = Exchange.start(shard, inbound, leg, peer, rackLine(peer, found.theirs));
  if (refused !== undefined) return reply(refused.status, refused.reason);
  reliable.acknowledged(now, tx);
  return PASS;
}

/** RFC 3261 §15.1.2; a caller may also give up an early dialog with BYE, a callee may not (§15). */
function bye(shard: Shard, inbound: Inbound, leg: Leg): Verdict {
  const { now, tx } = inbound;
  if (leg.dialog?.state === 'early' && leg.role === 'callee') return reply(481, 'no-dialog');
  const verdict = answer(shard, inbound, 200, '');
  if (verdict.do === 'pass') {
    leg.dialog?.end();
    leg.call.end(now, 'normal-clearing', leg, tx);
  }
  return verdict;
}

function answer(shard: Shard, inbound: Inbound, status: number, headers: string): Verdict {
  const { now, m, via, peer, j, tx } = inbound;
  const flow = shard.m.flows.of(now, via, peer, j);
  const st: ServerTransaction | undefined =
    flow === undefined ? undefined : shard.m.transactions.openServer(now, m, flow, ANSWERED, tx);
  if (st === undefined) return reply(503, 'transaction-limit');
  st.reply(now, status, { headers }, tx);
  return PASS;
}

/** The ACK to a 2xx of ours: its repetitions end, and a delayed answer goes on to the other leg. */
function acknowledged(shard: Shard, inbound: Inbound, leg: Leg): Verdict {
  const { now, m, tx } = inbound;
  const st = leg.unacked;
  if (st === undefined) return drop('retransmission');
  leg.unacked = undefined;
  st.acknowledged(now);
  leg.onAcked?.(now, tx);
  const { peer } = leg;
  if (peer === undefined || peer.ack !== '' || peer.dialog === undefined) return PASS;
  return passAnswer(shard, now, m, leg, peer, tx);
}

function passAnswer(shard: Shard, now: Mono, m: MessageView, leg: Leg, peer: Leg, tx: Tx): Verdict {
  if (peer.inviteSeq === 0 || peer.dialog === undefined) return PASS;
  const { transactions } = shard.m;
  const anchored = anchor(leg, peer, m, 'ACK');
  const { body, contentType } = isAnchored(anchored) ? anchored : NO_BODY;
  const text = peer.dialog.request('ACK', {
    via: peer.via(transactions.newBranch()),
    cseq: peer.inviteSeq,
    headers: ownSessionId(peer),
    contentType,
    body,
  });
  peer.ack = sendAck(shard, now, peer, text, tx);
  if (isAnchored(anchored)) leg.call.renegotiated?.(now);
  else leg.call.end(now, anchored.reason, undefined, tx);
  return PASS;
}
