import { H } from '@drawbridge/sip';
import tap from 'tap';
import { BORDER } from './harness.js';
import {
  call,
  hangUp,
  hear,
  hold,
  left,
  NOTHING,
  notified,
  pairing,
  refer,
  replacing,
  sdpOf,
  type Trio,
  trio,
  whoHears,
} from './transfers.js';

function settled(t: Pick<typeof tap, 'same'>, { world }: Trio): void {
  world.pass(400_000);
  t.same(left(world), NOTHING, 'no call, session, leg, transaction or transfer is left');
}

/** The transferee gets the target's offer and answers; the target gets the answer. */
function joins(
  t: Pick<typeof tap, 'equal' | 'match' | 'same'>,
  transferee: ReturnType<typeof call>['callee'],
  target: ReturnType<typeof call>['callee'],
): void {
  const { phone } = transferee;
  const offer = hear(phone, phone.next('INVITE'));
  t.equal(offer.toTag, transferee.localTag, 'inside the dialog it has');
  t.match(offer.body, new RegExp(`c=IN IP4 ${BORDER}\\r\\n`));
  transferee.reply(offer, 200, { sdp: sdpOf(phone, [], 5) });
  phone.next('ACK');
  const ack = hear(target.phone, target.phone.next('ACK'));
  t.match(ack.body, new RegExp(`c=IN IP4 ${BORDER}\\r\\n`), 'the answer, in the ACK');
}

tap.test('unattended (RFC 5589 §6.1): the border calls the target and brings the transferee', async t => {
  const all = trio();
  const { world, alice, bob, carol } = all;
  const { caller: a, callee: b } = call(alice, bob);
  t.same(pairing(world, alice, bob), ['bob', 'alice'], 'control: they hear each other');
  t.same(
    { ...left(world), servers: 0, clients: 0 },
    { calls: 1, sessions: 1, legs: 2, servers: 0, clients: 0, transfers: 0, counted: 1 },
    'control: what one call holds',
  );
  hold(a, b);
  const accepted = refer(a, 'sip:carol@example.org');
  t.match(accepted.get(H.contact), /^<sip:[A-Za-z0-9._-]+@203\.0\.113\.10:5060>$/);
  const first = notified(a);
  t.same([first.line, first.state, first.event], ['SIP/2.0 100 Trying', 'active', 'refer']);
  t.equal(first.message.get(H.contentType), 'message/sipfrag;version=2.0');
  t.equal(left(world).transfers, 1, 'control: it is counted while under way');

  const invite = carol.inbox[0];
  t.equal(invite?.method, 'INVITE');
  t.match(invite?.get(H.from), /^<sip:bob@example\.org>;tag=/, 'the target sees whom it will talk to');
  t.equal(invite?.get(H.referredBy), '<sip:alice@example.org>', 'and who sent him (RFC 3892)');
  t.equal(invite?.body, '', 'without an offer: the target makes it');
  t.equal(invite?.maxForwards, 69, 'counted down from the REFER');
  const c = carol.called();
  c.answer(180);
  t.same([notified(a).line], ['SIP/2.0 180 Ringing']);
  c.answer(180);
  t.same(alice.heard(), [], 'the same once only');
  t.same(bob.heard(), [], 'nothing changes for the transferee yet');
  c.answer(200, { sdp: sdpOf(carol) });
  joins(t, b, c);
  const last = notified(a);
  t.same([last.line, last.state], ['SIP/2.0 200 OK', 'terminated']);
  t.same(pairing(world, bob, carol), ['carol', 'bob'], 'the flow table joins them');

  hangUp(a);
  t.same(bob.heard(), [], 'the transferor goes alone');
  t.equal(world.border.calls().length, 1);
  t.equal(world.border.calls()[0]?.state, 'answered');
  const [old] = world.take('call-ended');
  const [moved] = world.take('call-transferred');
  t.equal(moved?.ref, old?.ref);
  t.equal(moved?.attended, false);
  t.equal(moved?.by.reveal(), 'sip:alice@example.org');
  t.equal(moved?.to.reveal(), 'sip:carol@example.org');
  t.equal(old?.transferredTo, moved?.into, 'the records are linked');
  b.send('INFO', { body: 'Signal=1\r\n', contentType: 'application/dtmf-relay' });
  const info = carol.next('INFO');
  c.reply(info, 200);
  bob.next(200);
  hangUp(c, b);
  const [ended] = world.take('call-ended');
  t.equal(ended?.ref, moved?.into);
  t.equal(ended?.transferredFrom, old?.ref);
  t.equal(ended?.caller.reveal(), 'sip:bob@example.org');
  settled(t, all);
});

