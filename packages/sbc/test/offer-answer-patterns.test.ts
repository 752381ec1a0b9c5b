import { H, type MessageView } from '@drawbridge/sip';
import tap from 'tap';
import { ack, hangUp, place, prack, RELIABLE, rseq, type Scene, scene, settled } from './dialog-phones.js';
import type { Half } from './harness.js';

/**
 * RFC 6337 table 1: the six pairs of messages that may carry offer and answer, each between two phones through the
 * border; then what the table leaves out, and what the border makes of it.
 */

const OURS = /^203\.0\.113\.10:3[01]\d{3}$/;

/** What arrived on the other side is a description of ours, and tells nothing of who wrote it. */
function anchored(t: Pick<typeof tap, 'match' | 'notMatch'>, m: MessageView, what: string): void {
  t.match(place(m), OURS, `${what}: our address`);
  t.notMatch(m.body, /192\.168\.77\.5|172\.16\.5\.9|4711/, `${what}: nothing of the other side`);
}

/** Media of both legs flows. */
function talks(s: Scene): unknown {
  return s.world.border.calls()[0]?.media.map(x => [x.leg, x.direction]);
}

const BOTH = [
  ['a', 'sendrecv'],
  ['b1', 'sendrecv'],
];

/** A call that is answered; offer and answer in INVITE and 2xx. */
function answered(): Scene & { a: Half; b: Half } {
  const s = scene();
  const a = s.alice.invite('sip:bob@example.org');
  const b = s.bob.called();
  b.answer(200, { sdp: s.bob.sdp() });
  s.bob.next('ACK');
  ack(a, a.expect(200));
  return { ...s, a, b };
}

/** A call that rings, its offer answered in a reliable 183. */
function early(): Scene & { a: Half; b: Half } {
  const s = scene();
  const a = s.alice.invite('sip:bob@example.org', { headers: RELIABLE });
  const b = s.bob.called();
  b.answer(183, { headers: rseq(1), sdp: s.bob.sdp() });
  prack(a, a.expect(183));
  b.reply(s.bob.next('PRACK'), 200);
  s.alice.next(200);
  return { ...s, a, b };
}

/** The 2xx of an early call, which has its answer already. */
function pickUp({ alice, bob, a, b }: Scene & { a: Half; b: Half }): void {
  b.answer(200);
  bob.next('ACK');
  ack(a, a.learn(alice.next(200)));
}

tap.test('1: offer in INVITE, answer in its 2xx', async t => {
  const s = scene();
  const a = s.alice.invite('sip:bob@example.org');
  const b = s.bob.called();
  if (b.invite !== undefined) anchored(t, b.invite, 'INVITE');
  b.answer(200, { sdp: s.bob.sdp() });
  const theirs = s.bob.next('ACK');
  t.equal(theirs.body, '');
  const ok = a.expect(200);
  anchored(t, ok, '2xx');
  ack(a, ok);
  t.same(talks(s), BOTH);
  hangUp(a, b);
  settled(t, s.world);
});

tap.test('2: offer in the 2xx, answer in the ACK', async t => {
  const s = scene();
  const a = s.alice.invite('sip:bob@example.org', { sdp: false });
  const b = s.bob.called();
  t.equal(b.invite?.body, '');
  b.answer(200, { sdp: s.bob.sdp() });
  const ok = a.expect(200);
  anchored(t, ok, '2xx');
  t.same(s.bob.heard(), [], 'the ACK waits for the answer');
  ack(a, ok, { sdp: s.alice.sdp() });
  anchored(t, s.bob.next('ACK'), 'ACK');
  t.same(talks(s), BOTH);
  hangUp(a, b);
  settled(t, s.world);
});

tap.test('3: offer in INVITE, answer in a reliable 1xx', async t => {
  const s = scene();
  const a = s.alice.invite('sip:bob@example.org', { headers: RELIABLE });
  const b = s.bob.called();
  b.answer(183, { headers: rseq(1), sdp: s.bob.sdp() });
  const m = a.expect(183);
  anchored(t, m, '183');
  prack(a, m);
  t.equal(s.bob.inbox[0]?.body, '');
  b.reply(s.bob.next('PRACK'), 200);
  s.alice.next(200);
  t.same(talks(s), BOTH, 'before anybody picked up');
  pickUp({ ...s, a, b });
  t.same(talks(s), BOTH);
  hangUp(a, b);
  settled(t, s.world);
});

