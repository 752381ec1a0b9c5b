import { H, type MessageView, parseMultipart } from '@drawbridge/sip';
import t from 'tap';
import { BorderWorld, CORE_UDP, Half, PBX, type Phone, replyTo, talking } from './harness.js';

interface Parties {
  readonly world: BorderWorld;
  readonly alice: Phone;
  readonly bob: Phone;
  readonly pbx: Phone;
}

function parties(config: object = {}): Parties {
  const world = new BorderWorld({ config: { auth: { trustRegisteredFlow: true }, ...config } });
  return {
    world,
    alice: world.phone('alice', { at: '198.51.100.1:5060', inner: '192.168.77.5:5062' }).register(),
    bob: world.phone('bob', { at: '198.51.100.2:6060', inner: '172.16.5.9:5070' }).register(),
    pbx: world.phone('pbx', { at: PBX, inner: '10.0.0.5:5060', via: CORE_UDP, domain: 'pbx.example.net' }),
  };
}

const MIXED = 'multipart/mixed;boundary=pc33.inner.example';
interface PartText {
  readonly type?: string;
  readonly lines?: string;
  readonly content: string;
}
function multipart(parts: readonly PartText[], boundary = 'pc33.inner.example'): string {
  return `${parts.map(p => `--${boundary}\r\n${p.type === undefined ? '' : `Content-Type: ${p.type}\r\n`}${p.lines ?? ''}\r\n${p.content}\r\n`).join('')}--${boundary}--\r\n`;
}

const LOCATION =
  '<presence entity="pres:alice@example.org"><gp:location-info>\xc3\xa4 48.2 16.4</gp:location-info>\r\n</presence>';
const PIDF: PartText = {
  type: 'application/pidf+xml',
  lines: 'Content-ID: <target123@192.168.77.5>\r\nContent-Disposition: by-reference;handling=optional\r\n',
  content: LOCATION,
};

/** An INVITE with a body as given; its final status where it never arrives. */
function invite(from: Phone, to: Phone, body: string, o: { type?: string; headers?: string } = {}): Half | MessageView {
  const uri = `sip:${to === from.world.phones.get(`${CORE_UDP} ${PBX}`) ? '200' : to.user}@${to.domain}`;
  const half = new Half(from, {
    callId: `c${from.world.serial()}`,
    localTag: `t${from.world.serial()}`,
    local: `<${from.aor}>`,
    remote: `<${uri}>`,
    target: uri,
    cseq: from.world.serial(),
  });
  half.branch = from.branch();
  from.send(
    from.request({
      method: 'INVITE',
      uri,
      branch: half.branch,
      from: `${half.local};tag=${half.localTag}`,
      to: half.remote,
      callId: half.callId,
      cseq: half.cseq,
      body,
      contentType: o.type ?? MIXED,
      headers: o.headers ?? '',
    }),
  );
  if (from.inbox[0]?.status === 100) from.inbox.shift();
  const refused = from.inbox.shift();
  if (refused !== undefined) from.send(half.text('ACK', { branch: half.branch }));
  return refused ?? half;
}

function partsOf(m: MessageView): (readonly [string, string, string])[] {
  const read = parseMultipart(m.body, m.get(H.contentType));
  if (typeof read === 'string') throw new Error(`${read}: ${m.text}`);
  return read.parts.map(p => [p.type, p.head, p.content] as const);
}

const status = (x: Half | MessageView): number => (x instanceof Half ? 0 : x.status);

t.test('a location rides beside the description: the one untouched, the other anchored', async t => {
  const { alice, pbx } = parties();
  const geo =
    'Geolocation: <cid:target123@192.168.77.5>;inserted-by="alice"\r\nGeolocation-Routing: yes\r\nGeolocation-Error: 100;code="x"\r\n';
  const a = invite(alice, pbx, multipart([{ type: 'application/sdp', content: alice.sdp() }, PIDF]), { headers: geo });
  const b = pbx.called();
  const got = b.invite as MessageView;
  t.match(got.text, geo, 'the headers of RFC 6442 byte for byte');
  const parts = partsOf(got);
  t.same(parts[1], ['application/pidf+xml', `Content-Type: application/pidf+xml\r\n${PIDF.lines ?? ''}`, LOCATION]);
  t.equal(parts[0]?.[1], 'Content-Type: application/sdp\r\n');
  t.match(parts[0]?.[2], /\r\nc=IN IP4 10\.0\.0\.1\r\n/);
  t.equal(parts.length, 2);
  t.notMatch(got.text, /pc33\.inner|c=IN IP4 192/);
  t.match(alice.sdp(), /c=IN IP4 192/, 'the control');
  b.answer(200, { sdp: pbx.sdp({ at: '10.0.0.5' }) });
  t.equal((a as Half).expect(200).contentType, 'application/sdp');
});

