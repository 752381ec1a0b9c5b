import { own, PASS, reply, type Verdict } from '@drawbridge/core';
import { H, headerLine, parseParams } from '@drawbridge/sip';
import { admit } from '../decide/decide.js';
import { partyName } from '../hide/party.js';
import type { Identity, Inbound } from '../inbound.js';
import type { Shard } from '../shard.js';
import { Call } from './call.js';
import type { Leg } from './leg.js';
import { acceptCall } from './setup.js';
import { takeOver } from './takeover.js';

/** A dialog by name, as RFC 3891 §6.1 writes it: the tags are those of who is asked, then of who is replaced. */
export interface Replaces {
  readonly callId: string;
  readonly toTag: string;
  readonly fromTag: string;
  readonly earlyOnly: boolean;
}

/** A call of ours in which somebody takes a party's place. */
export interface Found {
  readonly call: Call;
  /** Who goes. */
  readonly replaced: Leg;
  /** Who stays. */
  readonly survivor: Leg;
}

const RETRY = headerLine('Retry-After', '2');

/** Undefined for what breaks the grammar. */
export function parseReplaces(value: string): Replaces | undefined {
  const semi = value.indexOf(';');
  const callId = value.slice(0, semi < 0 ? undefined : semi).trim();
  const params = semi < 0 ? undefined : parseParams(value, semi, value.length);
  const toTag = params?.get('to-tag') ?? '';
  const fromTag = params?.get('from-tag') ?? '';
  if (params === undefined || callId === '' || toTag === '' || fromTag === '') return undefined;
  return { callId: own(callId), toTag: own(toTag), fromTag: own(fromTag), earlyOnly: params.has('early-only') };
}

/**
 * The dialog of ours that a Replaces names, from either end of it: as its phone names it to us (`to-tag` is ours, the
 * phone itself is replaced), or as it would be named to that phone (`from-tag` is ours, the phone stays).
 */
export function findReplaced(shard: Shard, r: Replaces): Found | undefined {
  const asked = legNamed(shard, r.callId, r.toTag, r.fromTag);
  if (asked !== undefined) return pairOf(asked, asked.peer);
  const named = legNamed(shard, r.callId, r.fromTag, r.toTag);
  return named === undefined ? undefined : pairOf(named.peer, named);
}

function legNamed(shard: Shard, callId: string, ours: string, theirs: string): Leg | undefined {
  for (let leg = shard.legs.get(ours); leg !== undefined; leg = leg.twin)
    if (leg.callId === callId && leg.dialog?.remoteTag === theirs) return leg;
  return undefined;
}

function pairOf(replaced: Leg | undefined, survivor: Leg | undefined): Found | undefined {
  const call = survivor?.call;
  if (replaced === undefined || survivor === undefined || !(call instanceof Call) || replaced.call !== call)
    return undefined;
  return { call, replaced, survivor };
}

export function isConfirmed({ call, replaced, survivor }: Found): boolean {
  return call.state === 'answered' && replaced.dialog?.state === 'confirmed' && survivor.dialog?.state === 'confirmed';
}

/** Whether a leg can be asked for something new now: nothing is open on it, and its call isn't changing already. */
export function isFree({ call, survivor }: Found): boolean {
  return (
    call.transfer === undefined &&
    call.transferredTo === '' &&
    survivor.inviteIn === undefined &&
    survivor.inviteOut === undefined &&
    survivor.unacked === undefined &&
    survivor.oa.state === 'stable'
  );
}

export function sameParty(a: Identity, b: Identity): boolean {
  if (a.kind === 'subscriber') return b.kind === 'subscriber' && a.aor === b.aor;
  return a.kind === 'peer' && b.kind === 'peer' && a.domain === b.domain;
}

/**
 * RFC 3891 §3, §8. Nobody but the parties knows the tags of a dialog; beyond that its new party must be whom the replaced
 * one sent (a REFER that crossed here), a subscriber of the same domain as the replaced one, or a trunk that has a leg in it.
 */
function mayReplace(now: number, identity: Identity, { call, replaced, survivor }: Found): boolean {
  const { sent } = call;
  if (sent !== undefined && sent.until > now && sent.replaced === replaced && sameParty(identity, sent.who))
    return true;
  if (identity.kind === 'subscriber')
    return replaced.identity.kind === 'subscriber' && replaced.identity.domain === identity.domain;
  return identity.kind === 'peer' && (sameParty(identity, replaced.identity) || sameParty(identity, survivor.identity));
}

/** An INVITE with Replaces (RFC 3891 §3): its sender takes the place of a party in a call of ours. */
export function replace(shard: Shard, inbound: Inbound): Verdict {
  const { now, m, tx, identity } = inbound;
  if (m.method !== 'INVITE') return reply(400, 'malformed-header');
  const values = m.list(H.replaces);
  const wanted = values.length === 1 ? parseReplaces(values[0] ?? '') : undefined;
  if (wanted === undefined) return reply(400, 'malformed-header');
  if (identity.kind === 'none') return reply(403, 'not-authenticated');
  const found = findReplaced(shard, wanted);
  if (found === undefined) return reply(481, 'no-dialog');
  if (!mayReplace(now, identity, found)) return reply(403, 'not-owner');
  // Only who began an early dialog can be asked to replace it (§3), and to pick up somebody's ringing call isn't offered.
  if (!isConfirmed(found)) return reply(481, 'no-dialog');
  if (wanted.earlyOnly) return reply(486, 'busy');
  if (!isFree(found)) return reply(500, 'request-pending', RETRY);
  const refused = admit(shard, inbound);
  if (refused !== undefined) return refused;
  const call = acceptCall(shard, inbound, calleeOf(found.survivor), undefined, 1);
  if (!(call instanceof Call)) return call;
  takeOver(call, found.survivor, m, now, tx);
  return PASS;
}

/** `user@domain` of who is at a leg's end, as far as we know. */
export function calleeOf(leg: Leg): string {
  const { identity, dialog } = leg;
  if (identity.kind === 'subscriber') return identity.aor;
  return partyName(dialog?.remoteUri ?? '');
}
