import { H, type MessageView } from '@drawbridge/sip';
import tap from 'tap';
import { BORDER, CORE_UDP, type Half, PBX, type Phone } from './harness.js';
import {
  call,
  hangUp,
  hear,
  left,
  NOTHING,
  notified,
  pairing,
  refer,
  replacing,
  sdpOf,
  type Trio,
  trio,
  wiresTo,
} from './transfers.js';

function settled(t: Pick<typeof tap, 'same' | 'equal'>, { world }: Trio): void {
  world.pass(400_000);
  t.same(left(world), NOTHING, 'no call, session, leg, transaction or transfer is left');
  t.equal(world.border.shard.subscriptions.size, 0);
}

/** Replaces of a dialog as the phone of `half` names it to its peer. */
function named(half: Half, more = ''): string {
  return `Replaces: ${half.callId};to-tag=${half.remoteTag};from-tag=${half.localTag}${more}\r\n`;
}

/** The same dialog as its peer would be asked about it. */
function namedTo(half: Half): string {
  return `Replaces: ${half.callId};to-tag=${half.localTag};from-tag=${half.remoteTag}\r\n`;
}

/** `half`'s phone is asked inside its dialog, and agrees. */
function agrees(half: Half): MessageView {
  const { phone } = half;
  const offer = hear(phone, phone.next('INVITE'));
  half.reply(offer, 200, { sdp: sdpOf(phone, [], 5) });
  phone.next('ACK');
  return offer;
}

/** The final reply to a refused INVITE, acknowledged. */
function refused(half: Half, status: number): MessageView {
  const m = half.phone.next(status);
  half.phone.send(half.text('ACK', { branch: half.branch }));
  return m;
}

tap.test('an INVITE with Replaces takes the place of a party, named from either end (RFC 3891 §3)', async t => {
  for (const end of ['as the replaced party knows it', 'as the other party knows it'] as const) {
    const all = trio();
    const { world, alice, bob, carol } = all;
    const { caller: a, callee: b } = call(alice, bob);
    t.same(pairing(world, alice, bob), ['bob', 'alice'], 'control');
    const headers = end === 'as the replaced party knows it' ? named(a) : namedTo(b);
    const d = carol.invite('sip:bob@example.org', { sdp: sdpOf(carol), headers: `Require: replaces\r\n${headers}` });
    const offer = agrees(b);
    t.equal(offer.toTag, b.localTag, 'asked inside the dialog that it has');
    t.equal(offer.fromTag, b.remoteTag);
    t.match(offer.body, new RegExp(`c=IN IP4 ${BORDER}\\r\\n`));
    a.reply(alice.next('BYE'), 200);
    hear(carol, d.expect(200));
    d.send('ACK');
    t.same(pairing(world, carol, bob), ['bob', 'carol'], end);
    t.equal(world.border.calls().length, 1);
    const [old] = world.take('call-ended');
    t.equal(old?.cause, 'replaced');
    t.equal(old?.transferredTo, world.border.calls()[0]?.id);
    hangUp(b, d);
    t.equal(world.take('call-ended')[0]?.transferredFrom, old?.ref);
    settled(t, all);
  }
});

tap.test('a new party without an offer hears that of the one who stays', async t => {
  const all = trio();
  const { world, alice, bob, carol } = all;
  const { caller: a, callee: b } = call(alice, bob);
  const d = carol.invite('sip:alice@example.org', { sdp: false, headers: named(b) });
  const asked = alice.next('INVITE');
  t.equal(asked.body, '');
  a.reply(asked, 200, { sdp: sdpOf(alice, [], 3) });
  b.reply(bob.next('BYE'), 200);
  hear(carol, d.expect(200));
  d.send('ACK', { sdp: sdpOf(carol) });
  hear(alice, alice.next('ACK'));
  t.same(pairing(world, carol, alice), ['alice', 'carol']);
  hangUp(d, a);
  settled(t, all);
});