t.test('an answer in a multipart is anchored as well, in every message that may carry one', async t => {
  const { world, alice, bob } = parties();
  const wrapped = (text: string, sdp: string): string => {
    const body = multipart([{ type: 'application/sdp', content: sdp }, PIDF]);
    const [head] = text.split('\r\n\r\n') as [string];
    return `${head.replace('Content-Type: application/sdp', `Content-Type: ${MIXED}`).replace(/Content-Length: \d+/, `Content-Length: ${body.length}`)}\r\n\r\n${body}`;
  };
  const a = alice.invite('sip:bob@example.org');
  const b = bob.called();
  for (const code of [183, 200]) {
    bob.send(wrapped(b.replyText(b.invite as MessageView, code, { sdp: bob.sdp() }), bob.sdp()));
    const got = a.expect(code);
    t.same(
      partsOf(got).map(p => p[0]),
      ['application/sdp', 'application/pidf+xml'],
      `${code}`,
    );
    t.match(got.body, /c=IN IP4 203\.0\.113\.10/);
    t.notMatch(got.body, /172\.16/);
  }
  bob.next('ACK');
  a.send('ACK');
  a.send('INVITE', {
    body: multipart([{ type: 'application/sdp', content: alice.sdp({ version: 2 }) }, PIDF]),
    contentType: MIXED,
  });
  alice.next(100);
  const again = bob.next('INVITE');
  t.same(
    partsOf(again).map(p => p[0]),
    ['application/sdp', 'application/pidf+xml'],
  );
  b.reply(again, 200, { sdp: bob.sdp({ version: 2 }) });
  bob.next('ACK');
  t.equal(alice.next(200).contentType, 'application/sdp');
  t.equal(world.border.callCount, 1);
});

t.test('what is optional and not permitted stays behind; what is required and not permitted is 415', async t => {
  const { alice, bob, pbx } = parties();
  const sdp = { type: 'application/sdp', content: alice.sdp() };
  const odd = (lines: string): string => multipart([sdp, { type: 'application/x-odd', lines, content: '10.1.2.3' }]);
  const optional = invite(alice, bob, odd('Content-Disposition: render;handling=optional\r\n'));
  t.type(optional, Half);
  const got = bob.next('INVITE');
  t.equal(got.contentType, 'application/sdp', 'alone it needs no wrapping');
  t.notMatch(got.text, /10\.1\.2\.3|x-odd/);
  for (const lines of ['', 'Content-Disposition: signal\r\n', 'Content-Disposition: signal;handling=required\r\n']) {
    const refused = invite(alice, bob, odd(lines)) as MessageView;
    t.equal(refused.status, 415);
    t.equal(refused.get(H.accept), 'application/sdp, multipart/mixed');
  }
  t.same(bob.heard(), []);
  t.equal(status(invite(alice, bob, 'x', { type: 'application/x-odd' })), 415, 'alone');
  t.equal(
    status(
      invite(alice, bob, 'x', {
        type: 'application/x-odd',
        headers: 'Content-Disposition: icon;handling=optional\r\n',
      }),
    ),
    0,
  );
  t.equal(bob.next('INVITE').body, '', 'an INVITE without an offer');
  t.same(pbx.heard(), []);
});