tap.test('4: offer in a reliable 1xx, answer in its PRACK', async t => {
  const s = scene();
  const a = s.alice.invite('sip:bob@example.org', { sdp: false, headers: RELIABLE });
  const b = s.bob.called();
  t.equal(b.invite?.get(H.supported), '100rel');
  b.answer(183, { headers: rseq(1), sdp: s.bob.sdp() });
  const m = a.expect(183);
  anchored(t, m, '183');
  prack(a, m, { sdp: s.alice.sdp() });
  const theirs = s.bob.next('PRACK');
  anchored(t, theirs, 'PRACK');
  b.reply(theirs, 200);
  s.alice.next(200);
  t.same(talks(s), BOTH);
  pickUp({ ...s, a, b });
  hangUp(a, b);
  settled(t, s.world);
});

tap.test('5: offer in PRACK, answer in its 2xx', async t => {
  const s = scene();
  const a = s.alice.invite('sip:bob@example.org', { headers: RELIABLE });
  const b = s.bob.called();
  b.answer(183, { headers: rseq(1), sdp: s.bob.sdp() });
  prack(a, a.expect(183), { sdp: s.alice.sdp({ version: 2, lines: ['a=sendonly'] }) });
  const theirs = s.bob.next('PRACK');
  anchored(t, theirs, 'PRACK');
  t.match(theirs.body, 'a=sendonly');
  b.reply(theirs, 200, { sdp: s.bob.sdp({ version: 2, lines: ['a=recvonly'] }) });
  const ok = s.alice.next(200);
  anchored(t, ok, '2xx to PRACK');
  t.match(ok.body, 'a=recvonly');
  t.same(talks(s), [
    ['a', 'sendonly'],
    ['b1', 'recvonly'],
  ]);
  pickUp({ ...s, a, b });
  hangUp(a, b);
  settled(t, s.world);
});

tap.test('6: offer in UPDATE, answer in its 2xx: early and confirmed, from either side', async t => {
  for (const make of [early, answered]) {
    for (const by of ['caller', 'callee'] as const) {
      const s = make();
      const [one, other] = by === 'caller' ? [s.a, s.b] : [s.b, s.a];
      one.send('UPDATE', { sdp: one.phone.sdp({ version: 2, lines: ['a=sendonly'] }) });
      const update = other.phone.next('UPDATE');
      anchored(t, update, `UPDATE of the ${by}`);
      other.reply(update, 200, { sdp: other.phone.sdp({ version: 2, lines: ['a=recvonly'] }) });
      anchored(t, one.phone.next(200), '2xx');
      t.same(talks(s), [
        ['a', by === 'caller' ? 'sendonly' : 'recvonly'],
        ['b1', by === 'caller' ? 'recvonly' : 'sendonly'],
      ]);
      if (make === early) pickUp(s);
      hangUp(s.a, s.b);
      settled(t, s.world);
    }
  }
});

tap.test('1 and 2 again inside the dialog: re-INVITE with and without a description, from either side', async t => {
  for (const by of ['caller', 'callee'] as const) {
    for (const delayed of [false, true]) {
      const s = answered();
      const [one, other] = by === 'caller' ? [s.a, s.b] : [s.b, s.a];
      one.send('INVITE', delayed ? {} : { sdp: one.phone.sdp({ version: 2, lines: ['a=inactive'] }) });
      one.phone.next(100);
      const invite = other.phone.next('INVITE');
      if (delayed) t.equal(invite.body, '');
      else anchored(t, invite, `INVITE of the ${by}`);
      other.reply(invite, 200, { sdp: other.phone.sdp({ version: 2, lines: ['a=inactive'] }) });
      const ok = one.phone.next(200);
      anchored(t, ok, '2xx');
      ack(one, ok, delayed ? { sdp: one.phone.sdp({ version: 2, lines: ['a=inactive'] }) } : {});
      const last = other.phone.next('ACK');
      if (delayed) anchored(t, last, 'ACK');
      else t.equal(last.body, '');
      t.same(talks(s), [
        ['a', 'inactive'],
        ['b1', 'inactive'],
      ]);
      hangUp(s.a, s.b);
      settled(t, s.world);
    }
  }
});

tap.test('a preview in an unreliable 1xx is no answer: it is shown, and the 2xx must bring one', async t => {
  const s = scene();
  const a = s.alice.invite('sip:bob@example.org');
  const b = s.bob.called();
  b.answer(183, { sdp: s.bob.sdp() });
  anchored(t, a.expect(183), '183');
  b.answer(200);
  s.bob.next('ACK');
  t.equal(s.alice.next(488).body, '', 'without an answer there is no call');
  b.reply(s.bob.next('BYE'), 200);
  settled(t, s.world);
});