tap.test('who is named wrongly, twice, too early or not at all, with a control that gets through', async t => {
  const all = trio();
  const { alice, bob, carol } = all;
  const ringing = alice.invite(bob.aor, { sdp: sdpOf(alice) });
  const b = bob.called();
  b.answer(180);
  ringing.expect(180);
  refused(carol.invite(bob.aor, { headers: named(ringing) }), 481);
  b.answer(200, { sdp: sdpOf(bob) });
  bob.next('ACK');
  ringing.expect(200);
  ringing.send('ACK');
  for (const [headers, status] of [
    [named(ringing).replace(ringing.remoteTag, `${ringing.remoteTag}x`), 481],
    [named(ringing).replace(ringing.localTag, `${ringing.localTag}x`), 481],
    [named(ringing).replace('Replaces: ', 'Replaces: x'), 481],
    [named(ringing, ';early-only'), 486],
    [named(ringing) + named(ringing), 400],
    ['Replaces: only-a-call-id\r\n', 400],
    ['Replaces: x;to-tag=y\r\n', 400],
  ] as const) {
    refused(carol.invite(bob.aor, { headers }), status);
    t.same(bob.heard(), [], headers);
  }
  carol.ask({ method: 'MESSAGE', uri: bob.aor, to: `<${bob.aor}>`, headers: named(ringing), body: 'hello' });
  carol.next(400);
  ringing.send('INVITE', { sdp: sdpOf(alice, ['a=sendonly'], 2) });
  const renegotiates = bob.next('INVITE');
  refused(carol.invite(bob.aor, { headers: named(ringing) }), 500);
  b.reply(renegotiates, 200, { sdp: sdpOf(bob, ['a=recvonly'], 2) });
  bob.next('ACK');
  if (alice.inbox[0]?.status === 100) alice.next(100);
  alice.next(200);
  ringing.send('ACK', { cseq: ringing.cseq });
  t.equal(left(all.world).calls, 1, 'nothing was replaced');
  const d = carol.invite(bob.aor, { sdp: sdpOf(carol), headers: named(ringing) });
  agrees(b);
  ringing.reply(alice.next('BYE'), 200);
  d.expect(200);
  d.send('ACK');
  hangUp(d, b);
  settled(t, all);
});

tap.test('who stays refuses: the new party hears it, the call goes on', async t => {
  const all = trio();
  const { world, alice, bob, carol } = all;
  const { caller: a, callee: b } = call(alice, bob);
  pairing(world, alice, bob);
  const d = carol.invite(bob.aor, { sdp: sdpOf(carol), headers: named(a) });
  b.reply(bob.next('INVITE'), 488);
  bob.next('ACK');
  refused(d, 488);
  t.same(alice.heard(), []);
  t.same(pairing(world, alice, bob), ['bob', 'alice']);
  a.send('INVITE', { sdp: sdpOf(alice, [], 3) });
  agrees(b);
  if (alice.inbox[0]?.status === 100) alice.next(100);
  t.equal(alice.next(200).status, 200, 'and can be renegotiated');
  a.send('ACK', { cseq: a.cseq });
  hangUp(a, b);
  settled(t, all);
});

tap.test('the new party gives up: before the answer nothing has changed, across it the call is over', async t => {
  for (const late of [false, true]) {
    const all = trio();
    const { world, alice, bob, carol } = all;
    const { caller: a, callee: b } = call(alice, bob);
    pairing(world, alice, bob);
    const d = carol.invite(bob.aor, { sdp: sdpOf(carol), headers: named(a) });
    const asked = bob.next('INVITE');
    b.reply(asked, 100);
    d.cancel();
    carol.next(200);
    refused(d, 487);
    const cancel = bob.next('CANCEL');
    b.reply(cancel, 200);
    if (late) {
      b.reply(asked, 200, { sdp: sdpOf(bob, [], 5) });
      bob.next('ACK');
      b.reply(bob.next('BYE'), 200);
      a.reply(alice.next('BYE'), 200);
    } else {
      b.reply(asked, 487);
      bob.next('ACK');
      t.same(pairing(world, alice, bob), ['bob', 'alice']);
      hangUp(a, b);
    }
    settled(t, all);
  }
});

