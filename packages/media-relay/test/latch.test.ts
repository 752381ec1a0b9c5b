import { Endpoints, parseAddressWords } from '@drawbridge/core';
import t from 'tap';
import {
  COPY,
  COUNT,
  FLAG,
  FlowTable,
  Forwarder,
  HEADER,
  HEADER_F64,
  JOURNAL,
  type PathEvent,
  ROW,
  ROW_F64_WINDOW_END,
} from '../src/index.js';
import { audio, endpoint, portOf, rtcp, rtp, VirtualRelay } from './virtual.js';

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
  // What allocates per packet does so in every round; what compiles beside it does so in one.
  let grown = Number.POSITIVE_INFINITY;
  let spent = 0;
  for (let round = 0; round < 4; round++) {
    const before = process.memoryUsage().heapUsed;
    const cpu = process.cpuUsage();
    run(1_000_000);
    spent = process.cpuUsage(cpu).user;
    grown = Math.min(grown, Math.abs(process.memoryUsage().heapUsed - before));
  }
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

const PORT_ROW = 10;
const OUT_ROW = 20;

interface Rules {
  readonly flags?: number;
  readonly remote?: string;
  readonly seen?: string;
  /** Of 128, as the table has it. */
  readonly seenBits?: number;
  readonly floor?: number;
  readonly epoch?: number;
}

/** A flow table of two rows and the forwarder, without the control above them. */
function bare(rules: Rules = {}) {
  const table = FlowTable.create(['203.0.113.10', '2001:db8::10'], 30000, 30099);
  const events: PathEvent[] = [];
  const forwarder = new Forwarder(table, e => events.push(e));
  const write = (o: Rules, row = PORT_ROW): void => {
    const at = table.begin(row);
    table.words[at + ROW.flags] = FLAG.valid | (o.flags ?? FLAG.latch | FLAG.handover);
    table.words[at + ROW.peer] = row === PORT_ROW ? OUT_ROW + 1 : PORT_ROW + 1;
    table.words[at + ROW.peerRtcp] = table.words[at + ROW.peer] ?? 0;
    table.words[at + ROW.epoch] = o.epoch ?? 5;
    table.words[at + ROW.latchFloor] = o.floor ?? 5;
    table.words[at + ROW.handoverMs] = 1000;
    table.setEndpoint(row, ROW.remote, endpoint(o.remote ?? '192.0.2.1:4000'));
    parseAddressWords(o.seen ?? '198.51.100.7', table.words, at + ROW.seen);
    table.words[at + ROW.seenBits] = o.seenBits ?? 128;
    table.f64[table.atF64(row) + ROW_F64_WINDOW_END] = 5000;
    table.commit(row);
  };
  write(rules);
  write({ flags: FLAG.sendToRemote, remote: '192.0.2.99:9000' }, OUT_ROW);
  /** The source stands third in its batch, and the packet has two bytes before it. */
  const from = (text: string, now: number, packet: Uint8Array = rtp()): boolean => {
    const sources = new Endpoints(3);
    sources.set(0, endpoint('233.252.0.1:1'));
    sources.set(1, endpoint('233.252.0.2:2'));
    sources.set(2, endpoint(text));
    const bytes = Buffer.concat([Buffer.alloc(2), packet]);
    forwarder.startBatch();
    const out = forwarder.forward(PORT_ROW, bytes, 2, packet.length, sources, 2, now);
    t.ok(out === OUT_ROW || out === -1);
    return out === OUT_ROW;
  };
  const count = (slot: number, row = PORT_ROW): number => table.f64[table.atF64(row) + slot] ?? Number.NaN;
  return { table, forwarder, events, write, from, count };
}

