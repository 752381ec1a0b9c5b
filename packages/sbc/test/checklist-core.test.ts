import { answerChallenge, H, headerLine } from '@drawbridge/sip';
import tap from 'tap';
import { ack, hangUp, scene } from './dialog-phones.js';
import { BORDER, BorderWorld, CORE_UDP, PASSWORD, PBX, type Phone, parsed, replyTo, talking } from './harness.js';

/*
 * What the checklist asks of the SIP core and no other file does; docs/checklist.md says where the rest is. The numbers are the
 * checklist's, "attack" those of the attacks.
 */

const BOB = 'sip:bob@example.org';

/** A request as a strict router sends it: we are its target, the target is its last Route. */
function strictly(phone: Phone, method: string, target: string, o: { uri?: string; headers?: string } = {}): string {
  return phone.request({
    method,
    uri: o.uri ?? `sip:${BORDER}`,
    to: method === 'REGISTER' ? `<${phone.aor}>` : `<${target}>`,
    routes: [`<${target}>`],
    callId: 'strict',
    from: `<${phone.aor}>;tag=strict`,
    headers: o.headers ?? '',
    ...(method === 'INVITE' ? { sdp: phone.sdp() } : {}),
  });
}

tap.test(
  '18: an outbound proxy without lr: we are in the Request-URI, the target in the last Route (§16.4)',
  async t => {
    for (const over of ['what was sent', 'the target'] as const) {
      const world = new BorderWorld();
      const alice = world.phone('alice', { at: '198.51.100.1:5060' });
      const bob = world.phone('bob', { at: '198.51.100.2:6060' }).register();
      const send = (method: string, target: string): void => {
        alice.send(strictly(alice, method, target));
        const challenge = alice.inbox.shift();
        if (challenge === undefined) throw new Error('no challenge');
        const uri = over === 'the target' ? target : `sip:${BORDER}`;
        const account = { realm: 'example.org', user: 'alice', password: PASSWORD };
        const line = answerChallenge(challenge, { method, uri }, account, world.random);
        alice.send(strictly(alice, method, target, { headers: line ?? '' }));
      };
      send('REGISTER', 'sip:example.org');
      alice.next(200);
      send('INVITE', BOB);
      const invite = bob.next('INVITE');
      t.equal(invite.uri, `sip:bob@${bob.inner}`, over);
      t.notOk(invite.has(H.route));
      t.equal(alice.next(100).isRequest, false);
    }
    // Controls: a digest for somebody else's target, a target that isn't ours, and a Route that is one.
    const { world, alice, bob } = scene({ auth: { trustRegisteredFlow: true } });
    alice.send(strictly(alice, 'MESSAGE', 'sip:victim@192.0.2.66'));
    alice.next(404);
    alice.send(strictly(alice, 'MESSAGE', BOB, { uri: 'sip:192.0.2.66' }));
    alice.next(403);
    alice.send(strictly(alice, 'OPTIONS', `sip:${BORDER};lr`));
    alice.next(200);
    t.same(world.lost, []);
    t.same(bob.heard(), []);
  },
);

tap.test('18: a strict router in the Path gets itself, and the contact as the last Route (§16.6 step 6)', async t => {
  const world = new BorderWorld({ config: { auth: { trustRegisteredFlow: true } } });
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const edge = world.phone('bob', { at: PBX, inner: '10.0.0.5:5060', via: CORE_UDP });
  const register = (path: string): void => {
    edge.ask({
      method: 'REGISTER',
      uri: 'sip:example.org',
      to: `<${BOB}>`,
      contact: '<sip:bob@172.16.5.9:5070>',
      headers: headerLine('Path', path),
    });
    edge.next(200);
  };
  register('<sip:old.example.net;method=x>, <sip:new.example.net;lr>');
  alice.invite(BOB);
  const invite = edge.next('INVITE');
  t.equal(invite.uri, 'sip:old.example.net');
  t.same(invite.list(H.route), ['<sip:new.example.net;lr>', '<sip:bob@172.16.5.9:5070>']);
  for (const method of ['MESSAGE', 'SUBSCRIBE']) {
    const headers = method === 'SUBSCRIBE' ? 'Event: presence\r\nExpires: 600\r\n' : '';
    alice.ask({ method, uri: BOB, to: `<${BOB}>`, headers });
    const m = edge.next(method);
    t.equal(m.uri, 'sip:old.example.net', method);
    t.same(m.list(H.route).at(-1), '<sip:bob@172.16.5.9:5070>', method);
  }
  register('<sip:new.example.net;lr>');
  alice.ask({ method: 'MESSAGE', uri: BOB, to: `<${BOB}>`, contact: false });
  t.equal(edge.next('MESSAGE').uri, 'sip:bob@172.16.5.9:5070', 'control: a loose one');
});

