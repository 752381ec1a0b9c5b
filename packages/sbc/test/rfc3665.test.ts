import tap, { type Test } from 'tap';
import { ACCESS_TCP, BORDER, BorderWorld, CORE_UDP, PBX, Phone, parsed, replyTo, talking } from './harness.js';

/*
 * The call flows of RFC 3665, as they look when this border is the registrar and the proxies between the two ends. Each
 * ladder is literal: `alice INVITE` came from Alice, `INVITE bob` went to Bob.
 */

/** Methods and statuses in the order of the wire since the last call. */
function ladder(world: BorderWorld): string[] {
  const names = new Map([...world.phones.values()].map(p => [p.at, p.user]));
  return world.wires.splice(0).flatMap(w => {
    if (w.text.trim() === '') return [];
    const m = parsed(w.text);
    const what = m.isRequest ? m.method : `${m.status} ${m.cseqMethod}`;
    // Keepalive of the border's own.
    if (m.isRequest ? m.method === 'OPTIONS' : m.cseqMethod === 'OPTIONS') return [];
    const who = names.get(w.peer) ?? w.peer;
    return [w.direction === 'in' ? `${who} ${what}` : `${what} ${who}`];
  });
}

function phones(world: BorderWorld): { alice: Phone; bob: Phone } {
  const alice = world.phone('alice', { at: '198.51.100.1:5060', inner: '192.168.77.5:5062' }).register();
  const bob = world.phone('bob', { at: '198.51.100.2:6060', inner: '172.16.5.9:5070' }).register();
  ladder(world);
  return { alice, bob };
}

const REGISTERED = ['bob REGISTER', '401 REGISTER bob', 'bob REGISTER', '200 REGISTER bob'];
/** Up to the ringing, with the challenge that an INVITE of a subscriber gets. */
const RINGING = [
  'alice INVITE',
  '407 INVITE alice',
  'alice ACK',
  'alice INVITE',
  '100 INVITE alice',
  'INVITE bob',
  'bob 180 INVITE',
  '180 INVITE alice',
];
const ANSWERED = ['bob 200 INVITE', '200 INVITE alice', 'ACK bob', 'alice ACK'];
const HUNG_UP_BY_BOB = ['bob BYE', '200 BYE bob', 'BYE alice', 'alice 200 BYE'];

function gone(t: Test, world: BorderWorld): void {
  world.pass(200_000);
  t.equal(world.border.callCount, 0);
  t.equal(world.border.shard.legs.size, 0);
  t.equal(world.transactions.serverCount + world.transactions.clientCount, 0);
  t.equal(world.relay.stats().pairsInUse, 0);
}

tap.test('2.1 a new registration', async t => {
  const world = new BorderWorld();
  const bob = world.phone('bob', { at: '198.51.100.2:6060', inner: '172.16.5.9:5070' });
  bob.ask({ method: 'REGISTER', uri: 'sip:example.org', to: '<sip:bob@example.org>' });
  t.match(bob.next(200).text, /\r\nContact: <sip:bob@172\.16\.5\.9:5070>;expires=600\r\n/);
  t.strictSame(ladder(world), REGISTERED);
});

tap.test('2.2 the contact list grows', async t => {
  const world = new BorderWorld();
  const { bob } = phones(world);
  bob.ask({
    method: 'REGISTER',
    uri: 'sip:example.org',
    to: '<sip:bob@example.org>',
    contact: '<mailto:bob@example.org>',
  });
  t.equal(bob.next(400).status, 400, 'only where requests can be sent to');
  bob.ask({
    method: 'REGISTER',
    uri: 'sip:example.org',
    to: '<sip:bob@example.org>',
    contact: '<sip:bob@172.16.5.77:5060>',
  });
  const listed = bob.next(200).text;
  t.match(listed, /<sip:bob@172\.16\.5\.9:5070>;expires=\d+/);
  t.match(listed, /<sip:bob@172\.16\.5\.77:5060>;expires=\d+/);
});

