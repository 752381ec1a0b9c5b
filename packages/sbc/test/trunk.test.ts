import { H, headerLine, parseAuth } from '@drawbridge/sip';
import tap from 'tap';
import { BORDER_CORE, type BorderWorld, CORE_UDP, type Half, type Phone } from './harness.js';
import { answered, CARRIER, hangUp, refused, SECOND, trunked, trunkOf } from './trunk-world.js';

function settled(t: Pick<typeof tap, 'equal'>, world: BorderWorld): void {
  world.pass(200_000);
  t.equal(world.border.calls().length, 0, 'no call is left');
  t.equal(world.transactions.clientCount, 0, 'no client transaction is left');
  for (const trunk of world.border.shard.m.trunks.all) t.equal(trunk.active, 0, `${trunk.name} counts no call`);
}

tap.test('a subscriber calls a number through a trunk', async t => {
  const { world, alice, carrier } = trunked();
  const a = alice.invite('sip:030-123 456@example.org'.replace(' ', ''));
  const invite = carrier.inbox[0];
  t.equal(invite?.uri, 'sip:+4930123456@carrier.example');
  t.equal(invite?.get(H.to), '<sip:+4930123456@carrier.example>');
  t.match(invite?.get(H.from), /^<sip:alice@example\.org>;tag=/);
  t.equal(invite?.sentBy, `${BORDER_CORE}:5060`, 'from the realm where the trunk lives');
  const b = answered(a, carrier);
  t.equal(trunkOf(world, 'carrier').active, 1);
  t.same(trunkOf(world, 'carrier').calls, { in: 0, out: 1 });
  hangUp(a, b);
  settled(t, world);
});

tap.test('a trunk is known by its address, never by what it says; its numbers lead to subscribers', async t => {
  const { world, alice, carrier } = trunked({
    carrier: { dids: { '+4930555': 'alice@example.org', '+49307*': 'alice@example.org' } },
  });
  for (const number of ['+4930555', '+493071', '030555', '0049305-55']) {
    const c = carrier.invite(`sip:${number}@${BORDER_CORE}`, { from: '<sip:+491701234@10.0.0.7>' });
    const invite = alice.inbox[0];
    t.equal(invite?.method, 'INVITE', number);
    t.match(invite?.get(H.from), /^<sip:\+491701234@example\.org>/, 'called back at the domain of alice');
    hangUp(c, answered(c, alice));
  }
  // The same words from an address that isn't the trunk's, and from the trunk's host but another port.
  for (const at of ['10.0.0.9:5060', '10.0.0.7:5099']) {
    const forged = world.phone('carrier', { at, inner: CARRIER, via: CORE_UDP, domain: 'carrier.example' });
    forged.send(
      forged.request({
        method: 'INVITE',
        uri: `sip:+4930555@${BORDER_CORE}`,
        from: '<sip:+491701234@carrier.example>;tag=x',
        to: '<sip:+4930555@carrier.example>',
        headers: 'User-Agent: carrier\r\n',
        sdp: forged.sdp(),
      }),
    );
    forged.next(403);
    t.same(alice.heard(), [], `nothing gets through from ${at}`);
  }
  const unknown = carrier.invite(`sip:+4930999@${BORDER_CORE}`);
  refused(unknown, 404);
  settled(t, world);
});

tap.test('networks that may send are taken from any port', async t => {
  const { world, alice } = trunked({
    carrier: { from: ['10.0.0.16/28'], dids: { '*': 'alice@example.org' } },
  });
  const media = world.phone('x', { at: '10.0.0.20:7000', inner: '10.0.0.20:7000', via: CORE_UDP });
  hangUp(...pairOf(media.invite(`sip:1@${BORDER_CORE}`), alice));
  // With networks of its own the address of `next` is none of them.
  const next = world.phone('y', { at: CARRIER, inner: CARRIER, via: CORE_UDP });
  next.send(
    next.request({
      method: 'INVITE',
      uri: `sip:1@${BORDER_CORE}`,
      to: '<sip:1@x>',
      from: '<sip:1@x>;tag=y',
      sdp: next.sdp(),
    }),
  );
  next.next(403);
  t.same(alice.heard(), []);
  settled(t, world);
});

function pairOf(c: Half, at: Phone): [Half, Half] {
  return [c, answered(c, at)];
}