tap.test('19: nothing inside a dialog changes its route set', async t => {
  const world = new BorderWorld();
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const pbx = world.phone('pbx', { at: PBX, inner: '10.0.0.5:5060', via: CORE_UDP, domain: 'pbx.example.net' });
  const set = 'Record-Route: <sip:p2.example.net;lr>, <sip:p1.example.net;lr>\r\n';
  pbx.send(
    pbx.request({
      method: 'INVITE',
      uri: 'sip:alice@example.org',
      to: '<sip:alice@example.org>',
      headers: set,
      sdp: pbx.sdp(),
      callId: 'rr',
      from: '<sip:1@pbx.example.net>;tag=rr',
    }),
  );
  const a = alice.called();
  a.answer(200, { sdp: alice.sdp() });
  alice.next('ACK');
  pbx.next(100);
  const ok = pbx.next(200);
  t.same(ok.list(H.recordRoute), ['<sip:p2.example.net;lr>', '<sip:p1.example.net;lr>'], 'copied, in order');
  const inside = (method: string, headers = '', sdp = false): string =>
    pbx.request({
      method,
      uri: `sip:${ok.toTag}@10.0.0.1`,
      to: `<sip:alice@example.org>;tag=${ok.toTag}`,
      callId: 'rr',
      from: '<sip:1@pbx.example.net>;tag=rr',
      headers,
      ...(sdp ? { sdp: pbx.sdp({ version: 2 }) } : {}),
    });
  pbx.send(inside('ACK').replace(/CSeq: \d+/, 'CSeq: 1'));
  pbx.send(inside('INVITE', 'Record-Route: <sip:evil.example.net;lr>\r\n', true).replace(/CSeq: \d+/, 'CSeq: 5'));
  a.reply(alice.next('INVITE'), 200, { sdp: alice.sdp() });
  alice.next('ACK');
  pbx.heard();
  pbx.send(inside('ACK').replace(/CSeq: \d+/, 'CSeq: 5'));
  a.send('BYE');
  t.same(pbx.next('BYE').list(H.route), ['<sip:p2.example.net;lr>', '<sip:p1.example.net;lr>']);
});

tap.test('31: headers and a method in a Contact are no part of what we ask of it (§19.1.5)', async t => {
  const { alice, bob } = scene();
  const a = alice.invite(BOB);
  const b = bob.called();
  const evil = `sip:bob@${bob.inner};method=MESSAGE;x=1?Route=%3Csip:192.0.2.66%3E&Subject=evil`;
  bob.send(
    b.replyText(b.invite ?? parsed(''), 200, { sdp: bob.sdp() }).replace(/Contact: <[^>]*>/, `Contact: <${evil}>`),
  );
  const target = `sip:bob@${bob.inner};x=1`;
  t.equal(bob.next('ACK').uri, target);
  ack(a, a.expect(200));
  a.send('BYE');
  const bye = bob.next('BYE');
  t.equal(bye.uri, target);
  t.notOk(bye.has(H.route));
  t.notMatch(bye.text, /evil|192\.0\.2\.66/);
  // The Request-URI of a new request: neither.
  const { world, alice: caller, bob: callee } = scene();
  caller.ask({
    method: 'MESSAGE',
    uri: `${BOB}?Route=%3Csip:192.0.2.66%3E&Subject=evil`,
    to: `<${BOB}>`,
    contact: false,
  });
  t.notMatch(callee.next('MESSAGE').text, /evil|192\.0\.2\.66/);
  t.same(world.lost, []);
});

tap.test('7: a response with a second Via is somebody else’s (§8.1.3.3)', async t => {
  for (const more of ['Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKx\r\n', undefined]) {
    const { world, alice, bob } = scene();
    const a = alice.invite(BOB);
    const b = bob.called();
    const text = b.replyText(b.invite ?? parsed(''), 180);
    bob.send(
      more === undefined
        ? text.replace(/(Via: [^\r]*)/, '$1, SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKx')
        : text.replace('From:', `${more}From:`),
    );
    t.same(alice.heard(), []);
    t.equal(world.count('stray-response'), 1);
    bob.send(text);
    a.expect(180);
  }
});

