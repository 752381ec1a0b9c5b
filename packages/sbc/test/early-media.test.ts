import { H } from '@drawbridge/sip';
import tap from 'tap';
import { ack, hangUp, place, prack, RELIABLE, rseq, scene, settled } from './dialog-phones.js';
import { Half } from './harness.js';

/** Bob's second phone, registered beside the first. */
function second(s: ReturnType<typeof scene>): ReturnType<typeof s.world.phone> {
  return s.world.phone('bob', { at: '198.51.100.3:5060', inner: '10.9.8.7:5060' }).register();
}

/** Where the relay sends what the caller says. */
function heardBy(s: ReturnType<typeof scene>): readonly string[] {
  const media = s.world.border.calls()[0]?.media ?? [];
  return media.filter(m => m.leg !== 'a').map(m => `${m.leg} ${m.direction}`);
}

tap.test(
  'two phones ring with early media: each has a dialog of its own, and the one that answers keeps it',
  async t => {
    const s = scene();
    const other = second(s);
    const a = s.alice.invite('sip:bob@example.org');
    const b = s.bob.called();
    const c = other.called();
    b.answer(183, { sdp: s.bob.sdp({ lines: ['a=one'] }) });
    const one = a.expect(183);
    c.answer(183, { sdp: other.sdp({ lines: ['a=two'] }) });
    const two = a.expect(183);
    t.not(one.toTag, two.toTag);
    t.match(one.body, 'a=one');
    t.match(two.body, 'a=two');
    t.equal(place(one), place(two), 'one place for the caller');
    b.answer(200, { sdp: s.bob.sdp({ lines: ['a=one'] }) });
    s.bob.next('ACK');
    c.reply(other.next('CANCEL'), 200);
    const ok = a.expect(200);
    t.equal(ok.toTag, one.toTag);
    t.match(ok.body, 'a=one');
    ack(a, ok);
    c.answer(487);
    other.next('ACK');
    t.same(heardBy(s), ['b1 sendrecv']);
    hangUp(a, b);
    settled(t, s.world);
  },
);

tap.test(
  'two phones answer reliably before they pick up: offer/answer is each dialog’s own (RFC 3261 §13.2.2.4)',
  async t => {
    const s = scene();
    const other = second(s);
    const a = s.alice.invite('sip:bob@example.org', { headers: RELIABLE });
    const inviteSeq = a.cseq;
    const b = s.bob.called();
    const c = other.called();
    b.answer(183, { headers: rseq(100), sdp: s.bob.sdp() });
    const one = a.expect(183);
    prack(a, one);
    b.reply(s.bob.next('PRACK'), 200);
    s.alice.next(200);
    c.answer(183, { headers: rseq(200), sdp: other.sdp() });
    const two = a.expect(183);
    prack(a, two);
    const theirs = other.next('PRACK');
    t.match(theirs.get(H.rack), /^200 /);
    c.reply(theirs, 200);
    s.alice.next(200);
    // An UPDATE in the second dialog only.
    a.send('UPDATE', { sdp: s.alice.sdp({ version: 2 }) });
    c.reply(other.next('UPDATE'), 200, { sdp: other.sdp({ version: 2 }) });
    s.alice.next(200);
    t.same(s.bob.heard(), []);
    // The first picks up: its answer of before holds.
    b.answer(200);
    s.bob.next('ACK');
    c.reply(other.next('CANCEL'), 200);
    const ok = a.expect(200);
    t.equal(ok.toTag, one.toTag);
    t.equal(ok.cseq, inviteSeq);
    t.equal(ok.body, '');
    ack(a, ok);
    t.same(heardBy(s), ['b1 sendrecv']);
    c.answer(487);
    other.next('ACK');
    hangUp(a, b);
    settled(t, s.world);
  },
);

