import { H } from '@drawbridge/sip';
import tap from 'tap';
import { ack, hangUp, place, prack, RELIABLE, rseq, scene, settled } from './dialog-phones.js';
import { BORDER } from './harness.js';

tap.test('a reliable 183 with the answer: RSeq, PRACK and its 200 cross, each leg with numbers of its own', async t => {
  const { world, alice, bob } = scene();
  const a = alice.invite('sip:bob@example.org', { headers: RELIABLE });
  const b = bob.called();
  t.equal(b.invite?.get(H.supported), '100rel', 'the callee is told what the caller can');
  t.match(b.invite?.get(H.allow), /PRACK/);
  b.answer(183, { headers: rseq(7001), sdp: bob.sdp({ port: 41000 }) });
  const early = a.expect(183);
  t.equal(early.get(H.require), '100rel');
  t.match(early.get(H.rseq), /^[1-9]\d*$/);
  t.not(early.get(H.rseq), '7001', 'a number of our own');
  t.match(place(early), /^203\.0\.113\.10:3\d{4}$/);
  t.same(bob.heard(), [], 'no PRACK before the caller’s');
  const cseq = a.cseq;
  prack(a, early);
  const theirs = bob.next('PRACK');
  t.equal(theirs.get(H.rack), `7001 ${b.invite?.cseq} INVITE`);
  t.equal(theirs.cseq, (b.invite?.cseq ?? 0) + 1);
  t.equal(theirs.callId, b.callId);
  b.reply(theirs, 200);
  alice.next(200);
  b.answer(200);
  const ok = a.expect(200);
  t.equal(ok.cseq, cseq);
  t.equal(ok.body, '', 'the answer was given, the 2xx needs none');
  ack(a, ok);
  bob.next('ACK');
  t.equal(world.take('call-answered').length, 1);
  hangUp(a, b);
  t.equal(world.take('call-ended')[0]?.cause, 'normal-clearing');
  settled(t, world);
});

tap.test('a caller without 100rel: the callee is not offered it, and its 183 stays unreliable', async t => {
  const { world, alice, bob } = scene();
  const a = alice.invite('sip:bob@example.org');
  const b = bob.called();
  t.notMatch(b.invite?.text, /100rel/);
  b.answer(183, { sdp: bob.sdp() });
  const early = a.expect(183);
  t.equal(early.has(H.rseq), false);
  t.equal(early.has(H.require), false);
  t.match(early.body, BORDER);
  world.pass(5000);
  t.same(alice.heard(), [], 'and isn’t repeated');
  a.cancel();
  alice.next(200);
  alice.next(487);
  settled(t, world);
});

tap.test('ours is repeated after T1, 2·T1, 4·T1 … until the PRACK; after 64·T1 the INVITE gets a 504', async t => {
  const { world, alice, bob } = scene({ calls: { noAnswer: '90s' } });
  const a = alice.invite('sip:bob@example.org', { headers: RELIABLE });
  const b = bob.called();
  const began = world.now;
  b.answer(180, { headers: rseq(1) });
  const first = a.expect(180);
  const at: number[] = [];
  world.pass(32_500, () => {
    while (alice.inbox[0]?.status === 180) {
      t.equal(alice.next(180).text, first.text, 'word for word');
      at.push(world.now - began);
    }
    return false;
  });
  t.same(
    at.map(ms => Math.round(ms / 500)),
    [1, 3, 7, 15, 31, 63],
    'in units of T1',
  );
  const end = alice.next(504);
  alice.send(a.text('ACK', { branch: a.branch }));
  t.equal(end.cseq, first.cseq);
  bob.next('CANCEL');
  t.equal(world.take('call-ended')[0]?.cause, 'timeout');
  settled(t, world);

  // The control: with its PRACK nothing is repeated and nothing ends.
  const calm = scene({ calls: { noAnswer: '90s' } });
  const c = calm.alice.invite('sip:bob@example.org', { headers: RELIABLE });
  const d = calm.bob.called();
  d.answer(180, { headers: rseq(1) });
  prack(c, c.expect(180));
  d.reply(calm.bob.next('PRACK'), 200);
  calm.alice.next(200);
  calm.world.pass(40_000);
  t.same(calm.alice.heard(), []);
  t.equal(calm.world.border.calls().length, 1);
});