tap.test('5: what is required and unknown is 420 in every method (§8.2.2.3)', async t => {
  const { world, alice, bob } = scene({ auth: { trustRegisteredFlow: true } });
  for (const method of ['INVITE', 'REGISTER', 'OPTIONS', 'MESSAGE', 'SUBSCRIBE', 'PUBLISH', 'REFER', 'FOO']) {
    for (const name of ['Require', 'REQUIRE ', 'Proxy-Require']) {
      const uri = method === 'REGISTER' ? 'sip:example.org' : BOB;
      alice.send(
        alice
          .request({ method, uri, to: `<${BOB}>`, headers: 'X-Here: 1\r\n' })
          .replace('X-Here: 1', `${name}: 100rel, foo,\r\n\tBar`),
      );
      t.same(alice.next(420).list(H.unsupported), ['foo', 'Bar'], `${method} ${name}`);
    }
  }
  const many = alice.request({
    method: 'OPTIONS',
    uri: BOB,
    to: `<${BOB}>`,
    headers: `Require: ${'a,'.repeat(20_000)}\r\n`,
  });
  alice.send(many);
  const answer = alice.next(420);
  t.equal(answer.list(H.unsupported).length, 16);
  t.ok(answer.text.length < many.length, 'an answer to anybody is no amplifier');
  const calls = talking(world, { caller: alice, callee: bob });
  for (const method of ['BYE', 'INFO', 'UPDATE', 'PRACK', 'INVITE', 'NOTIFY']) {
    calls.alice.send(method, { headers: 'Require: foo\r\n' });
    t.same(alice.next(420).list(H.unsupported), ['foo'], `${method} inside a dialog`);
  }
  t.same(bob.heard(), []);
  hangUp(calls.alice, calls.bob);
});

tap.test(
  '16: Max-Forwards 0 is 483 whatever the method; absent is 70, and one less otherwise (§16.3, §16.6)',
  async t => {
    const { alice, bob } = scene({ auth: { trustRegisteredFlow: true } });
    for (const method of ['INVITE', 'MESSAGE', 'SUBSCRIBE', 'OPTIONS', 'REFER']) {
      alice.send(alice.request({ method, uri: BOB, to: `<${BOB}>`, maxForwards: 0 }));
      alice.next(483);
    }
    t.same(bob.heard(), []);
    const message = (given: string): number => {
      const text = alice.request({ method: 'MESSAGE', uri: BOB, to: `<${BOB}>`, contact: false, maxForwards: 7 });
      alice.send(text.replace('Max-Forwards: 7\r\n', given));
      const m = bob.next('MESSAGE');
      bob.send(replyTo(m, 200));
      alice.next(200);
      return m.maxForwards;
    };
    t.equal(message('Max-Forwards: 1\r\n'), 0, 'the last hop still gets it');
    t.equal(message('Max-Forwards: 70\r\n'), 69);
    t.equal(message(''), 70);
    alice.send(
      alice.request({ method: 'REGISTER', uri: 'sip:example.org', to: '<sip:alice@example.org>', maxForwards: 0 }),
    );
    alice.next(401);
  },
);

tap.test('25: every challenge of an upstream reaches its subscriber, both kinds, in order (§16.7 step 7)', async t => {
  const world = new BorderWorld();
  const pbx = world.phone('pbx', { at: PBX, inner: '10.0.0.5:5060', via: CORE_UDP, domain: 'pbx.example.net' });
  const carol = world.phone('carol', { at: '198.51.100.3:5060', domain: 'pbx.example.net' });
  carol.ask({ method: 'REGISTER', uri: 'sip:pbx.example.net', to: `<${carol.aor}>` });
  const out = pbx.next('REGISTER');
  pbx.send(replyTo(out, 200).replace('Content-Length', `Contact: ${out.get(H.contact)}\r\nContent-Length`));
  carol.next(200);
  const challenges = [
    'Proxy-Authenticate: Digest realm="one", nonce="1", algorithm=SHA-256\r\n',
    'WWW-Authenticate: Digest realm="two", nonce="2"\r\n',
    'Proxy-Authenticate: Digest realm="one", nonce="1"\r\n',
    'Proxy-Authenticate: Digest realm="three", nonce="3"\r\n',
  ];
  const a = carol.invite('sip:200@pbx.example.net');
  const b = pbx.called();
  b.answer(407, { headers: challenges.join('') });
  pbx.next('ACK');
  const heard = carol.next(407);
  t.same(heard.list(H.proxyAuthenticate).filter(v => v.startsWith('Digest')).length, 3);
  t.ok(heard.text.includes(challenges.join('')), 'byte for byte');
  t.ok(a);
  // The control: a subscriber of another domain hears of none.
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  alice.invite('sip:200@pbx.example.net');
  pbx.called().answer(407, { headers: challenges.join('') });
  t.notMatch(alice.next(403).text, /Digest/);
});

