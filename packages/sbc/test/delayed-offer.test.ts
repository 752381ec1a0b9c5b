import { H } from '@drawbridge/sip';
import tap from 'tap';
import { ack, hangUp, place, prack, RELIABLE, rseq, scene, settled } from './dialog-phones.js';

tap.test('several callees owe the offer: the first alone may make it early, the others in their 2xx', async t => {
  const s = scene();
  const other = s.world.phone('bob', { at: '198.51.100.3:5060', inner: '10.9.8.7:5060' }).register();
  const a = s.alice.invite('sip:bob@example.org', { sdp: false, headers: RELIABLE });
  const b = s.bob.called();
  const c = other.called();
  const offered = [b, c].map(h => h.invite?.list(H.supported).includes('100rel'));
  t.same(
    offered.filter(x => x === true),
    [true],
    'one of the two',
  );
  const [first, second] = offered[0] === true ? [b, c] : [c, b];
  first.answer(183, { headers: rseq(1), sdp: first.phone.sdp({ lines: ['a=one'] }) });
  const early = a.expect(183);
  t.match(early.body, 'a=one');
  prack(a, early, { sdp: s.alice.sdp() });
  first.reply(first.phone.next('PRACK'), 200);
  s.alice.next(200);
  second.answer(200, { sdp: second.phone.sdp({ lines: ['a=two'] }) });
  const ok = a.expect(200);
  t.not(ok.toTag, early.toTag);
  t.match(ok.body, 'a=two');
  ack(a, ok, { sdp: s.alice.sdp() });
  const theirs = second.phone.next('ACK');
  t.match(place(theirs), /^203\.0\.113\.10:/);
  first.reply(first.phone.next('CANCEL'), 200);
  first.answer(487);
  first.phone.next('ACK');
  t.same(s.world.border.calls()[0]?.media.filter(m => m.direction === 'sendrecv').length, 2, 'media of two legs');
  hangUp(a, second);
  settled(t, s.world);
});

tap.test('a first reliable response without the offer: it may still come in the next, or in the 2xx', async t => {
  for (const late of ['183', '200'] as const) {
    const s = scene();
    const a = s.alice.invite('sip:bob@example.org', { sdp: false, headers: RELIABLE });
    const b = s.bob.called();
    b.answer(180, { headers: rseq(1) });
    prack(a, a.expect(180));
    b.reply(s.bob.next('PRACK'), 200);
    s.alice.next(200);
    if (late === '183') {
      b.answer(183, { headers: rseq(2), sdp: s.bob.sdp() });
      prack(a, a.expect(183), { sdp: s.alice.sdp() });
      const answer = s.bob.next('PRACK');
      t.match(place(answer), /^203\.0\.113\.10:/);
      b.reply(answer, 200);
      s.alice.next(200);
      b.answer(200);
      s.bob.next('ACK');
      ack(a, a.expect(200));
    } else {
      b.answer(200, { sdp: s.bob.sdp() });
      ack(a, a.expect(200), { sdp: s.alice.sdp() });
      t.match(place(s.bob.next('ACK')), /^203\.0\.113\.10:/);
    }
    hangUp(a, b);
    settled(t, s.world);
  }
});

tap.test('a PRACK that owes the answer and has none is refused', async t => {
  const s = scene();
  const a = s.alice.invite('sip:bob@example.org', { sdp: false, headers: RELIABLE });
  const inviteSeq = a.cseq;
  const b = s.bob.called();
  b.answer(183, { headers: rseq(1), sdp: s.bob.sdp() });
  prack(a, a.expect(183));
  s.alice.next(488);
  t.same(s.bob.heard(), []);
  a.cseq = inviteSeq;
  a.cancel();
  s.alice.next(200);
  s.alice.next(487);
  b.reply(s.bob.next('CANCEL'), 200);
  b.answer(487);
  s.bob.next('ACK');
  settled(t, s.world);
});

tap.test('overlap dialling: 484 crosses, and the next digits are a new INVITE', async t => {
  const s = scene();
  s.alice.invite('sip:bob@example.org');
  s.bob.called().answer(484);
  s.bob.next('ACK');
  t.equal(s.alice.next(484).status, 484);
  const a = s.alice.invite('sip:bob@example.org');
  const b = s.bob.called();
  b.answer(200, { sdp: s.bob.sdp() });
  s.bob.next('ACK');
  ack(a, a.expect(200));
  hangUp(a, b);
  settled(t, s.world);
});

tap.test('a 2xx after the CANCEL, and INFO in an early dialog', async t => {
  const s = scene();
  const a = s.alice.invite('sip:bob@example.org');
  const inviteSeq = a.cseq;
  const b = s.bob.called();
  b.answer(180);
  a.expect(180);
  a.send('INFO', { body: 'Signal=1', contentType: 'application/dtmf-relay' });
  b.reply(s.bob.next('INFO'), 200);
  s.alice.next(200);
  a.cseq = inviteSeq;
  a.cancel();
  s.alice.next(200);
  s.alice.next(487);
  s.bob.next('CANCEL');
  b.answer(200, { sdp: s.bob.sdp() });
  s.bob.next('ACK');
  const bye = s.bob.next('BYE');
  t.equal(bye.cseq, (b.invite?.cseq ?? 0) + 2, 'above the INFO’s');
  b.reply(bye, 200);
  settled(t, s.world);
});