tap.test('RAck: what was not sent, or is acknowledged already, gets 481', async t => {
  const { world, alice, bob } = scene();
  const a = alice.invite('sip:bob@example.org', { headers: RELIABLE });
  const b = bob.called();
  const inviteSeq = a.cseq;
  b.answer(183, { headers: rseq(5), sdp: bob.sdp() });
  const early = a.expect(183);
  const n = Number(early.get(H.rseq));
  for (const rack of [
    `${n + 1} ${inviteSeq} INVITE`,
    `${n} ${inviteSeq + 1} INVITE`,
    `${n} ${inviteSeq} UPDATE`,
    'x',
    '',
  ]) {
    a.send('PRACK', { headers: rack === '' ? '' : `RAck: ${rack}\r\n` });
    alice.next(481);
  }
  t.same(bob.heard(), [], 'none of them crossed');
  prack(a, early);
  b.reply(bob.next('PRACK'), 200);
  alice.next(200);
  prack(a, early);
  alice.next(481);
  t.same(bob.heard(), []);
  a.cseq = inviteSeq;
  a.cancel();
  alice.next(200);
  alice.next(487);
  bob.next('CANCEL');
  t.equal(world.take('call-ended')[0]?.cause, 'cancelled');
});

tap.test(
  'several in order: the second goes out when the first is acknowledged; a gap and a repetition are not passed',
  async t => {
    const { alice, bob } = scene();
    const a = alice.invite('sip:bob@example.org', { headers: RELIABLE });
    const b = bob.called();
    b.answer(183, { headers: rseq(10), sdp: bob.sdp() });
    const first = a.expect(183);
    b.answer(180, { headers: rseq(11) });
    t.same(alice.heard(), [], 'the second waits');
    b.answer(183, { headers: rseq(10), sdp: bob.sdp() });
    b.answer(180, { headers: rseq(13) });
    t.same(alice.heard(), [], 'a repetition and a gap');
    prack(a, first);
    const one = bob.next('PRACK');
    t.match(one.get(H.rack), /^10 /);
    const second = a.expect(180);
    t.equal(Number(second.get(H.rseq)), Number(first.get(H.rseq)) + 1);
    b.reply(one, 200);
    alice.next(200);
    prack(a, second);
    const two = bob.next('PRACK');
    t.match(two.get(H.rack), /^11 /);
    t.equal(two.cseq, one.cseq + 1);
    b.reply(two, 200);
    alice.next(200);
    b.answer(180, { headers: rseq(12) });
    t.equal(Number(a.expect(180).get(H.rseq)), Number(second.get(H.rseq)) + 1, 'the next in order passes');
  },
);

tap.test('a 2xx does not overtake a description that is not acknowledged', async t => {
  const { world, alice, bob } = scene();
  const a = alice.invite('sip:bob@example.org', { headers: RELIABLE });
  const b = bob.called();
  b.answer(183, { headers: rseq(1), sdp: bob.sdp() });
  const early = a.expect(183);
  b.answer(200);
  t.same(alice.heard(), [], 'the 200 waits');
  t.same(bob.heard(), [], 'and has no ACK yet');
  prack(a, early);
  b.reply(bob.next('PRACK'), 200);
  alice.next(200);
  b.answer(200);
  bob.next('ACK');
  const ok = a.expect(200);
  ack(a, ok);
  hangUp(a, b);
  settled(t, world);
});

tap.test(
  'one without a description may be overtaken: nothing is repeated after the 2xx, its PRACK still crosses',
  async t => {
    const { world, alice, bob } = scene();
    const a = alice.invite('sip:bob@example.org', { headers: RELIABLE });
    const b = bob.called();
    b.answer(180, { headers: rseq(1) });
    const ringing = a.expect(180);
    b.answer(200, { sdp: bob.sdp() });
    bob.next('ACK');
    const ok = a.expect(200);
    ack(a, ok);
    world.pass(10_000);
    t.same(alice.heard(), []);
    prack(a, ringing);
    b.reply(bob.next('PRACK'), 200);
    alice.next(200);
    hangUp(a, b);
    settled(t, world);
  },
);

tap.test(
  'Require: 100rel of the caller: each of its provisional responses is reliable, whatever the callee can',
  async t => {
    const { world, alice, bob } = scene();
    const a = alice.invite('sip:bob@example.org', { headers: 'Require: 100rel\r\n' });
    const b = bob.called();
    t.equal(b.invite?.get(H.supported), '100rel');
    t.equal(b.invite?.has(H.require), false, 'that is between the caller and us');
    b.answer(183, { sdp: bob.sdp() });
    const early = a.expect(183);
    t.equal(early.get(H.require), '100rel');
    t.equal(early.body, '', 'what may still change is no answer');
    prack(a, early);
    alice.next(200);
    t.same(bob.heard(), [], 'the callee sent nothing that is to be acknowledged');
    b.answer(200, { sdp: bob.sdp() });
    bob.next('ACK');
    const ok = a.expect(200);
    t.match(ok.body, BORDER);
    ack(a, ok);
    hangUp(a, b);
    settled(t, world);
  },
);

