import { H } from '@drawbridge/sip';
import tap from 'tap';
import {
  ACCESS_TCP,
  BORDER,
  BorderWorld,
  CORE_TCP,
  CORE_UDP,
  Half,
  PBX,
  type Phone,
  replyTo,
  talking,
} from './harness.js';

function pair(o: ConstructorParameters<typeof BorderWorld>[0] = {}): { world: BorderWorld; alice: Phone; bob: Phone } {
  const world = new BorderWorld(o);
  const alice = world.phone('alice', { at: '198.51.100.1:5060', inner: '192.168.77.5:5062' }).register();
  const bob = world.phone('bob', { at: '198.51.100.2:6060', inner: '172.16.5.9:5070' }).register();
  return { world, alice, bob };
}

/** Nothing of any call is left, once the transactions have had their time. */
function settled(t: Pick<typeof tap, 'equal'>, world: BorderWorld): void {
  world.pass(200_000);
  t.equal(world.border.calls().length, 0, 'no call is left');
  t.equal(world.relay.size, 0, 'no media session is left');
  t.equal(world.transactions.serverCount, 0, 'no server transaction is left');
  t.equal(world.transactions.clientCount, 0, 'no client transaction is left');
}

tap.test('a call between two subscribers of a local domain: INVITE, 180, 200, ACK, BYE, media anchored', async t => {
  const { world, alice, bob } = pair();
  const a = alice.invite('sip:bob@example.org', {
    headers: 'Subject: lunch\r\nX-Inner: 192.168.77.5\r\nUser-Agent: secret-phone 1.2\r\n',
  });
  const invite = bob.inbox[0];
  t.equal(invite?.method, 'INVITE');
  t.equal(invite?.uri, 'sip:bob@172.16.5.9:5070', 'the Request-URI is the contact that bob registered');
  t.match(invite?.get(H.from), /^<sip:alice@example\.org>;tag=/);
  t.equal(invite?.get(H.to), '<sip:bob@example.org>');
  t.equal(invite?.maxForwards, 69, 'Max-Forwards crosses the border, one less (RFC 7332)');
  t.equal(invite?.list(H.via).length, 1, 'one Via, ours');
  t.equal(invite?.sentBy, `${BORDER}:5060`);
  t.match(invite?.get(H.contact), /^<sip:[A-Za-z0-9.-]{17,}@203\.0\.113\.10:5060>$/);
  t.equal(invite?.get(H.subject), 'lunch');
  t.equal(invite?.named('X-Inner'), '', 'an unknown header stays here');
  t.notMatch(invite?.text, /secret-phone/);
  t.not(invite?.callId, a.callId, 'a Call-ID of its own');
  t.ok((invite?.callId.length ?? 99) <= 40);
  t.notMatch(invite?.text, /192\.168\.77\.5/, 'no inner address of alice');
  t.match(invite?.body, /c=IN IP4 203\.0\.113\.10\r\n/);
  const b = bob.called();
  b.answer(180);
  const ringing = a.expect(180);
  t.equal(ringing.get(H.contact).includes(BORDER), true);
  t.notMatch(ringing.text, /172\.16\.5\.9/);
  b.answer(200, { sdp: bob.sdp({ port: 41000 }) });
  bob.next('ACK');
  const ok = a.expect(200);
  t.match(ok.body, /c=IN IP4 203\.0\.113\.10\r\n/);
  t.notMatch(ok.text, /172\.16\.5\.9/);
  t.equal(ok.toTag, ringing.toTag, 'the dialog that rang is the one that answered');
  a.send('ACK');
  t.same(bob.heard(), [], 'the ACK of the caller ends here: bob has his');
  t.equal(world.border.calls().length, 1);
  t.equal(world.relay.size, 1);
  world.pass(40_000);
  t.same(alice.heard(), [], 'nothing is repeated once it is acknowledged');
  t.same(bob.heard(), []);
  a.send('BYE');
  alice.next(200);
  const bye = bob.next('BYE');
  t.equal(bye.callId, b.callId);
  b.reply(bye, 200);
  const ended = world.take('call-ended');
  t.equal(ended.length, 1);
  t.equal(ended[0]?.cause, 'normal-clearing');
  t.equal(ended[0]?.by, 'caller');
  t.equal(ended[0]?.status, 200);
  t.ok((ended[0]?.talkedMs ?? 0) >= 40_000);
  t.equal(world.take('call-started').length, 1);
  t.equal(world.take('call-ringing').length, 1);
  t.equal(world.take('call-answered')[0]?.ref, ended[0]?.ref, 'one reference in every event');
  settled(t, world);
});

tap.test('the callee hangs up', async t => {
  const world = new BorderWorld();
  const { alice, bob } = talking(world);
  bob.send('BYE');
  bob.phone.next(200);
  const bye = alice.phone.next('BYE');
  t.equal(bye.fromTag, alice.remoteTag);
  t.equal(bye.toTag, alice.localTag);
  t.equal(bye.callId, alice.callId);
  alice.reply(bye, 200);
  t.equal(world.take('call-ended')[0]?.by, 'callee');
  settled(t, world);
});

tap.test('an INVITE to nobody, to an unknown domain, to somebody not registered', async t => {
  const { world, alice } = pair();
  for (const [to, status] of [
    ['sip:nobody@example.org', 404],
    ['sip:bob@elsewhere.example', 404],
    ['sip:carol@example.org', 480],
  ] as const) {
    const half = alice.invite(to);
    const m = alice.next(status);
    alice.send(half.text('ACK', { branch: half.branch }));
    t.equal(m.status, status, to);
  }
  t.same(world.lost, [], 'nothing went anywhere else');
  settled(t, world);
});

