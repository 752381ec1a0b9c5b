import fc from 'fast-check';
import t from 'tap';
import { carriesAddress } from '../src/anchor/address-scan.js';
import { isRejected, type SdpRejected } from '../src/index.js';
import { audio, portOf, rtp, VirtualRelay } from './virtual.js';

const ALICE = '198.51.100.7';
const BOB = '10.0.0.9';

function twoLegs(
  relay = new VirtualRelay(),
  b: { realm: string; local: string } = { realm: 'core', local: '10.0.0.1' },
) {
  const session = relay.hub.session('call');
  session.leg('a', { realm: 'access', local: '203.0.113.10' });
  session.leg('b', b);
  const offer = (sdp: string, from = 'a', to = 'b', seenFrom = from === 'a' ? ALICE : BOB) =>
    session.offer({ from, to, sdp, seenFrom });
  const answer = (sdp: string, from = 'b', to = 'a', final = true, seenFrom = from === 'a' ? ALICE : BOB) =>
    session.answer({ from, to, sdp, seenFrom, final });
  return { relay, session, offer, answer };
}

function text(x: string | SdpRejected): string {
  if (isRejected(x)) throw new Error(`${x.rejected}: ${x.detail}`);
  return x;
}
function why(x: string | SdpRejected): unknown[] {
  return isRejected(x) ? [x.status, x.rejected] : ['accepted'];
}
/** Our ports and session ids are random: named by what they are. */
function plain(sdp: string): string {
  return sdp
    .replace(/^(o=- )\d+ /m, '$1ID ')
    .replace(/^(m=\w+ )(?!0 )\d+ /gm, '$1PORT ')
    .replace(/^a=rtcp:\d+/gm, 'a=rtcp:RTCP');
}
function version(sdp: string): number {
  return Number(/^o=- \d+ (\d+) /m.exec(sdp)?.[1]);
}

const RICH = [
  'v=0',
  'o=alice 2890844526 2890844527 IN IP4 192.168.1.2',
  's=Alice on 192.168.1.2',
  'i=call',
  'u=http://192.168.1.2/',
  'e=alice@pc.example',
  'c=IN IP4 192.168.1.2',
  'b=AS:512',
  't=0 0',
  'a=group:BUNDLE 0 1',
  'a=group:LS 0 1',
  'a=ice-lite',
  'a=tool:phone 1.2',
  'a=x-at:via 192.168.1.2:99',
  'm=audio 49170 RTP/AVP 0 101',
  'i=speech',
  'a=rtpmap:0 PCMU/8000',
  'a=rtcp:53020 IN IP4 192.168.1.2',
  'a=candidate:1 1 UDP 2130706431 192.168.1.2 49170 typ host',
  'a=ice-ufrag:abcd',
  'a=ssrc:11 cname:alice@192.168.1.2',
  'a=x-six:fd00:0:0:0:0:0:0:2',
  'a=x-short:[fd00::2]',
  'a=mid:0',
  'a=fingerprint:sha-1 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB',
  'a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4',
  'a=sendrecv',
  'm=message 5000 TCP/MSRP *',
  'c=IN IP4 192.168.1.2',
  'a=path:msrp://192.168.1.2:5000/x;tcp',
  'm=video 51372 RTP/AVP 31',
  'c=IN IP4 192.168.1.3',
  'a=rtcp:51999',
  'a=mid:1',
  'a=x-note:kept  as it is',
  'm=image 0 udptl t38',
  '',
].join('\r\n');

