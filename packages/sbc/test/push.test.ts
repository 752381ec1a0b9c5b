import { H, type MessageView } from '@drawbridge/sip';
import t from 'tap';
import type { PushAnswer, PushRequest } from '../src/push/waker.js';
import { ACCESS_TCP, ACCESS_UDP, BorderWorld, type Half, type Phone } from './harness.js';

const APNS = { url: 'https://push.example.org/wake' };
const CONTACT = 'pn-provider=apns;pn-prid=device-1;pn-param=TEAM.app.voip';

function world(push: object = {}): BorderWorld {
  return new BorderWorld({ config: { push: { providers: { apns: APNS }, ...push } } });
}

/** Pushes that were asked for since the last call. */
function pushes(w: BorderWorld): PushRequest[] {
  return w.take('ask').map(e => {
    asked.push(e.id);
    return e.question as PushRequest;
  });
}

let asked: number[] = [];

function gateway(w: BorderWorld, answer: PushAnswer = { status: 202 }): void {
  for (const id of asked.splice(0)) w.run((now, tx) => w.border.handleAnswer(now, id, { kind: 'answer', answer }, tx));
}

t.beforeEach(() => {
  asked = [];
});

/** Feature-Caps of a reply. */
const caps = (m: MessageView | undefined): string | undefined => /^Feature-Caps: (.*?)\r?$/m.exec(m?.text ?? '')?.[1];

/** A phone with an app that can be woken. */
function mobile(w: BorderWorld, user: string, o: { at?: string; via?: number; headers?: string; id?: string } = {}) {
  const phone = w.phone(user, { at: o.at ?? '198.51.100.9:6000', inner: '10.20.30.40:5060', via: o.via ?? ACCESS_UDP });
  const contact = `<sip:${user}@10.20.30.40:5060;${CONTACT.replace('device-1', o.id ?? `${user}-1`)}>`;
  const register = (headers = o.headers ?? 'Expires: 3600\r\n') => {
    phone.ask({ method: 'REGISTER', uri: 'sip:example.org', to: `<${phone.aor}>`, contact, headers });
    return phone.inbox.shift();
  };
  return { phone, contact, register };
}

function asleep(w: BorderWorld, phone: Phone): void {
  phone.unplug();
  w.pass(120_000);
  pushes(w);
  asked = [];
}