tap.test('the callee transfers the caller, and the transferor does not hang up: the border does', async t => {
  const all = trio();
  const { world, alice, bob, carol } = all;
  const { caller: a, callee: b } = call(alice, bob);
  refer(b, 'sip:carol@example.org');
  notified(b);
  const c = carol.called();
  c.answer(200, { sdp: sdpOf(carol) });
  const offer = hear(alice, alice.next('INVITE'));
  a.reply(offer, 200, { sdp: sdpOf(alice) });
  alice.next('ACK');
  hear(carol, carol.next('ACK'));
  t.equal(notified(b).line, 'SIP/2.0 200 OK');
  t.same(pairing(world, alice, carol), ['carol', 'alice']);
  t.same(bob.heard(), []);
  world.pass(9_000);
  t.same(bob.heard(), [], 'control: it has its time');
  world.pass(2_000);
  b.reply(bob.next('BYE'), 200);
  t.equal(world.take('call-ended')[0]?.cause, 'transferred');
  hangUp(a, c);
  settled(t, all);
});

tap.test('a transferor that hangs up at once: the transferee waits for the target, and gets it', async t => {
  const all = trio();
  const { world, alice, bob, carol } = all;
  const { caller: a, callee: b } = call(alice, bob);
  refer(a, 'sip:carol@example.org');
  notified(a);
  hangUp(a);
  t.same(bob.heard(), [], 'no BYE for the transferee');
  const c = carol.called();
  c.answer(180);
  t.equal(notified(a).line, 'SIP/2.0 180 Ringing', 'the subscription outlives the call (RFC 5057)');
  b.send('INVITE', { sdp: sdpOf(bob, ['a=sendonly'], 9) });
  t.equal(bob.next(491).status, 491, 'the transferee has nobody to negotiate with yet');
  b.send('ACK', { cseq: b.cseq });
  c.answer(200, { sdp: sdpOf(carol) });
  joins(t, b, c);
  t.equal(notified(a).line, 'SIP/2.0 200 OK');
  t.same(pairing(world, bob, carol), ['carol', 'bob']);
  hangUp(b, c);
  settled(t, all);
});

tap.test(
  'the target is busy, declines, is unknown, does not answer: the transferor hears it and keeps the call',
  async t => {
    for (const [what, line] of [
      ['busy', 'SIP/2.0 486 Busy Here'],
      ['declined', 'SIP/2.0 603 Decline'],
      ['unknown', 'SIP/2.0 404 Not Found'],
      ['silent', 'SIP/2.0 480 Temporarily Unavailable'],
      ['foreign', 'SIP/2.0 404 Not Found'],
    ] as const) {
      const all = trio();
      const { world, alice, bob, carol } = all;
      const { caller: a, callee: b } = call(alice, bob);
      pairing(world, alice, bob);
      const to =
        what === 'unknown' ? 'nobody@example.org' : what === 'foreign' ? 'x@elsewhere.example' : 'carol@example.org';
      refer(a, `sip:${to}`);
      if (what !== 'unknown' && what !== 'foreign') {
        t.equal(notified(a).line, 'SIP/2.0 100 Trying');
        const c = carol.called();
        if (what === 'silent') {
          c.answer(180);
          notified(a);
          world.pass(30_000);
          pairing(world, alice, bob);
          world.pass(31_000, () => carol.inbox.length > 0);
          c.reply(carol.next('CANCEL'), 200);
          c.answer(487);
          carol.next('ACK');
        } else {
          c.answer(what === 'busy' ? 486 : 603);
          carol.next('ACK');
        }
      }
      const last = notified(a);
      t.same([last.line, last.state], [line, 'terminated'], what);
      t.same(bob.heard(), [], 'the transferee noticed nothing');
      t.same(pairing(world, alice, bob), ['bob', 'alice'], 'they still hear each other');
      t.equal(left(world).transfers, 0);
      const again = refer(a, 'sip:nobody@example.org');
      t.equal(again.status, 202, 'another try is free');
      t.match(notified(a).event, /^refer;id=\d+$/, 'and says which REFER it means');
      hangUp(a, b);
      settled(t, all);
    }
  },
);

