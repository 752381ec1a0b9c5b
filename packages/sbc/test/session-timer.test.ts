import { H, type MessageView } from '@drawbridge/sip';
import tap from 'tap';
import { configSchema } from '../src/config.js';
import { hangUp, place, type Scene, scene, settled } from './dialog-phones.js';
import type { Half } from './harness.js';

const TIMER = 'Supported: timer\r\n';

function talk(
  s: Scene,
  o: { invite?: string; ok?: string } = {},
): { a: Half; b: Half; ok: MessageView; invite: MessageView } {
  const a = s.alice.invite('sip:bob@example.org', { headers: o.invite ?? '' });
  const b = s.bob.called();
  const { invite } = b;
  if (invite === undefined) throw new Error('no INVITE');
  b.answer(200, { sdp: s.bob.sdp(), headers: o.ok ?? '' });
  s.bob.next('ACK');
  const ok = a.expect(200);
  a.send('ACK');
  return { a, b, ok, invite };
}

tap.test('each leg agrees by itself: who refreshes, and how often', async t => {
  const cases = [
    // Caller’s lines, what its 2xx says, what the callee’s INVITE says.
    ['', '', '', '1800'],
    [TIMER, '1800;refresher=uac', 'timer', '1800'],
    [`${TIMER}Session-Expires: 600\r\n`, '600;refresher=uac', 'timer', '1800'],
    [`${TIMER}Session-Expires: 600;refresher=uas\r\n`, '600;refresher=uas', 'timer', '1800'],
    [`${TIMER}x: 7200;refresher=uac\r\n`, '1800;refresher=uac', 'timer', '1800'],
    [`${TIMER}Session-Expires: 7200\r\nMin-SE: 3600\r\n`, '3600;refresher=uac', 'timer', '1800'],
    ['Session-Expires: 900\r\n', '900;refresher=uas', '', '1800'],
  ] as const;
  for (const [lines, expires, require, toward] of cases) {
    const s = scene();
    const { a, b, ok, invite } = talk(s, { invite: lines });
    t.equal(ok.get(H.sessionExpires), expires, `2xx to ${JSON.stringify(lines)}`);
    t.equal(ok.get(H.require), require);
    t.equal(invite.get(H.sessionExpires), toward);
    t.equal(invite.get(H.supported), 'timer');
    t.equal(invite.has(H.minSe), false, '90 s needs no word');
    hangUp(a, b);
    settled(t, s.world);
  }
  const off = scene({ calls: { sessionTimer: false } });
  const { ok, invite } = talk(off, { invite: `${TIMER}Session-Expires: 600\r\n` });
  t.equal(ok.has(H.sessionExpires), false);
  t.equal(invite.has(H.sessionExpires), false);
  t.equal(off.world.pass(4_000_000), undefined);
  t.same(off.alice.heard(), [], 'switched off nobody is refreshed');
});

tap.test('422: too brief an interval, in an INVITE and inside the dialog', async t => {
  const s = scene({ calls: { sessionTimer: { minSe: '120s' } } });
  s.alice.invite('sip:bob@example.org', { headers: `${TIMER}Session-Expires: 100\r\n` });
  t.equal(s.alice.next(422).get(H.minSe), '120');
  t.same(s.bob.heard(), [], 'nobody rings');
  const { a, invite } = talk(s, { invite: `${TIMER}Session-Expires: 120\r\n` });
  t.equal(invite.get(H.minSe), '120');
  a.send('UPDATE', { headers: `${TIMER}Session-Expires: 90\r\n` });
  t.equal(s.alice.next(422).get(H.minSe), '120');
  a.send('UPDATE', { headers: `${TIMER}Session-Expires: 240\r\n` });
  t.equal(s.alice.next(200).get(H.sessionExpires), '240;refresher=uac');
});

tap.test('422 of the callee: the INVITE goes again with its Min-SE, the next CSeq and the same Call-ID', async t => {
  const s = scene({ calls: { sessionTimer: { expires: '10m' } } });
  const a = s.alice.invite('sip:bob@example.org');
  const first = s.bob.called();
  t.equal(first.invite?.get(H.sessionExpires), '600');
  first.answer(422, { headers: 'Min-SE: 1200\r\n' });
  s.bob.next('ACK');
  const b = s.bob.called();
  t.equal(b.callId, first.callId);
  t.equal(b.invite?.fromTag, first.invite?.fromTag);
  t.equal(b.invite?.toTag, '');
  t.equal(b.invite?.cseq, (first.invite?.cseq ?? 0) + 1);
  t.equal(b.invite?.get(H.sessionExpires), '1200');
  t.equal(b.invite?.get(H.minSe), '1200');
  t.equal(b.invite?.body, first.invite?.body, 'the same offer');
  b.answer(200, { sdp: s.bob.sdp(), headers: `Session-Expires: 1200;refresher=uas\r\nRequire: timer\r\n` });
  s.bob.next('ACK');
  a.expect(200);
  a.send('ACK');
  hangUp(a, b);
  settled(t, s.world);

  // A callee that is never content ends somewhere, and the caller hears of it.
  s.alice.invite('sip:bob@example.org');
  for (let n = 1; n <= 4; n++) {
    s.bob.called().answer(422, { headers: `Min-SE: ${2000 * n}\r\n` });
    s.bob.next('ACK');
  }
  t.equal(s.alice.inbox[0]?.status, 422);
  t.same(s.bob.heard(), []);
});

