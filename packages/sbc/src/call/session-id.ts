import { own } from '@drawbridge/core';
import { H, headerLine, type MessageView } from '@drawbridge/sip';
import type { Shard } from '../shard.js';
import type { Leg } from './leg.js';

const NIL = '0'.repeat(32);
/** RFC 7989 §5; the older form without `remote` as well. */
const SESSION_ID = /^([0-9a-f]{32})(?:[ \t]*;[ \t]*remote[ \t]*=[ \t]*([0-9a-f]{32}))?$/;

/** Session-ID as it crosses: the same on every leg, since it tells nothing but itself. '' for what is none. */
export function sessionIdLine(value: string): string {
  const [, local, remote] = SESSION_ID.exec(value.trim()) ?? [];
  return local === undefined
    ? ''
    : headerLine('Session-ID', remote === undefined ? local : `${local};remote=${remote}`);
}

/** Takes the identifier that a leg's peer gives itself; makes one for a peer that has none, where that is wanted. */
export function learnUuid(shard: Shard, leg: Leg, m: MessageView): void {
  if (m.has(H.sessionId)) {
    const uuid = SESSION_ID.exec(m.get(H.sessionId).trim())?.[1];
    if (uuid !== undefined && uuid !== NIL && uuid !== leg.uuid) leg.uuid = own(uuid);
  } else if (leg.uuid === '' && shard.o.calls.sessionId === 'generate') {
    leg.uuid = Buffer.from(shard.m.random.bytes(16)).toString('hex');
  }
}

/** Session-ID of what we say to a leg by ourselves: in the name of the end on the other side. '' where nobody has one. */
export function ownSessionId(leg: Leg): string {
  const local = leg.peer?.uuid ?? '';
  if (local === '' && leg.uuid === '') return '';
  return headerLine('Session-ID', `${local === '' ? NIL : local};remote=${leg.uuid === '' ? NIL : leg.uuid}`);
}

/** For a message that goes on to a leg: the line that it lacks when its sender knows of no Session-ID. */
export function lackedSessionId(leg: Leg, m: MessageView): string {
  return m.has(H.sessionId) ? '' : ownSessionId(leg);
}
