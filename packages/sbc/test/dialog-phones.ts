import { H, type MessageView } from '@drawbridge/sip';
import type tap from 'tap';
import { BorderWorld, type Half, type Phone } from './harness.js';

/** Two registered phones behind two NATs, and the words that scripts about dialogs share. */
export interface Scene {
  readonly world: BorderWorld;
  readonly alice: Phone;
  readonly bob: Phone;
}

export function scene(config: object = {}): Scene {
  // Scripted phones send no media.
  const world = new BorderWorld({ config, relay: { inactivityMs: 0 } });
  const alice = world.phone('alice', { at: '198.51.100.1:5060', inner: '192.168.77.5:5062' }).register();
  const bob = world.phone('bob', { at: '198.51.100.2:6060', inner: '172.16.5.9:5070' }).register();
  return { world, alice, bob };
}

export const RELIABLE = 'Supported: 100rel\r\n';

/** Header lines of a reliable provisional response. */
export function rseq(n: number): string {
  return `Require: 100rel\r\nRSeq: ${n}\r\n`;
}

/** RAck for a reliable response that came for the INVITE. */
export function rack(m: MessageView): string {
  return `RAck: ${m.get(H.rseq)} ${m.cseq} INVITE\r\n`;
}

/** PRACK of a response, as the caller's stack sends it. */
export function prack(half: Half, m: MessageView, o: { sdp?: string } = {}): void {
  half.send('PRACK', { headers: rack(m), ...o });
}

/** ACK of a 2xx to the INVITE with this CSeq, requests in between or not. */
export function ack(half: Half, ok: MessageView, o: { sdp?: string } = {}): void {
  half.send('ACK', { cseq: ok.cseq, ...o });
}

/** Media address and port that a description names. */
export function place(m: MessageView): string {
  const address = /c=IN IP4 (\S+)/.exec(m.body)?.[1] ?? '';
  return address === '' ? 'none' : `${address}:${/m=audio (\d+)/.exec(m.body)?.[1] ?? ''}`;
}

/** Nothing of any call is left, once the transactions have had their time. */
export function settled(t: Pick<typeof tap, 'equal'>, world: BorderWorld): void {
  world.pass(200_000);
  t.equal(world.border.calls().length, 0, 'no call is left');
  t.equal(world.relay.size, 0, 'no media session is left');
  t.equal(world.transactions.serverCount, 0, 'no server transaction is left');
  t.equal(world.transactions.clientCount, 0, 'no client transaction is left');
}

/** The call ends from this side, and the other one hears of it. */
export function hangUp(half: Half, other: Half): void {
  half.send('BYE');
  half.phone.next(200);
  other.reply(other.phone.next('BYE'), 200);
}
