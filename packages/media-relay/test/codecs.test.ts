import t from 'tap';
import { type CodecRules, isRejected, type SdpRejected } from '../src/index.js';
import { VirtualRelay } from './virtual.js';

const ALICE = '198.51.100.7';
const BOB = '10.0.0.9';

function twoLegs(access?: CodecRules, core?: CodecRules) {
  const relay = new VirtualRelay({
    realms: [
      { name: 'access', addresses: [{ bind: '203.0.113.10' }], codecs: access },
      { name: 'core', addresses: [{ bind: '10.0.0.1' }], codecs: core },
    ],
  });
  const session = relay.hub.session('call');
  session.leg('a', { realm: 'access', local: '203.0.113.10' });
  session.leg('b', { realm: 'core', local: '10.0.0.1' });
  const offer = (sdp: string, from = 'a', to = 'b') =>
    session.offer({ from, to, sdp, seenFrom: from === 'a' ? ALICE : BOB });
  const answer = (sdp: string, from = 'b', to = 'a') =>
    session.answer({ from, to, sdp, seenFrom: from === 'a' ? ALICE : BOB, final: true });
  return { relay, session, offer, answer };
}

function text(x: string | SdpRejected): string {
  if (isRejected(x)) throw new Error(`${x.rejected}: ${x.detail}`);
  return x;
}
const why = (x: string | SdpRejected): unknown[] => (isRejected(x) ? [x.status, x.rejected] : ['accepted']);

function sdp(at: string, ...media: readonly string[]): string {
  return ['v=0', `o=- 1 1 IN IP4 ${at}`, 's=-', `c=IN IP4 ${at}`, 't=0 0', ...media, ''].join('\r\n');
}
/** m= and a= lines, ports that are ours as PORT. */
function media(x: string | SdpRejected): string[] {
  return text(x)
    .split('\r\n')
    .filter(l => /^[ma]=/.test(l))
    .map(l => l.replace(/^(m=\w+ )(?!0 )\d+ /, '$1PORT '));
}

const AUDIO = [
  'm=audio 4000 RTP/AVP 96 8 0 18 9 101 13',
  'a=rtpmap:96 opus/48000/2',
  'a=fmtp:96 useinbandfec=1',
  'a=rtpmap:18 G729/8000',
  'a=fmtp:18 annexb=no',
  'a=rtpmap:101 telephone-event/8000',
  'a=fmtp:101 0-16',
  'a=ptime:20',
];
const VIDEO = [
  'm=video 4002 RTP/AVPF 97 98 99 100 121 122 123',
  'b=AS:2000',
  'a=rtpmap:97 VP8/90000',
  'a=rtcp-fb:97 nack pli',
  'a=rtcp-fb:* ccm fir',
  'a=rtpmap:98 rtx/90000',
  'a=fmtp:98 apt=97',
  'a=rtpmap:99 H264/90000',
  'a=fmtp:99 profile-level-id=42e01f;packetization-mode=1',
  'a=rtcp-fb:99 nack',
  'a=imageattr:99 send *',
  'a=rtpmap:100 rtx/90000',
  'a=fmtp:100 apt=99',
  'a=rtpmap:121 red/90000',
  'a=fmtp:121 97/99',
  'a=rtpmap:122 ulpfec/90000',
  'a=rtpmap:123 red/90000',
];

t.test('without rules nothing is touched', async t => {
  t.same(media(twoLegs().offer(sdp(ALICE, ...AUDIO, ...VIDEO))), [
    ...AUDIO.map(l => l.replace('4000', 'PORT')),
    ...VIDEO.filter(l => /^[ma]=/.test(l)).map(l => l.replace('4002', 'PORT')),
  ]);
});

t.test('allow keeps these and DTMF; what belongs to the others goes with them', async t => {
  for (const [a, b] of [
    [{ allow: ['pcma', 'G722'] }, undefined],
    [undefined, { allow: ['pcma', 'G722'] }],
    [{ allow: ['PCMA', 'g722', 'opus'] }, { allow: ['PCMA', 'PCMU', 'G722'] }],
  ] as const)
    t.same(media(twoLegs(a, b).offer(sdp(ALICE, ...AUDIO))), [
      'm=audio PORT RTP/AVP 8 9 101 13',
      'a=rtpmap:101 telephone-event/8000',
      'a=fmtp:101 0-16',
      'a=ptime:20',
    ]);
});

t.test('deny takes away, static types without a=rtpmap too, by name or by name and rate', async t => {
  const left = (deny: string[]): string => media(twoLegs({ deny }).offer(sdp(ALICE, ...AUDIO)))[0] ?? '';
  t.equal(left(['PCMU', 'g729']), 'm=audio PORT RTP/AVP 96 8 9 101 13');
  t.equal(left(['telephone-event', 'CN']), 'm=audio PORT RTP/AVP 96 8 0 18 9');
  t.equal(left(['opus/48000', 'G722/16000']), 'm=audio PORT RTP/AVP 8 0 18 9 101 13', 'a rate that isn’t its own');
  t.equal(left([]), 'm=audio PORT RTP/AVP 96 8 0 18 9 101 13', 'the control');
});

t.test('order is that of who gets the offer; an answer keeps its own', async t => {
  const { offer, answer } = twoLegs({ order: ['G729'] }, { order: ['PCMU', 'opus'] });
  const out = media(offer(sdp(ALICE, ...AUDIO)));
  t.equal(out[0], 'm=audio PORT RTP/AVP 0 96 8 18 9 101 13');
  t.same(out.slice(1), AUDIO.slice(1), 'the rest of the lines stays');
  t.equal(media(answer(sdp(BOB, 'm=audio 5000 RTP/AVP 8 18')))[0], 'm=audio PORT RTP/AVP 8 18');
  t.equal(media(offer(sdp(BOB, ...AUDIO), 'b', 'a'))[0], 'm=audio PORT RTP/AVP 18 96 8 0 9 101 13', 'toward access');
});