tap.test('busy, declined, and a redirection, which stays here', async t => {
  const { world, alice, bob } = pair();
  for (const [said, heard, cause] of [
    [486, 486, 'busy'],
    [603, 603, 'declined'],
    [302, 480, 'no-answer'],
    [503, 500, 'peer-rejected'],
    [401, 403, 'peer-rejected'],
  ] as const) {
    const a = alice.invite('sip:bob@example.org');
    const b = bob.called();
    b.answer(said, {
      headers:
        said === 302
          ? 'Contact: <sip:evil@192.0.2.66>\r\n'
          : said === 401
            ? 'WWW-Authenticate: Digest realm="example.org", nonce="x"\r\n'
            : 'Retry-After: 30\r\n',
    });
    bob.next('ACK');
    const m = alice.next(heard);
    t.equal(m.get(H.contact), '');
    t.equal(m.get(H.wwwAuthenticate), '');
    alice.send(a.text('ACK', { branch: a.branch }));
    const ended = world.take('call-ended')[0];
    t.equal(ended?.cause, cause, `${said}`);
    t.equal(ended?.status, heard);
    t.equal(ended?.talkedMs, 0);
  }
  settled(t, world);
});

tap.test('two contacts ring at once; one answers, the other is cancelled and its late 200 is ended', async t => {
  const { world, alice, bob } = pair();
  const desk = world.phone('bob', { at: '198.51.100.3:5060', inner: '172.16.5.10:5060' }).register();
  const a = alice.invite('sip:bob@example.org');
  const one = bob.called();
  const two = desk.called();
  t.not(one.remoteTag, two.remoteTag);
  t.not(one.callId, two.callId);
  one.answer(183, { sdp: bob.sdp({ port: 41000 }) });
  const early = alice.next(183);
  two.answer(180);
  const ringing = alice.next(180);
  t.not(early.toTag, ringing.toTag, 'one To tag per fork toward the caller');
  t.match(early.body, /m=audio 3\d{4} /, 'early media');
  two.answer(200, { sdp: desk.sdp({ port: 42000 }) });
  desk.next('ACK');
  const ok = a.expect(200);
  t.equal(ok.toTag, ringing.toTag);
  const cancel = bob.next('CANCEL');
  t.equal(cancel.branch, one.invite?.branch);
  t.match(cancel.get(H.reason), /^SIP;cause=200/, 'answered elsewhere (RFC 3326)');
  // The 200 of the first crosses our CANCEL.
  one.answer(200, { sdp: bob.sdp({ port: 41000 }) });
  bob.next('ACK');
  const bye = bob.next('BYE');
  one.reply(bye, 200);
  one.reply(cancel, 200);
  a.send('ACK');
  t.same(alice.heard(), [], 'the caller hears nothing of the loser');
  t.equal(world.border.calls().length, 1);
  a.send('BYE');
  desk.next('BYE');
  t.same(bob.heard(), []);
  alice.next(200);
  settled(t, world);
});

tap.test('forks fail one by one: the best of their answers goes to the caller; a 6xx ends the search', async t => {
  const { world, alice, bob } = pair();
  const desk = world.phone('bob', { at: '198.51.100.3:5060', inner: '172.16.5.10:5060' }).register();
  const a = alice.invite('sip:bob@example.org');
  bob.called().answer(503);
  bob.next('ACK');
  t.same(alice.heard(), [], 'the other one still rings');
  desk.called().answer(486);
  desk.next('ACK');
  alice.next(486);
  alice.send(a.text('ACK', { branch: a.branch }));

  const again = alice.invite('sip:bob@example.org');
  const first = bob.called();
  const second = desk.called();
  second.answer(180);
  again.expect(180);
  first.answer(603);
  bob.next('ACK');
  const cancel = desk.next('CANCEL');
  second.reply(cancel, 200);
  second.answer(487);
  desk.next('ACK');
  alice.next(603);
  alice.send(again.text('ACK', { branch: again.branch }));
  t.same(alice.heard(), []);
  settled(t, world);
});

tap.test('serial forking goes by falling q', async t => {
  const world = new BorderWorld({ config: { calls: { forking: 'serial' } } });
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const low = world.phone('bob', { at: '198.51.100.2:5060', inner: '172.16.5.9:5060' });
  low.register({ contact: `<${low.contact}>;q=0.2` });
  const high = world.phone('bob', { at: '198.51.100.3:5060', inner: '172.16.5.10:5060' });
  high.register({ contact: `<${high.contact}>;q=0.9` });
  const a = alice.invite('sip:bob@example.org');
  t.same(low.heard(), [], 'the lower q waits');
  high.called().answer(486);
  high.next('ACK');
  const b = low.called();
  b.answer(200, { sdp: low.sdp() });
  low.next('ACK');
  a.expect(200);
  a.send('ACK');
  a.send('BYE');
  low.next('BYE');
  alice.next(200);
  settled(t, world);
});

tap.test('the best failure of a serial search counts, whichever group gave it', async t => {
  const world = new BorderWorld({ config: { calls: { forking: 'serial' } } });
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const low = world.phone('bob', { at: '198.51.100.2:5060', inner: '172.16.5.9:5060' });
  low.register({ contact: `<${low.contact}>;q=0.2` });
  const high = world.phone('bob', { at: '198.51.100.3:5060', inner: '172.16.5.10:5060' });
  high.register({ contact: `<${high.contact}>;q=0.9` });
  const a = alice.invite('sip:bob@example.org');
  high.called().answer(486);
  high.next('ACK');
  low.called().answer(480);
  low.next('ACK');
  a.expect(486);
  alice.send(a.text('ACK', { branch: a.branch }));
  t.equal(world.take('call-ended')[0]?.cause, 'busy');
  settled(t, world);
});

tap.test('nobody answers: CANCEL to the callee, a final to the caller', async t => {
  const { world, alice, bob } = pair({ config: { calls: { noAnswer: '20s' } } });
  const a = alice.invite('sip:bob@example.org');
  const b = bob.called();
  b.answer(180);
  a.expect(180);
  world.pass(19_000);
  t.same(alice.heard(), []);
  world.pass(2000, () => alice.inbox.length > 0);
  const m = alice.inbox.shift();
  t.ok(m?.status === 480 || m?.status === 408, `${m?.status}`);
  const cancel = bob.next('CANCEL');
  b.reply(cancel, 200);
  b.answer(487);
  bob.next('ACK');
  alice.send(a.text('ACK', { branch: a.branch }));
  t.equal(world.take('call-ended')[0]?.cause, 'no-answer');
  settled(t, world);
});

