import fc from 'fast-check';
import sdpTransform from 'sdp-transform';
import t from 'tap';
import { connectionTo, parseCandidate, parseRtcp, parseSdp, Sdp, SdpError } from '../src/index.js';

const OFFER = [
  'v=0',
  'o=alice 2890844526 2890844527 IN IP4 192.168.1.2',
  's= spaced  out ',
  'c=IN IP4 192.168.1.2',
  't=0 0',
  'a=group:BUNDLE 0 1',
  'a=x-odd: kept  as it is \t',
  'm=audio 49170/1  RTP/AVP 0 8 101'.replace('  ', ' '),
  'b=AS:64',
  'a=rtpmap:0 PCMU/8000',
  'a=rtpmap:101 telephone-event/8000',
  'a=ptime:20',
  'a=rtcp:53020 IN IP6 2001:db8::7',
  'a=rtcp-mux',
  'a=mid:0',
  'a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abc',
  'a=candidate:1 1 UDP 2130706431 192.168.1.2 49170 typ host',
  'a=sendonly',
  'm=video 51372 RTP/SAVPF 31',
  'c=IN IP6 2001:db8::9',
  'a=rtpmap:31 H261/90000',
  'a=fingerprint:sha-256 AA:BB',
  'm=image 0 udptl t38',
  '',
].join('\r\n');

function parsed(text: string): Sdp {
  const sdp = parseSdp(text);
  if (sdp instanceof SdpError) throw new Error(sdp.toString());
  return sdp;
}

t.test('the views read what the lines say', async t => {
  const sdp = parsed(OFFER);
  t.same(sdp.origin, {
    username: 'alice',
    sessionId: '2890844526',
    version: '2890844527',
    addressType: 'IP4',
    address: '192.168.1.2',
  });
  t.same(sdp.connection, { addressType: 'IP4', address: '192.168.1.2', suffix: '' });
  t.same(sdp.groups, ['BUNDLE 0 1']);
  t.same(
    sdp.media.map(m => [
      m.kind,
      m.port,
      m.portCount,
      m.proto,
      m.formats,
      m.direction,
      m.connection?.address,
      m.rtcpMux,
      m.mid,
      m.clockRate,
    ]),
    [
      ['audio', 49170, 1, 'RTP/AVP', ['0', '8', '101'], 'sendonly', '192.168.1.2', true, '0', 8000],
      ['video', 51372, 1, 'RTP/SAVPF', ['31'], 'sendrecv', '2001:db8::9', false, undefined, 90000],
      ['image', 0, 1, 'udptl', ['t38'], 'sendrecv', '192.168.1.2', false, undefined, 8000],
    ],
  );
  const audio = sdp.media[0];
  t.same(audio?.rtcp, { port: 53020, connection: { addressType: 'IP6', address: '2001:db8::7', suffix: '' } });
  t.equal(audio?.ptime, 20);
  t.same(audio?.crypto, ['1 AES_CM_128_HMAC_SHA1_80 inline:abc']);
  t.same(audio?.candidates, [
    {
      foundation: '1',
      component: 1,
      transport: 'UDP',
      priority: 2130706431,
      address: '192.168.1.2',
      port: 49170,
      type: 'host',
    },
  ]);
  t.same(sdp.media[1]?.fingerprints, ['sha-256 AA:BB']);
  t.equal(parsed(OFFER.replace('c=IN IP4 192.168.1.2', 'c=IN IP4 0.0.0.0')).media[0]?.legacyHold, true);
  t.equal(audio?.legacyHold, false);
  t.equal(parseRtcp('70000'), undefined);
  t.equal(parseRtcp('1 IN IP5 x'), undefined);
  t.equal(parseCandidate('1 1 UDP x 1.2.3.4 5 typ host'), undefined);
  t.same(connectionTo('2001:db8::1'), { addressType: 'IP6', address: '2001:db8::1', suffix: '' });
});

