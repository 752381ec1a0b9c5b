import t from 'tap';
import { audio, portOf, rtcp, rtp, VirtualRelay } from './virtual.js';

const ALICE = '198.51.100.7';
const BOB = '192.0.2.20';
const MALLORY = '203.0.113.66';

/** Alice behind a NAT (inner 192.168.1.2, seen from 198.51.100.7) calls Bob, who is public. */
function call(relay: VirtualRelay, lines: readonly string[] = []) {
  const session = relay.hub.session('call');
  session.leg('a', { realm: 'access', local: '203.0.113.10' });
  session.leg('b', { realm: 'access', local: '203.0.113.10' });
  const toBob = String(
    session.offer({ from: 'a', to: 'b', sdp: audio({ at: '192.168.1.2', port: 4000, lines }), seenFrom: ALICE }),
  );
  const toAlice = String(
    session.answer({ from: 'b', to: 'a', sdp: audio({ at: BOB, port: 5000, lines }), seenFrom: BOB, final: true }),
  );
  return {
    session,
    a: `203.0.113.10:${portOf(toAlice)}`,
    b: `203.0.113.10:${portOf(toBob)}`,
    aRtcp: `203.0.113.10:${portOf(toAlice) + 1}`,
    bRtcp: `203.0.113.10:${portOf(toBob) + 1}`,
  };
}

t.test('a leg behind a NAT is latched to its first packet, and nothing goes to it before', async t => {
  const relay = new VirtualRelay();
  const { a, b, session } = call(relay);
  t.equal(relay.arrive(`${BOB}:5000`, b, rtp()), undefined, 'Bob talks first: Alice has no way in yet');
  t.equal(session.streams[0]?.counters.sent, 0);
  const out = relay.arrive(`${ALICE}:61000`, a, rtp());
  t.same([out?.from, out?.to], [b, `${BOB}:5000`]);
  t.same(
    [relay.arrive(`${BOB}:5000`, b, rtp())?.from, relay.arrive(`${BOB}:5000`, b, rtp())?.to],
    [a, `${ALICE}:61000`],
  );
  t.same(
    relay.events.filter(e => e.kind === 'latched'),
    [
      {
        kind: 'latched',
        session: 'call',
        leg: 'b',
        stream: 0,
        component: 'rtp',
        from: { address: BOB, port: 5000 },
        moved: false,
      },
      {
        kind: 'latched',
        session: 'call',
        leg: 'a',
        stream: 0,
        component: 'rtp',
        from: { address: ALICE, port: 61000 },
        moved: false,
      },
    ],
  );
  t.same(
    relay.events.filter(e => e.kind === 'refused').map(e => [e.leg, e.reason]),
    [['b', 'media-no-target']],
  );
  const [alice, bob] = session.streams;
  t.same(
    [alice?.natted, alice?.latched, alice?.remote],
    [true, { address: ALICE, port: 61000 }, { address: '192.168.1.2', port: 4000 }],
  );
  t.same([bob?.natted, bob?.counters.packets, bob?.counters.noTarget], [false, 3, 1]);
});

t.test(
  'RTP bleed and inject: a third host gets nothing and reaches nobody, before, during and after the latch',
  async t => {
    for (const guarded of [true, false]) {
      // Control: a prefix of 0 bits takes the defence off, and the same spray gets through.
      const relay = new VirtualRelay(guarded ? {} : { latch: { prefix4: 0 } });
      const { a, b, session } = call(relay);
      const spray = (port: number): void => {
        for (let i = 0; i < 50; i++) relay.arrive(`${MALLORY}:${port}`, a, rtp({ ssrc: 0xbad }));
      };
      spray(7000);
      relay.arrive(`${BOB}:5000`, b, rtp());
      relay.arrive(`${ALICE}:61000`, a, rtp());
      spray(7000);
      spray(61000);
      relay.arrive(`${BOB}:5000`, b, rtp());
      relay.pass(10_000);
      spray(7000);
      relay.arrive(`${BOB}:5000`, b, rtp());
      const bled = relay.sent.filter(s => s.to.startsWith(MALLORY)).length;
      const injected = relay.sent.filter(s => Buffer.from(s.bytes).readUInt32BE(8) === 0xbad).length;
      if (guarded) {
        t.equal(bled, 0);
        t.equal(injected, 0);
        t.equal(session.streams[0]?.counters.wrongSource, 200);
        t.equal(relay.hub.stats().reasons.get('media-wrong-source'), 200, 'every packet in the metric');
        t.equal(
          relay.events.filter(e => e.kind === 'refused' && e.reason === 'media-wrong-source').length,
          1,
          'reported once per offer/answer',
        );
      } else {
        t.ok(bled > 0, 'control: bleeds');
        t.ok(injected > 0, 'control: injected');
      }
    }
  },
);

