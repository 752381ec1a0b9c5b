import { Endpoints, formatEndpoint } from '@drawbridge/core';
import { Forwarder } from '@drawbridge/media-relay';
import { H, type MessageView } from '@drawbridge/sip';
import { BorderWorld, endpoint, type Half, type Phone, type Wire } from './harness.js';

/** What a phone is in these tests: a place behind a NAT of its own, and a port where it plays. */
const PLACES = {
  alice: { at: '198.51.100.1:5060', inner: '192.168.77.5:5062', media: 41_000 },
  bob: { at: '198.51.100.2:6060', inner: '172.16.5.9:5070', media: 42_000 },
  carol: { at: '198.51.100.3:7060', inner: '10.99.3.3:5080', media: 43_000 },
} as const;
type Name = keyof typeof PLACES;

export interface Trio {
  readonly world: BorderWorld;
  readonly alice: Phone;
  readonly bob: Phone;
  readonly carol: Phone;
}

export function trio(o: ConstructorParameters<typeof BorderWorld>[0] = {}): Trio {
  const world = new BorderWorld(o);
  const made = (name: Name): Phone => world.phone(name, PLACES[name]).register();
  return { world, alice: made('alice'), bob: made('bob'), carol: made('carol') };
}

export function sdpOf(phone: Phone, lines: readonly string[] = [], version = 1): string {
  return phone.sdp({ port: PLACES[phone.user as Name].media, lines, version });
}

/** A call that was answered; what each side heard of the other's media is kept in `heard`. */
export function call(from: Phone, to: Phone): { caller: Half; callee: Half } {
  const caller = from.invite(to.aor, { sdp: sdpOf(from) });
  const callee = to.called();
  callee.answer(180);
  caller.expect(180);
  callee.answer(200, { sdp: sdpOf(to) });
  to.next('ACK');
  hear(from, caller.expect(200));
  caller.send('ACK');
  if (callee.invite !== undefined) hear(to, callee.invite);
  return { caller, callee };
}

const heard = new WeakMap<Phone, string>();

/** Remembers where a phone was told to send its media. */
export function hear(phone: Phone, m: MessageView): MessageView {
  const port = /m=audio (\d+) /.exec(m.body)?.[1];
  const address = /c=IN IP4 (\S+)/.exec(m.body)?.[1];
  if (port !== undefined) heard.set(phone, `${address}:${port}`);
  return m;
}

/** One side puts the other on hold, as phones do before a transfer. */
export function hold(holder: Half, held: Half): void {
  const was = holder.cseq + 1;
  holder.send('INVITE', { sdp: sdpOf(holder.phone, ['a=sendonly'], 2) });
  const offer = held.phone.next('INVITE');
  hear(held.phone, offer);
  held.reply(offer, 200, { sdp: sdpOf(held.phone, ['a=recvonly'], 2) });
  held.phone.next('ACK');
  if (holder.phone.inbox[0]?.status === 100) holder.phone.inbox.shift();
  hear(holder.phone, holder.phone.next(200));
  holder.send('ACK', { cseq: was });
}

/** A REFER of a half, and the 202 that it gets. */
export function refer(half: Half, to: string, o: { headers?: string; expect?: number } = {}): MessageView {
  half.send('REFER', {
    headers: `Contact: <${half.phone.contact}>\r\nRefer-To: <${to}>\r\nReferred-By: <${half.phone.aor}>\r\n${o.headers ?? ''}`,
  });
  return half.phone.next(o.expect ?? 202);
}

/** `uri?Replaces=…` of a dialog as its own phone names it (RFC 5589 §7.1). */
export function replacing(uri: string, half: Half): string {
  const named = `${half.callId};to-tag=${half.remoteTag};from-tag=${half.localTag}`;
  return `${uri}?Replaces=${encodeURIComponent(named)}`;
}

/** The next NOTIFY, answered: status line, state and event. */
export function notified(half: Half): { line: string; state: string; event: string; message: MessageView } {
  const m = half.phone.next('NOTIFY');
  half.reply(m, 200);
  return {
    line: m.body.trimEnd(),
    state: m.get(H.subscriptionState).split(';')[0] ?? '',
    event: m.get(H.event),
    message: m,
  };
}

export function hangUp(by: Half, ...others: Half[]): void {
  by.send('BYE');
  by.phone.next(200);
  for (const other of others) other.reply(other.phone.next('BYE'), 200);
}

/** Sends one packet from every phone to where it was told, and says who got it. */
export function whoHears(world: BorderWorld, from: Phone): string | undefined {
  const target = heard.get(from);
  if (target === undefined) throw new Error(`${from.user} was told nothing`);
  const forwarder = new Forwarder(world.mediaTable, e => world.relay.pathEvent(e));
  const source = new Endpoints(1);
  source.set(0, endpoint(mediaOf(from)));
  const at = new Endpoints(1);
  at.set(0, endpoint(target));
  const row = world.mediaTable.ownRow(at, 0);
  if (row < 0) return undefined;
  forwarder.startBatch();
  const packet = Buffer.alloc(172);
  packet[0] = 0x80;
  packet.writeUInt16BE(world.serial() & 0xffff, 2);
  const out = forwarder.forward(row, packet, 0, packet.length, source, 0, world.now);
  if (out < 0) return undefined;
  const to = formatEndpoint(forwarder.to.get(0));
  return (Object.keys(PLACES) as Name[]).find(name => seenAt(name) === to) ?? to;
}

/** Its media passes its NAT at the same port, which is what its SDP can't say. */
function mediaOf(phone: Phone): string {
  return seenAt(phone.user as Name);
}

function seenAt(name: Name): string {
  const { at, media } = PLACES[name];
  return `${at.split(':')[0]}:${media}`;
}

/** Both say something, so that the relay learns where they are; then who hears each. */
export function pairing(world: BorderWorld, one: Phone, other: Phone): [string | undefined, string | undefined] {
  whoHears(world, one);
  whoHears(world, other);
  return [whoHears(world, one), whoHears(world, other)];
}

export interface Left {
  readonly calls: number;
  readonly sessions: number;
  readonly legs: number;
  readonly servers: number;
  readonly clients: number;
  readonly transfers: number;
  readonly counted: number;
}

/** What a world holds at the moment. */
export function left(world: BorderWorld): Left {
  return {
    calls: world.border.calls().length,
    sessions: world.relay.size,
    legs: world.border.shard.legs.size,
    servers: world.transactions.serverCount,
    clients: world.transactions.clientCount,
    transfers: world.border.shard.transfers.underWay,
    counted: world.border.shard.perSubscriber.size,
  };
}

export const NOTHING: Left = { calls: 0, sessions: 0, legs: 0, servers: 0, clients: 0, transfers: 0, counted: 0 };

/** What was sent to a phone. */
export function wiresTo(world: BorderWorld, phone: Phone): Wire[] {
  return world.wires.filter(w => w.direction === 'out' && w.peer === phone.at);
}