/** The call fails with this, and the caller has acknowledged it. */
function failed(call: Half, status: number): void {
  const { phone } = call;
  const m = phone.next(status);
  phone.send(
    phone.request({
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

function back(w: BorderWorld, m: ReturnType<typeof mobile>, at: string): void {
  m.phone.moveTo(at);
  const ok = m.register();
  if (ok?.status !== 200) throw new Error(`registration: ${ok?.status}`);
  w.pass(100);
}

t.test('what a phone that speaks of push is told', async t => {
  const w = world();
  const { phone, register } = mobile(w, 'bob');
  const ok = register();
  t.equal(ok?.status, 200);
  t.equal(caps(ok), '*;+sip.pns="apns"');
  const ask = (contact: string) => {
    phone.ask({
      method: 'REGISTER',
      uri: 'sip:example.org',
      to: `<${phone.aor}>`,
      contact,
      headers: 'Expires: 3600\r\n',
    });
    return phone.inbox.shift();
  };
  const own = ask(`<sip:bob@10.20.30.40:5060;${CONTACT}>;+sip.pnsreg`);
  t.equal(caps(own), '*;+sip.pns="apns";+sip.pnsreg="121"', 'one that wakes by itself hears when');
  t.equal(caps(ask('<sip:bob@10.20.30.40:5060;pn-provider>')), '*;+sip.pns="apns"', 'a question');
  const unknown = ask('<sip:bob@10.20.30.40:5060;pn-provider=fcm;pn-prid=x>');
  t.match(unknown?.text, /^SIP\/2\.0 555 Push Notification Service Not Supported\r\n/);
  t.equal(w.count('push-unsupported'), 1);
  t.equal(caps(ask('<sip:bob@10.20.30.40:5060>')), undefined, 'control: who does not speak of it');

  const plain = new BorderWorld();
  const off = mobile(plain, 'bob').register();
  t.equal(off?.status, 200, 'without providers it is an ordinary contact');
  t.equal(caps(off), undefined);
});

t.test('a call to a sleeping phone sends a push and waits for its REGISTER', async t => {
  const w = world();
  const alice = w.phone('alice', { at: '198.51.100.1:5060' }).register();
  const bob = mobile(w, 'bob');
  bob.register();
  const first = alice.invite('sip:bob@example.org');
  bob.phone.called().answer(486);
  bob.phone.next('ACK');
  failed(first, 486);
  t.same(pushes(w), [], 'control: awake, it rings at once');
  asleep(w, bob.phone);

  const call = alice.invite('sip:bob@example.org');
  t.same(pushes(w), [
    { provider: 'apns', prid: 'bob-1', param: 'TEAM.app.voip', reason: 'call', aor: 'bob@example.org' },
  ]);
  t.equal(w.lost.filter(l => l.text.startsWith('INVITE') && l.at === w.now).length, 0, 'nothing into the dead mapping');
  gateway(w);
  w.pass(3000);
  t.same(alice.heard(), [], 'still trying');
  back(w, bob, '198.51.100.99:7000');
  const callee = bob.phone.called();
  t.match(callee.invite?.uri, /^sip:bob@10\.20\.30\.40:5060/);
  callee.answer(180);
  call.expect(180);
  callee.answer(200, { sdp: bob.phone.sdp() });
  call.expect(200);
  call.send('ACK');
  t.equal(w.border.shard.m.waker?.counts.woke, 1);
  t.equal(w.border.shard.m.waker?.waiting, 0);
  const line = w.wires.findIndex(
    x => x.direction === 'out' && /^INVITE sip:bob@10\.20/.test(x.text) && x.peer === '198.51.100.99:7000',
  );
  const ok = w.wires.findLastIndex(
    x => x.direction === 'out' && /CSeq: \d+ REGISTER/.test(x.text) && x.text.startsWith('SIP/2.0 200'),
  );
  t.ok(ok >= 0 && ok < line, 'the 200 to the REGISTER goes first');
});

t.test('nobody wakes: the deadline, a gateway that refuses, a caller who gives up', async t => {
  const w = world({ wait: '10s' });
  const alice = w.phone('alice', { at: '198.51.100.1:5060' }).register();
  const bob = mobile(w, 'bob');
  bob.register();
  asleep(w, bob.phone);
  const waiting = () => w.border.shard.m.waker?.waiting;

  const late = alice.invite('sip:bob@example.org');
  pushes(w);
  gateway(w);
  w.pass(9900);
  t.same(alice.heard(), []);
  w.pass(200);
  failed(late, 480);
  t.equal(w.border.shard.m.waker?.counts.unheard, 1);

  const refused = alice.invite('sip:bob@example.org');
  t.equal(pushes(w).length, 1);
  gateway(w, { status: 410 });
  failed(refused, 480);
  t.equal(waiting(), 0, 'at once');
  t.match(w.take('push-failed').at(-1), { detail: '410', provider: 'apns' });

  const silent = alice.invite('sip:bob@example.org');
  t.equal(pushes(w).length, 1);
  w.pass(5100);
  failed(silent, 480);
  t.equal(w.take('push-failed').at(-1)?.detail, 'no answer', 'a gateway that is silent for its timeout');

  const cancelled = alice.invite('sip:bob@example.org');
  pushes(w);
  gateway(w);
  cancelled.cancel();
  alice.next(200);
  failed(cancelled, 487);
  t.equal(w.border.callCount, 0, 'CANCEL works while it waits');
  back(w, bob, '198.51.100.99:7000');
  t.same(bob.phone.heard(), [], 'who wakes too late has no call');
  alice.invite('sip:bob@example.org');
  t.same(bob.phone.heard(), ['INVITE'], 'control: the next one');
});

t.test('live phones ring at once, the sleeping one joins them; the best of all counts', async t => {
  const w = world();
  const alice = w.phone('alice', { at: '198.51.100.1:5060' }).register();
  const desk = w.phone('bob', { at: '198.51.100.2:5060', inner: '192.168.77.9:5060' }).register();
  const bob = mobile(w, 'bob');
  bob.register();
  bob.phone.unplug();
  for (let n = 0; n < 4; n++) {
    w.pass(30_000);
    desk.register();
  }
  pushes(w);
  asked = [];
  const call = alice.invite('sip:bob@example.org');
  const first = desk.called();
  first.answer(180);
  call.expect(180);
  t.equal(pushes(w).length, 1);
  gateway(w);
  first.answer(486);
  desk.next('ACK');
  t.same(alice.heard(), [], 'busy there, but one is still being woken');
  back(w, bob, '198.51.100.99:7000');
  const second = bob.phone.called();
  second.answer(200, { sdp: bob.phone.sdp() });
  call.expect(200);
  call.send('ACK');

  // The other way round: the desk answers while the other still sleeps.
  const both = world();
  const carol = both.phone('carol', { at: '198.51.100.1:5060' }).register();
  const m = mobile(both, 'bob');
  m.register();
  asleep(both, m.phone);
  const live = both.phone('bob', { at: '198.51.100.2:5060', inner: '192.168.77.9:5060' }).register();
  const talk = carol.invite('sip:bob@example.org');
  const answered = live.called();
  answered.answer(200, { sdp: live.sdp() });
  talk.expect(200);
  talk.send('ACK');
  back(both, m, '198.51.100.99:7000');
  t.same(m.phone.heard(), [], 'nobody rings for a call that is answered');
});

t.test('a MESSAGE waits as well', async t => {
  const w = world({ wait: '10s' });
  const alice = w.phone('alice', { at: '198.51.100.1:5060' }).register();
  const bob = mobile(w, 'bob');
  bob.register();
  asleep(w, bob.phone);
  const say = (): void =>
    void alice.ask({ method: 'MESSAGE', uri: 'sip:bob@example.org', to: '<sip:bob@example.org>', body: 'hello' });
  say();
  t.equal(pushes(w)[0]?.reason, 'call');
  gateway(w);
  w.pass(2000);
  t.same(alice.heard(), []);
  back(w, bob, '198.51.100.99:7000');
  const m = bob.phone.next('MESSAGE');
  t.equal(m.body, 'hello');
  bob.phone.send(
    `SIP/2.0 200 OK\r\n${m.line(m.first(H.via))}${m.line(m.first(H.from))}${m.line(m.first(H.to)).replace('\r\n', ';tag=b\r\n')}${m.line(m.first(H.callId))}${m.line(m.first(H.cseq))}Content-Length: 0\r\n\r\n`,
  );
  alice.next(200);
  asleep(w, bob.phone);
  say();
  w.pass(10_100);
  alice.next(480);
});

t.test('a push binding outlives its stream until it expires, and comes back as itself', async t => {
  const w = world();
  const via = w.openStream((9 << 8) | ACCESS_TCP, '198.51.100.9:6000');
  const bob = mobile(w, 'bob', { via });
  bob.register();
  const other = w.openStream((10 << 8) | ACCESS_TCP, '198.51.100.10:6000');
  w.phone('carol', { at: '198.51.100.10:6000', via: other }).register();
  w.closeStream(via);
  w.closeStream(other);
  t.equal(w.registrar.bindings.of('bob@example.org').length, 1);
  t.equal(w.registrar.lookup('bob@example.org').length, 0, 'not reachable by itself');
  t.equal(w.registrar.bindings.of('carol@example.org').length, 0, 'control: without push it is gone');

  const alice = w.phone('alice', { at: '198.51.100.1:5060' }).register();
  alice.invite('sip:bob@example.org');
  t.equal(pushes(w).length, 1);
  gateway(w);
  const again = w.openStream((11 << 8) | ACCESS_TCP, '198.51.100.200:6100');
  const phone = w.phone('bob', { at: '198.51.100.200:6100', inner: '10.9.9.9:1234', via: again });
  phone.ask({
    method: 'REGISTER',
    uri: 'sip:example.org',
    to: '<sip:bob@example.org>',
    contact: `<sip:bob@10.9.9.9:1234;${CONTACT.replace('device-1', 'bob-1')}>`,
    headers: 'Expires: 3600\r\n',
  });
  phone.next(200);
  w.pass(100);
  phone.next('INVITE');
  t.equal(w.registrar.bindings.of('bob@example.org').length, 1, 'the same app, whatever its contact');

  w.closeStream(again);
  w.pass(3_700_000);
  t.equal(w.registrar.bindings.of('bob@example.org').length, 0, 'expired');
  t.equal(pushes(w).filter(p => p.reason === 'call').length, 0);
  alice.inbox.length = 0;
  alice.register();
  alice.inbox.length = 0;
  alice.invite('sip:bob@example.org');
  t.same(pushes(w), [], 'never a push for what is not registered');
  alice.next(480);
});

t.test('phones that cannot wake by themselves get a push before they expire', async t => {
  const w = world();
  const bob = mobile(w, 'bob');
  bob.register();
  const carol = mobile(w, 'carol', { at: '198.51.100.10:6000' });
  carol.phone.ask({
    method: 'REGISTER',
    uri: 'sip:example.org',
    to: `<${carol.phone.aor}>`,
    contact: `${carol.contact};+sip.pnsreg`,
    headers: 'Expires: 3600\r\n',
  });
  carol.phone.next(200);
  w.pass(3_600_000 - 121_000);
  t.same(pushes(w), []);
  w.pass(2000);
  t.same(
    pushes(w).map(p => [p.reason, p.prid]),
    [['refresh', 'bob-1']],
    'the other said +sip.pnsreg',
  );
  gateway(w);
  bob.register();
  t.equal(w.border.shard.m.waker?.counts.woke, 1);
  w.pass(3_400_000);
  t.equal(w.registrar.bindings.of('bob@example.org').length, 1);
  t.equal(w.registrar.bindings.of('carol@example.org').length, 0, 'control: it did not refresh');
});

t.test('so many may wait, and one push serves several callers', async t => {
  const w = world({ max: 2 });
  const bob = mobile(w, 'bob');
  bob.register();
  asleep(w, bob.phone);
  const callers = ['alice', 'carol', 'alice'].map((user, n) =>
    w.phone(user, { at: `198.51.100.${20 + n}:5060`, inner: `192.168.1.${n + 1}:5060` }).register(),
  );
  for (const c of callers) c.invite('sip:bob@example.org');
  t.equal(pushes(w).length, 1);
  gateway(w);
  t.equal(w.border.shard.m.waker?.waiting, 2);
  t.same(callers[2]?.heard(), [480], 'the third finds no room');
  t.equal(w.border.shard.m.waker?.counts.full, 1);
  back(w, bob, '198.51.100.99:7000');
  t.same(bob.phone.heard(), ['INVITE', 'INVITE'], 'both that waited ring');
});