tap.test('a callee that is silent altogether: the INVITE is repeated, then given up', async t => {
  const { world, alice, bob } = pair({ config: { calls: { noAnswer: '60s' } } });
  bob.unplug();
  const a = alice.invite('sip:bob@example.org');
  world.pass(40_000);
  t.equal(world.lost.filter(w => w.text.startsWith('INVITE ')).length, 7, 'timer A doubles from T1 to 64·T1');
  const m = alice.inbox.shift();
  t.ok(m?.status === 480 || m?.status === 408, `${m?.status}`);
  alice.send(a.text('ACK', { branch: a.branch }));
  t.equal(world.lost.filter(w => w.text.startsWith('CANCEL ')).length, 0, 'no CANCEL without a 1xx (RFC 3261 §9.1)');
  settled(t, world);
});

tap.test('the caller cancels while it rings', async t => {
  const { world, alice, bob } = pair();
  const a = alice.invite('sip:bob@example.org');
  const b = bob.called();
  b.answer(180);
  a.expect(180);
  a.cancel();
  alice.next(200);
  alice.next(487);
  alice.send(
    new Half(alice, { ...a, remote: a.remote, target: 'sip:bob@example.org' }).text('ACK', {
      branch: a.branch,
      cseq: a.cseq,
    }),
  );
  const cancel = bob.next('CANCEL');
  t.equal(cancel.cseq, b.invite?.cseq);
  t.equal(cancel.uri, b.invite?.uri);
  b.reply(cancel, 200);
  b.answer(487);
  bob.next('ACK');
  t.equal(world.take('call-ended')[0]?.cause, 'cancelled');
  settled(t, world);
});

tap.test('CANCEL before any provisional waits for one', async t => {
  const { world, alice, bob } = pair();
  const a = alice.invite('sip:bob@example.org');
  const b = bob.called();
  a.cancel();
  t.same(alice.heard(), [200, 487]);
  t.same(bob.heard(), [], 'nothing yet');
  b.answer(100);
  const cancel = bob.next('CANCEL');
  b.reply(cancel, 200);
  b.answer(487);
  bob.next('ACK');
  alice.send(a.text('ACK', { branch: a.branch, cseq: a.cseq }));
  settled(t, world);
});

tap.test('CANCEL crosses the 200: the callee gets ACK and BYE, the caller its 487', async t => {
  const { world, alice, bob } = pair();
  const a = alice.invite('sip:bob@example.org');
  const b = bob.called();
  b.answer(180);
  a.expect(180);
  a.cancel();
  t.same(alice.heard(), [200, 487]);
  const cancel = bob.next('CANCEL');
  b.answer(200, { sdp: bob.sdp() });
  bob.next('ACK');
  b.reply(bob.next('BYE'), 200);
  b.reply(cancel, 481);
  alice.send(a.text('ACK', { branch: a.branch, cseq: a.cseq }));
  t.same(alice.heard(), []);
  settled(t, world);
});

tap.test('CANCEL after the 200 ends nothing; CANCEL from elsewhere ends nothing; a rebound port does', async t => {
  const { world, alice, bob } = pair();
  const a = alice.invite('sip:bob@example.org');
  const b = bob.called();
  b.answer(180);
  a.expect(180);
  const thief = world.phone('mallory', { at: '192.0.2.66:5060' });
  const cancel = alice.request({
    method: 'CANCEL',
    uri: 'sip:bob@example.org',
    branch: a.branch,
    from: `${a.local};tag=${a.localTag}`,
    to: a.remote,
    callId: a.callId,
    cseq: a.cseq,
    contact: false,
  });
  thief.send(cancel);
  thief.next(481);
  t.same(bob.heard(), [], 'a stranger with the right ids cancels nothing');
  alice.moveTo('198.51.100.1:61000');
  alice.send(cancel);
  alice.next(200);
  bob.next('CANCEL');
  t.equal(world.take('call-ended')[0]?.cause, 'cancelled', 'the control: the same text from the caller’s address');
  b.answer(487);
  bob.next('ACK');
  world.pass(200_000);

  alice.moveTo('198.51.100.1:5060');
  bob.inbox.length = 0;
  alice.inbox.length = 0;
  const again = alice.invite('sip:bob@example.org');
  const callee = bob.called();
  callee.answer(200, { sdp: bob.sdp() });
  again.expect(200);
  bob.next('ACK');
  again.send('ACK');
  again.cancel();
  alice.next(200);
  t.same(bob.heard(), []);
  t.equal(world.border.calls().length, 1, 'an answered call is not ended by CANCEL');
});

tap.test('the ACK is lost, then comes: the 200 is repeated until then', async t => {
  const { world, alice, bob } = pair();
  const a = alice.invite('sip:bob@example.org');
  const b = bob.called();
  b.answer(200, { sdp: bob.sdp() });
  bob.next('ACK');
  a.expect(200);
  world.pass(3600);
  t.same(alice.heard(), [200, 200, 200], 'T1, 2·T1, 4·T1');
  a.send('ACK');
  world.pass(40_000);
  t.same(alice.heard(), []);
  t.equal(world.border.calls().length, 1);
});

tap.test('the ACK never comes: BYE both ways', async t => {
  const { world, alice, bob } = pair();
  const a = alice.invite('sip:bob@example.org');
  const b = bob.called();
  b.answer(200, { sdp: bob.sdp() });
  bob.next('ACK');
  a.expect(200);
  world.pass(31_000);
  t.ok(alice.heard().every(s => s === 200));
  t.same(bob.heard(), []);
  world.pass(2000);
  t.ok(alice.heard().includes('BYE'));
  b.reply(bob.next('BYE'), 200);
  t.equal(world.take('call-ended')[0]?.cause, 'ack-missing');
  settled(t, world);
});