t.test('who may be the first source: each rule at its edges', async t => {
  const first = (rules: Rules, source: string, now: number): boolean => bare(rules).from(source, now);
  const none = { flags: 0 };
  t.ok(first(none, '192.0.2.1:4000', 99_000), 'the exact endpoint of SDP, at any time');
  t.notOk(first(none, '192.0.2.1:4001', 100), 'another port, without leave to latch');
  t.notOk(first(none, '198.51.100.7:1', 100), 'the signalling address, without leave to latch');

  const latch = { flags: FLAG.latch };
  t.ok(first(latch, '192.0.2.1:4001', 4999), 'the address of SDP in the window');
  t.notOk(first(latch, '192.0.2.1:4001', 5000), 'the window has ended');
  t.ok(first(latch, '198.51.100.7:1', 4999), 'the signalling address in the window');
  t.notOk(first(latch, '198.51.100.7:1', 5000));
  t.notOk(first(latch, '198.51.100.6:1', 100), 'all bits count');
  t.notOk(first({ ...latch, seenBits: 0 }, '198.51.100.7:1', 100), 'no bits are no rule');
  t.notOk(first({ ...latch, remote: '192.0.2.1:0', seenBits: 0 }, '192.0.2.1:4000', 100), 'port 0 is no endpoint');
  t.notOk(first({ ...none, remote: '192.0.2.1:0' }, '192.0.2.1:0', 100), 'not even for port 0');

  const bits4 = (bits: number, source: string): boolean => first({ ...latch, seenBits: 96 + bits }, `${source}:1`, 100);
  t.same([bits4(24, '198.51.100.255'), bits4(24, '198.51.101.7')], [true, false]);
  t.same([bits4(25, '198.51.100.127'), bits4(25, '198.51.100.128')], [true, false]);
  t.same([bits4(1, '255.0.0.1'), bits4(1, '127.0.0.1')], [true, false]);
  const bits6 = (seenBits: number, source: string): boolean =>
    first({ ...latch, seen: '2001:db8:1:2::7', seenBits }, `[${source}]:1`, 100);
  t.same([bits6(64, '2001:db8:1:2:ffff::1'), bits6(64, '2001:db8:1:3::7')], [true, false]);
  t.same([bits6(63, '2001:db8:1:3::7'), bits6(63, '2001:db8:1:4::7')], [true, false]);
  t.same([bits6(32, '2001:db8:ffff::1'), bits6(32, '2001:db9:1:2::7')], [true, false]);
  t.same([bits6(33, '2001:db8:7fff::1'), bits6(33, '2001:db8:8000::1')], [true, false]);
  t.same([bits6(127, '2001:db8:1:2::6'), bits6(127, '2001:db8:1:2::5')], [true, false]);

  const late = { flags: FLAG.handover };
  t.ok(first(late, '192.0.2.1:4001', 99_000), 'a phone that starts late, from the address of SDP');
  t.ok(first(late, '198.51.100.7:1', 99_000), 'or of the signalling');
  t.notOk(first({ ...late, seenBits: 96 + 24 }, '198.51.100.8:1', 99_000), 'but not from its prefix');
  t.notOk(first({ ...late, seenBits: 0 }, '198.51.100.7:1', 99_000));
  t.notOk(first(late, '203.0.113.66:4000', 100), 'a stranger');

  const own = { remote: '203.0.113.10:30050', seen: '203.0.113.10' };
  t.ok(first(own, '203.0.113.10:30050', 100), 'a relay port of ours that SDP named');
  t.notOk(first(own, '203.0.113.10:30051', 100), 'one that it did not name');
  t.ok(first(own, '203.0.113.10:29999', 100), 'below our ports');
  t.ok(first(own, '203.0.113.10:30100', 100), 'above them');
  t.notOk(first({ ...own, remote: '203.0.113.10:30051' }, '203.0.113.10:30000', 100), 'the first port of all');
});

