import { H } from '@drawbridge/sip';
import t from 'tap';
import { callRecord } from '../src/accounting/record.js';
import { Forwardings, forwardingWrite, targetUri } from '../src/forwarding/rules.js';
import { BORDER_CORE, BorderWorld, CORE_UDP, type Half, PBX, type Phone } from './harness.js';

const AT: Record<string, string> = { alice: '198.51.100.1:5060', bob: '198.51.100.2:5060', carol: '198.51.100.3:5060' };

/** A border with alice, bob and carol, of whom those named are registered. */
function world(forwarding: object, up: readonly string[] = ['alice', 'bob', 'carol'], config: object = {}) {
  const w = new BorderWorld({ config: { forwarding, ...config } });
  const phones = Object.entries(AT).map(([user, at], n) => {
    const phone = w.phone(user, { at, inner: `192.168.7.${n + 1}:5060` });
    return up.includes(user) ? phone.register() : phone;
  });
  const [alice, bob, carol] = phones as [Phone, Phone, Phone];
  return { w, alice, bob, carol };
}

function failed(call: Half, status: number): void {
  const m = call.phone.next(status);
  call.phone.send(
    call.phone.request({
      method: 'ACK',
      uri: call.remote.slice(1, -1),
      branch: call.branch,
      from: `${call.local};tag=${call.localTag}`,
      to: m.get(H.to),
      callId: call.callId,
      cseq: call.cseq,
      contact: false,
    }),
  );
}

const diversion = (h: Half): string[] =>
  [...(h.invite?.text ?? '').matchAll(/^Diversion: (.*?)\r?$/gm)].map(m => m[1] ?? '');

t.test('unconditional: the caller hears 181, the target who sent the call on', async t => {
  const { w, alice, bob, carol } = world({ 'bob@example.org': { unconditional: 'carol@example.org' } });
  const call = alice.invite('sip:bob@example.org');
  alice.next(181);
  t.same(bob.heard(), []);
  const callee = carol.called();
  t.same(diversion(callee), ['<sip:bob@example.org>;reason=unconditional;counter=1']);
  callee.answer(180);
  call.expect(180);
  callee.answer(200, { sdp: carol.sdp() });
  call.expect(200);
  call.send('ACK');
  carol.next('ACK');
  const [e, ...more] = w.take('call-forwarded');
  t.same(more, []);
  t.equal(e?.ref, w.take('call-started')[0]?.ref);
  t.same([e?.from.reveal(), e?.to.reveal(), e?.why], ['sip:bob@example.org', 'sip:carol@example.org', 'unconditional']);
  call.send('BYE');
  carol.next('BYE');
  const [ended] = w.take('call-ended');
  t.equal(ended === undefined ? '' : callRecord(ended, 0).forwardedTo, 'sip:carol@example.org');

  const plain = world({ 'carol@example.org': { unconditional: 'alice' } });
  plain.alice.invite('sip:bob@example.org');
  const rung = plain.bob.called();
  t.same(diversion(rung), [], 'control: nobody else is forwarded');
  t.same(plain.alice.heard(), []);
  t.same(plain.w.take('call-forwarded'), []);
});

t.test('busy, no answer and offline, each only then', async t => {
  const rules = {
    'bob@example.org': { busy: 'carol', noAnswer: { to: 'carol', seconds: 10 } },
  };
  const busy = world(rules);
  const one = busy.alice.invite('sip:bob@example.org');
  busy.bob.called().answer(486);
  busy.bob.next('ACK');
  busy.alice.next(181);
  const forBusy = busy.carol.called();
  t.match(diversion(forBusy), [/reason=user-busy/]);
  forBusy.answer(200, { sdp: busy.carol.sdp() });
  one.expect(200);

  const slow = world(rules);
  const two = slow.alice.invite('sip:bob@example.org');
  slow.bob.called().answer(180);
  two.expect(180);
  slow.w.pass(9900);
  t.same(slow.carol.heard(), [], 'not before its ten seconds');
  slow.w.pass(200);
  slow.bob.next('CANCEL');
  slow.alice.next(181);
  const forSlow = slow.carol.called();
  t.match(diversion(forSlow), [/reason=no-answer/]);
  forSlow.answer(200, { sdp: slow.carol.sdp() });
  two.expect(200);

  const declined = world(rules);
  const three = declined.alice.invite('sip:bob@example.org');
  declined.bob.called().answer(603);
  failed(three, 603);
  t.same(declined.carol.heard(), [], 'control: who declines is not busy');

  const away = world({ 'bob@example.org': { offline: 'carol@example.org' } }, ['alice', 'carol']);
  const four = away.alice.invite('sip:bob@example.org');
  away.alice.next(181);
  const forAway = away.carol.called();
  t.match(diversion(forAway), [/reason=unavailable/]);
  forAway.answer(200, { sdp: away.carol.sdp() });
  four.expect(200);
  const none = world(rules, ['alice', 'carol']);
  failed(none.alice.invite('sip:bob@example.org'), 480);
  t.same(none.carol.heard(), [], 'control: without a rule for it offline is offline');
});

