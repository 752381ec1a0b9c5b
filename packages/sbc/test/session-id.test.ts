import { H } from '@drawbridge/sip';
import tap from 'tap';
import { ack, hangUp, scene, settled } from './dialog-phones.js';

const ALICE = 'ab30317f1a784dc48ff824d0d3715d86';
const BOB = '47755a9de7794ba387653f2099600ef2';
const NIL = '00000000000000000000000000000000';
const from = (local: string, remote: string): string => `Session-ID: ${local};remote=${remote}\r\n`;

tap.test('the identifiers of both ends cross, and our own requests speak in the name of the other end', async t => {
  const s = scene();
  const a = s.alice.invite('sip:bob@example.org', { headers: from(ALICE, NIL) });
  const b = s.bob.called();
  t.equal(b.invite?.get(H.sessionId), `${ALICE};remote=${NIL}`);
  b.answer(180, { headers: from(BOB, ALICE) });
  t.equal(a.expect(180).get(H.sessionId), `${BOB};remote=${ALICE}`);
  b.answer(200, { sdp: s.bob.sdp(), headers: from(BOB, ALICE) });
  t.equal(s.bob.next('ACK').get(H.sessionId), `${ALICE};remote=${BOB}`, 'our ACK');
  ack(a, a.expect(200));
  a.send('INFO', { headers: from(ALICE, BOB), body: 'Signal=1', contentType: 'application/dtmf-relay' });
  const info = s.bob.next('INFO');
  t.same(info.list(H.sessionId), [`${ALICE};remote=${BOB}`], 'once');
  b.reply(info, 200);
  s.alice.next(200);
  s.world.run((now, tx) => s.world.border.hangUp(now, s.world.border.calls()[0]?.id ?? '', tx));
  t.equal(s.alice.next('BYE').get(H.sessionId), `${BOB};remote=${ALICE}`, 'our BYE to the caller');
  t.equal(s.bob.next('BYE').get(H.sessionId), `${ALICE};remote=${BOB}`, 'our BYE to the callee');
});

tap.test('what is no Session-ID does not cross', async t => {
  for (const value of ['192.168.77.5', `${ALICE}@192.168.77.5`, ALICE.toUpperCase(), `${ALICE};remote=x`, '']) {
    const s = scene();
    s.alice.invite('sip:bob@example.org', { headers: `Session-ID: ${value}\r\n` });
    t.equal(s.bob.called().invite?.has(H.sessionId), false, value);
  }
  const s = scene();
  s.alice.invite('sip:bob@example.org', { headers: `Session-ID: ${ALICE}\r\n` });
  t.equal(s.bob.called().invite?.get(H.sessionId), ALICE, 'the control: the older form without remote');
});

tap.test('sessionId: generate makes one for an end that has none; pass does not', async t => {
  const s = scene({ calls: { sessionId: 'generate' } });
  const a = s.alice.invite('sip:bob@example.org');
  const b = s.bob.called();
  const made = /^([0-9a-f]{32});remote=0{32}$/.exec(b.invite?.get(H.sessionId) ?? '')?.[1];
  t.ok(made);
  b.answer(180);
  const theirs = new RegExp(`^([0-9a-f]{32});remote=${made}$`).exec(a.expect(180).get(H.sessionId))?.[1];
  t.ok(theirs);
  t.not(theirs, made);
  b.answer(200, { sdp: s.bob.sdp() });
  t.equal(s.bob.next('ACK').get(H.sessionId), `${made};remote=${theirs}`);
  const ok = a.expect(200);
  t.equal(ok.get(H.sessionId), `${theirs};remote=${made}`);
  ack(a, ok);
  hangUp(a, b);
  settled(t, s.world);

  const plain = scene();
  plain.alice.invite('sip:bob@example.org');
  t.equal(plain.bob.called().invite?.has(H.sessionId), false);
});
