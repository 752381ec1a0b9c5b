import { answerChallenge, H } from '@drawbridge/sip';
import t from 'tap';
import { ACCESS_TCP, BorderWorld, CORE_UDP, PASSWORD, PBX, type Phone, parsed, talking } from './harness.js';

/** Somebody who may send anything and is told everything. */
function stranger(world: BorderWorld, at = '192.0.2.66:5060'): Phone {
  return world.phone('mallory', { at, inner: '192.0.2.66:5060' });
}

function state(world: BorderWorld): readonly number[] {
  return [
    world.flows.size,
    world.transactions.serverCount,
    world.transactions.clientCount,
    world.relay.size,
    world.border.calls().length,
  ];
}

t.test('guard: what is no SIP is counted and gone, and keepalives get what they ask for', async t => {
  const world = new BorderWorld();
  const at = '192.0.2.66:5060';
  const cases: readonly [string, string, number][] = [
    ['\r\n\r\n', 'keepalive', 1],
    ['\r\n', 'keepalive', 0],
    ['\0', 'keepalive', 0],
    ['\0\x11\0\0\x21\x12\xa4\x42abcdefghijkl', 'stun', 0],
    ['\x80\0\0\x01aaaaaaaaaaaaaaaa', 'not-sip', 0],
    ['hi', 'too-short', 0],
    ['\x16\x03\x01aaaaaaaaaaaaaaaaaaaa', 'not-sip', 0],
  ];
  for (const [text, reason, answers] of cases) {
    const before = world.count(reason as Parameters<BorderWorld['count']>[0]);
    world.lost.length = 0;
    world.receive(text, at);
    t.equal(world.count(reason as Parameters<BorderWorld['count']>[0]) - before, 1, JSON.stringify(text));
    t.equal(world.lost.length, answers);
    if (answers === 1) t.equal(world.lost[0]?.text, '\r\n', 'a ping gets its pong (RFC 5626 §4.4.1)');
  }
  t.same(state(world), [0, 0, 0, 0, 0], 'no state at all');
});

t.test('a source outside the networks of the realm is not heard', async t => {
  const world = new BorderWorld();
  const inside = world.phone('x', { at: '10.0.0.77:5060', via: CORE_UDP });
  const outside = world.phone('y', { at: '192.0.2.1:5060', via: CORE_UDP });
  for (const phone of [outside, inside])
    phone.send(phone.request({ method: 'OPTIONS', uri: 'sip:example.org', to: '<sip:example.org>' }));
  t.same(outside.heard(), []);
  t.equal(world.count('foreign-network'), 1);
  t.same(inside.heard(), [200], 'the control');
});

t.test('no state before proof: INVITE, MESSAGE and REGISTER of a stranger get one stateless reply', async t => {
  const world = new BorderWorld();
  const them = stranger(world);
  const invite = them.request({
    method: 'INVITE',
    uri: 'sip:bob@example.org',
    from: '<sip:alice@example.org>;tag=1',
    to: '<sip:bob@example.org>',
    sdp: them.sdp(),
  });
  them.send(invite);
  const no = them.next(407);
  t.not(no.toTag, '');
  t.same(state(world), [0, 0, 0, 0, 0]);
  them.send(invite);
  t.equal(them.next(407).toTag, no.toTag, 'the To tag is a hash of the request: a repetition gets the same');
  them.send(
    them.request({
      method: 'REGISTER',
      uri: 'sip:example.org',
      from: '<sip:alice@example.org>;tag=1',
      to: '<sip:alice@example.org>',
    }),
  );
  them.next(401);
  them.send(
    them.request({
      method: 'MESSAGE',
      uri: 'sip:bob@example.org',
      from: '<sip:alice@example.org>;tag=1',
      to: '<sip:bob@example.org>',
      body: 'x',
    }),
  );
  them.next(407);
  them.send(
    them.request({ method: 'ACK', uri: 'sip:bob@example.org', to: '<sip:bob@example.org>;tag=zzz', contact: false }),
  );
  them.send(
    them.request({ method: 'CANCEL', uri: 'sip:bob@example.org', to: '<sip:bob@example.org>', contact: false }),
  );
  t.same(them.heard(), [481], 'ACK and CANCEL are never challenged');
  world.pass(60_000);
  t.same(them.heard(), [], 'nothing is repeated');
  t.same(state(world), [0, 0, 0, 0, 0]);
});