t.test('an offer leaves as ours: literal', async t => {
  const { offer } = twoLegs();
  t.equal(
    plain(text(offer(RICH))),
    [
      'v=0',
      'o=- ID 1 IN IP4 10.0.0.1',
      's=-',
      'c=IN IP4 10.0.0.1',
      'b=AS:512',
      't=0 0',
      'a=group:LS 0 1',
      'm=audio PORT RTP/AVP 0 101',
      'a=rtpmap:0 PCMU/8000',
      'a=mid:0',
      'a=fingerprint:sha-1 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB',
      'a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4',
      'a=sendrecv',
      'm=message 0 TCP/MSRP *',
      'c=IN IP4 10.0.0.1',
      'm=video PORT RTP/AVP 31',
      'c=IN IP4 10.0.0.1',
      'a=rtcp:RTCP',
      'a=mid:1',
      'a=x-note:kept  as it is',
      'm=image 0 udptl t38',
      '',
    ].join('\r\n'),
  );
});

t.test(
  'nothing of the inner side leaks, in either direction; the same scan finds the marks in what came in',
  async t => {
    const marks = ['192.168.1.', 'alice', 'pc.example', '2890844526', '53020', 'fd00', '49170', '51372'];
    const found = (sdp: string): string[] => marks.filter(m => sdp.includes(m));
    t.same(found(RICH), marks, 'control');
    const forward = twoLegs();
    t.same(found(text(forward.offer(RICH))), []);
    const backward = twoLegs();
    text(backward.offer(RICH.replaceAll('192.168.1.', '10.0.0.').replaceAll('fd00', 'fe80')));
    t.same(found(text(backward.answer(RICH))), [], 'as an answer');
    for (const leaky of [
      '10.1.2.3',
      'cname:x10.1.2.3y',
      'fd00::1',
      'a:b:c:d:1:2:3:4',
      'host:2001:db8:0:0:1:2:3:4',
      '::ffff:10.0.0.1',
    ])
      t.ok(carriesAddress(leaky), leaky);
    for (const fine of [
      '0 PCMU/8000',
      'sha-1 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB',
      '1.2.3',
      '97 mode=30; x=1:2:3',
      '1 AES inline:abc|2^20|1:4',
    ])
      t.notOk(carriesAddress(fine), fine);
  },
);

t.test('o= toward a leg is its own: one id, the version moves by one and only with the body', async t => {
  const { offer, answer } = twoLegs();
  const first = text(offer(audio({ at: ALICE, port: 4000 })));
  t.equal(version(first), 1);
  const back = text(answer(audio({ at: BOB, port: 5000 })));
  t.equal(version(back), 1);
  t.equal(
    text(offer(audio({ at: ALICE, port: 4000, version: 9 }))),
    first,
    'the peer counted on, nothing changed: byte-identical',
  );
  t.equal(text(answer(audio({ at: BOB, port: 5000, version: 5 }))), back);
  const held = text(offer(audio({ at: ALICE, port: 4000, version: 10, lines: ['a=sendonly'] })));
  t.equal(version(held), 2);
  t.equal(/^o=- (\d+)/m.exec(held)?.[1], /^o=- (\d+)/m.exec(first)?.[1]);
  const heldBack = text(answer(audio({ at: BOB, port: 5000, lines: ['a=recvonly'] })));
  t.equal(version(heldBack), 2);
  const fromB = text(offer(audio({ at: BOB, port: 5000, lines: ['a=inactive'] }), 'b', 'a'));
  t.equal(version(fromB), 3, 'an offer from the other side counts on the same line');
  t.equal(portOf(fromB), portOf(back), 'and our port stays');
});

