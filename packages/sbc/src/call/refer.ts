import { PASS, reply, type Verdict } from '@drawbridge/core';
import { H, headerLine, type ServerUser } from '@drawbridge/sip';
import type { Target } from '../decide/plan.js';
import { ALLOW_LINE } from '../hide/hide.js';
import type { Inbound } from '../inbound.js';
import type { Shard } from '../shard.js';
import { Call } from './call.js';
import { Exchange } from './exchange.js';
import type { Leg } from './leg.js';
import { ReferNotifier } from './notifier.js';
import { type ReferTo, readReferTo, referAcross, refused, wantsSubscription } from './refer-to.js';
import { isConfirmed } from './replaces.js';
import { startSubscription } from './subscription.js';
import { Transfer } from './transfer.js';
import { transferMode } from './transfer-config.js';

const UNATTENDED: ServerUser = { onCancel() {}, onAckMissing() {} };
const RETRY = headerLine('Retry-After', '2');
/** Whom a relayed REFER sent may take the place it named for so long. */
const SENT_MS = 180_000;
/** A REFER inside a call (RFC 3515, RFC 5589): carried out here, carried across, or refused, by the transferor's realm. */
export function refer(shard: Shard, inbound: Inbound, leg: Leg): Verdict {
  const { m } = inbound;
  const { call, peer } = leg;
  const mode = transferMode(shard.o.calls.transfer, leg.listener.realm.name);
  if (!(call instanceof Call)) return reply(405, 'method-not-allowed', ALLOW_LINE);
  if (mode === 'deny') return reply(403, 'method-denied');
  if (call.state !== 'answered' || peer?.dialog?.state !== 'confirmed') return reply(500, 'request-pending', RETRY);
  leg.refers++;
  const to = readReferTo(shard, m, leg);
  if (typeof to === 'number') return refused(to);
  return mode === 'relay' ? across(shard, inbound, leg, peer, to) : carryOut(shard, inbound, call, leg, peer, to);
}

function carryOut(shard: Shard, inbound: Inbound, call: Call, by: Leg, leg: Leg, to: ReferTo): Verdict {
  const { now, m, via, peer, j, tx } = inbound;
  if (call.transfer !== undefined || call.transferredTo !== '') return reply(491, 'request-pending', RETRY);
  if (shard.transfers.underWay >= shard.o.calls.max) return reply(503, 'transfer-limit', RETRY);
  const { dialog } = by;
  if (dialog === undefined) return reply(481, 'no-dialog');
  const flow = shard.m.flows.of(now, via, peer, j);
  const st = flow === undefined ? undefined : shard.m.transactions.openServer(now, m, flow, UNATTENDED, tx);
  if (st === undefined) return reply(503, 'transaction-limit', RETRY);
  dialog.refresh(m);
  const wanted = wantsSubscription(m);
  const contact = headerLine('Contact', by.contact);
  // RFC 3515 §2.4.6: from the second on, its CSeq tells a REFER's subscription from the others in the dialog.
  const notifier = new ReferNotifier(shard, by, dialog, { id: by.refers > 1 ? m.cseq : undefined, wanted, now });
  const maxForwards = m.maxForwards < 0 ? 70 : m.maxForwards;
  if (wanted) st.reply(now, 202, { headers: contact }, tx);
  const failed = Transfer.start(shard, call, { now, tx, by, leg, to, maxForwards, notifier });
  if (wanted) {
    if (failed !== undefined) notifier.done(now, failed, tx);
  } else if (failed !== undefined) st.reply(now, failed, { reason: 'peer-rejected' }, tx);
  else st.reply(now, 200, { headers: contact + headerLine('Refer-Sub', 'false') }, tx);
  return PASS;
}

function across(shard: Shard, inbound: Inbound, by: Leg, to: Leg, referTo: ReferTo): Verdict {
  const { replaces } = referTo;
  const failed = Exchange.start(shard, inbound, by, to, referAcross(shard, inbound.m, by, referTo));
  if (failed !== undefined) return reply(failed.status, failed.reason, RETRY);
  shard.transfers.relayed++;
  if (replaces !== undefined && isConfirmed(replaces))
    replaces.call.sent = { who: to.identity, replaced: replaces.replaced, until: inbound.now + SENT_MS };
  return PASS;
}

/** A REFER outside any call (click to dial) goes to a subscriber of ours, and makes a subscription as SUBSCRIBE does. */
export function referOutside(shard: Shard, inbound: Inbound, target: Target): Verdict {
  if (target.identity.kind !== 'subscriber') return reply(403, 'method-denied');
  const to = readReferTo(shard, inbound.m, inbound);
  if (typeof to === 'number') return refused(to);
  return startSubscription(shard, inbound, target, referAcross(shard, inbound.m, inbound, to));
}

/** A SUBSCRIBE to how a REFER that we carry out goes (RFC 3515 §2.4.4); undefined when it is about something else. */
export function subscribeToRefer(shard: Shard, inbound: Inbound, leg: Leg): Verdict | undefined {
  const { now, m, via, peer, j, tx } = inbound;
  const { call } = leg;
  if (!(call instanceof Call) || !/^refer\s*(;|$)/i.test(m.get(H.event))) return undefined;
  if (transferMode(shard.o.calls.transfer, leg.listener.realm.name) !== 'border') return undefined;
  const notifier = call.transfer?.isOf(leg);
  if (notifier === undefined) return reply(481, 'no-dialog');
  const flow = shard.m.flows.of(now, via, peer, j);
  const st = flow === undefined ? undefined : shard.m.transactions.openServer(now, m, flow, UNATTENDED, tx);
  if (st === undefined) return reply(503, 'transaction-limit', RETRY);
  const ends = m.get(H.expires).trim() === '0';
  const seconds = ends ? 0 : notifier.secondsLeft(now);
  st.reply(now, 200, { headers: headerLine('Contact', leg.contact) + headerLine('Expires', String(seconds)) }, tx);
  notifier.subscribed(now, ends, tx);
  return PASS;
}
