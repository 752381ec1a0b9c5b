import { H } from '@drawbridge/sip';
import tap from 'tap';
import { ack, hangUp, prack, RELIABLE, rseq, scene, settled } from './dialog-phones.js';
import { talking } from './harness.js';

tap.test('UPDATE that fails, and re-INVITE that fails: what was agreed holds again (RFC 6141)', async t => {
  const s = scene();
  const { alice, bob } = talking(s.world, { caller: s.alice, callee: s.bob });
  const facts = (): unknown => s.world.border.calls()[0]?.media.map(m => [m.leg, m.direction, m.remote, m.local]);
  const before = facts();
  for (const method of ['UPDATE', 'INVITE'] as const) {
    for (const [one, other] of [
      [alice, bob],
      [bob, alice],
    ] as const) {
      one.send(method, { sdp: one.phone.sdp({ version: 5, port: 48_000, lines: ['a=inactive'] }) });
      if (method === 'INVITE') one.phone.next(100);
      const m = other.phone.next(method);
      t.match(m.body, 'a=inactive');
      // A provisional answer, then the refusal.
      if (method === 'INVITE') other.reply(m, 183, { sdp: other.phone.sdp({ version: 5, lines: ['a=inactive'] }) });
      other.reply(m, 488);
      if (method === 'INVITE') other.phone.next('ACK');
      one.phone.next(488);
      t.same(facts(), before, `${method} refused`);
    }
  }
  // The control: one that is accepted changes them.
  alice.send('UPDATE', { sdp: s.alice.sdp({ version: 6, lines: ['a=sendonly'] }) });
  bob.reply(s.bob.next('UPDATE'), 200, { sdp: s.bob.sdp({ version: 6, lines: ['a=recvonly'] }) });
  s.alice.next(200);
  t.not(JSON.stringify(facts()), JSON.stringify(before));
  hangUp(alice, bob);
  settled(t, s.world);
});

tap.test('UPDATEs cross: 491 to both, who try again after different times, and agree', async t => {
  const s = scene();
  const { alice, bob } = talking(s.world, { caller: s.alice, callee: s.bob });
  s.world.soon.push(() => bob.send('UPDATE', { sdp: s.bob.sdp({ version: 2 }) }));
  alice.send('UPDATE', { sdp: s.alice.sdp({ version: 2 }) });
  const crossed = s.bob.next('UPDATE');
  s.bob.next(491);
  bob.reply(crossed, 491);
  s.alice.next(491);
  s.world.pass(1000);
  bob.send('UPDATE', { sdp: s.bob.sdp({ version: 3 }) });
  alice.reply(s.alice.next('UPDATE'), 200, { sdp: s.alice.sdp({ version: 3 }) });
  s.bob.next(200);
  s.world.pass(2500);
  alice.send('UPDATE', { sdp: s.alice.sdp({ version: 4 }) });
  bob.reply(s.bob.next('UPDATE'), 200, { sdp: s.bob.sdp({ version: 4 }) });
  s.alice.next(200);
  t.equal(s.world.count('glare'), 1);
  hangUp(alice, bob);
  settled(t, s.world);
});

tap.test('a second UPDATE before the answer to the first: 500 with Retry-After, description or not', async t => {
  const s = scene();
  const { alice, bob } = talking(s.world, { caller: s.alice, callee: s.bob });
  alice.send('UPDATE');
  const first = s.bob.next('UPDATE');
  alice.send('UPDATE');
  t.match(s.alice.next(500).get(H.retryAfter), /^([0-9]|10)$/);
  bob.reply(first, 200);
  s.alice.next(200);
  alice.send('UPDATE');
  bob.reply(s.bob.next('UPDATE'), 200);
  s.alice.next(200);
  hangUp(alice, bob);
  settled(t, s.world);
});

tap.test('UPDATE in an early dialog that is refused or never answered leaves the call ringing', async t => {
  const s = scene({ calls: { noAnswer: '120s' } });
  const a = s.alice.invite('sip:bob@example.org', { headers: RELIABLE });
  const b = s.bob.called();
  b.answer(183, { headers: rseq(1), sdp: s.bob.sdp() });
  prack(a, a.expect(183));
  b.reply(s.bob.next('PRACK'), 200);
  s.alice.next(200);
  a.send('UPDATE', { sdp: s.alice.sdp({ version: 2 }) });
  b.reply(s.bob.next('UPDATE'), 481);
  s.alice.next(481);
  a.send('UPDATE', { sdp: s.alice.sdp({ version: 3 }) });
  s.bob.next('UPDATE');
  s.world.pass(33_000);
  s.bob.heard();
  s.bob.inbox.length = 0;
  s.alice.inbox.length = 0;
  t.equal(s.world.border.calls()[0]?.state, 'ringing');
  b.answer(200);
  s.bob.next('ACK');
  ack(a, a.expect(200));
  hangUp(a, b);
  settled(t, s.world);
});