/** The service behind the upstream domain. */
function pbx(all: Trio): Phone {
  return all.world.phone('777', { at: PBX, inner: PBX, via: CORE_UDP, domain: 'pbx.example.net' });
}

tap.test('a trunk may replace its own party, and in nobody else’s call', async t => {
  const all = trio();
  const { world, alice, bob } = all;
  const service = pbx(all);
  const { caller: a, callee: b } = call(alice, bob);
  const foreign = service.invite(bob.aor, { sdp: service.sdp(), headers: named(a) });
  refused(foreign, 403);
  t.same(bob.heard(), []);
  hangUp(a, b);
  const a2 = alice.invite('sip:123@pbx.example.net', { sdp: sdpOf(alice) });
  const p = service.called();
  p.answer(200, { sdp: service.sdp() });
  service.next('ACK');
  a2.expect(200);
  a2.send('ACK');
  const moved = service.invite('sip:alice@example.org', { sdp: service.sdp({ port: 44_000 }), headers: named(p) });
  agrees(a2);
  p.reply(service.next('BYE'), 200);
  moved.expect(200);
  moved.send('ACK');
  t.equal(world.border.calls().length, 1);
  hangUp(moved, a2);
  settled(t, all);
});

tap.test('relay: a REFER crosses, and its NOTIFYs; nothing of one side is seen on the other', async t => {
  const all = trio({ config: { calls: { transfer: 'relay' } } });
  const { world, alice, bob, carol } = all;
  const { caller: a, callee: b } = call(alice, bob);
  const marks = ['192.168.77.5', a.callId, a.localTag, 'secret-phone', 'cid:token'];
  const before = world.wires.length;
  a.send('REFER', {
    headers: [
      'Contact: <sip:alice@192.168.77.5:5062>',
      'Refer-To: "Carol" <sip:carol@example.org;x=192.168.77.5?X-Inner=secret-phone>',
      'Referred-By: <sip:alice@192.168.77.5>;cid="cid:token@192.168.77.5"',
      'User-Agent: secret-phone\r\n',
    ].join('\r\n'),
  });
  const crossed = bob.next('REFER');
  t.equal(crossed.get(H.referTo), '<sip:carol@example.org>');
  t.equal(crossed.get(H.referredBy), '<sip:alice@example.org>');
  t.match(crossed.get(H.contact), new RegExp(`^<sip:[^@]+@${BORDER}:5060>$`));
  b.reply(crossed, 202, { headers: `Contact: <${bob.contact}>\r\n` });
  const accepted = alice.next(202);
  t.match(accepted.get(H.contact), new RegExp(`^<sip:[^@]+@${BORDER}:5060>$`));
  b.send('NOTIFY', {
    headers: 'Event: refer\r\nSubscription-State: active;expires=60\r\n',
    contentType: 'message/sipfrag;version=2.0',
    body: 'SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP 172.16.5.9:5070\r\nContact: <sip:x@172.16.5.9>\r\n',
  });
  const progress = notified(a);
  t.same([progress.line, progress.event], ['SIP/2.0 180 Ringing', 'refer']);
  bob.next(200);
  const d = bob.invite('sip:carol@example.org', {
    sdp: sdpOf(bob),
    headers: 'Referred-By: <sip:alice@example.org>\r\n',
  });
  t.equal(carol.inbox[0]?.get(H.referredBy), '<sip:alice@example.org>');
  const c = carol.called();
  c.answer(200, { sdp: sdpOf(carol) });
  carol.next('ACK');
  d.expect(200);
  d.send('ACK');
  b.send('NOTIFY', {
    headers: 'Event: refer\r\nSubscription-State: terminated;reason=noresource\r\n',
    contentType: 'message/sipfrag;version=2.0',
    body: 'SIP/2.0 200 OK\r\n',
  });
  t.equal(notified(a).state, 'terminated');
  bob.next(200);
  t.equal(world.border.calls().length, 2, 'the end of the subscription is not the end of the call');
  hangUp(a, b);
  const wires = world.wires.slice(before);
  const inbound = wires.filter(w => w.direction === 'in' && w.peer === alice.at).map(w => w.text);
  for (const mark of marks) {
    t.ok(
      inbound.some(text => text.includes(mark)),
      `control: alice said ${mark}`,
    );
    for (const w of [...wiresTo(world, bob), ...wiresTo(world, carol)])
      if (w.text.includes(mark)) t.fail(`${mark} in ${w.text}`);
  }
  t.ok(inbound.length > 3);
  for (const w of wiresTo(world, alice)) if (w.text.includes('172.16.5.9')) t.fail(w.text);
  hangUp(d, c);
  settled(t, all);
});