tap.test('the callee repeats its 200 because our ACK was lost: it gets the same ACK again', async t => {
  const { world, alice, bob } = pair();
  const a = alice.invite('sip:bob@example.org');
  const b = bob.called();
  b.answer(200, { sdp: bob.sdp() });
  const first = bob.next('ACK');
  b.answer(200, { sdp: bob.sdp() });
  const second = bob.next('ACK');
  t.equal(second.text, first.text);
  a.expect(200);
  a.send('ACK');
  t.same(alice.heard(), [], 'the caller is not bothered');
  t.equal(world.border.calls().length, 1);
});

tap.test('a delayed offer: the callee offers in its 200, the caller answers in its ACK', async t => {
  const { world, alice, bob } = pair();
  const a = alice.invite('sip:bob@example.org', { sdp: false });
  const b = bob.called();
  t.equal(b.invite?.body, '');
  b.answer(180);
  a.expect(180);
  b.answer(200, { sdp: bob.sdp({ port: 41000 }) });
  t.same(bob.heard(), [], 'no ACK yet: the answer is still to come');
  const ok = a.expect(200);
  t.match(ok.body, /m=audio 3\d{4} RTP\/AVP 0 101/);
  t.notMatch(ok.body, /172\.16\.5\.9/);
  a.send('ACK', { sdp: alice.sdp({ port: 40000 }) });
  const ack = bob.next('ACK');
  t.match(ack.body, /c=IN IP4 203\.0\.113\.10/);
  t.notMatch(ack.text, /192\.168\.77\.5/);
  b.answer(200, { sdp: bob.sdp({ port: 41000 }) });
  t.equal(bob.next('ACK').text, ack.text, 'a repeated 200 gets the same ACK');
  b.send('BYE');
  bob.next(200);
  alice.next('BYE');
  settled(t, world);
});

tap.test('hold and resume by re-INVITE, from either side', async t => {
  const world = new BorderWorld();
  const { alice, bob } = talking(world);
  for (const [from, to, by] of [
    [alice, bob, 'caller'],
    [bob, alice, 'callee'],
  ] as const) {
    for (const direction of ['sendonly', 'sendrecv'] as const) {
      from.send('INVITE', { sdp: from.phone.sdp({ version: 2, lines: [`a=${direction}`] }) });
      t.same(from.phone.heard(), [100]);
      const re = to.phone.next('INVITE');
      t.equal(re.callId, to.callId);
      t.equal(re.toTag, to.localTag);
      t.match(re.body, new RegExp(`a=${direction}\r\n`));
      t.match(re.body, /c=IN IP4 203\.0\.113\.10/);
      to.reply(re, 200, {
        sdp: to.phone.sdp({ version: 2, lines: [`a=${direction === 'sendonly' ? 'recvonly' : 'sendrecv'}`] }),
      });
      to.phone.next('ACK');
      const ok = from.phone.next(200);
      t.match(ok.body, /c=IN IP4 203\.0\.113\.10/);
      from.send('ACK');
    }
    t.equal(
      world
        .take('call-held')
        .map(e => e.by)
        .join(),
      by,
    );
    t.equal(
      world
        .take('call-resumed')
        .map(e => e.by)
        .join(),
      by,
    );
  }
  alice.send('BYE');
  alice.phone.next(200);
  bob.phone.next('BYE');
  settled(t, world);
});

tap.test('a re-INVITE that fails changes nothing (RFC 6141)', async t => {
  const world = new BorderWorld();
  const { alice, bob } = talking(world);
  const before = world.border.calls().length;
  alice.send('INVITE', { sdp: alice.phone.sdp({ version: 2, port: 44000 }) });
  alice.phone.next(100);
  const re = bob.phone.next('INVITE');
  bob.reply(re, 488);
  bob.phone.next('ACK');
  const no = alice.phone.next(488);
  alice.phone.send(alice.text('ACK', { branch: no.branch }));
  t.equal(world.border.calls().length, before, 'the call goes on');
  alice.send('INVITE', { sdp: alice.phone.sdp({ version: 3 }) });
  alice.phone.next(100);
  bob.reply(bob.phone.next('INVITE'), 200, { sdp: bob.phone.sdp({ version: 2 }) });
  bob.phone.next('ACK');
  alice.phone.next(200);
  alice.send('ACK');
  alice.send('BYE');
  alice.phone.next(200);
  bob.phone.next('BYE');
  settled(t, world);
});

tap.test('glare: re-INVITEs cross, both sides get 491 and the call lives', async t => {
  const world = new BorderWorld();
  const { alice, bob } = talking(world);
  alice.send('INVITE', { sdp: alice.phone.sdp({ version: 2 }) });
  alice.phone.next(100);
  const crossing = bob.text('INVITE', { sdp: bob.phone.sdp({ version: 2 }) });
  bob.phone.send(crossing);
  const re = bob.phone.next('INVITE');
  const no = bob.phone.inbox.map(m => m.status).filter(s => s !== 100);
  t.same(no, [491]);
  bob.phone.inbox.length = 0;
  bob.reply(re, 491);
  bob.phone.next('ACK');
  t.equal(alice.phone.inbox.shift()?.status, 491);
  t.equal(world.border.calls().length, 1);
});

tap.test('a second INVITE while the first is under way: 500 with Retry-After; a lower CSeq: 500', async t => {
  const world = new BorderWorld();
  const { alice, bob } = talking(world);
  alice.send('INVITE', { sdp: alice.phone.sdp({ version: 2 }) });
  alice.phone.next(100);
  const re = bob.phone.next('INVITE');
  alice.send('INVITE', { sdp: alice.phone.sdp({ version: 3 }) });
  const no = alice.phone.inbox.find(m => m.status > 100);
  t.equal(no?.status, 500);
  t.match(no?.get(H.retryAfter), /^([0-9]|10)$/);
  alice.phone.inbox.length = 0;
  bob.reply(re, 200, { sdp: bob.phone.sdp({ version: 2 }) });
  bob.phone.next('ACK');
  alice.phone.next(200);
  alice.send('ACK', { cseq: alice.cseq - 1 });
  alice.send('INFO', { cseq: 1 });
  t.equal(alice.phone.next(500).status, 500);
  alice.send('INFO');
  const info = bob.phone.next('INFO');
  bob.reply(info, 200);
  alice.phone.next(200);
  t.equal(world.count('lower-cseq'), 1);
});