t.test('a malformed request that can be answered gets its 400, without state; garbage is counted', async t => {
  const world = new BorderWorld();
  const them = stranger(world);
  const good = them.request({ method: 'OPTIONS', uri: 'sip:example.org', to: '<sip:example.org>' });
  const cases: readonly [string, number | undefined][] = [
    [good.replace('CSeq: 1 OPTIONS', 'CSeq: 1 INVITE'), 400],
    [good.replace('Max-Forwards: 70', 'Max-Forwards: seventy'), 400],
    [good.replace('SIP/2.0\r\n', 'SIP/7.0\r\n'), 505],
    [good.replace('OPTIONS sip:example.org ', 'OPTIONS sips:example.org '), 416],
    [good.replace('OPTIONS sip:example.org ', 'OPTIONS http:example.org '), 416],
    [good.replace('Content-Length: 0', 'Content-Length: 100'), 400],
    [good.replace(/Via: .*\r\n/, ''), undefined],
    [good.replace('OPTIONS sip:example.org SIP/2.0', 'OPTIONS'), 400],
    [good.replace('OPTIONS sip:example.org SIP/2.0', ' OPTIONS'), undefined],
    [`${good.slice(0, 40)}\0${good.slice(40)}`, undefined],
    [good.replace('Max-Forwards: 70', 'Max-Forwards: 0'), 483],
    [good.replace('Content-Length: 0', 'Require: 100rel, foo\r\nContent-Length: 0'), 420],
    [good.replace('Content-Length: 0', 'Proxy-Require: bar\r\nContent-Length: 0'), 420],
    [good.replaceAll('OPTIONS', 'DANCE'), 405],
    [good, 200],
  ];
  for (const [text, status] of cases) {
    them.send(text);
    const m = them.inbox.shift();
    t.equal(m?.status, status, text.split('\r\n', 1).join());
    if (status === 420) t.match(m?.get(H.unsupported), /foo|bar/);
    if (status === 405) t.match(m?.list(H.allow).join(), /INVITE/);
    t.same(them.heard(), []);
  }
  t.same(state(world), [0, 0, 0, 0, 0]);
  t.equal(world.count('unknown-extension'), 2);
});

t.test('Require is not looked at in ACK and CANCEL', async t => {
  const world = new BorderWorld();
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const bob = world.phone('bob', { at: '198.51.100.2:6060' }).register();
  const a = alice.invite('sip:bob@example.org');
  bob.called().answer(180);
  a.expect(180);
  a.cancel('Require: foo\r\n');
  t.same(alice.heard(), [200, 487]);
});

t.test('a REGISTER, its 200 with all contacts, its end', async t => {
  const world = new BorderWorld();
  const alice = world.phone('alice', { at: '198.51.100.1:5060', inner: '192.168.77.5:5062' });
  alice.ask({ method: 'REGISTER', uri: 'sip:example.org', to: '<sip:alice@example.org>' });
  const ok = alice.next(200);
  t.match(ok.list(H.contact).join(), /^<sip:alice@192\.168\.77\.5:5062>;expires=\d+$/);
  t.equal(world.registrar.lookup('alice@example.org').length, 1);
  t.equal(world.take('binding-made').length, 1);
  alice.ask({
    method: 'REGISTER',
    uri: 'sip:example.org',
    to: '<sip:alice@example.org>',
    contact: `<${alice.contact}>;expires=0`,
  });
  t.equal(alice.next(200).list(H.contact).length, 0);
  t.equal(world.registrar.lookup('alice@example.org').length, 0);
});

t.test('OPTIONS to the border', async t => {
  const world = new BorderWorld();
  const them = stranger(world);
  them.send(them.request({ method: 'OPTIONS', uri: 'sip:203.0.113.10', to: '<sip:203.0.113.10>' }));
  const m = them.next(200);
  t.match(m.list(H.allow).join(), /INVITE.*BYE/);
  t.match(m.get(H.accept), /application\/sdp/);
  t.same(state(world), [0, 0, 0, 0, 0], 'answered without state');
  const world2 = new BorderWorld({ config: { methods: { OPTIONS: 'authenticated' } } });
  const other = stranger(world2);
  other.send(
    other.request({
      method: 'OPTIONS',
      uri: 'sip:203.0.113.10',
      from: '<sip:alice@example.org>;tag=1',
      to: '<sip:203.0.113.10>',
    }),
  );
  t.equal(other.next(407).status, 407, 'unless policy says otherwise');
});