t.test(
  'the signalling of a telephone network crosses between trusted sides alone; further types where a realm names them',
  async t => {
    const isup = (phone: Phone): string =>
      multipart([
        { type: 'application/sdp', content: phone.sdp() },
        {
          type: 'application/ISUP;version=nxv3',
          lines: 'Content-Disposition: signal;handling=optional\r\n',
          content: '\x01\x00\x49\xff',
        },
      ]);
    const closed = parties();
    invite(closed.alice, closed.pbx, isup(closed.alice));
    t.equal(closed.pbx.next('INVITE').contentType, 'application/sdp');
    invite(closed.pbx, closed.bob, isup(closed.pbx));
    t.equal(closed.bob.next('INVITE').contentType, 'application/sdp');
    const open = parties({ identity: { trusted: ['access'] } });
    invite(open.pbx, open.bob, isup(open.pbx));
    t.equal(partsOf(open.bob.next('INVITE'))[1]?.[2], '\x01\x00\x49\xff', 'byte for byte');
    const named = parties({
      realms: { access: { bind: ['203.0.113.10'], bodies: ['application/X-Odd'] }, core: { bind: ['10.0.0.1'] } },
    });
    invite(
      named.alice,
      named.bob,
      multipart([
        { type: 'application/sdp', content: named.alice.sdp() },
        { type: 'application/x-odd', content: 'o' },
      ]),
    );
    t.same(
      partsOf(named.bob.next('INVITE')).map(p => p[0]),
      ['application/sdp', 'application/x-odd'],
    );
  },
);

t.test(
  'S/MIME: media that can’t be anchored is refused unless the operator lets it pass; a message passes as it is',
  async t => {
    const sealed = '\x30\x80\x06\x09*\x86H\x86\xf7';
    const signed = multipart(
      [
        { type: 'application/sdp', content: 'v=0' },
        { type: 'application/pkcs7-signature', content: sealed },
      ],
      'sig',
    );
    const kinds = [
      ['application/pkcs7-mime;smime-type=enveloped-data', sealed],
      ['multipart/signed;protocol="application/pkcs7-signature";micalg=sha-256;boundary=sig', signed],
    ] as const;
    for (const [type, body] of kinds) {
      const { alice, bob } = parties();
      t.equal(status(invite(alice, bob, body, { type })), 415, type);
      t.same(bob.heard(), []);
      const open = parties({ media: { opaqueBodies: 'pass' } });
      t.equal(status(invite(open.alice, open.bob, body, { type })), 0);
      const got = open.bob.next('INVITE');
      t.equal(got.body, body, 'byte for byte');
      t.equal(got.get(H.contentType), type);
      alice.send(
        alice.request({
          method: 'MESSAGE',
          uri: bob.aor,
          to: `<${bob.aor}>`,
          body,
          contentType: type,
          headers: 'Content-Transfer-Encoding: binary\r\n',
        }),
      );
      const message = bob.next('MESSAGE');
      t.equal(message.body, body);
      t.equal(message.get(H.contentType), type);
    }
  },
);

t.test(
  'Content-Encoding is refused with what is accepted; a description of something else than the session isn’t one',
  async t => {
    const { alice, bob } = parties();
    const zipped = invite(alice, bob, 'x', {
      type: 'application/sdp',
      headers: 'Content-Encoding: gzip\r\n',
    }) as MessageView;
    t.equal(zipped.status, 415);
    t.equal(zipped.get(H.acceptEncoding), 'identity');
    const lower = invite(alice, bob, alice.sdp(), {
      type: 'application/sdp',
      headers: 'e: Identity\r\nContent-Disposition: session\r\n',
    });
    t.equal(status(lower), 0, 'the control');
    bob.next('INVITE');
    const early = {
      type: 'application/sdp',
      lines: 'Content-Disposition: early-session;handling=optional\r\n',
      content: alice.sdp(),
    };
    invite(alice, bob, multipart([{ type: 'application/sdp', content: alice.sdp() }, early]));
    t.equal(bob.next('INVITE').contentType, 'application/sdp');
    const coded = { type: 'application/sdp', lines: 'Content-Transfer-Encoding: base64\r\n', content: 'dj0w' };
    t.equal(status(invite(alice, bob, multipart([coded]))), 415);
    t.equal(
      status(
        invite(
          alice,
          bob,
          multipart([
            { type: 'application/sdp', content: alice.sdp() },
            { type: 'application/sdp', content: alice.sdp() },
          ]),
        ),
      ),
      400,
      'two descriptions',
    );
  },
);