tap.test('INFO with DTMF and MESSAGE cross inside the dialog; an unknown body does not', async t => {
  const world = new BorderWorld();
  const { alice, bob } = talking(world);
  alice.send('INFO', { body: 'Signal=5\r\nDuration=160\r\n', contentType: 'application/dtmf-relay' });
  const info = bob.phone.next('INFO');
  t.equal(info.body, 'Signal=5\r\nDuration=160\r\n');
  t.equal(info.contentType, 'application/dtmf-relay');
  bob.reply(info, 200);
  alice.phone.next(200);
  bob.send('MESSAGE', { body: 'hello', contentType: 'text/plain' });
  const message = alice.phone.next('MESSAGE');
  t.equal(message.body, 'hello');
  alice.reply(message, 202);
  bob.phone.next(202);
  alice.send('INFO', { body: '<inner>192.168.77.5</inner>', contentType: 'application/x-inner' });
  const left = [...bob.phone.inbox];
  t.equal(
    left.some(m => m.text.includes('192.168.77.5')),
    false,
    'a body of a type that we do not know does not cross',
  );
});

tap.test('UPDATE moves the session', async t => {
  const world = new BorderWorld();
  const { alice, bob } = talking(world);
  bob.send('UPDATE', { sdp: bob.phone.sdp({ version: 2, lines: ['a=sendonly'] }) });
  const update = alice.phone.next('UPDATE');
  t.match(update.body, /c=IN IP4 203\.0\.113\.10/);
  t.match(update.body, /a=sendonly/);
  alice.reply(update, 200, { sdp: alice.phone.sdp({ version: 2, lines: ['a=recvonly'] }) });
  t.match(bob.phone.next(200).body, /c=IN IP4 203\.0\.113\.10/);
});

tap.test('the callee may not BYE while it rings; the caller may', async t => {
  const { world, alice, bob } = pair();
  const a = alice.invite('sip:bob@example.org');
  const b = bob.called();
  b.answer(180);
  a.expect(180);
  b.send('BYE');
  const no = bob.inbox.shift();
  t.ok((no?.status ?? 0) >= 400, `${no?.status}`);
  t.same(alice.heard(), [], 'it goes on ringing');
  t.equal(world.border.calls().length, 1);
  a.send('BYE');
  t.same(alice.heard().sort(), [200, 487]);
  bob.next('CANCEL');
  b.answer(487);
  bob.next('ACK');
  alice.send(a.text('ACK', { branch: a.branch, cseq: a.cseq - 1 }));
  settled(t, world);
});

tap.test('a NAT rebinds in mid-call: the same address with a new port moves the flow', async t => {
  const world = new BorderWorld();
  const { alice, bob } = talking(world);
  alice.phone.moveTo('198.51.100.1:62000');
  alice.send('INFO', { body: 'Signal=1\r\n', contentType: 'application/dtmf-relay' });
  bob.reply(bob.phone.next('INFO'), 200);
  alice.phone.next(200);
  t.equal(world.take('call-moved').length, 1);
  bob.send('BYE');
  alice.reply(alice.phone.next('BYE'), 200);
  bob.phone.next(200);
  settled(t, world);
});

tap.test(
  'a BYE with the right ids from a third address is challenged; whoever knows the password may go on from there',
  async t => {
    const world = new BorderWorld();
    const { alice, bob } = talking(world);
    const thief = world.phone('mallory', { at: '192.0.2.66:5060' });
    const bye = alice.text('BYE');
    thief.send(bye);
    t.equal(thief.next(407).status, 407);
    t.same(bob.phone.heard(), [], 'the call survives');
    t.equal(world.border.calls().length, 1);
    // The control: the same text from the phone itself.
    alice.phone.send(bye);
    alice.phone.next(200);
    bob.phone.next('BYE');
    t.equal(world.border.calls().length, 0);
  },
);

tap.test('requests for dialogs that are not there', async t => {
  const world = new BorderWorld();
  const { alice, bob } = talking(world);
  const old = alice.remoteTag;
  alice.remoteTag = 'unknown-tag';
  alice.send('BYE');
  alice.phone.next(481);
  alice.remoteTag = old;
  alice.phone.send(alice.text('BYE').replace(/Call-ID: .*/, 'Call-ID: other'));
  alice.phone.next(481);
  t.same(bob.phone.heard(), []);
  t.equal(world.count('no-dialog'), 2);
  alice.send('BYE');
  alice.phone.next(200);
  t.equal(bob.phone.inbox.length, 1, 'the control');
});

tap.test('the phone is gone: a request inside the dialog runs into its timeout and the call ends', async t => {
  const world = new BorderWorld();
  const { alice, bob } = talking(world);
  bob.phone.unplug();
  alice.send('INFO', { body: 'Signal=1\r\n', contentType: 'application/dtmf-relay' });
  world.pass(33_000);
  t.ok(alice.phone.heard().includes('BYE'));
  t.equal(world.take('call-ended').length, 1);
});

tap.test('481 to a request inside the dialog ends the call', async t => {
  const world = new BorderWorld();
  const { alice, bob } = talking(world);
  alice.send('INFO', { body: 'Signal=1\r\n', contentType: 'application/dtmf-relay' });
  bob.reply(bob.phone.next('INFO'), 481);
  alice.phone.next(481);
  alice.phone.next('BYE');
  t.equal(world.take('call-ended')[0]?.cause, 'peer-gone');
});

tap.test('no media at all for the inactivity time: BYE both ways', async t => {
  const world = new BorderWorld({ relay: { inactivityMs: 10_000 } });
  const { alice, bob } = talking(world);
  world.pass(30_000);
  alice.phone.next('BYE');
  bob.phone.next('BYE');
  t.equal(world.take('call-ended')[0]?.cause, 'media-inactive');
});