tap.test('inside a dialog the trunk may speak from any of its addresses, nobody else may', async t => {
  const { world, alice, carrier } = trunked({
    carrier: { next: [`sip:${CARRIER}`, 'sip:10.0.0.17:5060'] },
  });
  const a = alice.invite('sip:+4930123456@example.org');
  const b = answered(a, carrier);
  for (const [at, status] of [
    [SECOND, 403],
    ['10.0.0.99:5060', 403],
    ['10.0.0.17:5060', 200],
  ] as const) {
    const other = world.phones.get(`${CORE_UDP} ${at}`) ?? world.phone('o', { at, inner: at, via: CORE_UDP });
    other.send(b.text('INFO', { body: 'Signal=1', contentType: 'application/dtmf-relay' }));
    if (status === 200) a.reply(alice.next('INFO'), 200);
    t.equal(other.next(status).status, status, at);
    t.same(alice.heard(), []);
  }
  t.equal(world.border.calls().length, 1, 'the call goes on');
  hangUp(a, b);
  settled(t, world);
});

const CHALLENGE = (realm: string, nonce = 'n1', more = ''): string =>
  headerLine('Proxy-Authenticate', `Digest realm="${realm}",nonce="${nonce}",algorithm=MD5,qop="auth"${more}`);

tap.test('a trunk that challenges gets the answer: same Call-ID, CSeq one higher, another branch', async t => {
  const { world, alice, carrier } = trunked({
    carrier: { auth: { user: 'acct', password: 'pw', realm: 'carrier.example' } },
  });
  world.border.shard.m.trunks.get('carrier');
  const a = alice.invite('sip:+4930123456@example.org');
  const first = carrier.next('INVITE');
  t.equal(first.get(H.proxyAuthorization), '', 'nothing before it is asked for');
  const half = (m: typeof first): Half => {
    carrier.inbox.unshift(m);
    return carrier.called();
  };
  half(first).answer(407, { headers: CHALLENGE('carrier.example') });
  carrier.next('ACK');
  const second = carrier.next('INVITE');
  t.equal(second.callId, first.callId);
  t.equal(second.fromTag, first.fromTag);
  t.equal(second.cseq, first.cseq + 1);
  t.not(second.branch, first.branch);
  t.equal(second.body, first.body, 'the same offer');
  const auth = parseAuth(second.get(H.proxyAuthorization));
  t.equal(auth?.params.get('username'), 'acct');
  t.equal(auth?.params.get('realm'), 'carrier.example');
  t.notMatch(second.text, /pw/);
  // Stale once more, and no further.
  half(second).answer(407, { headers: CHALLENGE('carrier.example', 'n2', ',stale=true') });
  carrier.next('ACK');
  const third = carrier.next('INVITE');
  t.equal(third.cseq, first.cseq + 2);
  t.equal(third.text.match(/^Proxy-Authorization:/gm)?.length, 1, 'one answer, the newest');
  t.equal(parseAuth(third.get(H.proxyAuthorization))?.params.get('nonce'), 'n2');
  const b = half(third);
  b.answer(200, { sdp: carrier.sdp() });
  const ack = carrier.next('ACK');
  t.equal(ack.cseq, third.cseq);
  t.not(ack.get(H.proxyAuthorization), '', 'the ACK carries the same credentials (RFC 3261 §22.1)');
  a.expect(200);
  a.send('ACK');
  // In the dialog too: a BYE of ours that is challenged.
  a.send('BYE');
  alice.next(200);
  const bye = carrier.next('BYE');
  t.ok(bye.cseq > third.cseq);
  b.reply(bye, 407, { headers: CHALLENGE('carrier.example', 'n3') });
  const again = carrier.next('BYE');
  t.equal(again.cseq, bye.cseq + 1);
  t.equal(parseAuth(again.get(H.proxyAuthorization))?.params.get('nonce'), 'n3');
  b.reply(again, 200);
  t.notMatch(JSON.stringify(world.events), /pw/, 'no event holds the password');
  settled(t, world);
});