t.test('who may follow the first source: each rule at its edges', async t => {
  const after = (o: { flags: number; next?: Rules }, source: string, now: number): boolean => {
    const row = bare({ flags: o.flags });
    t.ok(row.from('198.51.100.7:1', 100), 'latched');
    if (o.next !== undefined) row.write({ flags: o.flags, ...o.next });
    return row.from(source, now);
  };
  const latch = { flags: FLAG.latch };
  t.ok(after(latch, '198.51.100.7:1', 99_000), 'itself');
  t.notOk(after(latch, '198.51.100.7:2', 99_000), 'no handover');
  t.notOk(after(latch, '192.0.2.1:4000', 200), 'the endpoint of SDP came too late');
  const both = { flags: FLAG.latch | FLAG.handover };
  t.notOk(after(both, '198.51.100.7:2', 1099), 'a millisecond too early');
  t.ok(after(both, '198.51.100.7:2', 1100));
  t.notOk(after(both, '198.51.100.8:1', 99_000));
  t.notOk(after(both, '192.0.2.1:4000', 99_000));
  // An offer or answer raises the epoch; with another endpoint in SDP the floor as well.
  const reopened = { ...latch, next: { epoch: 6, seen: '198.51.100.99' } };
  t.ok(after(reopened, '198.51.100.7:1', 200), 'the old one goes on');
  t.ok(after(reopened, '198.51.100.99:1', 4999), 'the new one takes over inside the window');
  t.notOk(after(reopened, '198.51.100.99:1', 5000));
  t.ok(after(reopened, '192.0.2.1:4000', 200), 'so does the address of SDP');
  t.notOk(after(reopened, '192.0.2.1:4000', 5000), 'even the exact endpoint has its window, once another is latched');
  const moved = { ...latch, next: { epoch: 6, floor: 6, seen: '198.51.100.99' } };
  t.notOk(after(moved, '198.51.100.7:1', 200), 'a void latch is no latch');
  t.ok(after(moved, '192.0.2.1:4000', 99_000));

  const row = bare(latch);
  row.from('198.51.100.7:1', 100);
  row.write({ ...latch, epoch: 6, seen: '198.51.100.99' });
  t.ok(row.from('198.51.100.99:8', 200));
  t.notOk(row.from('198.51.100.7:1', 201), 'one takes over, and the window is shut behind it');
  t.same(row.events, [
    { kind: 'latched', row: PORT_ROW, epoch: 5, moved: false },
    { kind: 'latched', row: PORT_ROW, epoch: 6, moved: true },
    {
      kind: 'refused',
      row: PORT_ROW,
      epoch: 6,
      reason: 'media-wrong-source',
      from: { address: '198.51.100.7', port: 1 },
    },
  ]);
  t.same(row.table.latched(PORT_ROW), { address: '198.51.100.99', port: 8 });
});

t.test('every packet is counted once, where it ends; each reason is told once per offer and answer', async t => {
  const { table, forwarder, events, write, from, count } = bare();
  const header = (slot: number): number => table.f64[slot] ?? Number.NaN;
  const refusals = (): number[] => [0, 1, 2, 3, 4].map(k => header(HEADER_F64.refused + k));
  const reasons = (): string[] => events.flatMap(e => (e.kind === 'refused' ? [e.reason] : []));
  const phone = '198.51.100.7:1';
  t.ok(from(phone, 100, rtp({ length: 50 })));
  t.ok(from(phone, 120, rtp({ length: 70 })));
  t.same([count(COUNT.packets), count(COUNT.bytes), count(COUNT.rtcpPackets)], [2, 120, 0]);
  t.same([count(COUNT.lastPacket), count(COUNT.lastRtp), count(COUNT.rtpReceived)], [120, 120, 2]);
  write({ flags: FLAG.latch | FLAG.mux });
  t.ok(from(phone, 140, rtcp()), 'RTCP, where it may share the port');
  t.same([count(COUNT.packets), count(COUNT.bytes), count(COUNT.rtcpPackets)], [3, 128, 1]);
  t.same([count(COUNT.lastPacket), count(COUNT.lastRtp)], [140, 120]);
  t.same(reasons(), []);

  t.notOk(from('203.0.113.66:1', 150));
  t.notOk(from('203.0.113.66:1', 151));
  t.notOk(from(phone, 152, new Uint8Array(3)));
  write({ flags: FLAG.latch | FLAG.heldIn | FLAG.mux });
  t.notOk(from(phone, 160));
  t.ok(from(phone, 161, rtcp()), 'RTCP goes on');
  t.same([count(COUNT.lastPacket), count(COUNT.lastRtp)], [161, 160], 'a held phone is alive');
  write({ flags: FLAG.latch | FLAG.mux });
  write({ flags: FLAG.sendToRemote | FLAG.heldOut, remote: '192.0.2.99:9000' }, OUT_ROW);
  t.notOk(from(phone, 170));
  t.ok(from(phone, 171, rtcp()));
  t.equal(forwarder.to.address(0), '192.0.2.99');
  t.equal(forwarder.to.port(0), 9000);
  for (const rules of [{ flags: 0 }, { flags: FLAG.sendToRemote, remote: '192.0.2.99:0' }]) {
    write(rules, OUT_ROW);
    t.notOk(from(phone, 180), 'nowhere to go');
  }
  table.words[table.begin(PORT_ROW) + ROW.peer] = 0;
  table.commit(PORT_ROW);
  t.notOk(from(phone, 181), 'nor with no row to leave by');
  t.same(
    [COUNT.wrongSource, COUNT.notRtp, COUNT.noTarget, COUNT.held].map(slot => count(slot)),
    [2, 1, 3, 2],
  );
  t.same(refusals(), [2, 1, 3, 2, 0]);
  t.same(reasons(), ['media-wrong-source', 'media-not-rtp', 'media-held', 'media-no-target']);
  t.equal(header(HEADER_F64.noFlow), 0);
  t.equal(header(HEADER_F64.received), 13);

  write({ epoch: 6 });
  t.notOk(from('203.0.113.66:1', 200));
  t.notOk(from('203.0.113.66:1', 200));
  t.same(reasons().slice(4), ['media-wrong-source'], 'told again after the next offer');

  forwarder.sent(OUT_ROW);
  forwarder.sent(OUT_ROW);
  forwarder.sendFailed(OUT_ROW);
  t.same([count(COUNT.sent, OUT_ROW), header(HEADER_F64.sent), header(HEADER_F64.sendErrors)], [2, 2, 1]);
  t.same([count(COUNT.sendFailed, OUT_ROW), refusals()[4]], [1, 1]);
  t.same(events.at(-1), {
    kind: 'refused',
    row: OUT_ROW,
    epoch: 5,
    reason: 'media-send-failed',
    from: { address: '192.0.2.99', port: 0 },
  });

  table.words[table.begin(PORT_ROW) + ROW.flags] = FLAG.latch;
  table.commit(PORT_ROW);
  t.notOk(from(phone, 210));
  t.equal(header(HEADER_F64.noFlow), 1, 'nobody holds the port');
  t.equal(header(HEADER_F64.received), 16);
});