tap.test('421: a callee that insists on 100rel gets it from us when the caller doesn’t know it', async t => {
  const { world, alice, bob } = scene();
  const a = alice.invite('sip:bob@example.org');
  const refused = bob.called();
  refused.answer(421, { headers: 'Require: 100rel\r\n' });
  bob.next('ACK');
  const b = bob.called();
  t.equal(b.callId, refused.callId, 'the same Call-ID');
  t.equal(b.invite?.cseq, (refused.invite?.cseq ?? 0) + 1);
  t.equal(b.invite?.get(H.supported), '100rel');
  b.answer(183, { headers: rseq(1), sdp: bob.sdp({ port: 41000 }) });
  const mine = bob.next('PRACK');
  t.equal(mine.get(H.rack), `1 ${b.invite?.cseq} INVITE`);
  b.reply(mine, 200);
  const early = a.expect(183);
  t.equal(early.has(H.rseq), false);
  b.answer(200);
  bob.next('ACK');
  const ok = a.expect(200);
  t.equal(place(ok), place(early), 'the answer that the callee gave in its 183');
  t.equal(ok.body, early.body);
  a.send('ACK');
  hangUp(a, b);
  settled(t, world);
});

tap.test('421 that we can do nothing about crosses, with what it demands', async t => {
  const { world, alice, bob } = scene();
  alice.invite('sip:bob@example.org', { headers: RELIABLE });
  bob.called().answer(421, { headers: 'Require: 100rel, foo\r\n' });
  t.equal(alice.next(421).get(H.require), '100rel');
  t.equal(world.border.calls().length, 0);
});

tap.test(
  'preconditions (RFC 3312): tags and attributes cross; offer, answer in a reliable 183, PRACK and UPDATE',
  async t => {
    const { world, alice, bob } = scene();
    const local = ['a=curr:qos local none', 'a=curr:qos remote none', 'a=des:qos mandatory local sendrecv'];
    const a = alice.invite('sip:bob@example.org', {
      headers: 'Supported: 100rel\r\nRequire: precondition\r\n',
      sdp: alice.sdp({ lines: local }),
    });
    const b = bob.called();
    t.equal(b.invite?.get(H.require), 'precondition');
    for (const line of local) t.match(b.invite?.body, `${line}\r\n`);
    b.answer(183, {
      headers: 'Require: 100rel, precondition\r\nRSeq: 1\r\n',
      sdp: bob.sdp({ lines: [...local, 'a=conf:qos remote sendrecv'] }),
    });
    const early = a.expect(183);
    t.same(early.list(H.require), ['100rel', 'precondition']);
    t.match(early.body, 'a=conf:qos remote sendrecv\r\n');
    prack(a, early);
    b.reply(bob.next('PRACK'), 200);
    alice.next(200);
    a.send('UPDATE', { sdp: alice.sdp({ version: 2, lines: ['a=curr:qos local sendrecv'] }) });
    const update = bob.next('UPDATE');
    t.match(update.body, 'a=curr:qos local sendrecv\r\n');
    t.match(place(update), /^203\.0\.113\.10:/);
    b.reply(update, 200, { sdp: bob.sdp({ version: 2, lines: ['a=curr:qos remote sendrecv'] }) });
    t.match(alice.next(200).body, 'a=curr:qos remote sendrecv\r\n');
    b.answer(180, { headers: rseq(2) });
    prack(a, a.expect(180));
    b.reply(bob.next('PRACK'), 200);
    alice.next(200);
    b.answer(200);
    bob.next('ACK');
    ack(a, a.expect(200));
    hangUp(a, b);
    settled(t, world);
  },
);

tap.test('an early answer that can’t be used ends that callee', async t => {
  const { world, alice, bob } = scene();
  alice.invite('sip:bob@example.org', { headers: RELIABLE });
  const b = bob.called();
  b.answer(183, { headers: rseq(1), sdp: 'v=0\r\nnonsense' });
  bob.next('CANCEL');
  t.equal(alice.inbox[0]?.status, 400);
  b.answer(487);
  bob.next('ACK');
  settled(t, world);
});