t.test('hold in every dialect', async t => {
  const dialects: [string, string, string, boolean, boolean][] = [
    // offer lines of the holder, what the far end sees, its answer, RTP passes holder→far, far→holder
    ['a=sendonly', 'a=sendonly', 'a=recvonly', true, false],
    ['a=inactive', 'a=inactive', 'a=inactive', false, false],
    ['a=recvonly', 'a=recvonly', 'a=sendonly', false, true],
    ['0.0.0.0', 'a=sendonly', 'a=recvonly', true, false],
    ['0.0.0.0 a=inactive', 'a=inactive', 'a=inactive', false, false],
  ];
  for (const [dialect, seen, reply, outward, inward] of dialects) {
    const { relay, session, offer, answer } = twoLegs();
    const b = portOf(text(offer(audio({ at: ALICE, port: 4000 }))));
    const a = portOf(text(answer(audio({ at: BOB, port: 5000 }))));
    const talk = (): boolean[] => [
      relay.arrive(`${ALICE}:4000`, `203.0.113.10:${a}`, rtp()) !== undefined,
      relay.arrive(`${BOB}:5000`, `10.0.0.1:${b}`, rtp()) !== undefined,
    ];
    t.same(talk(), [true, true]);
    const legacy = dialect.startsWith('0.0.0.0');
    const lines = dialect.split(' ').filter(l => l.startsWith('a='));
    const held = text(offer(audio({ at: legacy ? '0.0.0.0' : ALICE, port: 4000, version: 2, lines })));
    t.match(held, seen, dialect);
    t.notMatch(held, '0.0.0.0');
    t.equal(portOf(held), b);
    text(answer(audio({ at: BOB, port: 5000, lines: [reply] })));
    t.same(talk(), [outward, inward], dialect);
    text(offer(audio({ at: ALICE, port: 4000, version: 3 })));
    text(answer(audio({ at: BOB, port: 5000 })));
    t.same(talk(), [true, true], `resumed after ${dialect}`);
    t.same(
      session.streams.map(s => s.latched?.port),
      [4000, 5000],
      'still latched',
    );
  }
});

t.test('forks: each its own answer, one port toward the caller, the winner gets it', async t => {
  const relay = new VirtualRelay();
  const session = relay.hub.session('fork');
  session.leg('a', { realm: 'access', local: '203.0.113.10' });
  const ours: Record<string, string> = {};
  const forks = ['b1', 'b2', 'b3'];
  for (const [i, id] of forks.entries()) {
    session.leg(id, { realm: 'core', local: '10.0.0.1' });
    ours[id] =
      `10.0.0.1:${portOf(text(session.offer({ from: 'a', to: id, sdp: audio({ at: ALICE, port: 4000 }), seenFrom: ALICE })))}`;
    t.equal(new Set(Object.values(ours)).size, i + 1, 'a port of its own');
  }
  const reply = (id: string, at: string, final: boolean): string =>
    text(session.answer({ from: id, to: 'a', sdp: audio({ at, port: 5000 }), seenFrom: at, final }));
  const caller = portOf(reply('b1', '10.0.0.11', false));
  const heard = (): string[] =>
    forks.filter((id, i) => relay.arrive(`10.0.0.1${i + 1}:5000`, ours[id] ?? '', rtp()) !== undefined);
  t.same(heard(), ['b1'], 'early media of the first');
  t.equal(portOf(reply('b2', '10.0.0.12', false)), caller);
  t.same(heard(), ['b2'], 'then of the second');
  t.equal(relay.arrive(`${ALICE}:4000`, `203.0.113.10:${caller}`, rtp())?.to, '10.0.0.12:5000');
  t.equal(portOf(reply('b1', '10.0.0.11', true)), caller);
  session.select('b1');
  t.same(heard(), ['b1']);
  t.equal(relay.arrive(`${ALICE}:4000`, `203.0.113.10:${caller}`, rtp())?.to, '10.0.0.11:5000');
  t.same(
    session.streams.map(s => s.leg),
    ['a', 'b1'],
    "the losers' ports are gone",
  );
  t.same(
    why(
      session.answer({
        from: 'b2',
        to: 'a',
        sdp: audio({ at: '10.0.0.12', port: 5000 }),
        seenFrom: '10.0.0.12',
        final: true,
      }),
    ),
    [488, 'offer-answer-violation'],
    'a losing 2xx changes nothing',
  );
  t.same(heard(), ['b1']);
  session.dropLeg('b2');
  session.close();
  t.same([relay.hub.stats().pairsInUse, relay.hub.stats().pairsResting, relay.opened.size], [0, 4, 0]);
});