t.test('do not disturb', async t => {
  const { alice, bob, carol } = world({ 'bob@example.org': { dnd: true } });
  failed(alice.invite('sip:bob@example.org'), 486);
  t.same(bob.heard(), []);
  alice.invite('sip:carol@example.org');
  t.same(carol.heard(), ['INVITE'], 'control');

  const sent = world({ 'bob@example.org': { dnd: true, busy: 'carol' } });
  sent.alice.invite('sip:bob@example.org');
  t.match(diversion(sent.carol.called()), [/reason=do-not-disturb/]);
  t.same(sent.bob.heard(), []);
});

t.test('a chain of steps, its history, and what the caller hears when all fail', async t => {
  const { w, alice, bob, carol } = world(
    { 'alice@example.org': { busy: 'bob' }, 'bob@example.org': { noAnswer: { to: 'carol', seconds: 5 } } },
    undefined,
    { calls: { forwardingHeaders: ['Diversion', 'History-Info'] } },
  );
  const dave = w.phone('carol', { at: '198.51.100.9:5060', inner: '192.168.7.9:5060' });
  const call = dave.invite('sip:alice@example.org');
  alice.called().answer(486);
  alice.next('ACK');
  dave.next(181);
  bob.called().answer(180);
  call.expect(180);
  w.pass(5100);
  bob.next('CANCEL');
  dave.next(181);
  const last = carol.called();
  t.same(diversion(last), [
    '<sip:bob@example.org>;reason=no-answer;counter=1',
    '<sip:alice@example.org>;reason=user-busy;counter=1',
  ]);
  t.match(
    last.invite?.text,
    /^History-Info: <sip:alice@example\.org>;index=1,<sip:bob@example\.org;cause=486>;index=1\.1;mp=1,<sip:carol@example\.org;cause=408>;index=1\.1\.1;mp=1\.1\r$/m,
  );
  last.answer(480);
  failed(call, 486);
  t.equal(w.border.callCount, 0);
  t.equal(w.border.shard.perSubscriber.size, 0);
});

t.test('loops end, and so do long ways; the first failure is what the caller hears', async t => {
  const ring = world({ 'bob@example.org': { busy: 'carol' }, 'carol@example.org': { busy: 'bob' } });
  const call = ring.alice.invite('sip:bob@example.org');
  ring.bob.called().answer(486);
  ring.bob.next('ACK');
  ring.alice.next(181);
  ring.carol.called().answer(486);
  failed(call, 486);
  t.same(ring.bob.heard(), [], 'bob is not asked again');
  t.equal(ring.w.border.shard.m.forwarder.counts.stopped, 1);

  const at = (n: number): string => `s${n}@example.org`;
  const long = Object.fromEntries(Array.from({ length: 9 }, (_, n) => [at(n), { unconditional: at(n + 1) }]));
  for (const [start, reached] of [
    [4, true],
    [3, false],
  ] as const) {
    const rules = { ...long, [at(8)]: { unconditional: 'carol@example.org' } };
    const { w, alice, carol } = world({ ...rules, 'bob@example.org': { unconditional: at(start + 1) } });
    for (let n = 0; n < 10; n++)
      w.subscribers.apply(`subscriber/example.org/s${n}`, { v: 1, user: `s${n}`, domain: 'example.org', ha1: {} });
    alice.invite('sip:bob@example.org');
    t.same(carol.heard(), reached ? ['INVITE'] : [], `${9 - start} steps`);
    t.equal(w.border.shard.m.forwarder.counts.stopped, reached ? 0 : 1);
  }
  const self = world({ 'bob@example.org': { unconditional: 'bob' } });
  failed(self.alice.invite('sip:bob@example.org'), 480);
  t.same(self.bob.heard(), []);
});