tap.test('attack 16: nobody but the trunk in its own realm gets credentials', async t => {
  const { world, alice, carrier, second } = trunked({
    carrier: { auth: { user: 'acct', password: 'pw', realm: 'carrier.example' }, dids: { '*': 'bob@example.org' } },
  });
  // Somebody behind the trunk names another realm.
  const a = alice.invite('sip:+4930123456@example.org');
  carrier.called().answer(407, { headers: CHALLENGE('evil.example') });
  carrier.next('ACK');
  t.same(carrier.heard(), [], 'no second INVITE');
  refused(a, 403);
  // Another trunk says the right realm.
  const other = trunked({
    carrier: { auth: { user: 'acct', password: 'pw', realm: 'carrier.example' } },
    routes: [{ name: 'out', to: { trunk: 'second' } }],
  });
  const o = other.alice.invite('sip:+4930123456@example.org');
  other.second.called().answer(407, { headers: CHALLENGE('carrier.example') });
  other.second.next('ACK');
  t.same(other.second.heard(), [], 'the second trunk has no account');
  refused(o, 403);
  // A phone that is called says it, to the INVITE and to the BYE.
  const bob = world.phone('bob', { at: '198.51.100.2:6060' }).register();
  const c = carrier.invite(`sip:+4930777@${BORDER_CORE}`);
  bob.called().answer(407, { headers: CHALLENGE('carrier.example') });
  bob.next('ACK');
  t.same(bob.heard(), []);
  refused(c, 403);
  const d = carrier.invite(`sip:+4930777@${BORDER_CORE}`);
  const b = answered(d, bob);
  d.send('BYE');
  carrier.next(200);
  b.reply(bob.next('BYE'), 407, { headers: CHALLENGE('carrier.example') });
  t.same(bob.heard(), [], 'no second BYE');
  // The control: the trunk itself, the same challenge.
  const e = alice.invite('sip:+4930123456@example.org');
  carrier.called().answer(407, { headers: CHALLENGE('carrier.example') });
  carrier.next('ACK');
  t.match(carrier.next('INVITE').get(H.proxyAuthorization), /username="acct"/);
  e.cancel();
  t.same(second.heard(), []);
  const leaked = [...world.wires, ...other.world.wires].filter(
    w => w.direction === 'out' && w.peer !== CARRIER && /uthorization: Digest username="acct"/.test(w.text),
  );
  t.equal(leaked.length, 0, 'no credentials anywhere else');
});

tap.test(
  'failover: silence, 503 and what policy names go to the next trunk; other failures are the answer',
  async t => {
    const { world, alice, carrier, second } = trunked();
    for (const status of [503, 500, 502]) {
      const a = alice.invite('sip:+4930123456@example.org');
      const first = carrier.inbox[0];
      carrier.called().answer(status);
      carrier.next('ACK');
      const next = second.inbox[0];
      t.equal(next?.uri, 'sip:+4930123456@second.example', String(status));
      t.not(next?.branch, first?.branch);
      t.not(next?.callId, first?.callId);
      hangUp(a, answered(a, second));
    }
    for (const status of [404, 486, 501, 603]) {
      const a = alice.invite('sip:+4930123456@example.org');
      carrier.called().answer(status);
      carrier.next('ACK');
      t.same(second.heard(), [], `${status} is the answer`);
      refused(a, status);
    }
    carrier.unplug();
    const a = alice.invite('sip:+4930123456@example.org');
    const asked = world.now;
    world.pass(20_000, () => second.inbox.length > 0);
    t.equal(second.inbox[0]?.method, 'INVITE');
    t.equal(world.now - asked, 8000, 'after five transmissions');
    hangUp(a, answered(a, second));
    const counts = trunkOf(world, 'carrier').failures;
    t.same([counts.get('5xx'), counts.get('4xx'), counts.get('6xx'), counts.get('timeout')], [4, 2, 1, 1]);
    settled(t, world);
  },
);

tap.test('next hops of one trunk stand in for each other, and one that failed comes last', async t => {
  const { world, alice, carrier, second } = trunked({
    carrier: { next: ['sip:10.0.0.17:5060', `sip:${CARRIER}`] },
  });
  world.phone('silent', { at: '10.0.0.17:5060', via: CORE_UDP }).unplug();
  const a = alice.invite('sip:+4930123456@example.org');
  world.pass(20_000, () => carrier.inbox.length > 0);
  hangUp(a, answered(a, carrier));
  t.same(second.heard(), [], 'the second trunk is not asked');
  world.lost.length = 0;
  const b = alice.invite('sip:+4930123456@example.org');
  t.equal(carrier.inbox[0]?.method, 'INVITE', 'at once');
  t.equal(world.lost.length, 0);
  hangUp(b, answered(b, carrier));
  settled(t, world);
});

tap.test(
  'OPTIONS: three failures take a hop down, one success brings it back; calls go round it meanwhile',
  async t => {
    const { world, alice, carrier, second } = trunked({
      carrier: { options: { every: '10s', timeout: '2s', failures: 3 } },
    });
    const trunk = trunkOf(world, 'carrier');
    world.pass(3000);
    t.equal(trunk.up(world.now), true);
    t.not(trunk.health(trunk.hops.all[0] as never).rtt, undefined);
    carrier.unplug();
    world.pass(60_000, () => !trunk.up(world.now));
    t.equal(trunk.up(world.now), false);
    t.match(world.take('trunk-hop'), [{ trunk: 'carrier', hop: `udp ${CARRIER}`, up: false }]);
    world.lost.length = 0;
    const a = alice.invite('sip:+4930123456@example.org');
    t.equal(second.inbox[0]?.method, 'INVITE', 'without waiting');
    t.equal(world.lost.filter(w => w.text.startsWith('INVITE')).length, 0, 'nothing is sent to who is down');
    hangUp(a, answered(a, second));
    const back = world.phone('carrier', { at: CARRIER, inner: CARRIER, via: CORE_UDP });
    world.pass(60_000, () => trunk.up(world.now));
    t.match(world.take('trunk-hop'), [{ up: true }]);
    const b = alice.invite('sip:+4930123456@example.org');
    hangUp(b, answered(b, back));
  },
);