tap.test('the target is busy and the transferor has gone: the transferee is let go', async t => {
  const all = trio();
  const { world, alice, bob, carol } = all;
  const { caller: a, callee: b } = call(alice, bob);
  refer(a, 'sip:carol@example.org');
  notified(a);
  hangUp(a);
  const c = carol.called();
  t.same(bob.heard(), [], 'control: held until then');
  c.answer(486);
  carol.next('ACK');
  t.equal(notified(a).line, 'SIP/2.0 486 Busy Here');
  b.reply(bob.next('BYE'), 200);
  t.equal(world.border.calls().length, 0);
  settled(t, all);
});

tap.test('the transferee hangs up while the target rings, with and without the transferor', async t => {
  for (const alone of [false, true]) {
    const all = trio();
    const { alice, bob, carol } = all;
    const { caller: a, callee: b } = call(alice, bob);
    refer(a, 'sip:carol@example.org');
    notified(a);
    if (alone) hangUp(a);
    const c = carol.called();
    c.answer(180);
    notified(a);
    b.send('BYE');
    bob.next(200);
    c.reply(carol.next('CANCEL'), 200);
    c.answer(487);
    carol.next('ACK');
    t.equal(notified(a).state, 'terminated');
    if (!alone) a.reply(alice.next('BYE'), 200);
    settled(t, all);
  }
});

tap.test('the transferee refuses the target: that is hung up on, the first call goes on', async t => {
  const all = trio();
  const { world, alice, bob, carol } = all;
  const { caller: a, callee: b } = call(alice, bob);
  pairing(world, alice, bob);
  refer(a, 'sip:carol@example.org');
  notified(a);
  const c = carol.called();
  c.answer(200, { sdp: sdpOf(carol) });
  const offer = bob.next('INVITE');
  b.reply(offer, 488);
  bob.next('ACK');
  carol.next('ACK');
  c.reply(carol.next('BYE'), 200);
  t.equal(notified(a).line, 'SIP/2.0 488 Not Acceptable Here');
  t.same(pairing(world, alice, bob), ['bob', 'alice']);
  hangUp(b, a);
  settled(t, all);
});

tap.test('the re-INVITE meets one of the transferee: it comes again (RFC 3261 §14.1)', async t => {
  const all = trio();
  const { world, alice, bob, carol } = all;
  const { caller: a, callee: b } = call(alice, bob);
  refer(a, 'sip:carol@example.org');
  notified(a);
  const c = carol.called();
  c.answer(200, { sdp: sdpOf(carol) });
  b.reply(bob.next('INVITE'), 491);
  bob.next('ACK');
  t.same(bob.heard(), [], 'not at once');
  world.pass(4_100, () => bob.inbox.length > 0);
  carol.inbox.splice(0);
  joins(t, b, c);
  t.equal(notified(a).line, 'SIP/2.0 200 OK');
  hangUp(a);
  hangUp(c, b);
  settled(t, all);
});