tap.test('the peer refreshes: BYE to both sides min(32 s, SE/3) before the end when it doesn’t', async t => {
  for (const [interval, at] of [
    [90, 60],
    [600, 568],
  ] as const) {
    const s = scene();
    const { a, b } = talk(s, {
      invite: `${TIMER}Session-Expires: ${interval};refresher=uac\r\n`,
      ok: 'Session-Expires: 1800;refresher=uas\r\nRequire: timer\r\n',
    });
    s.world.pass((at - 1) * 1000);
    t.same(s.alice.heard(), [], `nothing before ${at} s`);
    a.send('UPDATE', { headers: `${TIMER}Session-Expires: ${interval};refresher=uac\r\n` });
    t.equal(s.alice.next(200).get(H.sessionExpires), `${interval};refresher=uac`);
    t.same(s.bob.heard(), [], 'a refresh that changes nothing stays here');
    s.world.pass((at - 1) * 1000);
    t.same(s.alice.heard(), [], 'refreshed: it began anew');
    s.world.pass(1100);
    a.reply(s.alice.next('BYE'), 200);
    b.reply(s.bob.next('BYE'), 200);
    const [ended] = s.world.take('call-ended');
    t.equal(ended?.cause, 'session-expired');
    t.equal(ended?.by, 'border');
    settled(t, s.world);
  }
});

tap.test(
  'a refresh by re-INVITE with the description that is known is answered here, in our words of before',
  async t => {
    const s = scene();
    const { a, b, ok } = talk(s, { invite: `${TIMER}Session-Expires: 600\r\n` });
    a.send('INVITE', { headers: `${TIMER}Session-Expires: 600;refresher=uac\r\n`, sdp: s.alice.sdp() });
    const again = s.alice.next(200);
    t.equal(again.body, ok.body, 'the same o= line and all');
    t.equal(again.get(H.sessionExpires), '600;refresher=uac');
    a.send('ACK');
    t.same(s.bob.heard(), []);
    s.world.pass(40_000);
    t.same(s.alice.heard(), [], 'acknowledged');
    // The control: another description crosses.
    a.send('INVITE', { headers: TIMER, sdp: s.alice.sdp({ version: 2, lines: ['a=sendonly'] }) });
    s.alice.next(100);
    const reinvite = s.bob.next('INVITE');
    t.match(reinvite.body, 'a=sendonly');
    t.equal(reinvite.get(H.sessionExpires), '1800;refresher=uac', 'the callee’s leg has its own interval');
    b.reply(reinvite, 200, { sdp: s.bob.sdp({ version: 2, lines: ['a=recvonly'] }) });
    s.bob.next('ACK');
    t.equal(s.alice.next(200).get(H.sessionExpires), '1800;refresher=uac');
    a.send('ACK');
    hangUp(a, b);
    settled(t, s.world);
  },
);

tap.test(
  'a side that can’t is refreshed by us: UPDATE where it knows that, else INVITE with the same o= line',
  async t => {
    for (const knows of [true, false]) {
      const s = scene();
      const allow = `Allow: INVITE, ACK, BYE${knows ? ', UPDATE' : ''}\r\n`;
      const { a, b, invite, ok } = talk(s, {
        invite: `${TIMER}Session-Expires: 1800;refresher=uas\r\n${allow}`,
        ok: allow,
      });
      s.world.pass(900_100);
      for (const [half, phone, before, expires] of [
        [a, s.alice, ok, '1800;refresher=uac'],
        [b, s.bob, invite, '1800;refresher=uac'],
      ] as const) {
        const refresh = phone.next(knows ? 'UPDATE' : 'INVITE');
        t.equal(refresh.get(H.sessionExpires), expires);
        t.equal(refresh.body, knows ? '' : before.body, 'nothing new');
        t.equal(refresh.get(H.supported), 'timer');
        t.equal(refresh.callId, half.callId);
        half.reply(refresh, 200, knows ? {} : { sdp: phone.sdp() });
        if (!knows) phone.next('ACK');
        // One leg at a time.
        s.world.pass(2100, () => s.bob.inbox.length > 0);
      }
      t.same(s.alice.heard(), []);
      t.same(s.bob.heard(), []);
      t.same(s.world.relay.size, 1);
      // Half an interval on, everybody is asked again; whoever is silent then is gone.
      s.world.pass(900_000);
      s.alice.next(knows ? 'UPDATE' : 'INVITE');
      s.world.pass(32_100);
      t.equal(s.world.take('call-ended')[0]?.cause, 'peer-gone');
      settled(t, s.world);
    }
  },
);

