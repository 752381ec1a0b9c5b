import fc from 'fast-check';
import t from 'tap';
import { meanOpinion, Reports } from '../src/quality.js';
import { type RtcpReport, readReports } from '../src/rtcp.js';
import { audio, portOf, rtp, VirtualRelay } from './virtual.js';

/** A sender report of RFC 3550 §6.4.1 with one block. */
function senderReport(o: { ssrc: number; ntp: [number, number]; block?: Partial<Block> }): Uint8Array {
  const bytes = Buffer.alloc(28 + 24);
  bytes.writeUInt8(0x81, 0);
  bytes.writeUInt8(200, 1);
  bytes.writeUInt16BE(bytes.length / 4 - 1, 2);
  bytes.writeUInt32BE(o.ssrc, 4);
  bytes.writeUInt32BE(o.ntp[0], 8);
  bytes.writeUInt32BE(o.ntp[1], 12);
  bytes.writeUInt32BE(160, 16);
  bytes.writeUInt32BE(50, 20);
  bytes.writeUInt32BE(8000, 24);
  writeBlock(bytes, 28, o.block ?? {});
  return bytes;
}

interface Block {
  ssrc: number;
  fraction: number;
  lost: number;
  jitter: number;
  lastSr: number;
  sinceSr: number;
}

function receiverReport(ssrc: number, block: Partial<Block>): Uint8Array {
  const bytes = Buffer.alloc(8 + 24);
  bytes.writeUInt8(0x81, 0);
  bytes.writeUInt8(201, 1);
  bytes.writeUInt16BE(7, 2);
  bytes.writeUInt32BE(ssrc, 4);
  writeBlock(bytes, 8, block);
  return bytes;
}

function writeBlock(bytes: Buffer, at: number, b: Partial<Block>): void {
  bytes.writeUInt32BE(b.ssrc ?? 7, at);
  bytes.writeUInt32BE((((b.fraction ?? 0) << 24) | ((b.lost ?? 0) & 0xffffff)) >>> 0, at + 4);
  bytes.writeUInt32BE(1234, at + 8);
  bytes.writeUInt32BE(b.jitter ?? 0, at + 12);
  bytes.writeUInt32BE(b.lastSr ?? 0, at + 16);
  bytes.writeUInt32BE(b.sinceSr ?? 0, at + 20);
}

function only(bytes: Uint8Array): RtcpReport {
  const [report] = readReports(bytes);
  if (report === undefined) throw new Error('no report');
  return report;
}

t.test('a compound is read, its SDES skipped', async t => {
  const sdes = Buffer.from([0x81, 202, 0, 2, 0, 0, 0, 7, 1, 1, 65, 0]);
  const reports = readReports(
    Buffer.concat([
      senderReport({ ssrc: 9, ntp: [5, 0x80000000], block: { fraction: 64, lost: -2, jitter: 80 } }),
      sdes,
    ]),
  );
  t.strictSame(reports, [
    {
      ssrc: 9,
      sender: { ntpSeconds: 5, ntpFraction: 0x80000000, rtpTime: 160, packets: 50, octets: 8000 },
      blocks: [{ ssrc: 7, fractionLost: 64, lost: -2, highestSeq: 1234, jitter: 80, lastSr: 0, sinceSr: 0 }],
    },
  ]);
});

t.test('what does not fit is not read, what stood before it is', async t => {
  const good = receiverReport(3, { fraction: 1 });
  const cut = senderReport({ ssrc: 9, ntp: [1, 1] }).subarray(0, 40);
  t.equal(readReports(Buffer.concat([good, cut])).length, 1);
  t.equal(readReports(Buffer.concat([good, senderReport({ ssrc: 9, ntp: [1, 1] })])).length, 2, 'the control');
  const claims = Buffer.from(good);
  claims.writeUInt8(0x9f, 0);
  t.strictSame(readReports(claims), [], '31 blocks in the space of one');
});

t.test('no bytes make it throw', async t => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
      if (bytes.length > 1) bytes[0] = 0x80 | ((bytes[0] ?? 0) & 63);
      if (bytes.length > 1) bytes[1] = 200 + ((bytes[1] ?? 0) & 1);
      for (const r of readReports(bytes)) if (r.blocks.length > 31) throw new Error('more blocks than a count can say');
    }),
  );
  t.pass();
});