tap.test('attended (RFC 5589 §7.1): both of the transferor’s calls become one', async t => {
  for (const direction of ['alice called carol', 'carol called alice'] as const) {
    const all = trio();
    const { world, alice, bob, carol } = all;
    const first = call(alice, bob);
    const { caller: a, callee: b } = first;
    hold(a, b);
    const second = direction === 'alice called carol' ? call(alice, carol) : call(carol, alice);
    const [a2, c] =
      direction === 'alice called carol' ? [second.caller, second.callee] : [second.callee, second.caller];
    t.same(pairing(world, alice, carol), ['carol', 'alice'], 'control: the consultation');
    hold(a2, c);
    t.equal(left(world).calls, 2);
    refer(a, replacing(a2.target, a2), { headers: 'Require: replaces\r\n' });
    t.equal(notified(a).line, 'SIP/2.0 100 Trying');
    const asked = carol.next('INVITE');
    t.equal(asked.toTag, c.localTag, 'inside the dialog that the target has');
    t.equal(asked.body, '');
    c.reply(asked, 200, { sdp: sdpOf(carol, [], 7) });
    a2.reply(alice.next('BYE'), 200);
    joins(t, b, c);
    t.equal(notified(a).line, 'SIP/2.0 200 OK');
    t.same(pairing(world, bob, carol), ['carol', 'bob'], direction);
    hangUp(a);
    const ended = world.take('call-ended');
    const [moved] = world.take('call-transferred');
    t.same(
      ended.map(e => [e.cause, e.transferredTo === moved?.into]),
      [
        ['replaced', true],
        ['normal-clearing', true],
      ],
      'both records point to the one that goes on',
    );
    t.equal(moved?.attended, true);
    c.send('INVITE', { sdp: sdpOf(carol, ['a=sendonly'], 8) });
    const offer = bob.next('INVITE');
    t.match(offer.body, /a=sendonly/, 'they negotiate with each other from now on');
    b.reply(offer, 200, { sdp: sdpOf(bob, ['a=recvonly'], 8) });
    bob.next('ACK');
    if (carol.inbox[0]?.status === 100) carol.next(100);
    carol.next(200);
    c.send('ACK', { cseq: c.cseq });
    hangUp(b, c);
    settled(t, all);
  }
});

tap.test('semi-attended: a consultation that still rings is given up and its callee called anew', async t => {
  const all = trio();
  const { alice, bob, carol } = all;
  const { caller: a, callee: b } = call(alice, bob);
  const a2 = alice.invite(carol.aor, { sdp: sdpOf(alice) });
  const ringing = carol.called();
  ringing.answer(180);
  a2.expect(180);
  refer(a, replacing(carol.aor, a2));
  a2.expect(487);
  alice.send(a2.text('ACK', { branch: a2.branch }));
  const cancel = carol.inbox.find(m => m.method === 'CANCEL');
  t.equal(cancel?.callId, ringing.callId);
  carol.inbox.splice(
    carol.inbox.findIndex(m => m.method === 'CANCEL'),
    1,
  );
  const c = carol.called();
  if (cancel !== undefined) ringing.reply(cancel, 200);
  ringing.answer(487);
  carol.next('ACK');
  t.equal(notified(a).line, 'SIP/2.0 100 Trying');
  c.answer(200, { sdp: sdpOf(carol) });
  joins(t, b, c);
  t.equal(notified(a).line, 'SIP/2.0 200 OK');
  hangUp(a);
  hangUp(b, c);
  settled(t, all);
});

tap.test('a transfer of a transfer', async t => {
  const all = trio();
  const { world, alice, bob, carol } = all;
  const { caller: a, callee: b } = call(alice, bob);
  refer(a, 'sip:carol@example.org');
  notified(a);
  const c = carol.called();
  c.answer(200, { sdp: sdpOf(carol) });
  joins(t, b, c);
  notified(a);
  hangUp(a);
  refer(c, 'sip:alice@example.org');
  notified(c);
  const again = alice.called();
  again.answer(200, { sdp: sdpOf(alice) });
  joins(t, b, again);
  t.equal(notified(c).line, 'SIP/2.0 200 OK');
  hangUp(c);
  t.same(pairing(world, bob, alice), ['alice', 'bob']);
  hangUp(b, again);
  settled(t, all);
});