t.test('untouched lines leave byte-identical, with their own endings', async t => {
  t.equal(parsed(OFFER).format(), OFFER);
  const lf = OFFER.replaceAll('\r\n', '\n');
  t.equal(parsed(lf).format(), lf);
  const mixed = OFFER.replace('\r\nt=', '\nt=');
  t.equal(parsed(mixed).format(), mixed);
  t.equal(parsed(`${OFFER}\r\n\r\n`).format(), `${OFFER}\r\n\r\n`);
  t.equal(parsed(OFFER.trimEnd()).format(), OFFER.trimEnd(), 'no ending on the last line');

  const sdp = parsed(lf);
  sdp.setOrigin({ username: '-', sessionId: '7', version: '1', addressType: 'IP4', address: '203.0.113.10' });
  sdp.session.setConnection(connectionTo('203.0.113.10'));
  sdp.media[0]?.setPort(30000);
  sdp.media[0]?.setAttribute('rtcp', '30001');
  sdp.media[0]?.removeAttributes(a => a.name === 'candidate');
  sdp.media[0]?.setDirection('recvonly');
  sdp.media[2]?.setConnection(connectionTo('203.0.113.10'));
  sdp.media[1]?.addAttribute('inactive');
  t.equal(
    sdp.format(),
    lf
      .replace('o=alice 2890844526 2890844527 IN IP4 192.168.1.2', 'o=- 7 1 IN IP4 203.0.113.10')
      .replace('c=IN IP4 192.168.1.2', 'c=IN IP4 203.0.113.10')
      .replace('m=audio 49170/1 ', 'm=audio 30000 ')
      .replace('a=rtcp:53020 IN IP6 2001:db8::7', 'a=rtcp:30001')
      .replace('a=candidate:1 1 UDP 2130706431 192.168.1.2 49170 typ host\n', '')
      .replace('a=sendonly', 'a=recvonly')
      .replace('a=fingerprint:sha-256 AA:BB\n', 'a=fingerprint:sha-256 AA:BB\na=inactive\n')
      .replace('m=image 0 udptl t38\n', 'm=image 0 udptl t38\nc=IN IP4 203.0.113.10\n'),
  );
  const open = parsed('v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nm=audio 0 RTP/AVP 0');
  open.media[0]?.addAttribute('mid', 'a');
  open.session.setConnection(connectionTo('192.0.2.1'));
  t.equal(
    open.format(),
    'v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nm=audio 0 RTP/AVP 0\r\na=mid:a\r\n',
  );
  t.throws(() => open.session.set('s', 'a\r\nm=audio 1 RTP/AVP 0'), TypeError, 'a field never becomes a second line');
  t.doesNotThrow(() => open.session.set('s', 'a m=audio'));
});

t.test('what is wrong is named, with its line', async t => {
  const cases: [string, string, string][] = [
    ['', 'sdp-malformed', 'line 1: empty body'],
    ['v=1\r\n', 'sdp-malformed', 'line 1: v= is not 0'],
    ['o=- 1 1 IN IP4 a\r\nv=0\r\n', 'sdp-malformed', 'line 1: v= comes first and once'],
    ['v=0\r\ns=-\r\n', 'sdp-malformed', 'line 2: no o= line'],
    ['v=0\r\no=- x 1 IN IP4 a\r\n', 'sdp-malformed', 'line 2: o= malformed'],
    [OFFER.replace('s= ', 'o=- 1 1 IN IP4 10.0.0.1\r\ns= '), 'sdp-malformed', 'line 3: o= twice'],
    [OFFER.replace('t=0 0', 'c=IN IP4 10.0.0.1'), 'sdp-malformed', 'line 5: c= twice'],
    [OFFER.replace('49170/1', '70000'), 'sdp-malformed', 'line 8: m= port malformed'],
    [OFFER.replace('49170/1', '49170/0'), 'sdp-malformed', 'line 8: m= port count malformed'],
    [OFFER.replace(' 0 8 101', ''), 'sdp-malformed', 'line 8: m= malformed'],
    [OFFER.replace('b=AS:64', ''), 'sdp-malformed', 'line 9: empty line'],
    [OFFER.replace('b=AS:64', 'b:AS=64'), 'sdp-malformed', 'line 9: not a type=value line'],
    [OFFER.replace('b=AS:64', 'b=A\rS:64'), 'sdp-malformed', 'line 9: NUL or CR inside a line'],
    [OFFER.replace('c=IN IP4 192.168.1.2\r\n', ''), 'sdp-malformed', 'line 22: no c= for stream 0'],
    [`${OFFER}${'m=audio 1 RTP/AVP 0\r\n'.repeat(30)}`, 'sdp-too-large', 'line 53: more than 32 m-lines'],
    [`${OFFER}${'a=x\r\n'.repeat(520)}`, 'sdp-too-large', 'line 535: more than 512 lines in one section'],
    [`${OFFER}${'a=xxxxxxxxxxxxxx\r\n'.repeat(5200)}`, 'sdp-too-large', 'line 1: 94240 bytes'],
  ];
  for (const [text, reason, words] of cases) {
    const error = parseSdp(text);
    if (!(error instanceof SdpError)) {
      t.fail(`accepted: ${words}`);
      continue;
    }
    t.equal(error.reason, reason, words);
    if (!words.includes('bytes')) t.equal(error.toString(), words);
  }
  t.ok(parseSdp(OFFER) instanceof Sdp, 'control: the same body unharmed');
});

