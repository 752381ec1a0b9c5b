import t from 'tap';
import { isRejected, type SdpRejected } from '../src/index.js';
import { portOf, rtp, VirtualRelay } from './virtual.js';

const ALICE = '198.51.100.7';
const BOB = '10.0.0.9';
const AUDIO = (port: number): string[] => [`m=audio ${port} RTP/AVP 8`, 'a=rtpmap:8 PCMA/8000'];
const FAX = (port: number): string[] => [
  `m=image ${port} udptl t38`,
  'a=T38FaxVersion:0',
  'a=T38MaxBitRate:14400',
  'a=T38FaxRateManagement:transferredTCF',
  'a=T38FaxMaxDatagram:400',
  'a=T38FaxUdpEC:t38UDPRedundancy',
];

function text(x: string | SdpRejected): string {
  if (isRejected(x)) throw new Error(`${x.rejected}: ${x.detail}`);
  return x;
}

function sdp(at: string, version: number, ...media: readonly string[]): string {
  return ['v=0', `o=- 1 ${version} IN IP4 ${at}`, 's=-', `c=IN IP4 ${at}`, 't=0 0', ...media, ''].join('\r\n');
}

function call() {
  const relay = new VirtualRelay({ latch: { windowMs: 60_000 } });
  const session = relay.hub.session('call');
  session.leg('a', { realm: 'access', local: '203.0.113.10' });
  session.leg('b', { realm: 'core', local: '10.0.0.1' });
  const offer = (from: 'a' | 'b', body: string) =>
    text(session.offer({ from, to: from === 'a' ? 'b' : 'a', sdp: body, seenFrom: from === 'a' ? ALICE : BOB }));
  const answer = (from: 'a' | 'b', body: string) =>
    text(
      session.answer({
        from,
        to: from === 'a' ? 'b' : 'a',
        sdp: body,
        seenFrom: from === 'a' ? ALICE : BOB,
        final: true,
      }),
    );
  return { relay, session, offer, answer };
}

/** A UDPTL datagram: nothing of RTP in it. */
const ifp = (seq: number): Uint8Array => Uint8Array.of(0, seq, 1, 6, 0, 0);

t.test('audio becomes T.38 on the same m-line, and audio again: datagrams that are no RTP pass in between', async t => {
  const { relay, session, offer, answer } = call();
  const toB = offer('a', sdp(ALICE, 1, ...AUDIO(4000)));
  const toA = answer('b', sdp(BOB, 1, ...AUDIO(5000)));
  const atA = `203.0.113.10:${portOf(toA)}`;
  const atB = `10.0.0.1:${portOf(toB)}`;
  t.equal(relay.arrive(`${ALICE}:4000`, atA, rtp())?.to, `${BOB}:5000`);
  t.equal(relay.arrive(`${ALICE}:4000`, atA, ifp(1)), undefined, 'the control: no RTP, while it is audio');

  // The called fax asks (as T.38 gateways do).
  const fax = offer('b', sdp(BOB, 2, ...FAX(5004)));
  t.same(
    fax.split('\r\n').filter(l => /^[ma]=/.test(l)),
    FAX(portOf(toA)),
    'the same port of ours, every T.38 parameter as it was',
  );
  const back = answer('a', sdp(ALICE, 2, ...FAX(4004)));
  t.equal(portOf(back), portOf(toB));
  t.equal(relay.arrive(`${ALICE}:4004`, atA, ifp(1))?.to, `${BOB}:5004`);
  t.equal(relay.arrive(`${BOB}:5004`, atB, ifp(1))?.to, `${ALICE}:4004`);
  t.same(
    session.streams.map(s => s.kind),
    ['image', 'image'],
  );

  offer('a', sdp(ALICE, 3, ...AUDIO(4000)));
  answer('b', sdp(BOB, 3, ...AUDIO(5000)));
  t.equal(relay.arrive(`${ALICE}:4000`, atA, rtp())?.to, `${BOB}:5000`);
  t.equal(relay.arrive(`${ALICE}:4000`, atA, ifp(2)), undefined);
});