t.test('alternatives: the last description counts, and what nobody here knows is no choice', async t => {
  const { alice, bob } = parties();
  const body = multipart([
    { type: 'application/sdpng', content: '<x/>' },
    { type: 'application/sdp', content: alice.sdp({ port: 41000 }) },
    { type: 'application/sdp', content: alice.sdp({ port: 42000, lines: ['a=x-last'] }) },
  ]);
  invite(alice, bob, body, { type: MIXED.replace('mixed', 'alternative') });
  const got = bob.next('INVITE');
  t.equal(got.contentType, 'application/sdp');
  t.match(got.body, /a=x-last/);
  const nested = multipart([
    {
      type: 'multipart/alternative;boundary=in',
      content: multipart(
        [
          { type: 'text/plain', content: 'v' },
          { type: 'application/sdp', content: alice.sdp() },
        ],
        'in',
      ),
    },
    PIDF,
  ]);
  invite(alice, bob, nested);
  const two = partsOf(bob.next('INVITE'));
  t.match(two[0]?.[0], 'multipart/alternative');
  t.match(two[0]?.[2], /c=IN IP4 203\.0\.113\.10/);
  t.notMatch(two[0]?.[2], /192\.168/);
  t.equal(two[1]?.[2], LOCATION);
});

t.test('an offer that comes later: parts without a description go on, and the answer comes in the ACK', async t => {
  const { alice, bob } = parties();
  const a = invite(alice, bob, multipart([PIDF])) as Half;
  const b = bob.called();
  t.same(
    partsOf(b.invite as MessageView).map(p => p[0]),
    ['application/pidf+xml'],
  );
  b.answer(200, { sdp: bob.sdp() });
  t.match(a.expect(200).body, /c=IN IP4 203\.0\.113\.10/);
  t.same(bob.heard(), [], 'our ACK waits for the answer');
  a.send('ACK', { body: multipart([{ type: 'application/sdp', content: alice.sdp() }, PIDF]), contentType: MIXED });
  t.match(bob.next('ACK').body, /c=IN IP4 203\.0\.113\.10/);
});

t.test('a part that holds our boundary is refused: it would be two parts on the other side', async t => {
  const { alice, bob } = parties();
  const sdp = { type: 'application/sdp', content: alice.sdp() };
  const bad = { ...PIDF, content: 'x\r\n--drawbridge-part-1\r\nContent-Type: application/x-odd\r\n\r\nsmuggled' };
  t.equal(status(invite(alice, bob, multipart([sdp, bad]))), 400);
  t.same(bob.heard(), []);
  t.equal(status(invite(alice, bob, multipart([sdp, PIDF]))), 0, 'the control');
});

t.test('multiparts outside of media: every part must be permitted, and then the body is as it was', async t => {
  const { alice, bob } = parties();
  const ask = (body: string, contentType = MIXED): number | MessageView => {
    alice.send(alice.request({ method: 'MESSAGE', uri: bob.aor, to: `<${bob.aor}>`, body, contentType }));
    const m = bob.inbox.shift();
    if (m !== undefined) bob.send(replyTo(m, 200));
    return alice.inbox.shift()?.status === 200 && m !== undefined ? m : 0;
  };
  const fine = multipart([{ type: 'text/plain', content: 'hi' }, PIDF]);
  t.equal((ask(fine) as MessageView).body, fine);
  t.equal(ask(multipart([{ type: 'application/sdp', content: alice.sdp() }])), 0);
  t.equal(ask(multipart([{ type: 'application/x-odd', content: '' }])), 0);
  t.equal(ask('--pc33.inner.example--'), 0);
});

t.test('DTMF by INFO crosses in its usual dialects, both ways; others are 415', async t => {
  const { world, alice, bob } = parties();
  const { alice: a, bob: b } = talking(world, { caller: alice, callee: bob });
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const)
    for (const [contentType, body] of [
      ['application/dtmf-relay', 'Signal=5\r\nDuration=160\r\n'],
      ['application/dtmf', '5'],
      ['application/vnd.nortelnetworks.digits', 'p=Digit-Collection\r\ny=Digits\r\nd=5\r\n'],
    ] as const) {
      from.send('INFO', { body, contentType });
      const info = to.phone.next('INFO');
      t.equal(info.body, body);
      t.equal(info.contentType, contentType);
      to.reply(info, 200);
      from.phone.next(200);
    }
  a.send('INFO', { body: 'x', contentType: 'application/x-odd' });
  alice.next(415);
  t.same(bob.heard(), []);
});