tap.test('relay, attended: the dialog is named as the target knows it, and its INVITE is carried out here', async t => {
  const all = trio({ config: { calls: { transfer: 'relay' } } });
  const { world, alice, bob, carol } = all;
  const { caller: a, callee: b } = call(alice, bob);
  const { caller: a2, callee: c } = call(alice, carol);
  a.send('REFER', {
    headers: `Contact: <${alice.contact}>\r\nRefer-To: <${replacing(a2.target, a2)}>\r\nReferred-By: <sip:alice@example.org>\r\n`,
  });
  const crossed = bob.next('REFER');
  const target = /<(.*)\?Replaces=(.*)>/.exec(crossed.get(H.referTo));
  t.equal(target?.[1], 'sip:carol@example.org', 'our contact means carol');
  const dialog = decodeURIComponent(target?.[2] ?? '');
  t.equal(dialog, `${c.callId};to-tag=${c.localTag};from-tag=${c.remoteTag}`);
  for (const mark of [a2.callId, a2.localTag, a2.remoteTag])
    t.notOk(crossed.text.includes(mark), 'not as the transferor knows it');
  b.reply(crossed, 202, { headers: `Contact: <${bob.contact}>\r\n` });
  alice.next(202);
  const d = bob.invite('sip:carol@example.org', {
    sdp: sdpOf(bob),
    headers: `Replaces: ${dialog}\r\nReferred-By: <sip:alice@example.org>\r\n`,
  });
  t.equal(carol.inbox[0]?.get(H.referredBy), '<sip:alice@example.org>');
  agrees(c);
  a2.reply(alice.next('BYE'), 200);
  hear(bob, d.expect(200));
  d.send('ACK');
  t.same(pairing(world, bob, carol), ['carol', 'bob']);
  hangUp(a, b);
  hangUp(c, d);
  settled(t, all);
});

tap.test('relay: nobody names the dialog of somebody else, and who was sent may do what he was sent for', async t => {
  const all = trio({ config: { calls: { transfer: 'relay' } } });
  const { alice, bob, carol } = all;
  const service = pbx(all);
  const { caller: a2, callee: c } = call(alice, carol);
  const { caller: b1, callee: b } = call(bob, carol);
  refer(b1, replacing(carol.aor, a2), { expect: 403 });
  t.same(carol.heard(), []);
  hangUp(b1, b);
  const a = alice.invite('sip:123@pbx.example.net', { sdp: sdpOf(alice) });
  const p = service.called();
  p.answer(200, { sdp: service.sdp() });
  service.next('ACK');
  a.expect(200);
  a.send('ACK');
  const replaces = namedTo(c);
  refused(service.invite(carol.aor, { sdp: service.sdp(), headers: replaces }), 403);
  t.same(carol.heard(), [], 'control: nobody has sent him');
  a.send('REFER', { headers: `Contact: <${alice.contact}>\r\nRefer-To: <${replacing(carol.aor, a2)}>\r\n` });
  const crossed = service.next('REFER');
  t.match(crossed.get(H.referTo), /^<sip:carol@example\.org\?Replaces=/);
  p.reply(crossed, 202, { headers: `Contact: <${service.contact}>\r\n` });
  alice.next(202);
  const d = service.invite(carol.aor, { sdp: service.sdp(), headers: replaces });
  agrees(c);
  a2.reply(alice.next('BYE'), 200);
  d.expect(200);
  d.send('ACK');
  hangUp(a, p);
  hangUp(d, c);
  settled(t, all);
});