t.test('re-offers from either side, refused streams, rollback', async t => {
  const { relay, session, offer, answer } = twoLegs();
  const b = portOf(text(offer(audio({ at: ALICE, port: 4000 }))));
  const a = portOf(text(answer(audio({ at: BOB, port: 5000 }))));
  const talk = (from: number, to: number): unknown[] => [
    relay.arrive(`${ALICE}:${from}`, `203.0.113.10:${a}`, rtp())?.to,
    relay.arrive(`${BOB}:${to}`, `10.0.0.1:${b}`, rtp())?.to,
  ];
  t.same(talk(4000, 5000), [`${BOB}:5000`, `${ALICE}:4000`]);

  const moved = text(offer(audio({ at: BOB, port: 6000, version: 2 }), 'b', 'a'));
  t.equal(portOf(moved), a);
  t.same(talk(4000, 5000), [`${BOB}:5000`, `${ALICE}:4000`], 'an offer changes nothing yet');
  session.rollback('a');
  t.same(talk(4000, 5000), [`${BOB}:5000`, `${ALICE}:4000`], 'refused: as before (RFC 6141)');
  t.same(
    why(answer(audio({ at: ALICE, port: 4000 }), 'a', 'b')),
    [488, 'offer-answer-violation'],
    'and its answer comes too late',
  );

  text(offer(audio({ at: BOB, port: 6000, version: 3 }), 'b', 'a'));
  text(answer(audio({ at: ALICE, port: 4000 }), 'a', 'b'));
  relay.arrive(`${BOB}:6000`, `10.0.0.1:${b}`, rtp());
  t.same(talk(4000, 6000), [`${BOB}:6000`, `${ALICE}:4000`], 'agreed: media follows');

  const video = `${audio({ at: ALICE, port: 4000, version: 4 })}m=video 4002 RTP/AVP 31\r\n`;
  const used = relay.hub.stats().pairsInUse;
  t.not(portOf(text(offer(video)), 1), 0);
  t.equal(relay.hub.stats().pairsInUse, used + 2);
  session.rollback('b');
  t.equal(relay.hub.stats().pairsInUse, used, 'ports of the refused stream go back');
  text(offer(video));
  const refused = text(answer(`${audio({ at: BOB, port: 6000 })}m=video 0 RTP/AVP 31\r\n`));
  t.match(refused, /m=video 0 RTP\/AVP 31\r\n$/, 'port 0 stays 0');
  t.equal(relay.hub.stats().pairsInUse, used);
  t.same(
    why(offer(audio({ at: ALICE, port: 4000, version: 5 }))),
    [488, 'offer-answer-violation'],
    'the number of streams never falls',
  );
  t.same(why(answer(audio({ at: BOB, port: 6000 }))), [488, 'offer-answer-violation']);
  text(offer(video));
  t.same(
    why(answer(audio({ at: BOB, port: 6000 }))),
    [488, 'offer-answer-violation'],
    'an answer has as many streams as its offer',
  );
  const two = text(answer(`${audio({ at: BOB, port: 6000 })}m=video 6002 RTP/AVP 31\r\n`));
  t.not(portOf(two, 1), 0);
  t.equal(
    text(answer(`${audio({ at: BOB, port: 6000 })}m=video 6002 RTP/AVP 31\r\n`)),
    two,
    'the same answer again is the same',
  );
  t.same(talk(4000, 6000), [`${BOB}:6000`, `${ALICE}:4000`]);
});

t.test('an INVITE without SDP: the callee offers, the ACK answers', async t => {
  const { relay, session, offer, answer } = twoLegs();
  session.leg('b2', { realm: 'core', local: '10.0.0.1' });
  const a = portOf(text(offer(audio({ at: BOB, port: 5000 }), 'b', 'a')));
  session.select('b');
  const b = portOf(text(answer(audio({ at: ALICE, port: 4000 }), 'a', 'b')));
  t.equal(relay.arrive(`${ALICE}:4000`, `203.0.113.10:${a}`, rtp())?.to, `${BOB}:5000`);
  t.equal(relay.arrive(`${BOB}:5000`, `10.0.0.1:${b}`, rtp())?.to, `${ALICE}:4000`);
});