t.test('policy by method: denied, and for strangers', async t => {
  const world = new BorderWorld({ config: { methods: { MESSAGE: 'deny' } } });
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const bob = world.phone('bob', { at: '198.51.100.2:6060' }).register();
  for (const [method, status] of [
    ['MESSAGE', 403],
    ['REFER', 403],
    ['DANCE', 405],
  ] as const) {
    alice.ask({ method, uri: 'sip:bob@example.org', to: '<sip:bob@example.org>' });
    alice.next(status);
  }
  t.same(bob.heard(), []);
  const them = stranger(world);
  for (const method of ['SUBSCRIBE', 'PUBLISH', 'NOTIFY', 'INFO', 'UPDATE']) {
    them.send(
      them.request({
        method,
        uri: 'sip:bob@example.org',
        from: '<sip:alice@example.org>;tag=1',
        to: '<sip:bob@example.org>',
        headers: 'Event: presence\r\n',
      }),
    );
    t.equal(them.next(407).status, 407, method);
    them.send(
      them.request({
        method,
        uri: 'sip:bob@example.org',
        from: '<sip:x@elsewhere.example>;tag=1',
        to: '<sip:bob@example.org>',
        headers: 'Event: presence\r\n',
      }),
    );
    t.equal(them.next(403).status, 403, method);
  }
  t.same(bob.heard(), []);
});

t.test('somebody else’s name: 403 with good credentials of one’s own', async t => {
  const world = new BorderWorld();
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const bob = world.phone('bob', { at: '198.51.100.2:6060' }).register();
  alice.ask({
    method: 'MESSAGE',
    uri: 'sip:bob@example.org',
    from: '<sip:carol@example.org>;tag=1',
    to: '<sip:bob@example.org>',
    body: 'x',
  });
  alice.next(403);
  t.same(bob.heard(), []);
  t.equal(world.count('not-owner'), 1);
  alice.ask({ method: 'MESSAGE', uri: 'sip:bob@example.org', to: '<sip:bob@example.org>', body: 'x' });
  t.same(bob.heard(), ['MESSAGE'], 'the control');
});

t.test('never an open relay: a foreign Route, a foreign Request-URI, maddr', async t => {
  const world = new BorderWorld();
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const bob = world.phone('bob', { at: '198.51.100.2:6060' }).register();
  const victim = world.phone('victim', { at: '192.0.2.99:5060' });
  const base = { method: 'MESSAGE', uri: 'sip:bob@example.org', to: '<sip:bob@example.org>', body: 'x' };
  alice.ask({ ...base, routes: ['<sip:192.0.2.99;lr>'] });
  alice.next(403);
  alice.ask({ ...base, routes: ['<sip:203.0.113.10;lr>', '<sip:192.0.2.99;lr>'] });
  alice.next(403);
  alice.ask({ ...base, uri: 'sip:victim@192.0.2.99', to: '<sip:victim@192.0.2.99>' });
  alice.next(404);
  alice.ask({ ...base, uri: 'sip:bob@example.org;maddr=192.0.2.99' });
  bob.next('MESSAGE');
  t.same(victim.heard(), []);
  t.same(world.lost, []);
  t.equal(world.count('foreign-route'), 2);
  alice.inbox.length = 0;
  alice.ask({ ...base, routes: ['<sip:203.0.113.10;lr>'] });
  bob.next('MESSAGE');
});

t.test('MESSAGE to every contact, the first success goes back; nothing of the sender’s inside crosses', async t => {
  const world = new BorderWorld();
  const alice = world.phone('alice', { at: '198.51.100.1:5060', inner: '192.168.77.5:5062' }).register();
  const bob = world.phone('bob', { at: '198.51.100.2:6060', inner: '172.16.5.9:5070' }).register();
  alice.ask({ method: 'MESSAGE', uri: 'sip:bob@example.org', to: '<sip:bob@example.org>', body: 'hello' });
  const m = bob.next('MESSAGE');
  t.equal(m.body, 'hello');
  t.equal(m.uri, 'sip:bob@172.16.5.9:5070');
  t.notMatch(m.text, /192\.168\.77\.5/);
  t.equal(m.has(H.contact), false);
  const reply = `SIP/2.0 202 Accepted\r\nVia: ${m.list(H.via)[0]}\r\nFrom: ${m.get(H.from)}\r\nTo: ${m.get(H.to)};tag=b\r\nCall-ID: ${m.callId}\r\nCSeq: ${m.cseq} MESSAGE\r\nServer: inner\r\nContent-Length: 0\r\n\r\n`;
  bob.send(reply);
  t.notMatch(alice.next(202).text, /inner/);
  world.pass(60_000);
  t.same([...state(world).slice(1)], [0, 0, 0, 0]);
});

t.test('responses: a stray one is counted and goes nowhere', async t => {
  const world = new BorderWorld();
  const { alice, bob } = talking(world);
  alice.phone.send(
    `SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 203.0.113.10:5060;branch=z9hG4bKnothing\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:b@c>;tag=2\r\nCall-ID: x\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n`,
  );
  t.equal(world.count('stray-response'), 1);
  t.same(bob.phone.heard(), []);
  t.equal(world.border.calls().length, 1);
});