tap.test('2.3 asking for the contacts', async t => {
  const world = new BorderWorld();
  const { bob } = phones(world);
  bob.ask({ method: 'REGISTER', uri: 'sip:example.org', to: '<sip:bob@example.org>', contact: false });
  t.match(bob.next(200).text, /\r\nContact: <sip:bob@172\.16\.5\.9:5070>;expires=\d+\r\n/);
  t.strictSame(ladder(world), REGISTERED);
});

tap.test('2.4 taking it back', async t => {
  const world = new BorderWorld();
  const { bob } = phones(world);
  bob.ask({
    method: 'REGISTER',
    uri: 'sip:example.org',
    to: '<sip:bob@example.org>',
    contact: '*',
    headers: 'Expires: 0\r\n',
  });
  t.notMatch(bob.next(200).text, /\r\nContact:/);
  t.strictSame(ladder(world), REGISTERED);
  t.equal(world.registrar.bindings.of('bob@example.org').length, 0);
});

tap.test('2.5 a wrong password', async t => {
  const world = new BorderWorld();
  const bob = world.phone('bob', { at: '198.51.100.2:6060' });
  const request = { method: 'REGISTER', uri: 'sip:example.org', to: '<sip:bob@example.org>' };
  bob.send(bob.request(request));
  const challenge = bob.next(401);
  const nonce = /nonce="([^"]+)"/.exec(challenge.text)?.[1] ?? '';
  bob.send(
    bob.request({
      ...request,
      headers: `Authorization: Digest username="bob",realm="example.org",nonce="${nonce}",uri="sip:example.org",response="${'0'.repeat(32)}"\r\n`,
    }),
  );
  t.equal(bob.next(401).status, 401);
  t.strictSame(ladder(world), ['bob REGISTER', '401 REGISTER bob', 'bob REGISTER', '401 REGISTER bob']);
  t.equal(world.registrar.bindings.size, 0);
});

tap.test('3.1, 3.2 a call, through the border as the proxies of both', async t => {
  const world = new BorderWorld();
  const { alice, bob } = phones(world);
  const call = talking(world, { caller: alice, callee: bob });
  t.strictSame(ladder(world), [...RINGING, ...ANSWERED]);
  call.bob.send('BYE');
  call.alice.reply(alice.next('BYE'), 200);
  bob.next(200);
  t.strictSame(ladder(world), HUNG_UP_BY_BOB);
  gone(t, world);
});

tap.test('3.3 both proxies ask for credentials: the one behind us asks its own subscriber, through us', async t => {
  const world = new BorderWorld();
  const pbx = new Phone(world, 'pbx', { at: PBX, inner: '10.0.0.5:5060', via: CORE_UDP, domain: 'pbx.example.net' });
  const dave = world.phone('dave', { at: '198.51.100.7:5060', inner: '192.168.5.5:5060', domain: 'pbx.example.net' });
  dave.send(dave.request({ method: 'REGISTER', uri: 'sip:pbx.example.net', to: '<sip:dave@pbx.example.net>' }));
  const register = pbx.next('REGISTER');
  const contact = /\r\nContact: (<[^>]+>)/.exec(register.text)?.[1] ?? '';
  pbx.send(replyTo(register, 200).replace('Content-Length', `Contact: ${contact};expires=600\r\nContent-Length`));
  dave.next(200);
  ladder(world);
  const asks = 'Proxy-Authenticate: Digest realm="pbx.example.net",nonce="n1"\r\n';
  const invite = (headers: string): string =>
    dave.request({
      method: 'INVITE',
      uri: 'sip:erin@pbx.example.net',
      from: '<sip:dave@pbx.example.net>;tag=d',
      to: '<sip:erin@pbx.example.net>',
      callId: 'dave-calls',
      headers,
      sdp: dave.sdp(),
    });
  dave.send(invite(''));
  dave.next(100);
  pbx.send(replyTo(pbx.next('INVITE'), 407).replace('Content-Length', `${asks}Content-Length`));
  pbx.next('ACK');
  t.match(dave.next(407).text, /\r\nProxy-Authenticate: Digest realm="pbx\.example\.net",nonce="n1"\r\n/);
  const answer = 'Proxy-Authorization: Digest username="dave",realm="pbx.example.net",nonce="n1",response="x"\r\n';
  dave.send(invite(answer));
  t.ok(pbx.next('INVITE').text.includes(answer), 'the credentials reach whom they are for');
  t.strictSame(ladder(world), [
    'dave INVITE',
    '100 INVITE dave',
    'INVITE pbx',
    'pbx 407 INVITE',
    'ACK pbx',
    '407 INVITE dave',
    'dave INVITE',
    '100 INVITE dave',
    'INVITE pbx',
  ]);
});