tap.test('REFER outside a call: denied unless allowed, then to subscribers only', async t => {
  const denied = trio();
  denied.alice.ask({ method: 'REFER', uri: 'sip:bob@example.org', to: '<sip:bob@example.org>', headers: TO_CAROL });
  t.equal(denied.alice.next(403).status, 403);
  t.same(denied.bob.heard(), []);
  const all = trio({ config: { methods: { REFER: 'authenticated' } } });
  const { world, alice, bob } = all;
  alice.ask({
    method: 'REFER',
    uri: 'sip:123@pbx.example.net',
    to: '<sip:123@pbx.example.net>',
    headers: TO_CAROL,
  });
  alice.next(403);
  alice.ask({
    method: 'REFER',
    uri: 'sip:bob@example.org',
    to: '<sip:bob@example.org>',
    from: '<sip:alice@example.org>;tag=click',
    callId: 'click@192.168.77.5',
    headers: TO_CAROL,
  });
  const crossed = bob.next('REFER');
  t.equal(crossed.get(H.referTo), '<sip:carol@example.org>');
  t.notMatch(crossed.text, /192\.168\.77\.5/);
  const accepted = replyWithTag(bob, crossed);
  t.equal(alice.next(202).get(H.contact).includes(BORDER), true);
  t.equal(world.border.shard.subscriptions.size, 1);
  bob.send(
    bob.request({
      method: 'NOTIFY',
      uri: /<(.*)>/.exec(crossed.get(H.contact))?.[1] ?? '',
      from: `${crossed.get(H.to)};tag=${accepted}`,
      to: crossed.get(H.from),
      callId: crossed.callId,
      headers: 'Event: refer\r\nSubscription-State: terminated;reason=noresource\r\n',
      contentType: 'message/sipfrag;version=2.0',
      body: 'SIP/2.0 200 OK\r\n',
    }),
  );
  const notify = alice.next('NOTIFY');
  t.equal(notify.callId, 'click@192.168.77.5');
  t.equal(notify.toTag, 'click');
  t.equal(notify.body, 'SIP/2.0 200 OK\r\n');
  alice.send(
    `SIP/2.0 200 OK\r\nVia: ${notify.get(H.via)}\r\nFrom: ${notify.get(H.from)}\r\nTo: ${notify.get(H.to)}\r\nCall-ID: ${notify.callId}\r\nCSeq: ${notify.cseq} NOTIFY\r\nContent-Length: 0\r\n\r\n`,
  );
  bob.next(200);
  settled(t, all);
});

const TO_CAROL = 'Refer-To: <sip:carol@example.org>\r\n';

function replyWithTag(phone: Phone, m: MessageView): string {
  phone.send(
    `SIP/2.0 202 Accepted\r\nVia: ${m.get(H.via)}\r\nFrom: ${m.get(H.from)}\r\nTo: ${m.get(H.to)};tag=accepted\r\nCall-ID: ${m.callId}\r\nCSeq: ${m.cseq} REFER\r\nContact: <${phone.contact}>\r\nContent-Length: 0\r\n\r\n`,
  );
  return 'accepted';
}