t.test('a copy of a request by another way is 482; a retransmission is absorbed', async t => {
  const world = new BorderWorld();
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const bob = world.phone('bob', { at: '198.51.100.2:6060' }).register();
  alice.invite('sip:bob@example.org');
  const original = world.wires.filter(w => w.direction === 'in' && w.text.startsWith('INVITE')).at(-1)?.text ?? '';
  t.same(bob.heard(), ['INVITE']);
  alice.send(original);
  t.same(bob.heard(), [], 'a retransmission');
  t.same(alice.heard(), [100], 'gets the last reply again');
  alice.send(original.replace(/branch=[^;\r]*/, 'branch=z9hG4bK-other'));
  t.same(alice.heard(), [482]);
  t.same(bob.heard(), []);
  t.equal(world.count('merged-request'), 1);
});

t.test('TCP: a call over streams; a stream that closes takes its registration along', async t => {
  const world = new BorderWorld();
  const aliceVia = world.openStream((1 << 8) | ACCESS_TCP, '198.51.100.1:40001');
  const bobVia = world.openStream((2 << 8) | ACCESS_TCP, '198.51.100.2:40002');
  const alice = world.phone('alice', { at: '198.51.100.1:40001', via: aliceVia }).register();
  const bob = world.phone('bob', { at: '198.51.100.2:40002', inner: '172.16.5.9:5070', via: bobVia }).register();
  const a = alice.invite('sip:bob@example.org');
  const b = bob.called();
  t.equal(b.invite?.viaTransport, 'TCP');
  t.match(b.invite?.get(H.contact), /;transport=tcp>$/);
  b.answer(200, { sdp: bob.sdp() });
  bob.next('ACK');
  a.expect(200);
  a.send('ACK');
  world.closeStream(bobVia);
  t.equal(world.registrar.lookup('bob@example.org').length, 0);
  alice.invite('sip:bob@example.org');
  alice.next(480);
  t.ok(a);
});