tap.test('limits and refusals, each beside what is allowed', async t => {
  const all = trio({ config: { calls: { perSubscriber: 2 } } });
  const { alice, bob, carol } = all;
  const { caller: a, callee: b } = call(alice, bob);
  t.equal(refer(a, 'sip:carol@example.org;method=BYE', { expect: 403 }).status, 403, 'only INVITE is carried out');
  t.equal(refer(a, 'sips:carol@example.org', { expect: 416 }).status, 416);
  a.send('REFER', { headers: 'Subject: none\r\n' });
  alice.next(400);
  a.send('REFER', { headers: 'Refer-To: <sip:carol@example.org>, <sip:bob@example.org>\r\n' });
  alice.next(400);
  refer(a, 'sip:carol@example.org;method=INVITE');
  notified(a);
  t.equal(refer(a, 'sip:carol@example.org', { expect: 491 }).status, 491, 'one at a time');
  t.equal(refer(b, 'sip:alice@example.org', { expect: 491 }).status, 491, 'from either side');
  const c = carol.called();
  c.answer(486);
  carol.next('ACK');
  notified(a);
  const other = call(alice, carol);
  refer(a, 'sip:carol@example.org');
  t.equal(notified(a).line, 'SIP/2.0 486 Busy Here', 'the transferor pays: his limit of calls is reached');
  t.same(carol.heard(), []);
  hangUp(other.caller, other.callee);
  refer(a, 'sip:carol@example.org');
  t.equal(notified(a).line, 'SIP/2.0 100 Trying', 'control: below the limit it goes');
  carol.called().answer(486);
  carol.next('ACK');
  notified(a);
  hangUp(a, b);
  settled(t, all);
});

tap.test('calls.transfer: deny, and by realm', async t => {
  for (const [transfer, status] of [
    ['deny', 403],
    [{ access: 'deny' }, 403],
    [{ core: 'deny' }, 202],
    ['border', 202],
  ] as const) {
    const all = trio({ config: { calls: { transfer } } });
    const { carol } = all;
    const { caller: a, callee: b } = call(all.alice, all.bob);
    refer(a, 'sip:carol@example.org', { expect: status });
    if (status === 202) {
      notified(a);
      carol.called().answer(486);
      carol.next('ACK');
      notified(a);
    } else t.same(carol.heard(), [], JSON.stringify(transfer));
    hangUp(a, b);
    settled(t, all);
  }
});

tap.test('only who is a party of both calls may join them', async t => {
  const all = trio();
  const { alice, bob, carol } = all;
  const { caller: a, callee: b } = call(alice, bob);
  const { caller: b2, callee: c } = call(bob, carol);
  t.equal(refer(a, replacing(carol.aor, b2), { expect: 403 }).status, 403, 'the dialog of somebody else');
  const unknown = replacing(carol.aor, b2).replace(b2.remoteTag, `${b2.remoteTag}x`);
  t.equal(refer(a, unknown, { expect: 481 }).status, 481);
  t.equal(refer(b, replacing(alice.aor, b), { expect: 403 }).status, 403, 'a call can not replace itself');
  t.same(carol.heard(), []);
  t.equal(refer(b, replacing(carol.aor, b2)).status, 202, 'control: bob is in both');
  notified(b);
  c.reply(carol.next('INVITE'), 200, { sdp: sdpOf(carol, [], 4) });
  b2.reply(bob.next('BYE'), 200);
  joins(t, a, c);
  notified(b);
  hangUp(b);
  hangUp(a, c);
  settled(t, all);
});

tap.test('Refer-Sub: false (RFC 4488): no NOTIFY, and a failure is the answer itself', async t => {
  const all = trio();
  const { alice, bob, carol } = all;
  const { caller: a, callee: b } = call(alice, bob);
  refer(a, 'sip:nobody@example.org', { headers: 'Refer-Sub: false\r\n', expect: 404 });
  const accepted = refer(a, 'sip:carol@example.org', { headers: 'Refer-Sub: false\r\n', expect: 200 });
  t.equal(accepted.get(H.referSub), 'false');
  const c = carol.called();
  c.answer(200, { sdp: sdpOf(carol) });
  joins(t, b, c);
  t.same(alice.heard(), [], 'nothing is said');
  hangUp(a);
  hangUp(b, c);
  settled(t, all);
});