t.test(
  'the window: a prefix holds inside it alone, the exact SDP endpoint always, the same address after silence',
  async t => {
    const relay = new VirtualRelay({ latch: { prefix4: 24 } });
    const { a, session } = call(relay);
    relay.pass(5001);
    t.equal(relay.arrive('198.51.100.8:1', a, rtp()), undefined, 'neighbour in the prefix: too late');
    t.ok(relay.arrive(`${ALICE}:61000`, a, rtp()), 'a phone that starts late, from the signalling address itself');
    relay.pass(500);
    t.equal(relay.arrive(`${ALICE}:61001`, a, rtp()), undefined, 'the latched source is not silent yet');
    relay.pass(600);
    t.ok(relay.arrive(`${ALICE}:61001`, a, rtp()), 'a NAT that gave a new port');
    t.same(
      relay.events.filter(e => e.kind === 'latched' && e.leg === 'a').map(e => e.kind === 'latched' && e.moved),
      [false, true],
    );
    relay.pass(60_000);
    t.equal(relay.arrive(`${MALLORY}:61001`, a, rtp()), undefined, 'silence never lets another address in');
    session.close();

    const inside = new VirtualRelay({ latch: { prefix4: 24 } });
    t.ok(inside.arrive('198.51.100.8:1', call(inside).a, rtp()), 'control: inside the window the prefix counts');

    const strict = new VirtualRelay({ latch: { handover: 'never' } });
    const second = call(strict);
    strict.pass(5001);
    t.equal(strict.arrive(`${ALICE}:61000`, second.a, rtp()), undefined, 'handover never: the window is all there is');
    strict.arrive(`${BOB}:5000`, second.b, rtp());
    t.same(
      second.session.streams.map(s => s.latched),
      [undefined, { address: BOB, port: 5000 }],
      'but for the exact endpoint of SDP',
    );
  },
);

t.test('re-latching: a changed description, a moved flow, and nothing else', async t => {
  const relay = new VirtualRelay({ latch: { handover: 'never' } });
  const { session, a, b } = call(relay);
  relay.arrive(`${ALICE}:61000`, a, rtp());
  relay.arrive(`${BOB}:5000`, b, rtp());
  relay.pass(10_000);
  const reinvite = (o: { port: number; seenFrom: string; lines?: string[] }): void => {
    session.offer({
      from: 'a',
      to: 'b',
      sdp: audio({ at: '192.168.1.2', port: o.port, version: 2, lines: o.lines ?? [] }),
      seenFrom: o.seenFrom,
    });
    session.answer({ from: 'b', to: 'a', sdp: audio({ at: BOB, port: 5000 }), seenFrom: BOB, final: true });
  };
  reinvite({ port: 4000, seenFrom: ALICE });
  t.equal(relay.arrive(`${ALICE}:61001`, a, rtp()), undefined, 'a refresh opens nothing');
  t.ok(relay.arrive(`${ALICE}:61000`, a, rtp()), 'and breaks nothing');

  session.reopen('a', '198.51.100.99');
  t.equal(relay.arrive(`${BOB}:5000`, b, rtp())?.to, `${ALICE}:61000`, 'the old way until the new one shows');
  t.ok(relay.arrive(`${ALICE}:61000`, a, rtp()), 'a late packet from the old source does not close the window');
  t.ok(relay.arrive('198.51.100.99:700', a, rtp()), 'the flow moved');
  t.equal(relay.arrive(`${ALICE}:61000`, a, rtp()), undefined, 'then the old source is strange');
  t.equal(relay.arrive(`${BOB}:5000`, b, rtp())?.to, '198.51.100.99:700');

  reinvite({ port: 4002, seenFrom: '198.51.100.99' });
  t.equal(relay.arrive(`${BOB}:5000`, b, rtp()), undefined, 'new endpoint in SDP: the old latch is void');
  t.ok(relay.arrive('198.51.100.99:702', a, rtp()));
  t.equal(relay.arrive(`${BOB}:5000`, b, rtp())?.to, '198.51.100.99:702');
});