t.test('a 2xx without SDP keeps what its 18x said', async t => {
  const { relay, session, offer, answer } = twoLegs();
  text(offer(audio({ at: ALICE, port: 4000 })));
  const a = portOf(text(answer(audio({ at: BOB, port: 5000 }), 'b', 'a', false)));
  session.select('b');
  text(offer(audio({ at: ALICE, port: 4002, version: 2 })));
  session.rollback('b');
  t.equal(
    relay.arrive(`${ALICE}:4000`, `203.0.113.10:${a}`, rtp())?.to,
    `${BOB}:5000`,
    'and survives a failed re-INVITE',
  );
  relay.pass(61_000);
  t.equal(relay.events.filter(e => e.kind === 'inactive').length, 1, 'and is watched');
});

t.test('IPv4 on one side, IPv6 on the other', async t => {
  const { relay, session } = twoLegs(new VirtualRelay(), { realm: 'access', local: '2001:db8::10' });
  const toBob = text(
    session.offer({ from: 'a', to: 'b', sdp: audio({ at: '192.168.1.2', port: 4000 }), seenFrom: ALICE }),
  );
  t.match(plain(toBob), 'o=- ID 1 IN IP6 2001:db8::10\r\ns=-\r\nc=IN IP6 2001:db8::10\r\n');
  const toAlice = text(
    session.answer({
      from: 'b',
      to: 'a',
      sdp: audio({ at: '2001:db8:7::9', port: 5000 }),
      seenFrom: '2001:db8:7::9',
      final: true,
    }),
  );
  t.match(plain(toAlice), 'o=- ID 1 IN IP4 203.0.113.10\r\ns=-\r\nc=IN IP4 203.0.113.10\r\n');
  t.equal(relay.arrive(`${ALICE}:9999`, `203.0.113.10:${portOf(toAlice)}`, rtp())?.to, '[2001:db8:7::9]:5000');
  t.equal(relay.arrive('[2001:db8:7::9]:5000', `[2001:db8::10]:${portOf(toBob)}`, rtp())?.to, `${ALICE}:9999`);
  const other = relay.hub.session('other');
  other.leg('a', { realm: 'access', local: '203.0.113.10' });
  other.leg('b', { realm: 'core', local: '10.0.0.1' });
  t.match(
    text(other.offer({ from: 'a', to: 'b', sdp: audio({ at: '2001:db8:7::9', port: 4000 }), seenFrom: ALICE })),
    'c=IN IP4 10.0.0.1',
  );
  t.match(
    text(other.answer({ from: 'b', to: 'a', sdp: audio({ at: BOB, port: 5000 }), seenFrom: BOB, final: true })),
    'c=IN IP6 2001:db8::10',
    'SIP over IPv4, media over IPv6: the realm has both',
  );
  other.leg('c', { realm: 'core', local: '10.0.0.1' });
  t.same(
    why(other.offer({ from: 'c', to: 'a', sdp: audio({ at: '2001:db8::99', port: 4000 }), seenFrom: BOB })),
    [488, 'sdp-unsupported'],
    'core has no IPv6',
  );
});