/** ms of CPU that the border takes for one message, the least of some. */
function cost(world: BorderWorld, phone: Phone, texts: readonly string[]): number {
  let least = Number.POSITIVE_INFINITY;
  for (const text of texts) {
    const from = process.cpuUsage();
    world.receive(text, phone.at);
    const used = process.cpuUsage(from);
    least = Math.min(least, (used.user + used.system) / 1000);
  }
  return least;
}

t.test('10⁵ m-lines, empty multiparts, 64 kB of everything: refused in less than 5 ms, and in linear time', async t => {
  const { world, alice, bob } = parties({ calls: { perSubscriber: 1000 } });
  world.recording = false;
  const head = 'v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n';
  const audio = 'm=audio 4000 RTP/AVP 0\r\n';
  const fill = (piece: string, n: number): string => piece.repeat(Math.floor(n / piece.length));
  const ascending = (n: number): string => Array.from({ length: n / 4 }, (_, i) => 100 + (i % 800)).join(' ');
  const shapes: Readonly<Record<string, readonly [number, string, (n: number) => string]>> = {
    'm-lines': [488, 'application/sdp', n => head + fill(audio, n)],
    'm-lines of port 0': [488, 'application/sdp', n => head + fill('m=a 0 b c\r\n', n)],
    attributes: [488, 'application/sdp', n => head + audio + fill('a=rtpmap:0 PCMU/8000\r\n', n)],
    'c= lines': [400, 'application/sdp', n => head + audio + fill('c=IN IP4 192.0.2.1\r\n', n)],
    formats: [488, 'application/sdp', n => `${head}m=audio 4000 RTP/AVP ${ascending(n)}\r\n`],
    'one long attribute': [0, 'application/sdp', n => `${head}${audio}a=x:${fill('1.', n)}\r\n`],
    colons: [0, 'application/sdp', n => `${head}${audio}a=x:${fill('a:b', n)}\r\n`],
    'no line break': [400, 'application/sdp', n => fill('v', n)],
    'line breaks': [400, 'application/sdp', n => fill('\r\n', n)],
    'a long o=': [400, 'application/sdp', n => `v=0\r\no=${fill('a ', n)}\r\n`],
    'empty multipart': [400, MIXED, n => `--pc33.inner.example--${fill('\r\n', n)}`],
    'many parts': [488, MIXED, n => fill('--pc33.inner.example\r\n\r\nx\r\n', n)],
    'nothing but beginnings': [400, MIXED, n => fill('--pc33.inner.exampl\r\n', n)],
    'a part of everything': [
      400,
      MIXED,
      n => `--pc33.inner.example\r\nContent-Type: application/sdp\r\n\r\n${fill(audio, n)}`,
    ],
  };
  let serial = 0;
  const messages = (type: string, body: string): string[] =>
    Array.from({ length: 7 }, () =>
      alice.request({
        method: 'INVITE',
        uri: bob.aor,
        to: `<${bob.aor}>`,
        body,
        contentType: type,
        cseq: 1,
        callId: `load-${++serial}`,
      }),
    );
  for (const [name, [expected, type, shape]] of Object.entries(shapes)) {
    const small = messages(type, shape(29_000));
    const large = messages(type, shape(58_000));
    cost(world, alice, small.splice(0, 2));
    const one = cost(world, alice, small);
    alice.inbox.length = 0;
    const two = cost(world, alice, large);
    const answers = new Set(alice.inbox.filter(m => m.status >= 200).map(m => m.status));
    t.same([...answers], expected === 0 ? [] : [expected], name);
    t.ok(two < 5, `${name}: ${two.toFixed(3)} ms`);
    t.ok(two < 3 * Math.max(one, 0.3), `${name}: ${one.toFixed(3)} then ${two.toFixed(3)} ms`);
    alice.inbox.length = 0;
    bob.inbox.length = 0;
  }
  // As a stream may bring it: more than a datagram holds.
  const flood = messages('application/sdp', head + audio.repeat(100_000));
  t.ok(cost(world, alice, flood) < 50, 'reading 2.4 MB once is all there is');
  const sdp = await import('@drawbridge/sdp');
  const body = head + audio.repeat(100_000);
  const from = process.cpuUsage();
  for (let i = 0; i < 20; i++) t.type(sdp.parseSdp(body), sdp.SdpError);
  const used = process.cpuUsage(from);
  t.ok((used.user + used.system) / 1000 / 20 < 5, 'judged by its size alone');
});