tap.test('refused: a second offer while one is open, from the same side 500, from the other 491', async t => {
  const s = answered();
  s.a.send('UPDATE', { sdp: s.alice.sdp({ version: 2 }) });
  const open = s.bob.next('UPDATE');
  s.a.send('UPDATE', { sdp: s.alice.sdp({ version: 3 }) });
  const again = s.alice.next(500);
  t.match(again.get(H.retryAfter), /^([0-9]|10)$/);
  s.b.send('UPDATE', { sdp: s.bob.sdp({ version: 2 }) });
  s.bob.next(491);
  s.b.send('INVITE', { sdp: s.bob.sdp({ version: 2 }) });
  if (s.bob.inbox[0]?.status === 100) s.bob.next(100);
  s.bob.next(491);
  t.same(s.bob.heard(), [], 'one offer at a time');
  s.b.reply(open, 200, { sdp: s.bob.sdp({ version: 2 }) });
  s.alice.next(200);
  t.same(talks(s), BOTH);
  hangUp(s.a, s.b);
  settled(t, s.world);
});

tap.test('refused: UPDATE with an offer before the INVITE’s own has its answer', async t => {
  const s = scene();
  const a = s.alice.invite('sip:bob@example.org');
  const b = s.bob.called();
  b.answer(180);
  a.expect(180);
  const cseq = a.cseq;
  a.send('UPDATE', { sdp: s.alice.sdp({ version: 2 }) });
  s.alice.next(500);
  b.send('UPDATE', { sdp: s.bob.sdp({ version: 2 }) });
  s.bob.next(491);
  t.same(s.bob.heard(), []);
  b.answer(200, { sdp: s.bob.sdp() });
  s.bob.next('ACK');
  const ok = a.expect(200);
  t.equal(ok.cseq, cseq);
  ack(a, ok);
  t.same(talks(s), BOTH, 'the call is none the worse');
  hangUp(a, b);
  settled(t, s.world);
});

tap.test('refused or of no effect: descriptions where the table has none', async t => {
  // In an ACK that owes no answer: it ends here.
  const s = scene();
  const a = s.alice.invite('sip:bob@example.org');
  const b = s.bob.called();
  b.answer(200, { sdp: s.bob.sdp() });
  s.bob.next('ACK');
  ack(a, a.expect(200), { sdp: s.alice.sdp({ version: 9, lines: ['a=inactive'] }) });
  t.same(talks(s), BOTH);
  hangUp(a, b);

  // In a 1xx and a 2xx after the answer: repeated words, not passed on.
  const e = early();
  e.b.answer(183, { headers: rseq(2), sdp: e.bob.sdp({ version: 7, lines: ['a=inactive'] }) });
  const repeated = e.a.expect(183);
  t.equal(repeated.body, '');
  prack(e.a, repeated);
  e.b.reply(e.bob.next('PRACK'), 200);
  e.alice.next(200);
  e.b.answer(200, { sdp: e.bob.sdp({ version: 8, lines: ['a=inactive'] }) });
  e.bob.next('ACK');
  const ok = e.a.expect(200);
  t.equal(ok.body, '');
  ack(e.a, ok);
  t.same(talks(e), BOTH);
  hangUp(e.a, e.b);

  // In an unreliable 1xx to an INVITE without one.
  const d = scene();
  const c = d.alice.invite('sip:bob@example.org', { sdp: false });
  const f = d.bob.called();
  f.answer(183, { sdp: d.bob.sdp() });
  t.equal(c.expect(183).body, '', 'an offer may not get lost');
  f.answer(200, { sdp: d.bob.sdp() });
  const offer = c.expect(200);
  anchored(t, offer, '2xx');
  ack(c, offer, { sdp: d.alice.sdp() });
  d.bob.next('ACK');
  t.same(talks(d), BOTH);
  hangUp(c, f);
  for (const { world } of [s, e, d]) settled(t, world);
});

tap.test('an answer that never comes: a 2xx without the offer it owes, an ACK without the answer', async t => {
  const s = scene();
  s.alice.invite('sip:bob@example.org', { sdp: false });
  const b = s.bob.called();
  b.answer(200);
  s.bob.next('ACK');
  b.reply(s.bob.next('BYE'), 200);
  t.equal(s.alice.inbox[0]?.status, 488);
  settled(t, s.world);

  const d = scene();
  const c = d.alice.invite('sip:bob@example.org', { sdp: false });
  const f = d.bob.called();
  f.answer(200, { sdp: d.bob.sdp() });
  ack(c, c.expect(200));
  d.bob.next('ACK');
  f.reply(d.bob.next('BYE'), 200);
  c.reply(d.alice.next('BYE'), 200);
  t.equal(d.world.take('call-ended')[0]?.cause, 'offer-answer-violation');
  settled(t, d.world);
});