t.test('RTCP is latched on its own, and short or odd packets move nothing', async t => {
  const relay = new VirtualRelay();
  const { session, a, aRtcp, bRtcp } = call(relay);
  relay.arrive(`${ALICE}:61000`, a, rtp({ ssrc: 0x77 }));
  for (let length = 0; length <= 12; length++) {
    for (const first of [0x80, 0x00, 0x81, 0xff]) {
      const bytes = Buffer.alloc(length, 0xff);
      if (length > 0) bytes[0] = first;
      if (length > 1) bytes[1] = 200;
      for (const port of [a, aRtcp]) t.equal(relay.arrive(`${ALICE}:62000`, port, bytes), undefined);
    }
  }
  const [alice] = session.streams;
  t.same(
    [alice?.latched, alice?.latchedRtcp, alice?.counters.ssrc],
    [{ address: ALICE, port: 61000 }, undefined, 0x77],
  );
  t.equal(relay.arrive(`${ALICE}:61009`, aRtcp, rtcp())?.to, `${BOB}:5001`, 'control: eight good bytes latch');
  t.equal(relay.arrive(`${BOB}:5001`, bRtcp, rtcp())?.to, `${ALICE}:61009`);
  t.equal(relay.arrive(`${ALICE}:61009`, aRtcp, rtp()), undefined, 'RTP on the RTCP port');
  t.equal(relay.arrive(`${ALICE}:61000`, a, rtcp()), undefined, 'RTCP on the RTP port without mux');
  t.equal(relay.arrive(`${MALLORY}:61009`, aRtcp, rtcp()), undefined);
});