tap.test('the longest duration', async t => {
  const world = new BorderWorld({ config: { calls: { maxDuration: '90s' } }, relay: { inactivityMs: 0 } });
  const { alice, bob } = talking(world);
  world.pass(89_000);
  t.same(alice.phone.heard(), []);
  world.pass(2000);
  alice.phone.next('BYE');
  bob.phone.next('BYE');
  t.equal(world.take('call-ended')[0]?.cause, 'call-duration');
});

tap.test('limits: per subscriber and over all; draining', async t => {
  const world = new BorderWorld({ config: { calls: { perSubscriber: 1 } } });
  const { alice, bob } = talking(world);
  const second = alice.phone.invite('sip:bob@example.org');
  alice.phone.next(486);
  alice.phone.send(second.text('ACK', { branch: second.branch, cseq: second.cseq }));
  alice.send('BYE');
  alice.phone.next(200);
  bob.reply(bob.phone.next('BYE'), 200);
  const third = alice.phone.invite('sip:bob@example.org');
  const b = bob.phone.called();
  b.answer(486);
  bob.phone.next('ACK');
  alice.phone.next(486);
  alice.phone.send(third.text('ACK', { branch: third.branch, cseq: third.cseq }));
  world.run(now => world.border.drain(now));
  const fourth = alice.phone.invite('sip:bob@example.org');
  const no = alice.phone.next(503);
  t.not(no.get(H.retryAfter), '');
  alice.phone.send(fourth.text('ACK', { branch: fourth.branch, cseq: fourth.cseq }));
  settled(t, world);
  const small = new BorderWorld({ config: { calls: { max: 1 } } });
  const { alice: one } = talking(small);
  const carol = small.phone('carol', { at: '198.51.100.4:5060' }).register();
  carol.invite('sip:bob@example.org');
  carol.next(503);
  t.equal(small.border.calls().length, 1);
  t.ok(one);
});

tap.test('a call ended by the operator', async t => {
  const world = new BorderWorld();
  const { alice, bob } = talking(world);
  const ref = world.border.calls()[0]?.id ?? '';
  world.run((now, tx) => world.border.hangUp(now, ref, tx));
  alice.phone.next('BYE');
  bob.phone.next('BYE');
  t.equal(world.take('call-ended')[0]?.cause, 'admin-request');
});

tap.test('thousands of calls leave nothing behind (CALLS=10000 for more)', async t => {
  const { world, alice, bob } = pair({ config: { calls: { perSubscriber: 100_000, max: 100_000 } } });
  world.recording = false;
  const started = process.cpuUsage();
  const calls = Number(process.env.CALLS ?? 2000);
  for (let i = 0; i < calls; i++) {
    const a = alice.invite('sip:bob@example.org');
    const b = bob.called();
    b.answer(180);
    a.expect(180);
    b.answer(200, { sdp: bob.sdp() });
    bob.next('ACK');
    a.expect(200);
    a.send('ACK');
    a.send('BYE');
    alice.next(200);
    b.reply(bob.next('BYE'), 200);
    world.pass(100);
    world.events.length = 0;
    if (i % 1000 === 999) {
      alice.register();
      bob.register();
    }
  }
  const used = process.cpuUsage(started);
  t.comment(`${Math.round((used.user + used.system) / calls)} µs CPU per call, phones and challenge included`);
  settled(t, world);
  t.equal(world.flows.size <= 4, true, `${world.flows.size} flows`);
});

tap.test('an ACK from another address is nobody’s: it moves nothing and ends no repetition', async t => {
  const { world, alice, bob } = pair();
  const a = alice.invite('sip:bob@example.org');
  bob.called().answer(200, { sdp: bob.sdp() });
  bob.next('ACK');
  a.expect(200);
  const ack = a.text('ACK');
  const thief = world.phone('mallory', { at: '192.0.2.66:5060' });
  thief.send(ack);
  t.equal(world.count('wrong-source'), 1);
  t.equal(world.take('call-moved').length, 0);
  world.pass(600);
  t.same(alice.heard(), [200]);
  alice.send(ack);
  world.pass(5000);
  t.same(alice.heard(), [], 'the control: from the caller it does');
});

tap.test('Contact: an INVITE must have one; a 200 without one is called back where the INVITE went', async t => {
  const { world, alice, bob } = pair();
  for (const contact of [false, '*', '<tel:+1>', '<sip:a b@c>', '<>'] as const) {
    alice.ask({ method: 'INVITE', uri: 'sip:bob@example.org', to: '<sip:bob@example.org>', sdp: alice.sdp(), contact });
    t.equal(alice.inbox.find(m => m.status > 100)?.status, 400, `${contact}`);
    alice.inbox.length = 0;
    t.same(bob.heard(), []);
  }
  for (const contact of ['', 'Contact: *\r\n', 'Contact: <sip:a b@c>\r\n', 'Contact: <http://x>\r\n']) {
    const a = alice.invite('sip:bob@example.org');
    const b = bob.called();
    bob.send(b.replyText(b.invite as never, 200, { sdp: bob.sdp() }).replace(/Contact: .*\r\n/, contact));
    t.equal(bob.next('ACK').uri, b.invite?.uri, JSON.stringify(contact));
    a.expect(200);
    a.send('ACK');
    a.send('BYE');
    alice.next(200);
    b.reply(bob.next('BYE'), 200);
  }
  settled(t, world);
});