tap.test('SUBSCRIBE to a transfer: what is left of it, and its end', async t => {
  const all = trio();
  const { alice, bob, carol, world } = all;
  const { caller: a, callee: b } = call(alice, bob);
  refer(a, 'sip:carol@example.org');
  notified(a);
  const c = carol.called();
  c.answer(180);
  notified(a);
  world.pass(10_000);
  a.send('SUBSCRIBE', { headers: 'Event: refer\r\nExpires: 60\r\n' });
  t.equal(alice.next(200).get(H.expires), '170');
  t.equal(notified(a).line, 'SIP/2.0 180 Ringing');
  a.send('SUBSCRIBE', { headers: 'Event: refer\r\nExpires: 0\r\n' });
  alice.next(200);
  t.equal(notified(a).state, 'terminated');
  c.answer(200, { sdp: sdpOf(carol) });
  joins(t, b, c);
  t.same(alice.heard(), [], 'it wanted to hear no more');
  hangUp(a);
  hangUp(b, c);
  settled(t, all);
});

tap.test('a party with video meets one without: its m-lines stay, and so does its o= line (RFC 3264 §8)', async t => {
  const all = trio();
  const { world, alice, bob, carol } = all;
  const video = ['m=video 45000 RTP/AVP 96', 'a=rtpmap:96 H264/90000'];
  const a = alice.invite(bob.aor, { sdp: sdpOf(alice, video) });
  const b = bob.called();
  const origins = [/o=(.*)/.exec(b.invite?.body ?? '')?.[1] ?? ''];
  b.answer(200, { sdp: sdpOf(bob, video) });
  bob.next('ACK');
  hear(alice, a.expect(200));
  a.send('ACK');
  refer(a, 'sip:carol@example.org');
  notified(a);
  const c = carol.called();
  c.answer(200, { sdp: sdpOf(carol) });
  const offer = hear(bob, bob.next('INVITE'));
  origins.push(/o=(.*)/.exec(offer.body)?.[1] ?? '');
  t.same(offer.body.match(/^m=\S+ /gm), ['m=audio ', 'm=video '], 'as many as before');
  t.match(offer.body, /m=video 0 /, 'the second one off');
  const [before, after] = origins.map(o => o.split(' '));
  t.equal(after?.[1], before?.[1], 'the same session to the transferee');
  t.equal(Number(after?.[2]), Number(before?.[2]) + 1, 'one version on');
  b.reply(offer, 200, { sdp: sdpOf(bob, ['m=video 0 RTP/AVP 96'], 5) });
  bob.next('ACK');
  const ack = hear(carol, carol.next('ACK'));
  t.same(ack.body.match(/^m=\S+ /gm), ['m=audio '], 'the target hears of what it offered');
  notified(a);
  hangUp(a);
  t.same(pairing(world, bob, carol), ['carol', 'bob']);
  t.equal(whoHears(world, alice), undefined, 'the transferor has no way in any more');
  b.send('INVITE', { sdp: sdpOf(bob, video, 6) });
  const grown = carol.next('INVITE');
  t.same(grown.body.match(/^m=\S+ /gm), ['m=audio ', 'm=video ']);
  c.reply(grown, 200, { sdp: sdpOf(carol, ['m=video 0 RTP/AVP 96'], 6) });
  carol.next('ACK');
  if (bob.inbox[0]?.status === 100) bob.next(100);
  bob.next(200);
  b.send('ACK', { cseq: b.cseq });
  hangUp(b, c);
  settled(t, all);
});

tap.test('who called without his name is not named by a transfer either', async t => {
  for (const hides of [false, true]) {
    const all = trio();
    const { world, alice, bob, carol } = all;
    const a = bob.invite(alice.aor, { sdp: sdpOf(bob), headers: hides ? 'Privacy: id\r\n' : '' });
    const b = alice.called();
    b.answer(200, { sdp: sdpOf(alice) });
    alice.next('ACK');
    a.expect(200);
    a.send('ACK');
    refer(b, 'sip:carol@example.org');
    notified(b);
    const invite = carol.inbox[0];
    t.equal(invite?.get(H.from).includes('bob'), !hides, 'the control is seen');
    if (hides) t.notMatch(invite?.text, /bob/);
    carol.called().answer(486);
    carol.next('ACK');
    notified(b);
    t.equal(world.border.calls().length, 1);
    hangUp(a, b);
    settled(t, all);
  }
});