t.test('where media may not go', async t => {
  const attempt = (
    at: string,
    port = 4000,
    lines: string[] = [],
    relay = new VirtualRelay({ deny: ['192.0.2.0/28'] }),
  ): unknown[] => why(twoLegs(relay).offer(audio({ at, port, lines })));
  for (const at of [
    '127.0.0.1',
    '::1',
    '0.0.0.1',
    '224.0.0.1',
    '255.255.255.255',
    '169.254.169.254',
    'ff02::1',
    'fe80::1',
    '::ffff:127.0.0.1',
    '::7f00:1',
    '64:ff9b::7f00:1',
    '2002:7f00:1::1',
    '192.0.2.3',
  ]) {
    t.same(attempt(at), [488, 'media-refused-target'], at);
  }
  t.same(attempt(ALICE, 53), [488, 'media-refused-target'], 'a service port');
  t.same(
    attempt(ALICE, 4000, ['a=rtcp:4001 IN IP4 127.0.0.1']),
    [488, 'media-refused-target'],
    'a=rtcp passes the same list',
  );
  t.same(attempt('203.0.113.10', 30050), [488, 'media-own-address'], 'a relay port that nobody holds');
  t.same(attempt('phone.example'), [488, 'sdp-unsupported'], 'names are never resolved');
  t.same(attempt('224.2.1.1/127'), [488, 'sdp-unsupported']);
  for (const at of [ALICE, '192.168.1.2', '2001:db8:5::5', '192.0.2.16'])
    t.same(attempt(at), ['accepted'], `control: ${at}`);

  const local = new VirtualRelay({
    realms: [
      { name: 'access', addresses: [{ bind: '127.0.0.1' }] },
      { name: 'core', addresses: [{ bind: '10.0.0.1' }] },
    ],
  });
  const session = local.hub.session('x');
  session.leg('a', { realm: 'access', local: '127.0.0.1' });
  session.leg('b', { realm: 'core', local: '10.0.0.1' });
  t.same(
    why(session.offer({ from: 'a', to: 'b', sdp: audio({ at: '127.0.0.1', port: 4000 }), seenFrom: '127.0.0.1' })),
    ['accepted'],
    'loopback is reachable from a loopback realm',
  );
});

t.test('our own relay ports: through a proxy behind us yes, in a circle no', async t => {
  const relay = new VirtualRelay();
  // Alice → us → proxy that leaves SDP alone → us → Bob.
  const out = relay.hub.session('out');
  out.leg('a', { realm: 'access', local: '203.0.113.10' });
  out.leg('p', { realm: 'core', local: '10.0.0.1' });
  const toProxy = text(
    out.offer({ from: 'a', to: 'p', sdp: audio({ at: '192.168.1.2', port: 4000 }), seenFrom: ALICE }),
  );
  const back = relay.hub.session('back');
  back.leg('p', { realm: 'core', local: '10.0.0.1' });
  back.leg('b', { realm: 'access', local: '203.0.113.10' });
  const toBob = text(back.offer({ from: 'p', to: 'b', sdp: toProxy, seenFrom: '10.0.0.5' }));
  const fromBob = text(
    back.answer({
      from: 'b',
      to: 'p',
      sdp: audio({ at: '192.168.7.7', port: 5000 }),
      seenFrom: '192.0.2.20',
      final: true,
    }),
  );
  const toAlice = text(out.answer({ from: 'p', to: 'a', sdp: fromBob, seenFrom: '10.0.0.5', final: true }));
  relay.arrive('192.0.2.20:700', `203.0.113.10:${portOf(toBob)}`, rtp());
  t.equal(relay.arrive(`${ALICE}:800`, `203.0.113.10:${portOf(toAlice)}`, rtp())?.to, '192.0.2.20:700');
  t.equal(relay.arrive('192.0.2.20:700', `203.0.113.10:${portOf(toBob)}`, rtp())?.to, `${ALICE}:800`);
  t.equal(
    relay.arrive('10.0.0.1:30001', `10.0.0.1:${portOf(toProxy)}`, rtp()),
    undefined,
    'another of our ports is no source',
  );

  const self = relay.hub.session('self');
  self.leg('a', { realm: 'core', local: '10.0.0.1' });
  self.leg('b', { realm: 'core', local: '10.0.0.1' });
  const first = text(self.offer({ from: 'a', to: 'b', sdp: audio({ at: BOB, port: 4000 }), seenFrom: BOB }));
  t.same(
    why(
      self.answer({
        from: 'b',
        to: 'a',
        sdp: audio({ at: '10.0.0.1', port: portOf(first) }),
        seenFrom: BOB,
        final: true,
      }),
    ),
    [488, 'media-loop'],
  );

  // Two sessions that name each other's ports on both legs.
  const ring = ['r1', 'r2'].map(id => {
    const s = relay.hub.session(id);
    s.leg('a', { realm: 'core', local: '10.0.0.1' });
    s.leg('b', { realm: 'core', local: '10.0.0.1' });
    return {
      s,
      b: portOf(text(s.offer({ from: 'a', to: 'b', sdp: audio({ at: BOB, port: 4000 }), seenFrom: BOB }))),
      a: 0,
    };
  });
  const [r1, r2] = ring as [(typeof ring)[0], (typeof ring)[0]];
  r1.a = portOf(
    text(r1.s.answer({ from: 'b', to: 'a', sdp: audio({ at: '10.0.0.1', port: r2.b }), seenFrom: BOB, final: true })),
  );
  r2.a = portOf(
    text(r2.s.answer({ from: 'b', to: 'a', sdp: audio({ at: '10.0.0.1', port: r1.b }), seenFrom: BOB, final: true })),
  );
  text(r1.s.offer({ from: 'a', to: 'b', sdp: audio({ at: '10.0.0.1', port: r2.a }), seenFrom: BOB }));
  t.same(
    why(r1.s.answer({ from: 'b', to: 'a', sdp: audio({ at: '10.0.0.1', port: r2.b }), seenFrom: BOB, final: true })),
    [488, 'media-loop'],
  );
});