tap.test('a proxy downstream forks: each To tag is a dialog of its own; one wins, a second 200 is ended', async t => {
  const world = new BorderWorld({ config: { auth: { trustRegisteredFlow: true } } });
  const pbx = world.phone('pbx', { at: PBX, inner: '10.0.0.5:5060', via: CORE_UDP, domain: 'pbx.example.net' });
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const a = alice.invite('sip:200@pbx.example.net');
  const b = pbx.called();
  const early: string[] = [];
  for (const [tag, status] of [
    ['one', 180],
    ['two', 183],
    ['three', 180],
  ] as const) {
    b.answer(status, { tag, ...(status === 183 ? { sdp: pbx.sdp({ port: 42000, at: '10.0.0.5' }) } : {}) });
    early.push(alice.next(status).toTag);
  }
  t.equal(new Set(early).size, 3, 'three To tags toward the caller as well');
  b.answer(180, { tag: 'one' });
  t.equal(alice.next(180).toTag, early[0], 'and each keeps its own');
  b.answer(200, { tag: 'two', sdp: pbx.sdp({ port: 42000, at: '10.0.0.5' }) });
  t.equal(pbx.next('ACK').toTag, 'two');
  t.equal(a.expect(200).toTag, early[1]);
  a.send('ACK');
  b.answer(200, { tag: 'three', sdp: pbx.sdp({ port: 43000, at: '10.0.0.5' }) });
  t.equal(pbx.next('ACK').toTag, 'three');
  const bye = pbx.next('BYE');
  t.equal(bye.toTag, 'three');
  pbx.send(replyTo(bye, 200));
  b.answer(200, { tag: 'two', sdp: pbx.sdp({ port: 42000, at: '10.0.0.5' }) });
  t.equal(pbx.next('ACK').toTag, 'two', 'a repeated 200 of the winner gets its ACK');
  t.same(alice.heard(), []);
  t.equal(world.border.shard.legs.size, 2, 'the other dialogs are forgotten');
  a.send('BYE');
  alice.next(200);
  t.equal(pbx.next('BYE').toTag, 'two');
  settled(t, world);
  t.equal(world.border.shard.legs.size, 0);
});

tap.test('the next hop fails over: silence, 503, a closed stream; what failed comes last for a while', async t => {
  const world = new BorderWorld({
    config: { auth: { trustRegisteredFlow: true } },
    next: [`udp:${PBX}`, 'udp:10.0.0.6:5060'],
  });
  const first = world.phone('pbx', { at: PBX, inner: '10.0.0.5:5060', via: CORE_UDP, domain: 'pbx.example.net' });
  const second = world.phone('pbx', {
    at: '10.0.0.6:5060',
    inner: '10.0.0.6:5060',
    via: CORE_UDP,
    domain: 'pbx.example.net',
  });
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const one = alice.invite('sip:200@pbx.example.net');
  first.called().answer(503);
  first.next('ACK');
  const b = second.called();
  t.not(b.invite?.branch, undefined);
  b.answer(486);
  second.next('ACK');
  alice.next(486);
  alice.send(one.text('ACK', { branch: one.branch }));

  alice.ask({ method: 'MESSAGE', uri: 'sip:200@pbx.example.net', to: '<sip:200@pbx.example.net>', body: 'x' });
  t.same(first.heard(), [], 'the one that failed is not asked first');
  second.send(replyTo(second.next('MESSAGE'), 200));
  alice.next(200);
  world.pass(31_000);

  first.unplug();
  const two = alice.invite('sip:200@pbx.example.net');
  world.pass(9000, () => second.inbox.length > 0);
  const c = second.called();
  c.answer(200, { sdp: second.sdp({ at: '10.0.0.6' }) });
  second.next('ACK');
  two.expect(200);
  two.send('ACK');
  two.send('BYE');
  alice.next(200);
  second.send(replyTo(second.next('BYE'), 200));
  world.pass(31_000);

  alice.ask({ method: 'MESSAGE', uri: 'sip:200@pbx.example.net', to: '<sip:200@pbx.example.net>', body: 'x' });
  world.pass(9000, () => second.inbox.length > 0);
  second.send(replyTo(second.next('MESSAGE'), 486));
  t.same(alice.heard(), [486], 'a refusal is an answer: nobody else is asked');
  settled(t, world);
});

tap.test(
  'a large request goes by TCP where the configuration or a live stream says so, and by UDP to a phone behind a NAT',
  async t => {
    const lines = Array.from({ length: 40 }, (_, i) => `a=fmtp:${96 + i} some=parameter;that=makes;it=long`);
    const world = new BorderWorld({
      config: { auth: { trustRegisteredFlow: true } },
      next: [`udp:${PBX}`, `tcp:${PBX}`],
    });
    const udp = world.phone('pbx', { at: PBX, inner: '10.0.0.5:5060', via: CORE_UDP, domain: 'pbx.example.net' });
    const tcp = world.phone('pbx', { at: PBX, inner: '10.0.0.5:5060', via: CORE_TCP, domain: 'pbx.example.net' });
    const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
    const bob = world.phone('bob', { at: '198.51.100.2:6060', inner: '172.16.5.9:5070' }).register();
    alice.invite('sip:200@pbx.example.net', { sdp: alice.sdp() });
    udp.called();
    t.same(tcp.heard(), [], 'the control: a small one goes by UDP');
    const a = alice.invite('sip:200@pbx.example.net', { sdp: alice.sdp({ lines }) });
    t.same(udp.heard(), []);
    const b = tcp.called();
    t.ok((b.invite?.text.length ?? 0) > 1300);
    t.equal(b.invite?.viaTransport, 'TCP');
    b.answer(200, { sdp: tcp.sdp({ at: '10.0.0.5' }) });
    a.expect(200);
    a.send('ACK');
    alice.invite('sip:bob@example.org', { sdp: alice.sdp({ lines }) });
    const direct = bob.called();
    t.ok((direct.invite?.text.length ?? 0) > 1300);
    t.equal(direct.invite?.viaTransport, 'UDP', 'nobody can open a stream through a NAT');
  },
);

tap.test('one side falls silent: a phone that still answers OPTIONS keeps its call, a dead one loses it', async t => {
  const world = new BorderWorld();
  const { alice, bob } = talking(world);
  const ref = world.border.calls()[0]?.id ?? '';
  const silence = (): void =>
    world.run((now, tx) =>
      world.border.onRelayEvent(
        now,
        { kind: 'inactive', session: ref, scope: 'one', legs: ['b1'], silentMs: 60_000, facts: [] },
        tx,
      ),
    );
  silence();
  const probe = bob.phone.next('OPTIONS');
  t.equal(probe.toTag, bob.localTag, 'inside the dialog');
  bob.reply(probe, 501);
  world.pass(20_000);
  t.equal(world.border.callCount, 1);
  bob.phone.unplug();
  silence();
  world.pass(9000);
  alice.phone.next('BYE');
  t.equal(world.take('call-ended')[0]?.cause, 'media-inactive');
});