t.test('what a row carries: RTP, RTCP, both, or anything', async t => {
  const carries = (flags: number): boolean[] =>
    [rtp(), rtcp(), new Uint8Array(3)].map(packet =>
      bare({ flags: flags | FLAG.latch }).from('198.51.100.7:1', 100, packet),
    );
  t.same(carries(0), [true, false, false]);
  t.same(carries(FLAG.rtcp), [false, true, false]);
  t.same(carries(FLAG.mux), [true, true, false]);
  t.same(carries(FLAG.opaque), [true, true, true], 'T.38 has no form that we know');
});

t.test('a batch voids the copies of the rows that were written, and all of them only when it lost count', async t => {
  const { table, forwarder, write } = bare();
  const generation = (): number | undefined => table.words[HEADER.generation];
  const first = generation();
  const commits = (n: number): void => {
    for (let i = 0; i < n; i++) write({});
    forwarder.startBatch();
  };
  commits(0);
  commits(1);
  commits(JOURNAL - 1);
  // Two rows were written before the first batch.
  t.equal(generation(), first);
  // Control writes an entry before it counts it: the next may already stand where the oldest stood.
  commits(JOURNAL);
  t.equal(generation(), (first ?? 0) + 1);
  table.words[HEADER.generation] = 0xffffffff;
  commits(JOURNAL + 1);
  t.equal(generation(), 1, '0 marks a void copy and is never a generation');
});

t.test('warming reads the rows and where they lead, and writes nothing', async t => {
  const table = FlowTable.create(['203.0.113.10'], 30000, 30099);
  const forwarder = new Forwarder(table, () => t.fail('told something'));
  const mark = (row: number, peer: number, generation: number, packets: number): void => {
    table.words[table.at(row) + COPY.peer] = peer + 1;
    table.words[table.at(row) + COPY.generation] = generation;
    table.words[table.at(row) + COUNT.packets * 2] = packets;
  };
  mark(0, 7, 1, 2);
  mark(3, 0, 4, 8);
  mark(7, -1, 16, 32);
  const before = table.words.slice();
  const warmed = (rows: number[], count = rows.length): number => {
    forwarder.warm(Int32Array.from(rows), count);
    return forwarder.warmed;
  };
  t.equal(warmed([0, -1, 3]), 1 ^ 2 ^ (16 ^ 32) ^ (4 ^ 8) ^ (1 ^ 2));
  t.equal(warmed([0, -1, 3], 2), 1 ^ 2 ^ (16 ^ 32));
  t.equal(warmed([7]), 16 ^ 32);
  t.equal(warmed([-1]), 0);
  t.same(table.words, before);
});