t.test('what cannot be relayed says why', async t => {
  const cases: [string, number, string][] = [
    ['not sdp', 400, 'sdp-malformed'],
    [audio({ at: ALICE, port: 4000 }).replace('v=0', 'v=9'), 400, 'sdp-malformed'],
    [audio({ at: ALICE, port: 4000 }).replace('AVP 0 101', 'AVP 0 10.0.0.1'), 400, 'sdp-malformed'],
    [audio({ at: ALICE, port: 4000 }) + 'm=audio 1 RTP/AVP 0\r\n'.repeat(100), 488, 'sdp-too-large'],
    [`${audio({ at: ALICE, port: 4000 })}${'m=audio 1 RTP/AVP 0\r\n'.repeat(100_000)}`, 488, 'sdp-too-large'],
    [audio({ at: ALICE, port: 4000 }).replace('audio 4000', 'audio 4000/2'), 488, 'sdp-unsupported'],
    [audio({ at: ALICE, port: 4000 }).replace('RTP/AVP', 'UDP/TLS/RTP/SAVPF'), 488, 'sdp-unsupported'],
    [audio({ at: ALICE, port: 4000 }).split('m=')[0] ?? '', 488, 'sdp-unsupported'],
  ];
  for (const [sdp, status, reason] of cases) t.same(why(twoLegs().offer(sdp)), [status, reason]);
  t.same(why(twoLegs().offer(audio({ at: ALICE, port: 4000 }))), ['accepted'], 'control');
  const { relay, offer } = twoLegs();
  offer('not sdp');
  t.equal(relay.hub.stats().pairsInUse, 0, 'a refusal takes no ports');
  t.equal(relay.hub.stats().reasons.get('sdp-malformed'), 1);
});

t.test('a site keeps its media, the rest is anchored', async t => {
  const sites = { office: ['10.20.0.0/16'] };
  const sdp = audio({ at: '10.20.0.5', port: 4000 });
  const start = (to: string | undefined, offer = sdp) => {
    const relay = new VirtualRelay({ sites });
    const session = relay.hub.session('s');
    session.leg('a', { realm: 'core', local: '10.0.0.1' });
    session.leg('b', { realm: 'core', local: '10.0.0.1', ...(to === undefined ? {} : { seenFrom: to }) });
    return { relay, session, out: session.offer({ from: 'a', to: 'b', sdp: offer, seenFrom: '10.20.0.5' }) };
  };
  const inside = start('10.20.9.9');
  t.equal(inside.out, sdp);
  const reply = audio({ at: '10.20.9.9', port: 5000 });
  t.equal(inside.session.answer({ from: 'b', to: 'a', sdp: reply, seenFrom: '10.20.9.9', final: true }), reply);
  t.equal(inside.relay.hub.stats().pairsInUse, 0);
  for (const [name, out] of [
    ['outside', start('10.21.0.1').out],
    ['unknown', start(undefined).out],
    ['foreign c=', start('10.20.9.9', audio({ at: ALICE, port: 1234 })).out],
  ] as const) {
    t.match(text(out), 'c=IN IP4 10.0.0.1', `control: ${name}`);
  }
});