t.test('retransmission and redundancy go with what they repeat', async t => {
  const { offer } = twoLegs(undefined, { deny: ['H264'] });
  t.same(media(offer(sdp(ALICE, ...VIDEO))), [
    'm=video PORT RTP/AVPF 97 98 122 123',
    'a=rtpmap:97 VP8/90000',
    'a=rtcp-fb:97 nack pli',
    'a=rtcp-fb:* ccm fir',
    'a=rtpmap:98 rtx/90000',
    'a=fmtp:98 apt=97',
    'a=rtpmap:122 ulpfec/90000',
    'a=rtpmap:123 red/90000',
  ]);
});

t.test('a stream without a codec is refused, the others go on; all refused is 488', async t => {
  const { offer, answer, relay } = twoLegs({ allow: ['PCMA'] });
  const out = media(offer(sdp(ALICE, ...AUDIO, ...VIDEO)));
  t.equal(out[0], 'm=audio PORT RTP/AVP 8 101 13');
  t.match(
    out.find(l => l.startsWith('m=video')),
    /^m=video 0 /,
  );
  const back = media(answer(sdp(BOB, 'm=audio 5000 RTP/AVP 8', 'm=video 0 RTP/AVPF 97')));
  t.same(back, ['m=audio PORT RTP/AVP 8', 'm=video 0 RTP/AVPF 97'], 'as many m-lines, in the same order');
  t.ok(relay);
  t.same(why(twoLegs({ allow: ['PCMA'] }).offer(sdp(ALICE, ...VIDEO))), [488, 'sdp-unsupported']);
  t.same(
    why(
      twoLegs({ deny: ['PCMU'] }).offer(sdp(ALICE, 'm=audio 4000 RTP/AVP 0 101', 'a=rtpmap:101 telephone-event/8000')),
    ),
    [488, 'sdp-unsupported'],
    'DTMF alone is no call',
  );
});

t.test('a later offer that is left without a codec is refused as a whole, and what was agreed goes on', async t => {
  const { offer, answer, session } = twoLegs({ deny: ['G729'] });
  text(offer(sdp(ALICE, 'm=audio 4000 RTP/AVP 8')));
  text(answer(sdp(BOB, 'm=audio 5000 RTP/AVP 8')));
  t.same(why(offer(sdp(ALICE, 'm=audio 4000 RTP/AVP 18'))), [488, 'sdp-unsupported']);
  t.equal(session.streams.length, 2);
  t.equal(text(offer(sdp(ALICE, 'm=audio 4000 RTP/AVP 18 8'))).includes(' RTP/AVP 8\r\n'), true, 'the control');
});

t.test('an answer is held to the rules as well', async t => {
  const { offer, answer } = twoLegs({ deny: ['PCMU'] });
  text(offer(sdp(ALICE, 'm=audio 4000 RTP/AVP 8 0')));
  t.equal(media(answer(sdp(BOB, 'm=audio 5000 RTP/AVP 0 8')))[0], 'm=audio PORT RTP/AVP 8');
  const bad = twoLegs({ deny: ['PCMU'] });
  text(bad.offer(sdp(ALICE, 'm=audio 4000 RTP/AVP 8 0')));
  t.same(why(bad.answer(sdp(BOB, 'm=audio 5000 RTP/AVP 0'))), [488, 'sdp-unsupported']);
});

t.test('T.38 is no codec of an allow-list, yet can be denied', async t => {
  const fax = ['m=image 4000 udptl t38', 'a=T38FaxVersion:0'];
  t.equal(media(twoLegs({ allow: ['PCMA'] }).offer(sdp(ALICE, ...fax)))[0], 'm=image PORT udptl t38');
  t.same(why(twoLegs({ deny: ['T38'] }).offer(sdp(ALICE, ...fax))), [488, 'sdp-unsupported']);
});

t.test('o= goes up by one when what we send changes, for each leg by itself, and stays when it doesn’t', async t => {
  const version = (x: string | SdpRejected): number => Number(/^o=- \d+ (\d+) /m.exec(text(x))?.[1]);
  const { offer, answer } = twoLegs(undefined, { deny: ['G729'] });
  const first = version(offer(sdp(ALICE, 'm=audio 4000 RTP/AVP 8 18')));
  const firstBack = version(answer(sdp(BOB, 'm=audio 5000 RTP/AVP 8')));
  t.equal(
    version(offer(sdp(ALICE, 'm=audio 4000 RTP/AVP 8').replace('1 1', '1 2'))),
    first,
    'only what is not shown has changed',
  );
  t.equal(version(answer(sdp(BOB, 'm=audio 5000 RTP/AVP 8').replace('1 1', '1 7'))), firstBack);
  t.equal(version(offer(sdp(ALICE, 'm=audio 4000 RTP/AVP 8 0').replace('1 1', '1 9'))), first + 1);
  t.equal(version(answer(sdp(BOB, 'm=audio 5000 RTP/AVP 8', 'a=sendonly'))), firstBack + 1);
});

t.test('more formats than there are payload types are refused, in linear time', async t => {
  const { offer } = twoLegs({ deny: ['G729'] });
  const many = (n: number): string =>
    sdp(ALICE, `m=audio 4000 RTP/AVP ${Array.from({ length: n }, (_, i) => 96 + (i % 32)).join(' ')}`);
  t.same(why(offer(many(129))), [488, 'sdp-too-large']);
  t.same(why(offer(many(128))), ['accepted'], 'the control');
  t.same(why(offer(many(15_000))), [488, 'sdp-too-large']);
});