tap.test('media stays as it was through a refresh of ours, and hold through its answer', async t => {
  const s = scene();
  const { a, b, ok } = talk(s);
  const streams = (): unknown => s.world.border.calls()[0]?.media.map(x => [x.leg, x.direction, x.kind]);
  const before = streams();
  t.same(before, [
    ['a', 'sendrecv', 'audio'],
    ['b1', 'sendrecv', 'audio'],
  ]);
  s.world.pass(900_100);
  const toAlice = s.alice.next('INVITE');
  t.equal(place(toAlice), place(ok));
  a.reply(toAlice, 500);
  s.alice.next('ACK');
  s.world.pass(2100);
  b.reply(s.bob.next('INVITE'), 200, { sdp: s.bob.sdp() });
  s.bob.next('ACK');
  t.same(streams(), before, 'one answered, one refused: the same media');
  a.send('INVITE', { sdp: s.alice.sdp({ version: 2, lines: ['a=sendonly'] }) });
  s.alice.next(100);
  const hold = s.bob.next('INVITE');
  t.match(hold.body, 'a=sendonly');
  b.reply(hold, 200, { sdp: s.bob.sdp({ version: 2, lines: ['a=recvonly'] }) });
  s.bob.next('ACK');
  s.alice.next(200);
  a.send('ACK');
  t.equal(s.world.take('call-held').length, 1);
  hangUp(a, b);
  settled(t, s.world);
});

tap.test(
  'what a refresh of ours may hear: 405 goes on as INVITE, 422 with a longer time, 491 later, 481 ends',
  async t => {
    const s = scene();
    const allow = 'Allow: INVITE, ACK, BYE, UPDATE\r\n';
    const { b } = talk(s, { invite: `${TIMER}Session-Expires: 1800;refresher=uac\r\n`, ok: allow });
    s.world.pass(900_100);
    b.reply(s.bob.next('UPDATE'), 422, { headers: 'Min-SE: 2400\r\n' });
    const longer = s.bob.next('UPDATE');
    t.equal(longer.get(H.sessionExpires), '2400;refresher=uac');
    b.reply(longer, 405);
    const invite = s.bob.next('INVITE');
    b.reply(invite, 491);
    s.bob.next('ACK');
    s.world.pass(2000);
    t.same(s.bob.heard(), [], 'we made the Call-ID: at least 2.1 s');
    s.world.pass(2100, () => s.bob.inbox.length > 0);
    b.reply(s.bob.next('INVITE'), 481);
    s.bob.next('ACK');
    t.equal(s.world.take('call-ended')[0]?.cause, 'peer-gone');
  },
);

tap.test('a refresh of ours and a re-INVITE of the peer cross: 491 both ways, and the call goes on', async t => {
  const s = scene();
  const { a, b } = talk(s, { invite: `${TIMER}Session-Expires: 1800;refresher=uac\r\n` });
  s.world.pass(900_100);
  const ours = s.bob.next('INVITE');
  b.send('INVITE', { sdp: s.bob.sdp({ version: 2 }) });
  s.bob.next(491);
  b.reply(ours, 491);
  s.bob.next('ACK');
  s.world.pass(4100, () => s.bob.inbox.length > 0);
  b.reply(s.bob.next('INVITE'), 200, { sdp: s.bob.sdp() });
  s.bob.next('ACK');
  t.equal(s.world.border.calls().length, 1);
  hangUp(a, b);
  settled(t, s.world);
});

tap.test('the configuration says what it expects', async t => {
  for (const sessionTimer of [{ minSe: '60s' }, { expires: '80s' }, { expires: '2m', minSe: '3m' }, true])
    t.throws(() => configSchema.parse({ calls: { sessionTimer } }), JSON.stringify(sessionTimer));
  const { calls } = configSchema.parse({});
  t.same(calls.sessionTimer, { expires: 1_800_000, minSe: 90_000 });
});