t.test(
  'properties: whatever phones say, our m-lines are theirs in number, order and kind, and no address of theirs passes',
  async t => {
    const seed = Number(process.env['SEED'] ?? 20261121);
    t.comment(`SEED=${seed}`);
    const hidden = fc
      .tuple(fc.integer({ min: 1, max: 254 }), fc.integer({ min: 1, max: 254 }))
      .map(([x, y]) => `192.168.${x}.${y}`);
    const line = fc.constantFrom(
      'a=rtcp-mux',
      'a=sendonly',
      'a=inactive',
      'a=mid:7',
      'a=ptime:20',
      'b=TIAS:64000',
      'a=candidate:1 1 UDP 1 ADDRESS 9 typ host',
      'a=rtcp:4001 IN IP4 ADDRESS',
      'a=x-thing:ADDRESS',
      'c=IN IP4 ADDRESS',
      'u=http://ADDRESS/',
      'i=ADDRESS',
      'k=clear:ADDRESS',
      'x=ADDRESS',
    );
    const stream = fc.record({
      kind: fc.constantFrom('audio', 'video', 'application'),
      port: fc.constantFrom(0, 4000, 50000),
      proto: fc.constantFrom('RTP/AVP', 'RTP/SAVP', 'TCP/MSRP', 'udptl'),
      lines: fc.array(line, { maxLength: 5 }),
    });
    const body = fc
      .tuple(hidden, fc.array(stream, { minLength: 1, maxLength: 6 }), fc.constantFrom('\r\n', '\n'))
      .map(([address, streams, eol]) => {
        const lines = ['v=0', 'o=x 1 1 IN IP4 ADDRESS', 's=ADDRESS', 'c=IN IP4 ADDRESS', 't=0 0'];
        for (const s of streams)
          lines.push(
            `m=${s.kind} ${s.port} ${s.proto} 0`,
            ...s.lines.filter((l, i) => !l.startsWith('c=') || s.lines.findIndex(x => x.startsWith('c=')) === i),
          );
        return [...lines, ''].join(eol).replaceAll('ADDRESS', address);
      });
    const shape = (sdp: string): string[] =>
      sdp
        .split(/\r?\n/)
        .filter(l => l.startsWith('m='))
        .map(l => l.replace(/ \d+ /, l.includes(' 0 ') ? ' 0 ' : ' PORT '));
    let anchored = 0;
    fc.assert(
      fc.property(body, body, (offered, answered) => {
        const { relay, session, offer, answer } = twoLegs();
        const out = offer(offered);
        if (isRejected(out)) return relay.hub.stats().pairsInUse === 0;
        if (out.includes('192.168.') || shape(out).length !== shape(offered).length) return false;
        if (
          !shape(offered).every(
            (m, i) =>
              m.split(' ')[0] === shape(out)[i]?.split(' ')[0] &&
              (!m.includes(' 0 ') || shape(out)[i]?.includes(' 0 ')),
          )
        )
          return false;
        const back = answer(answered);
        if (isRejected(back)) return back.rejected === 'offer-answer-violation' || back.rejected === 'sdp-malformed';
        anchored++;
        if (back.includes('192.168.') || shape(back).length !== shape(offered).length) return false;
        session.close();
        return relay.hub.stats().pairsInUse === 0 && relay.hub.stats().pairsResting > 0 && relay.opened.size === 0;
      }),
      { seed, numRuns: 400 },
    );
    t.ok(anchored > 20, `${anchored} calls were anchored`);
  },
);