t.test('round trip: a report of one end answered by the other, as seen in the middle', async t => {
  const alice = new Reports();
  const bob = new Reports();
  // NTP 5.5 s: its middle 32 bits are 0x00058000.
  alice.note(1000, only(senderReport({ ssrc: 1, ntp: [5, 0x80000000] })), bob, 8000);
  const answer = { fraction: 26, lost: 12, jitter: 160, lastSr: 0x00058000, sinceSr: 65_536 / 2 };
  bob.note(1580, only(receiverReport(2, answer)), alice, 8000);
  t.strictSame(bob.reported, {
    lost: 12,
    lossPercent: 10.2,
    worstLossPercent: 10.2,
    jitterMs: 20,
    roundTripMs: 80,
    reports: 1,
  });
  bob.note(2000, only(receiverReport(2, { ...answer, lastSr: 0x00058001, fraction: 0 })), alice, 8000);
  t.equal(bob.reported?.roundTripMs, 80, 'an answer to a report that is unknown says nothing new');
  t.equal(bob.reported?.lossPercent, 0);
  t.equal(bob.reported?.worstLossPercent, 10.2);
  t.equal(alice.reported?.roundTripMs, undefined);
});

t.test('mean opinion', async t => {
  t.equal(meanOpinion(0, 20, 0), 4.4, 'an undisturbed G.711 call');
  t.equal(meanOpinion(5, 20, 5), 3.89);
  t.equal(meanOpinion(0, 400, 0), 3.05, 'a satellite');
  t.equal(meanOpinion(100, 0, 0), 1.18);
  t.ok(meanOpinion(1, 0, 0) > meanOpinion(2, 0, 0));
});

t.test('through the relay: facts and events, at most one a second, and nothing of SRTCP', async t => {
  const relay = new VirtualRelay();
  for (const [id, profile] of [
    ['plain', 'RTP/AVP'],
    ['secure', 'RTP/SAVP'],
  ] as const) {
    const session = relay.hub.session(id);
    session.leg('a', { realm: 'access', local: '203.0.113.10' });
    session.leg('b', { realm: 'access', local: '203.0.113.10' });
    const say = (at: string, port: number): string => audio({ at, port }).replace('RTP/AVP', profile);
    const toBob = session.offer({ from: 'a', to: 'b', sdp: say('198.51.100.1', 4000), seenFrom: '198.51.100.1' });
    const toAlice = session.answer({
      from: 'b',
      to: 'a',
      sdp: say('192.0.2.9', 5000),
      seenFrom: '192.0.2.9',
      final: true,
    });
    const aliceHears = portOf(String(toAlice));
    const bobHears = portOf(String(toBob));
    relay.arrive('198.51.100.1:4000', `203.0.113.10:${aliceHears}`, rtp());
    relay.arrive('198.51.100.1:4001', `203.0.113.10:${aliceHears + 1}`, senderReport({ ssrc: 1, ntp: [5, 0] }));
    relay.pass(100);
    const heard = receiverReport(2, { lastSr: 0x00050000, sinceSr: 0, fraction: 128, lost: 3 });
    for (let n = 0; n < 3; n++) relay.arrive('192.0.2.9:5001', `203.0.113.10:${bobHears + 1}`, heard);
    const reported = relay.events.filter(e => e.kind === 'reported' && e.session === id);
    const bob = session.streams.find(s => s.leg === 'b')?.reported;
    if (id === 'secure') {
      t.strictSame([reported.length, bob], [0, undefined]);
      continue;
    }
    t.equal(reported.length, 2, 'one of each end');
    t.match(reported[1], { leg: 'b', from: { address: '192.0.2.9', port: 5001 }, reports: [{ ssrc: 2 }] });
    t.match(bob, { roundTripMs: 100, lossPercent: 50, lost: 3, reports: 1 });
    t.equal(session.streams.find(s => s.leg === 'a')?.mos, 4.41);
    relay.pass(1000);
    relay.arrive('192.0.2.9:5001', `203.0.113.10:${bobHears + 1}`, heard);
    t.equal(session.streams.find(s => s.leg === 'b')?.reported?.reports, 2);
  }
});