t.test('hostile sizes cost little', async t => {
  const head = 'v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n';
  const hostile = [
    head + 'm=audio 1 RTP/AVP 0\r\n'.repeat(100_000),
    `${head}m=audio 1 RTP/AVP${' 0'.repeat(1_000_000)}\r\n`,
    head + 'a=x\r\n'.repeat(200_000),
    head + '\r\n'.repeat(500_000),
    head + 'a'.repeat(1_000_000),
  ];
  const caps = { bytes: 10_000_000 };
  for (const text of hostile) for (let i = 0; i < 3; i++) parseSdp(text, caps);
  for (const [i, text] of hostile.entries()) {
    const before = process.cpuUsage();
    const result = parseSdp(text);
    const spent = process.cpuUsage(before);
    t.ok(result instanceof SdpError, `hostile ${i} is refused`);
    t.ok(spent.user + spent.system < 5000, `hostile ${i}: ${spent.user + spent.system} µs of CPU`);
  }
  const before = process.cpuUsage();
  t.ok(parseSdp(hostile[0] ?? '', caps) instanceof SdpError);
  const spent = process.cpuUsage(before);
  t.ok(spent.user + spent.system < 5000, `10^5 m-lines within the byte cap: ${spent.user + spent.system} µs of CPU`);
});

const token = fc.stringMatching(/^[A-Za-z0-9-]{1,12}$/);
const address = fc.oneof(fc.ipV4(), fc.ipV6());
const attribute = fc
  .tuple(token, fc.option(fc.string({ maxLength: 30 }).map(s => s.replace(/[\r\n\0]/g, ''))))
  .map(([n, v]) => (v === null ? `a=${n}` : `a=${n}:${v}`));
const media = fc
  .record({
    kind: fc.constantFrom('audio', 'video', 'text', 'application'),
    port: fc.nat(65535),
    formats: fc.array(fc.nat(127), { minLength: 1, maxLength: 6 }),
    c: fc.option(address),
    attributes: fc.array(attribute, { maxLength: 6 }),
  })
  .map(m => [
    `m=${m.kind} ${m.port} RTP/AVP ${m.formats.join(' ')}`,
    ...(m.c === null ? [] : [`c=IN ${m.c.includes(':') ? 'IP6' : 'IP4'} ${m.c}`]),
    ...m.attributes,
  ]);
const description = fc
  .record({
    user: token,
    id: fc.nat(),
    version: fc.nat(),
    at: address,
    attributes: fc.array(attribute, { maxLength: 4 }),
    media: fc.array(media, { maxLength: 5 }),
    eol: fc.constantFrom('\r\n', '\n'),
  })
  .map(d =>
    [
      'v=0',
      `o=${d.user} ${d.id} ${d.version} IN ${d.at.includes(':') ? 'IP6' : 'IP4'} ${d.at}`,
      's=-',
      `c=IN ${d.at.includes(':') ? 'IP6' : 'IP4'} ${d.at}`,
      't=0 0',
      ...d.attributes,
      ...d.media.flat(),
      '',
    ].join(d.eol),
  );

t.test(
  'properties: parse then format is identity, views agree with sdp-transform, edits touch their line alone',
  async t => {
    const seed = Number(process.env['SEED'] ?? 20261120);
    t.comment(`SEED=${seed}`);
    fc.assert(
      fc.property(description, text => {
        const sdp = parsed(text);
        if (sdp.format() !== text) return false;
        const oracle = sdpTransform.parse(text);
        return sdp.media.every((m, i) => {
          const o = oracle.media[i];
          return (
            o !== undefined &&
            m.kind === o.type &&
            m.port === o.port &&
            m.proto === o.protocol &&
            m.formats.join(' ') === String(o.payloads) &&
            m.connection?.address === (o.connection ?? oracle.connection)?.ip
          );
        });
      }),
      { seed, numRuns: 500 },
    );
    fc.assert(
      fc.property(description, fc.nat(4), fc.nat(65535), (text, which, port) => {
        const sdp = parsed(text);
        const m = sdp.media[which];
        if (m === undefined) return true;
        m.setPort(port);
        const before = text.split('\n');
        const after = sdp.format().split('\n');
        const changed = before.flatMap((l, i) => (l === after[i] ? [] : [i]));
        return (
          before.length === after.length &&
          changed.length <= 1 &&
          changed.every(i => before[i]?.startsWith('m=')) &&
          parsed(sdp.format()).media[which]?.port === port
        );
      }),
      { seed, numRuns: 300 },
    );
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 400 }), fc.boolean(), (noise, headed) => {
        const text = headed ? `v=0\r\no=- 1 1 IN IP4 a\r\n${noise}` : noise;
        const r = parseSdp(text);
        return r instanceof SdpError || r.format() === text;
      }),
      { seed, numRuns: 1000 },
    );
  },
);