t.test('media errors never end a call and never move a latch', async t => {
  const relay = new VirtualRelay();
  const { session, a, b } = call(relay);
  relay.arrive(`${ALICE}:61000`, a, rtp());
  relay.arrive(`${BOB}:5000`, b, rtp());
  for (let i = 0; i < 10_000; i++)
    relay.arrive(
      `${ALICE}:61000`,
      a,
      Buffer.from([i & 255, i >> 8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).subarray(0, i % 12),
    );
  t.equal(relay.arrive(`${BOB}:5000`, b, rtp())?.to, `${ALICE}:61000`);
  t.equal(session.streams[0]?.counters.notRtp, 10_000);
  t.same(
    relay.events.filter(e => e.kind === 'refused').map(e => e.reason),
    ['media-not-rtp'],
  );
});

t.test('rtcp-mux on one side, two ports on the other', async t => {
  const relay = new VirtualRelay();
  const session = relay.hub.session('mux');
  session.leg('a', { realm: 'access', local: '203.0.113.10' });
  session.leg('b', { realm: 'core', local: '10.0.0.1' });
  const toBob = String(
    session.offer({
      from: 'a',
      to: 'b',
      sdp: audio({ at: ALICE, port: 4000, lines: ['a=rtcp-mux', 'a=rtcp:4001'] }),
      seenFrom: ALICE,
    }),
  );
  t.match(toBob, /a=rtcp-mux\r\n/, 'the callee may mux as well');
  const toAlice = String(
    session.answer({
      from: 'b',
      to: 'a',
      sdp: audio({ at: '10.0.0.9', port: 5000, lines: ['a=rtcp:6001'] }),
      seenFrom: '10.0.0.9',
      final: true,
    }),
  );
  t.match(toAlice, /a=rtcp-mux\r\n/, 'we agree with the caller, whatever the callee said (RFC 5761)');
  t.notMatch(toAlice, /a=rtcp:/);
  const a = `203.0.113.10:${portOf(toAlice)}`;
  const b = `10.0.0.1:${portOf(toBob)}`;
  const bRtcp = `10.0.0.1:${portOf(toBob) + 1}`;
  const out = relay.arrive(`${ALICE}:4000`, a, rtcp());
  t.same([out?.from, out?.to], [bRtcp, '10.0.0.9:6001']);
  const back = relay.arrive('10.0.0.9:6001', bRtcp, rtcp());
  t.same([back?.from, back?.to], [a, `${ALICE}:4000`]);
  t.equal(relay.arrive(`${ALICE}:4000`, a, rtp())?.from, b);
  t.equal(
    relay.arrive(`${ALICE}:4000`, a, rtp({ type: 0x80 | 72, seq: 999 })),
    undefined,
    'payload types 64–95 are RTCP here (RFC 5761 §4), and this is none',
  );
});

t.test('loss, reordering, jitter and SSRC changes as RFC 3550 counts them', async t => {
  const relay = new VirtualRelay();
  const { session, a } = call(relay);
  const send = (seq: number, timestamp: number, ssrc = 1): void =>
    void relay.arrive(`${ALICE}:61000`, a, rtp({ seq, timestamp, ssrc }));
  for (const seq of [65533, 65534, 0, 1, 65535, 4]) {
    send(seq, seq * 160);
    relay.pass(20);
  }
  t.equal(session.streams[0]?.counters.lost, 2, '2 and 3 are missing; 65535 came late');
  send(9000, 0, 2);
  send(9002, 320, 2);
  t.equal(session.streams[0]?.counters.lost, 3, 'the new source counts from its own start');
  t.equal(session.streams[0]?.counters.ssrc, 2);

  const even = new VirtualRelay();
  const steady = call(even);
  for (let i = 0; i < 100; i++) {
    even.arrive(`${ALICE}:61000`, steady.a, rtp({ seq: i, timestamp: i * 160 }));
    even.pass(20);
  }
  t.ok((steady.session.streams[0]?.counters.jitterMs ?? 9) < 0.001);
  for (let i = 100; i < 200; i++) {
    even.arrive(`${ALICE}:61000`, steady.a, rtp({ seq: i, timestamp: i * 160 }));
    even.pass(i % 2 ? 10 : 30);
  }
  const jitter = steady.session.streams[0]?.counters.jitterMs ?? 0;
  t.ok(jitter > 9 && jitter < 11, `±10 ms makes ${jitter}`);
});

t.test('nothing is allocated per packet', async t => {
  const relay = new VirtualRelay();
  const { a, b } = call(relay);
  relay.arrive(`${ALICE}:61000`, a, rtp());
  relay.arrive(`${BOB}:5000`, b, rtp());
  const { Endpoints } = await import('@drawbridge/core');
  const source = Endpoints.of({ address: ALICE, port: 61000 });
  const at = Endpoints.of({ address: '203.0.113.10', port: Number(a.split(':')[1]) });
  const row = relay.table.ownRow(at, 0);
  const bytes = rtp();
  const run = (n: number): void => {
    for (let i = 0; i < n; i++) {
      const out = relay.forwarder.forward(row, bytes, 0, bytes.length, source, 0, 5000);
      if (out < 0) throw new Error('dropped');
      relay.forwarder.sent(out);
    }
  };
  run(50_000);
  const { gc } = globalThis as { gc?: () => void };
  gc?.();
  const before = process.memoryUsage().heapUsed;
  const cpu = process.cpuUsage();
  run(1_000_000);
  const spent = process.cpuUsage(cpu).user;
  const grown = process.memoryUsage().heapUsed - before;
  const kept: number[][] = [];
  const controlBefore = process.memoryUsage().heapUsed;
  for (let i = 0; i < 200_000; i++) kept.push([i, i]);
  t.ok(
    process.memoryUsage().heapUsed - controlBefore > 4_000_000,
    'control: the detector sees one small object per packet',
  );
  t.ok(grown < 1_000_000, `${grown} bytes for a million packets, ${Math.round(spent / 1000)} ns each`);
  t.comment(`${grown} bytes for a million packets, ${Math.round(spent / 1000)} ns each, ${kept.length}`);
});

t.test('strict once latched, even inside the window; what may still differ is each rule by itself', async t => {
  const relay = new VirtualRelay({ latch: { handover: 'never', prefix4: 24 } });
  const { session, a, b } = call(relay);
  t.ok(relay.arrive(`${ALICE}:61000`, a, rtp()));
  t.equal(relay.arrive(`${ALICE}:61001`, a, rtp()), undefined, 'same host, other port');
  t.equal(relay.arrive('198.51.100.8:61000', a, rtp()), undefined, 'same prefix');
  t.equal(relay.arrive('192.168.1.2:4000', a, rtp()), undefined, 'the very endpoint of SDP, once another is latched');
  t.ok(relay.arrive(`${BOB}:5008`, b, rtp()), "control: an SDP address with another port is Bob's first packet");

  session.offer({ from: 'a', to: 'b', sdp: audio({ at: '192.168.1.2', port: 4002, version: 2 }), seenFrom: ALICE });
  session.answer({ from: 'b', to: 'a', sdp: audio({ at: BOB, port: 5000 }), seenFrom: BOB, final: true });
  relay.pass(5001);
  t.equal(relay.arrive(`${ALICE}:61000`, a, rtp()), undefined, 'a void latch opens nothing after the window');

  const media = new VirtualRelay({ latch: { handover: 'never' } });
  const trunk = media.hub.session('trunk');
  trunk.leg('a', { realm: 'access', local: '203.0.113.10' });
  trunk.leg('b', { realm: 'core', local: '10.0.0.1' });
  const toBob = trunk.offer({ from: 'a', to: 'b', sdp: audio({ at: ALICE, port: 4000 }), seenFrom: ALICE });
  trunk.answer({ from: 'b', to: 'a', sdp: audio({ at: '10.0.5.6', port: 5000 }), seenFrom: '10.0.0.9', final: true });
  t.ok(
    media.arrive('10.0.5.6:5999', `10.0.0.1:${portOf(String(toBob))}`, rtp()),
    'media host of its own, another port',
  );

  const local = new VirtualRelay();
  const proxied = local.hub.session('proxied');
  proxied.leg('a', { realm: 'core', local: '10.0.0.1' });
  proxied.leg('b', { realm: 'access', local: '203.0.113.10' });
  proxied.offer({ from: 'a', to: 'b', sdp: audio({ at: '10.0.0.1', port: 4000 }), seenFrom: '10.0.0.1' });
  const toA = proxied.answer({ from: 'b', to: 'a', sdp: audio({ at: BOB, port: 5000 }), seenFrom: BOB, final: true });
  const port = `10.0.0.1:${portOf(String(toA))}`;
  t.equal(
    local.arrive('10.0.0.1:30098', port, rtp()),
    undefined,
    'a relay port of ours, though the proxy shares our address',
  );
  t.ok(local.arrive('10.0.0.1:4444', port, rtp()), 'control: a program on our address');
});

t.test('hold is kept by both ends of the relay', async t => {
  const directions = (mine: string[], theirs: string[]) => {
    const relay = new VirtualRelay();
    const session = relay.hub.session('hold');
    session.leg('a', { realm: 'access', local: '203.0.113.10' });
    session.leg('b', { realm: 'access', local: '203.0.113.10' });
    const b = portOf(
      String(
        session.offer({ from: 'a', to: 'b', sdp: audio({ at: ALICE, port: 4000, lines: mine }), seenFrom: ALICE }),
      ),
    );
    const a = portOf(
      String(
        session.answer({
          from: 'b',
          to: 'a',
          sdp: audio({ at: BOB, port: 5000, lines: theirs }),
          seenFrom: BOB,
          final: true,
        }),
      ),
    );
    const out = [
      relay.arrive(`${ALICE}:4000`, `203.0.113.10:${a}`, rtp()),
      relay.arrive(`${BOB}:5000`, `203.0.113.10:${b}`, rtp()),
    ];
    const control = [
      relay.arrive(`${ALICE}:4001`, `203.0.113.10:${a + 1}`, rtcp()),
      relay.arrive(`${BOB}:5001`, `203.0.113.10:${b + 1}`, rtcp()),
    ];
    return [...out.map(x => x !== undefined), control.every(x => x !== undefined)];
  };
  t.same(directions([], []), [true, true, true], 'control');
  t.same(directions(['a=sendonly'], []), [true, false, true], 'a phone that answers sendrecv is not heard');
  t.same(directions(['a=recvonly'], []), [false, true, true], 'who said recvonly does not talk');
  t.same(directions(['a=inactive'], []), [false, false, true], 'RTCP goes on (RFC 3264 §8.4)');
});

t.test('first bytes: what is media and what is not', async t => {
  const { classify, PACKET } = await import('../src/rtp.js');
  const is = (bytes: number[] | Uint8Array, mux = false): number =>
    classify(Uint8Array.from(bytes), 0, bytes.length, mux);
  const header = [...rtp({ length: 12 })];
  const extended = [0x90, ...header.slice(1)];
  t.equal(is(header), PACKET.rtp);
  t.equal(is([0x00, ...header.slice(1)]), PACKET.invalid, 'STUN');
  t.equal(is([0x16, ...header.slice(1)]), PACKET.invalid, 'DTLS');
  t.equal(is([0x40, ...header.slice(1)]), PACKET.invalid, 'version 1');
  t.equal(is([0x81, ...header.slice(1)]), PACKET.invalid, 'a CSRC that is not there');
  t.equal(is([0x81, ...header.slice(1), 0, 0, 0, 1]), PACKET.rtp);
  t.equal(is(extended), PACKET.invalid, 'an extension that is not there');
  t.equal(is([...extended, 0xbe, 0xde, 0]), PACKET.invalid);
  t.equal(is([...extended, 0xbe, 0xde, 0, 1]), PACKET.invalid, 'or shorter than it says');
  t.equal(is([...extended, 0xbe, 0xde, 0, 1, 1, 2, 3, 4]), PACKET.rtp);
  t.equal(is([...rtcp()]), PACKET.rtcp);
  t.equal(is([0x80, 201, 0, 0, 0, 0, 0, 1]), PACKET.invalid, 'no room for an SSRC');
  t.equal(is([0x80, 201, 0, 2, 0, 0, 0, 1]), PACKET.invalid, 'longer than it is');
  t.equal(is([0x80, 201, 0, 1, 0, 0, 0]), PACKET.invalid, 'seven bytes');
  t.equal(is([0x80, 192, 0, 1, 0, 0, 0, 1], true), PACKET.invalid);
});