t.test('a call goes only where its callee could have called himself, and counts as his', async t => {
  const out = world({ 'bob@example.org': { unconditional: 'sip:victim@elsewhere.example' } });
  failed(out.alice.invite('sip:bob@example.org'), 404);
  t.same(
    out.w.lost.filter(l => l.text.startsWith('INVITE')),
    [],
    'nothing to a place that is none of ours',
  );

  const inside = world({ 'bob@example.org': { unconditional: 'sip:200@pbx.example.net' } });
  const pbx = inside.w.phone('pbx', { at: PBX, via: CORE_UDP, domain: 'pbx.example.net' });
  inside.alice.invite('sip:bob@example.org');
  t.equal(pbx.next('INVITE').uri, 'sip:200@pbx.example.net', 'control: to a peer that is');

  const { w, alice, bob, carol } = world({ 'bob@example.org': { unconditional: 'carol' } }, undefined, {
    calls: { perSubscriber: 1 },
  });
  const first = alice.invite('sip:bob@example.org');
  alice.next(181);
  const callee = carol.called();
  callee.answer(200, { sdp: carol.sdp() });
  first.expect(200);
  first.send('ACK');
  carol.next('ACK');
  const other = w.phone('carol', { at: '198.51.100.9:5060', inner: '192.168.7.9:5060' });
  failed(other.invite('sip:bob@example.org'), 486);
  t.same(bob.heard(), []);
  first.send('BYE');
  carol.next('BYE');
  other.invite('sip:bob@example.org');
  t.same(carol.heard(), ['INVITE'], 'control: when that call is over');
});

t.test('a number of a trunk leads to the wishes of its subscriber', async t => {
  for (const forwarding of [{ 'bob@example.org': { offline: 'carol' } }, {}]) {
    const { w, carol } = world(forwarding, ['carol'], {
      trunks: { carrier: { next: ['sip:10.0.0.7:5060'], options: false, dids: { '+4930555': 'bob@example.org' } } },
      numbering: { country: '49' },
    });
    const carrier = w.phone('carrier', { at: '10.0.0.7:5060', inner: '10.0.0.7:5060', via: CORE_UDP });
    carrier.invite(`sip:+4930555@${BORDER_CORE}`, { from: '<sip:+491701234@10.0.0.7>' });
    const follows = 'bob@example.org' in forwarding;
    t.same(carrier.heard(), follows ? [181] : [480]);
    t.same(carol.heard(), follows ? ['INVITE'] : [], follows ? 'sent on' : 'control');
  }
});

t.test('a caller who gives up, and one who wants provisionals reliable', async t => {
  const { w, alice, bob, carol } = world({ 'bob@example.org': { busy: 'carol' } });
  const call = alice.invite('sip:bob@example.org');
  bob.called().answer(486);
  bob.next('ACK');
  alice.next(181);
  carol.called().answer(180);
  call.expect(180);
  call.cancel();
  t.same(carol.heard(), ['CANCEL']);
  alice.next(200);
  failed(call, 487);
  t.equal(w.border.callCount, 0);

  const strict = world({ 'bob@example.org': { unconditional: 'carol' } });
  strict.alice.invite('sip:bob@example.org', { headers: 'Require: 100rel\r\nSupported: 100rel\r\n' });
  t.same(strict.carol.heard(), ['INVITE']);
  t.notOk(strict.alice.heard().includes(181));
});

t.test('a target that sleeps is woken', async t => {
  const { w, alice, bob, carol } = world({ 'bob@example.org': { busy: 'carol' } }, ['alice', 'bob'], {
    push: { providers: { apns: { url: 'https://push.example.org/' } } },
  });
  const contact = '<sip:carol@192.168.7.3:5060;pn-provider=apns;pn-prid=c1>';
  carol.register({ contact, headers: 'Expires: 3600\r\n' });
  carol.unplug();
  w.pass(120_000);
  bob.register();
  w.take('ask');
  const call = alice.invite('sip:bob@example.org');
  bob.called().answer(486);
  bob.next('ACK');
  alice.next(181);
  t.equal(w.take('ask').length, 1);
  t.same(alice.heard(), []);
  carol.moveTo('198.51.100.77:1234');
  carol.register({ contact, headers: 'Expires: 3600\r\n' });
  w.pass(100);
  const callee = carol.called();
  t.match(diversion(callee), [/reason=user-busy/]);
  callee.answer(200, { sdp: carol.sdp() });
  call.expect(200);
});

t.test('rules: the store over the configuration, and back', async t => {
  const rules = { dnd: false, unconditional: 'x' };
  const f = new Forwardings({ 'bob@Example.ORG': rules });
  t.same(f.get('bob@example.org'), rules);
  const w = forwardingWrite('bob', 'example.org', { dnd: true });
  t.ok(f.apply(w.key, w.value));
  t.same(f.get('bob@example.org'), { dnd: true });
  t.notOk(f.apply(w.key, { v: 1, user: 'bob', domain: 'example.org', rules: { dnd: 'yes' } }), 'what it can’t read');
  t.same(f.get('bob@example.org'), { dnd: true });
  const gone = forwardingWrite('bob', 'example.org', null);
  t.ok(f.apply(gone.key, gone.value));
  t.same(f.get('bob@example.org'), rules);
  t.equal(targetUri('+4930123', 'example.org'), 'sip:+4930123@example.org');
  t.equal(targetUri('a@b.example', 'example.org'), 'sip:a@b.example');
  t.equal(targetUri('sip:a@b.example', 'example.org'), 'sip:a@b.example');
});