t.test(
  'an upstream domain: the challenge passes end to end, with the caller’s credentials, and so does the call',
  async t => {
    const world = new BorderWorld();
    const pbx = world.phone('pbx', { at: PBX, inner: '10.0.0.5:5060', via: CORE_UDP, domain: 'pbx.example.net' });
    const alice = world.phone('alice', {
      at: '198.51.100.1:5060',
      inner: '192.168.77.5:5062',
      domain: 'pbx.example.net',
    });
    const respond = (m: ReturnType<typeof parsed>, status: number, headers = '', sdp = ''): void => {
      const tag = m.toTag === '' ? ';tag=pbx' : '';
      pbx.send(
        `SIP/2.0 ${status} X\r\nVia: ${m.list(H.via)[0]}\r\nFrom: ${m.get(H.from)}\r\nTo: ${m.get(H.to)}${tag}\r\nCall-ID: ${m.callId}\r\nCSeq: ${m.cseq} ${m.method}\r\n${headers}${
          sdp === '' ? '' : 'Content-Type: application/sdp\r\n'
        }Content-Length: ${sdp.length}\r\n\r\n${sdp}`,
      );
    };
    // Registration first: relayed with our contact.
    alice.send(alice.request({ method: 'REGISTER', uri: 'sip:pbx.example.net', to: '<sip:alice@pbx.example.net>' }));
    const register = pbx.next('REGISTER');
    t.equal(register.uri, 'sip:pbx.example.net');
    const opaque = /<sip:([^@]+)@10\.0\.0\.1/.exec(register.get(H.contact))?.[1] ?? '';
    t.ok(opaque.length >= 16, 'our contact, with an opaque user');
    t.notMatch(register.text, /192\.168\.77\.5/);
    respond(register, 200, `Contact: ${register.get(H.contact)}\r\n`);
    alice.next(200);

    const uri = 'sip:200@pbx.example.net';
    const from = '<sip:alice@pbx.example.net>;tag=a1';
    const first = alice.request({
      method: 'INVITE',
      uri,
      from,
      to: `<${uri}>`,
      callId: 'c1',
      cseq: 1,
      sdp: alice.sdp(),
    });
    alice.send(first);
    alice.next(100);
    const invite = pbx.next('INVITE');
    t.equal(invite.uri, uri, 'the Request-URI stays as it is, so that the digest holds');
    t.match(invite.body, /c=IN IP4 10\.0\.0\.1\r\n/, 'media anchored in the realm of the upstream');
    respond(invite, 407, 'Proxy-Authenticate: Digest realm="pbx.example.net",nonce="abc",algorithm=MD5,qop="auth"\r\n');
    pbx.next('ACK');
    const challenge = alice.next(407);
    t.match(challenge.get(H.proxyAuthenticate), /nonce="abc"/);
    alice.send(
      alice.request({
        method: 'ACK',
        uri,
        from,
        to: challenge.get(H.to),
        callId: 'c1',
        cseq: 1,
        branch: parsed(first).branch,
        contact: false,
      }),
    );
    const line =
      answerChallenge(
        challenge,
        { method: 'INVITE', uri },
        { realm: 'pbx.example.net', user: 'alice', password: PASSWORD },
        world.random,
      ) ?? '';
    alice.send(
      alice.request({
        method: 'INVITE',
        uri,
        from,
        to: `<${uri}>`,
        callId: 'c1',
        cseq: 2,
        sdp: alice.sdp(),
        headers: line,
      }),
    );
    alice.next(100);
    const again = pbx.next('INVITE');
    t.equal(`Proxy-Authorization: ${again.get(H.proxyAuthorization)}\r\n`, line, 'the caller’s credentials, untouched');
    respond(again, 200, 'Contact: <sip:200@10.0.0.5:5060>\r\n', pbx.sdp({ at: '10.0.0.5' }));
    const ack = pbx.next('ACK');
    t.equal(ack.uri, 'sip:200@10.0.0.5:5060');
    const ok = alice.next(200);
    t.match(ok.body, /c=IN IP4 203\.0\.113\.10\r\n/);
    t.notMatch(ok.text, /10\.0\.0\./, 'nothing of the core on the access side');
    t.equal(world.border.calls().length, 1);

    // The upstream calls the contact that we registered there.
    pbx.send(
      pbx.request({
        method: 'INVITE',
        uri: `sip:${opaque}@10.0.0.1:5060`,
        from: '<sip:200@pbx.example.net>;tag=p',
        to: '<sip:alice@pbx.example.net>',
        sdp: pbx.sdp({ at: '10.0.0.5' }),
      }),
    );
    pbx.next(100);
    const called = alice.next('INVITE');
    t.equal(called.uri, 'sip:alice@192.168.77.5:5062');
    t.match(called.get(H.from), /^<sip:200@pbx\.example\.net>;tag=/);
    // The control: the same INVITE from elsewhere on the core network is nobody's.
    const other = world.phone('other', { at: '10.0.0.99:5060', via: CORE_UDP });
    other.send(
      other.request({
        method: 'INVITE',
        uri: `sip:${opaque}@10.0.0.1:5060`,
        from: '<sip:200@pbx.example.net>;tag=q',
        to: '<sip:alice@pbx.example.net>',
        sdp: other.sdp(),
      }),
    );
    t.ok((other.inbox[0]?.status ?? 0) >= 400);
    t.same(alice.heard(), []);
  },
);

t.test('a call from the upstream to a subscriber of a local domain needs no credentials', async t => {
  const world = new BorderWorld();
  const bob = world.phone('bob', { at: '198.51.100.2:6060', inner: '172.16.5.9:5070' }).register();
  const pbx = world.phone('pbx', { at: PBX, inner: '10.0.0.5:5060', via: CORE_UDP, domain: 'pbx.example.net' });
  pbx.send(
    pbx.request({
      method: 'INVITE',
      uri: 'sip:bob@example.org',
      from: '<sip:sipp@10.0.0.5:5060>;tag=p',
      to: '<sip:bob@example.org>',
      sdp: pbx.sdp({ at: '10.0.0.5' }),
    }),
  );
  pbx.next(100);
  const invite = bob.next('INVITE');
  t.notMatch(invite.text, /10\.0\.0\./);
  t.match(invite.get(H.from), /^<sip:sipp@pbx\.example\.net>;tag=/);
  const them = stranger(world);
  them.send(
    them.request({
      method: 'INVITE',
      uri: 'sip:bob@example.org',
      from: '<sip:sipp@10.0.0.5:5060>;tag=p',
      to: '<sip:bob@example.org>',
      sdp: them.sdp(),
    }),
  );
  t.equal(them.next(403).status, 403, 'a stranger who says the same is refused');
});

t.test('the trace of a call shows both legs; the border lists it', async t => {
  const world = new BorderWorld();
  talking(world);
  const call = world.border.calls()[0];
  t.ok(call);
  const ladder = JSON.stringify(world.border.trace(call?.id ?? ''));
  for (const what of ['INVITE', '180', '200', 'ACK']) t.ok(ladder.includes(what), what);
});