tap.test('28, 29: an answer goes where the request came from, from where it went, whatever the Via says', async t => {
  const world = new BorderWorld();
  const at = '198.51.100.1:40000';
  const reflected: [via: string, expected: RegExp][] = [
    ['10.9.9.9:5060;branch=z9hG4bKa;rport', /;received=198\.51\.100\.1;rport=40000\r/],
    ['10.9.9.9:5060;branch=z9hG4bKa', /;received=198\.51\.100\.1\r/],
    ['198.51.100.1:5060;branch=z9hG4bKa', /;branch=z9hG4bKa\r/],
    [
      '192.0.2.66:5060;maddr=192.0.2.66;received=192.0.2.66;branch=z9hG4bKa;rport',
      /;received=198\.51\.100\.1;rport=40000\r/,
    ],
    ['[2001:db8::66];branch=z9hG4bKa;rport=1', /;received=198\.51\.100\.1\r/],
  ];
  for (const [via, expected] of reflected) {
    world.wires.length = 0;
    world.lost.length = 0;
    const phone = world.phone('alice', { at });
    const text = phone.request({ method: 'OPTIONS', uri: 'sip:example.org', to: '<sip:example.org>' });
    phone.send(text.replace(/Via: SIP\/2.0\/UDP [^\r]*/, `Via: SIP/2.0/UDP ${via}`));
    t.match(phone.next(200).text, expected, via);
    t.same(
      world.wires.map(w => `${w.direction} ${w.via} ${w.peer}`),
      [`in 0 ${at}`, `out 0 ${at}`],
      via,
    );
    t.same(world.lost, []);
  }
});

tap.test('a Contact of any letters is called back as it was written', async t => {
  const { world, alice, bob } = scene();
  const contact = 'sip:J\xc3\xbcrgen?x;method=y@192.168.77.5:5062';
  alice.ask({ method: 'INVITE', uri: BOB, to: `<${BOB}>`, contact: `<${contact}>`, sdp: alice.sdp() });
  const b = bob.called();
  b.answer(200, { sdp: bob.sdp() });
  bob.next('ACK');
  alice.next(100);
  alice.next(200);
  world.pass(40_000);
  t.equal(alice.inbox.findLast(m => m.method === 'BYE')?.uri, contact, 'no ACK came: the call ends');
});

tap.test('22: after a 491 who made the Call-ID waits 2.1 to 4 s, the other up to 2 s (§14.1)', async t => {
  for (const [side, other, least, most] of [
    ['alice', 'bob', 0, 2000],
    ['bob', 'alice', 2100, 4000],
  ] as const) {
    const s = scene();
    const calls = talking(s.world, { caller: s.alice, callee: s.bob });
    const [phone, half] = [s[side], calls[side]];
    const waits: number[] = [];
    s.world.pass(900_000, () => phone.inbox.length > 0);
    for (let n = 0; n < 40; n++) {
      s.world.pass(10_000, () => phone.inbox.length > 0 || s[other].inbox.length > 0);
      // We refresh one leg after the other.
      if (s[other].inbox.length > 0) {
        calls[other].reply(s[other].next('INVITE'), 200, { sdp: s[other].sdp() });
        s[other].next('ACK');
        continue;
      }
      half.reply(phone.next('INVITE'), 491);
      phone.next('ACK');
      const from = s.world.now;
      s.world.pass(10_000, () => phone.inbox.length > 0 || s[other].inbox.length > 0);
      if (phone.inbox.length > 0) waits.push(s.world.now - from);
    }
    const [shortest, longest] = [Math.min(...waits), Math.max(...waits)];
    t.ok(waits.length > 30 && shortest >= least && longest <= most + 20, `${shortest} … ${longest} ms`);
    t.ok(longest - shortest > 1200, 'spread over the whole of it');
  }
});