tap.test('a stream that died and came back by registration carries the rest of the call', async t => {
  const world = new BorderWorld();
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const bob = world
    .phone('bob', {
      at: '198.51.100.2:40002',
      inner: '172.16.5.9:5070',
      via: world.openStream((2 << 8) | ACCESS_TCP, '198.51.100.2:40002'),
    })
    .register();
  const { alice: a, bob: b } = talking(world, { caller: alice, callee: bob });
  world.closeStream(bob.via);
  const again = world
    .phone('bob', {
      at: '198.51.100.2:40003',
      inner: '172.16.5.9:5070',
      via: world.openStream((3 << 8) | ACCESS_TCP, '198.51.100.2:40003'),
    })
    .register();
  a.send('INFO', { body: 'Signal=1\r\n', contentType: 'application/dtmf-relay' });
  const info = again.next('INFO');
  t.equal(info.callId, b.callId);
  again.send(replyTo(info, 200));
  alice.next(200);
});

tap.test('SUBSCRIBE makes a dialog that NOTIFYs cross, and that ends with the last of them', async t => {
  const { world, alice, bob } = pair();
  alice.ask({
    method: 'SUBSCRIBE',
    uri: 'sip:bob@example.org',
    to: '<sip:bob@example.org>',
    from: '<sip:alice@example.org>;tag=sub',
    callId: 'subscription',
    headers: 'Event: presence\r\nExpires: 600\r\n',
  });
  const b = bob.next('SUBSCRIBE');
  t.equal(b.get(H.event), 'presence');
  t.notMatch(b.text, /192\.168\.77\.5/);
  bob.send(replyTo(b, 200).replace('Content-Length', `Expires: 600\r\nContact: <${bob.contact}>\r\nContent-Length`));
  const ok = alice.next(200);
  t.equal(ok.get(H.expires), '600');
  t.match(ok.get(H.contact), /203\.0\.113\.10/);
  t.equal(world.border.shard.subscriptions.size, 1);
  const notify = (state: string): void => {
    const contact = /<([^>]*)>/.exec(b.get(H.contact))?.[1] ?? '';
    bob.send(
      bob.request({
        method: 'NOTIFY',
        uri: contact,
        from: `${b.get(H.to)};tag=itself`,
        to: b.get(H.from),
        callId: b.callId,
        cseq: world.serial() + 1000,
        headers: `Event: presence\r\nSubscription-State: ${state}\r\n`,
        body: '<presence/>',
        contentType: 'application/pidf+xml',
      }),
    );
    const m = alice.next('NOTIFY');
    t.equal(m.body, '<presence/>');
    t.equal(m.callId, 'subscription');
    t.equal(m.toTag, 'sub');
    alice.send(replyTo(m, 200));
    bob.next(200);
  };
  notify('active;expires=600');
  t.equal(world.border.shard.subscriptions.size, 1);
  notify('terminated;reason=deactivated');
  t.equal(world.border.shard.subscriptions.size, 0);
  t.equal(world.border.shard.legs.size, 0);
  // The control of the deadline: one that nobody refreshes is forgotten by itself.
  alice.ask({
    method: 'SUBSCRIBE',
    uri: 'sip:bob@example.org',
    to: '<sip:bob@example.org>',
    headers: 'Event: presence\r\nExpires: 60\r\n',
  });
  bob.send(replyTo(bob.next('SUBSCRIBE'), 200).replace('Content-Length', 'Expires: 60\r\nContent-Length'));
  alice.next(200);
  t.equal(world.border.shard.subscriptions.size, 1);
  world.pass(100_000);
  t.equal(world.border.shard.subscriptions.size, 0);
  settled(t, world);
});

tap.test('the trace of a call shows no digest response', async t => {
  const world = new BorderWorld();
  talking(world);
  const trace = world.border.trace(world.border.calls()[0]?.id ?? '') ?? [];
  const sent = world.wires.map(w => w.text).join('');
  t.match(sent, /response="[0-9a-f]{32}"/, 'the control: it was on the wire');
  t.notMatch(trace.map(m => m.text).join(''), /response="[0-9a-f]/);
  t.same(
    trace
      .map(m => m.leg)
      .filter((l, i, all) => all.indexOf(l) === i)
      .sort(),
    ['a', 'b1'],
  );
});

tap.test('a trunk must speak from one of its addresses', async t => {
  const world = new BorderWorld();
  const pbx = world.phone('pbx', { at: PBX, inner: '10.0.0.5:5060', via: CORE_UDP, domain: 'pbx.example.net' });
  const bob = world.phone('bob', { at: '198.51.100.2:6060' }).register();
  const { alice: trunk } = talking(world, { caller: pbx, callee: bob });
  const bye = trunk.text('BYE');
  const other = world.phone('other', { at: '10.0.0.99:5060', via: CORE_UDP });
  other.send(bye);
  other.next(403);
  t.same(bob.heard(), []);
  t.equal(world.border.callCount, 1);
  pbx.send(bye);
  pbx.next(200);
  t.same(bob.heard(), ['BYE'], 'the control');
});

tap.test('a challenge from the other phone stays here, and the call goes on', async t => {
  const world = new BorderWorld({ config: { auth: { trustRegisteredFlow: true } } });
  const { alice, bob } = talking(world);
  alice.send('INVITE', { sdp: alice.phone.sdp({ version: 2 }) });
  alice.phone.next(100);
  bob.reply(bob.phone.next('INVITE'), 407, { headers: 'Proxy-Authenticate: Digest realm="evil",nonce="x"\r\n' });
  bob.phone.next('ACK');
  const no = alice.phone.next(403);
  t.equal(
    no.has(H.proxyAuthenticate),
    false,
    'between subscribers of a local domain nobody may fish for hashes (CVE-2021-41158)',
  );
  t.same(bob.phone.heard(), [], 'and we answer no challenge in anybody’s name');
  t.equal(world.border.callCount, 1);
});