tap.test('a proxy downstream forks, and both dialogs answer reliably: the one that picks up has its media', async t => {
  const s = scene();
  const a = s.alice.invite('sip:bob@example.org', { headers: RELIABLE });
  const b = s.bob.called();
  const c = new Half(s.bob, {
    callId: b.callId,
    localTag: 'second',
    local: b.local,
    remote: b.remote,
    remoteTag: b.remoteTag,
    target: b.target,
    cseq: 100,
  });
  c.invite = b.invite;
  b.answer(183, { headers: rseq(1), sdp: s.bob.sdp({ port: 41_000 }) });
  const one = a.expect(183);
  prack(a, one);
  b.reply(s.bob.next('PRACK'), 200);
  s.alice.next(200);
  c.answer(183, { headers: rseq(50), sdp: s.bob.sdp({ port: 42_000 }) });
  const two = a.expect(183);
  t.not(two.toTag, one.toTag);
  t.equal(place(two), place(one));
  prack(a, two);
  const theirs = s.bob.next('PRACK');
  t.equal(theirs.toTag, 'second');
  t.match(theirs.get(H.rack), /^50 /);
  c.reply(theirs, 200);
  s.alice.next(200);
  const remote = (): string => JSON.stringify(s.world.border.calls()[0]?.media.find(m => m.leg === 'b1'));
  t.match(remote(), '42000', 'the last that answered');
  b.answer(200);
  s.bob.next('ACK');
  const ok = a.expect(200);
  t.equal(ok.toTag, one.toTag);
  ack(a, ok);
  t.match(remote(), '41000', 'the one that picked up');
  t.notMatch(remote(), '42000');
  hangUp(a, b);
  settled(t, s.world);
});

tap.test('earlyDialogs: single: one To tag, and only the first description', async t => {
  const config = { calls: { earlyDialogs: 'single' } };
  // The first fork, which was shown, answers.
  const s = scene(config);
  const other = second(s);
  const a = s.alice.invite('sip:bob@example.org');
  const b = s.bob.called();
  const c = other.called();
  b.answer(183, { sdp: s.bob.sdp({ lines: ['a=one'] }) });
  const one = a.expect(183);
  c.answer(183, { sdp: other.sdp({ lines: ['a=two'] }) });
  const two = a.expect(183);
  t.equal(two.toTag, one.toTag);
  t.equal(two.get(H.contact), one.get(H.contact));
  t.equal(two.body, '');
  b.answer(200, { sdp: s.bob.sdp({ lines: ['a=one'] }) });
  s.bob.next('ACK');
  const ok = a.expect(200);
  t.equal(ok.toTag, one.toTag);
  ack(a, ok);
  c.reply(other.next('CANCEL'), 200);
  c.answer(487);
  other.next('ACK');
  hangUp(a, b);
  settled(t, s.world);

  // Another answers, and nothing was shown: the dialog is the one that rang.
  const d = scene(config);
  const far = second(d);
  const e = d.alice.invite('sip:bob@example.org');
  const f = d.bob.called();
  const g = far.called();
  f.answer(180);
  const rang = e.expect(180);
  g.answer(180);
  t.equal(e.expect(180).toTag, rang.toTag);
  g.answer(200, { sdp: far.sdp({ lines: ['a=two'] }) });
  far.next('ACK');
  const won = e.expect(200);
  t.equal(won.toTag, rang.toTag);
  t.match(won.body, 'a=two');
  ack(e, won);
  f.reply(d.bob.next('CANCEL'), 200);
  f.answer(487);
  d.bob.next('ACK');
  hangUp(e, g);
  settled(t, d.world);

  // Another answers than the one whose description was shown: that dialog can't have two answers, so it is a new one.
  const h = scene(config);
  const third = second(h);
  const i = h.alice.invite('sip:bob@example.org');
  const j = h.bob.called();
  const k = third.called();
  j.answer(183, { sdp: h.bob.sdp({ lines: ['a=one'] }) });
  const shown = i.expect(183);
  k.answer(200, { sdp: third.sdp({ lines: ['a=two'] }) });
  third.next('ACK');
  const fresh = i.expect(200);
  t.not(fresh.toTag, shown.toTag);
  t.match(fresh.body, 'a=two');
  ack(i, fresh);
  j.reply(h.bob.next('CANCEL'), 200);
  j.answer(487);
  h.bob.next('ACK');
  hangUp(i, k);
  settled(t, h.world);
});