tap.test('all trunks down: 503; Retry-After of a trunk is kept', async t => {
  const { world, alice, carrier } = trunked({ routes: [{ name: 'out', to: { trunk: 'carrier' } }] });
  const a = alice.invite('sip:+4930123456@example.org');
  carrier.called().answer(503, { headers: 'Retry-After: 120\r\n' });
  carrier.next('ACK');
  t.equal(refused(a, 500).status, 500, 'a 503 of others is not ours');
  const b = alice.invite('sip:+4930123456@example.org');
  t.equal(refused(b, 503).get(H.retryAfter), '10');
  t.same(carrier.heard(), []);
  world.pass(121_000);
  const c = alice.invite('sip:+4930123456@example.org');
  hangUp(c, answered(c, carrier));
  settled(t, world);
});

tap.test('a trunk that is full: the next one, then 503; incoming calls count', async t => {
  const { world, alice, carrier, second } = trunked({
    carrier: { maxCalls: 2, dids: { '*': 'alice@example.org' } },
    second: { maxCalls: 1 },
  });
  const first = pairOf(alice.invite('sip:+4930123456@example.org'), carrier);
  const c = carrier.invite(`sip:+4930555@${BORDER_CORE}`);
  const incoming: [Half, Half] = [c, answered(c, alice)];
  t.equal(trunkOf(world, 'carrier').active, 2);
  const elsewhere = pairOf(alice.invite('sip:+4930123456@example.org'), second);
  refused(alice.invite('sip:+4930123456@example.org'), 503);
  t.equal(world.count('trunk-limit'), 1);
  refused(carrier.invite(`sip:+4930555@${BORDER_CORE}`), 503);
  hangUp(...first);
  hangUp(...pairOf(alice.invite('sip:+4930123456@example.org'), carrier));
  hangUp(...incoming);
  hangUp(...elsewhere);
  t.equal(trunkOf(world, 'carrier').full, 3);
  settled(t, world);
});

tap.test('new calls per second, and calls per caller (attack 38)', async t => {
  const rate = trunked({ carrier: { maxCallsPerSecond: 2 }, routes: [{ name: 'out', to: { trunk: 'carrier' } }] });
  const outcome = (w: ReturnType<typeof trunked>): string => {
    const half = w.alice.invite('sip:+4930123456@example.org');
    if (w.carrier.inbox.length > 0) {
      hangUp(half, answered(half, w.carrier));
      return 'through';
    }
    return String(refused(half, 503).status);
  };
  t.same(
    [1, 2, 3].map(() => outcome(rate)),
    ['through', 'through', '503'],
  );
  rate.world.pass(500);
  t.same(
    [1, 2].map(() => outcome(rate)),
    ['through', '503'],
    'half a second later one more',
  );
  settled(t, rate.world);

  const { world, alice, carrier } = trunked({
    carrier: { maxCallsPerCaller: 3 },
    routes: [{ name: 'out', to: { trunk: 'carrier' } }],
  });
  const bob = world.phone('bob', { at: '198.51.100.2:6060' }).register();
  const open: [Half, Half][] = [];
  for (let i = 0; i < 10; i++) {
    const half = alice.invite(`sip:+88216000${i}@example.org`);
    if (carrier.inbox.length > 0) open.push([half, answered(half, carrier)]);
    else refused(half, 503);
  }
  t.equal(open.length, 3, 'a stolen account holds three calls, not ten');
  hangUp(...pairOf(bob.invite('sip:+4930123456@example.org'), carrier));
  for (const p of open) hangUp(...p);
  settled(t, world);
});

tap.test('a fork of a proxy behind the trunk, a cancelled call, and who is never counted twice', async t => {
  const { world, alice, carrier } = trunked();
  const a = alice.invite('sip:+4930123456@example.org');
  const b = carrier.called();
  b.answer(180);
  a.expect(180);
  t.equal(trunkOf(world, 'carrier').active, 1);
  b.answer(180, { tag: 'other-branch' });
  a.phone.next(180);
  t.equal(trunkOf(world, 'carrier').active, 1, 'two branches of one INVITE are one call');
  a.cancel();
  alice.next(200);
  alice.next(487);
  b.reply(carrier.next('CANCEL'), 200);
  b.answer(487);
  carrier.next('ACK');
  t.equal(trunkOf(world, 'carrier').active, 0);
  t.equal(trunkOf(world, 'carrier').failures.get('timeout'), 0);
  settled(t, world);
});