tap.test('the target refers at once, before the transferee is there: it has to wait', async t => {
  const all = trio();
  const { alice, bob, carol } = all;
  const { caller: a, callee: b } = call(alice, bob);
  refer(a, 'sip:carol@example.org');
  notified(a);
  const c = carol.called();
  c.answer(200, { sdp: sdpOf(carol) });
  t.equal(refer(c, 'sip:alice@example.org', { expect: 500 }).get(H.retryAfter), '2');
  joins(t, b, c);
  notified(a);
  hangUp(a);
  t.equal(refer(c, 'sip:nobody@example.org').status, 202, 'control: then it may');
  notified(c);
  hangUp(b, c);
  settled(t, all);
});

tap.test('the target hangs up before the transferee has answered: CANCEL, and the first call goes on', async t => {
  const all = trio();
  const { world, alice, bob, carol } = all;
  const { caller: a, callee: b } = call(alice, bob);
  pairing(world, alice, bob);
  refer(a, 'sip:carol@example.org');
  notified(a);
  const c = carol.called();
  c.answer(200, { sdp: sdpOf(carol) });
  const offer = bob.next('INVITE');
  b.reply(offer, 100);
  c.send('BYE');
  carol.next(200);
  t.match(notified(a).line, /^SIP\/2\.0 [45]/);
  b.reply(bob.next('CANCEL'), 200);
  b.reply(offer, 487);
  bob.next('ACK');
  t.same(pairing(world, alice, bob), ['bob', 'alice']);
  b.send('INVITE', { sdp: sdpOf(bob, ['a=sendonly'], 4) });
  const again = alice.next('INVITE');
  a.reply(again, 200, { sdp: sdpOf(alice, ['a=recvonly'], 4) });
  alice.next('ACK');
  if (bob.inbox[0]?.status === 100) bob.next(100);
  bob.next(200);
  b.send('ACK', { cseq: b.cseq });
  hangUp(a, b);
  settled(t, all);
});

tap.test('the transferee’s phone never answers the re-INVITE: everything ends by its clocks', async t => {
  const all = trio();
  const { world, alice, bob, carol } = all;
  const { caller: a } = call(alice, bob);
  refer(a, 'sip:carol@example.org');
  notified(a);
  const c = carol.called();
  bob.unplug();
  c.answer(200, { sdp: sdpOf(carol) });
  world.pass(33_000, () => alice.inbox.length > 0);
  const last = notified(a);
  t.same([last.line, last.state], ['SIP/2.0 480 Temporarily Unavailable', 'terminated']);
  a.reply(alice.next('BYE'), 200);
  c.reply(carol.inbox.find(m => m.method === 'BYE') ?? carol.next('BYE'), 200);
  settled(t, all);
});

tap.test('a transferor that hangs up across its own re-INVITE takes the transferee along', async t => {
  const all = trio();
  const { alice, bob, carol } = all;
  const { caller: a, callee: b } = call(alice, bob);
  refer(a, 'sip:carol@example.org');
  notified(a);
  const c = carol.called();
  c.answer(180);
  notified(a);
  const branch = alice.branch();
  a.send('INVITE', { branch, sdp: sdpOf(alice, ['a=sendonly'], 2) });
  const offer = bob.next('INVITE');
  a.send('BYE');
  t.same(
    alice.heard().filter(what => what !== 100 && what !== 'NOTIFY'),
    [200],
  );
  c.reply(carol.next('CANCEL'), 200);
  c.answer(487);
  carol.next('ACK');
  const bye = bob.inbox.splice(0).find(m => m.method === 'BYE');
  t.equal(bye?.callId, b.callId);
  if (bye !== undefined) b.reply(bye, 200);
  b.reply(offer, 487);
  bob.next('ACK');
  t.equal(alice.heard().includes(487), true, 'the re-INVITE has its answer');
  settled(t, all);
});