tap.test('3.4 the first proxy is down, the second takes the call', async t => {
  const second = '10.0.0.6:5060';
  const world = new BorderWorld({ next: [`udp:${PBX}`, `udp:${second}`] });
  const { alice } = phones(world);
  const pbx = new Phone(world, 'second', { at: second, inner: second, via: CORE_UDP, domain: 'pbx.example.net' });
  const a = alice.invite('sip:erin@pbx.example.net');
  world.pass(40_000, () => pbx.inbox.length > 0);
  const b = pbx.called();
  b.answer(180);
  b.answer(200, { sdp: pbx.sdp() });
  pbx.next('ACK');
  a.expect(180);
  a.expect(200);
  a.send('ACK');
  const seen = ladder(world);
  t.strictSame(
    seen.filter(l => l.startsWith('INVITE ')),
    [...Array(5).fill(`INVITE ${PBX}`), 'INVITE second'],
  );
  t.strictSame(seen.slice(-4), ['second 200 INVITE', '200 INVITE alice', 'ACK second', 'alice ACK']);
});

tap.test('3.5 private addresses: what a phone says of itself is translated for the other', async t => {
  const world = new BorderWorld();
  const { alice, bob } = phones(world);
  const a = alice.invite('sip:bob@example.org');
  const invite = bob.inbox[0];
  const b = bob.called();
  b.answer(200, { sdp: bob.sdp() });
  bob.next('ACK');
  const ok = a.expect(200);
  a.send('ACK');
  for (const [name, text, inner] of [
    ['Bob', invite?.text ?? '', '192.168.77.5'],
    ['Alice', ok.text, '172.16.5.9'],
  ] as const) {
    t.match(text, new RegExp(`\\r\\nContact: <sip:[^>@]+@${BORDER}:5060>\\r\\n`), `${name} is told of the border`);
    t.match(text, new RegExp(`\\r\\nc=IN IP4 ${BORDER}\\r\\n`));
    t.equal(text.includes(inner), false, `and not of ${inner}`);
  }
  t.ok(alice.sdp().includes('192.168.77.5'), 'control: it stands in what the phone sent');
});

tap.test('3.6 the offer in the 200, the answer in the ACK', async t => {
  const world = new BorderWorld();
  const { alice, bob } = phones(world);
  const a = alice.invite('sip:bob@example.org', { sdp: false });
  const b = bob.called();
  b.answer(180);
  a.expect(180);
  b.answer(200, { sdp: bob.sdp() });
  t.match(a.expect(200).body, /m=audio \d+ RTP\/AVP 0 101/);
  a.send('ACK', { sdp: alice.sdp() });
  const ack = bob.next('ACK');
  t.match(ack.body, new RegExp(`c=IN IP4 ${BORDER}`));
  t.strictSame(ladder(world), [...RINGING, 'bob 200 INVITE', '200 INVITE alice', 'alice ACK', 'ACK bob']);
});