t.test('T.38 as a second m-line, with audio off: both forms, and back', async t => {
  const { relay, offer, answer } = call();
  offer('a', sdp(ALICE, 1, ...AUDIO(4000)));
  const first = answer('b', sdp(BOB, 1, ...AUDIO(5000)));
  const fax = offer('b', sdp(BOB, 2, 'm=audio 0 RTP/AVP 8', ...FAX(5004)));
  t.same(
    fax.split('\r\n').filter(l => l.startsWith('m=')),
    ['m=audio 0 RTP/AVP 8', `m=image ${portOf(fax, 1)} udptl t38`],
  );
  const back = answer('a', sdp(ALICE, 2, 'm=audio 0 RTP/AVP 8', ...FAX(4004)));
  t.equal(portOf(back, 0), 0);
  t.equal(relay.arrive(`${ALICE}:4004`, `203.0.113.10:${portOf(fax, 1)}`, ifp(1))?.to, `${BOB}:5004`);
  const again = offer('a', sdp(ALICE, 3, ...AUDIO(4000), 'm=image 0 udptl t38'));
  t.ok(portOf(again, 0) > 0);
  t.equal(portOf(again, 1), 0, 'as many m-lines, in the same order');
  const last = answer('b', sdp(BOB, 3, ...AUDIO(5000), 'm=image 0 udptl t38'));
  t.equal(relay.arrive(`${ALICE}:4000`, `203.0.113.10:${portOf(last, 0)}`, rtp())?.to, `${BOB}:5000`);
  t.ok(portOf(first) > 0);
});

t.test('a T.38 offer that is refused leaves the audio as it was', async t => {
  const { relay, session, offer, answer } = call();
  offer('a', sdp(ALICE, 1, ...AUDIO(4000)));
  const toA = answer('b', sdp(BOB, 1, ...AUDIO(5000)));
  offer('b', sdp(BOB, 2, ...FAX(5004)));
  session.rollback('a');
  t.equal(relay.arrive(`${ALICE}:4000`, `203.0.113.10:${portOf(toA)}`, rtp())?.to, `${BOB}:5000`);
  t.same(
    session.streams.map(s => s.kind),
    ['audio', 'audio'],
    'nor does anybody take it for a fax',
  );
});

t.test(
  'video beside audio: feedback, bandwidth and each stream’s own port; streams over TCP are off, the rest goes on',
  async t => {
    const { relay, offer, answer } = call();
    const video = (port: number): string[] => [
      `m=video ${port} RTP/AVPF 97`,
      'b=TIAS:900000',
      'a=rtpmap:97 H264/90000',
      'a=fmtp:97 profile-level-id=42e01f',
      'a=rtcp-fb:97 nack pli',
      'a=content:slides',
      'a=label:2',
    ];
    const rest = [
      'm=application 5400 TCP/BFCP *',
      'a=setup:actpass',
      'm=message 2855 TCP/MSRP *',
      'a=path:msrp://198.51.100.7:2855/x;tcp',
    ];
    const out = offer('a', sdp(ALICE, 1, ...AUDIO(4000), ...video(4002), ...video(4004), ...rest));
    const lines = out.split('\r\n').filter(l => /^[mab]=/.test(l));
    t.same(lines.slice(0, 2), AUDIO(portOf(out, 0)));
    t.same(lines.slice(2, 9), video(portOf(out, 1)));
    t.same(lines.slice(9, 16), video(portOf(out, 2)));
    t.same(lines.slice(16), ['m=application 0 TCP/BFCP *', 'a=setup:actpass', 'm=message 0 TCP/MSRP *']);
    t.notMatch(out, /198\.51/);
    t.equal(new Set([0, 1, 2].map(i => portOf(out, i))).size, 3);
    const back = answer(
      'b',
      sdp(
        BOB,
        1,
        ...AUDIO(5000),
        ...video(5002),
        'm=video 0 RTP/AVPF 97',
        'm=application 0 TCP/BFCP *',
        'm=message 0 TCP/MSRP *',
      ),
    );
    t.same(
      back
        .split('\r\n')
        .filter(l => l.startsWith('m='))
        .map(l => l.replace(/ (?!0 )\d+ /, ' PORT ')),
      [
        'm=audio PORT RTP/AVP 8',
        'm=video PORT RTP/AVPF 97',
        'm=video 0 RTP/AVPF 97',
        'm=application 0 TCP/BFCP *',
        'm=message 0 TCP/MSRP *',
      ],
    );
    t.equal(relay.arrive(`${ALICE}:4002`, `203.0.113.10:${portOf(back, 1)}`, rtp({ type: 97 }))?.to, `${BOB}:5002`);
  },
);