tap.test('3.7 a re-INVITE from a new address', async t => {
  const world = new BorderWorld();
  const { alice, bob } = phones(world);
  const call = talking(world, { caller: alice, callee: bob });
  ladder(world);
  call.bob.send('INVITE', { sdp: bob.sdp({ version: 2, at: '172.16.5.10', port: 47172 }) });
  const again = alice.next('INVITE');
  t.match(again.body, new RegExp(`c=IN IP4 ${BORDER}`));
  call.alice.reply(again, 200, { sdp: alice.sdp({ version: 2 }) });
  alice.next('ACK');
  bob.heard();
  call.bob.send('ACK');
  t.strictSame(ladder(world), [
    'bob INVITE',
    '100 INVITE bob',
    'INVITE alice',
    'alice 200 INVITE',
    '200 INVITE bob',
    'ACK alice',
    'bob ACK',
  ]);
  call.alice.send('BYE');
  call.bob.reply(bob.next('BYE'), 200);
  gone(t, world);
});

tap.test('3.8 no answer: the caller gives up', async t => {
  const world = new BorderWorld();
  const { alice, bob } = phones(world);
  const a = alice.invite('sip:bob@example.org');
  const b = bob.called();
  b.answer(180);
  a.expect(180);
  a.cancel();
  bob.send(replyTo(bob.next('CANCEL'), 200));
  b.answer(487);
  bob.next('ACK');
  t.strictSame(alice.heard(), [200, 487]);
  alice.send(a.text('ACK', { branch: a.branch }));
  t.strictSame(ladder(world), [
    ...RINGING,
    'alice CANCEL',
    '200 CANCEL alice',
    'CANCEL bob',
    '487 INVITE alice',
    'bob 200 CANCEL',
    'bob 487 INVITE',
    'ACK bob',
    'alice ACK',
  ]);
  gone(t, world);
});

for (const [name, status] of [
  ['3.9 busy', 486],
  ['3.11 temporarily unavailable', 480],
] as const) {
  tap.test(name, async t => {
    const world = new BorderWorld();
    const { alice, bob } = phones(world);
    const a = alice.invite('sip:bob@example.org');
    const b = bob.called();
    b.answer(status);
    bob.next('ACK');
    a.expect(status);
    alice.send(a.text('ACK', { branch: a.branch }));
    t.strictSame(ladder(world), [
      ...RINGING.slice(0, 6),
      `bob ${status} INVITE`,
      'ACK bob',
      `${status} INVITE alice`,
      'alice ACK',
    ]);
    gone(t, world);
  });
}

tap.test('3.10 nobody there: seven INVITEs, then 408', async t => {
  const world = new BorderWorld();
  const { alice, bob } = phones(world);
  const a = alice.invite('sip:bob@example.org');
  world.loses = w => w.peer === bob.at;
  bob.inbox.length = 0;
  world.pass(33_000, () => alice.inbox.length > 0);
  t.equal(alice.next(408).status, 408);
  alice.send(a.text('ACK', { branch: a.branch }));
  t.strictSame(ladder(world), [
    ...RINGING.slice(0, 6),
    ...Array(6).fill('INVITE bob'),
    '408 INVITE alice',
    'alice ACK',
  ]);
  world.loses = undefined;
  gone(t, world);
});

tap.test('the same call over TCP on one side', async t => {
  const world = new BorderWorld();
  const stream = world.openStream(ACCESS_TCP + 256, '198.51.100.9:40000');
  const alice = world.phone('alice', { at: '198.51.100.9:40000', inner: '192.168.77.5:5062', via: stream }).register();
  const bob = world.phone('bob', { at: '198.51.100.2:6060', inner: '172.16.5.9:5070' }).register();
  ladder(world);
  const call = talking(world, { caller: alice, callee: bob });
  t.strictSame(ladder(world), [...RINGING, ...ANSWERED]);
  call.bob.send('BYE');
  call.alice.reply(alice.next('BYE'), 200);
  t.strictSame(ladder(world), HUNG_UP_BY_BOB);
  gone(t, world);
});
