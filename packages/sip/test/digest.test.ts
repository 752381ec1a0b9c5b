import { type Endpoint, Endpoints, seededRandom } from '@drawbridge/core';
import t from 'tap';
import {
  answerChallenge,
  buildRequest,
  type Credentials,
  DIGEST_ALGORITHMS,
  type DigestAlgorithm,
  DigestServer,
  digestResponse,
  ha1,
  MessageView,
  parseAuth,
  type Qop,
} from '../src/index.js';

const HOME = Endpoints.of({ address: '198.51.100.7', port: 40_000 });
const KEY = Buffer.from('first key');

t.test('the examples of RFC 7616 §3.9 (the second with the value of its erratum)', async t => {
  const mufasa = (algorithm: DigestAlgorithm): string =>
    digestResponse({
      algorithm,
      ha1: ha1(algorithm, 'Mufasa', 'http-auth@example.org', 'Circle of Life'),
      method: 'GET',
      uri: '/dir/index.html',
      nonce: '7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v',
      nc: '00000001',
      cnonce: 'f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ',
      qop: 'auth',
    });
  t.equal(mufasa('MD5'), '8ca523f5e9506fed4657c9700eebdbec');
  t.equal(mufasa('SHA-256'), '753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1');
  t.equal(
    digestResponse({
      algorithm: 'SHA-512-256',
      ha1: ha1('SHA-512-256', 'Jäsøn Doe', 'api@example.org', 'Secret, or not?'),
      method: 'GET',
      uri: '/doe.json',
      nonce: '5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK',
      nc: '00000001',
      cnonce: 'NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v',
      qop: 'auth',
    }),
    '3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5',
  );
  // RFC 2617 §3.5, and its nonce and user without qop as RFC 2069 would have it.
  const old = {
    algorithm: 'MD5',
    ha1: ha1('MD5', 'Mufasa', 'testrealm@host.com', 'Circle Of Life'),
    method: 'GET',
    uri: '/dir/index.html',
    nonce: 'dcd98b7102dd2f0e8b11d0f600bfb0c093',
  } as const;
  t.equal(
    digestResponse({ ...old, nc: '00000001', cnonce: '0a4f113b', qop: 'auth' }),
    '6629fae49393a05397450978507c4ef1',
  );
  t.equal(digestResponse(old), '670fd8c2df070c60b045671b8b24ff02');
  t.throws(() => ha1('MD5', 'a:b', 'r', 'p'));
});

interface Bench {
  readonly server: DigestServer;
  wall: number;
  lookups: string[];
  /** A request with these Authorization lines. */
  readonly view: (authorization: string, o?: { method?: string; uri?: string; body?: string }) => MessageView;
  readonly challenged: (o?: {
    realm?: string;
    from?: Endpoints;
    stale?: boolean;
    kind?: 'www' | 'proxy';
  }) => MessageView;
  readonly answer: (o?: {
    password?: string;
    user?: string;
    nc?: number;
    challenge?: MessageView;
    algorithms?: DigestAlgorithm[];
    method?: string;
    body?: string;
  }) => string;
  readonly verify: (
    authorization: string,
    o?: { from?: Endpoint; realm?: string; method?: string; uri?: string; body?: string; kind?: 'www' | 'proxy' },
  ) => unknown;
}

function bench(
  o: {
    algorithms?: readonly DigestAlgorithm[];
    qop?: readonly Qop[];
    secretKeys?: readonly Uint8Array[];
    maxNonces?: number;
  } = {},
): Bench {
  const random = seededRandom(3);
  const b = { wall: 1_700_000_000_000, lookups: [] as string[] };
  const server = new DigestServer(
    { secretKeys: [KEY], nonceLifetimeMs: 300_000, algorithms: DIGEST_ALGORITHMS, qop: ['auth', 'auth-int'], ...o },
    { random, wall: () => b.wall },
  );
  const alice: Credentials = {
    ha1: Object.fromEntries(DIGEST_ALGORITHMS.map(a => [a, ha1(a, 'alice', 'example.org', 'secret')])),
  };
  const view = (authorization: string, q: { method?: string; uri?: string; body?: string } = {}): MessageView => {
    const m = new MessageView();
    const fault = m.parse(
      buildRequest({
        method: q.method ?? 'REGISTER',
        uri: q.uri ?? 'sip:example.org',
        via: { transport: 'udp', sentBy: '192.0.2.9', branch: 'z9hG4bK1' },
        maxForwards: 70,
        from: '<sip:alice@example.org>;tag=1',
        to: '<sip:alice@example.org>',
        callId: 'c',
        cseq: 1,
        headers: authorization,
        ...(q.body === undefined ? {} : { contentType: 'text/plain', body: q.body }),
      }),
    );
    if (fault !== undefined) throw new Error(fault);
    return m;
  };
  const challenged: Bench['challenged'] = (q = {}) => {
    const m = new MessageView();
    const kind = q.kind ?? 'www';
    m.parse(
      `SIP/2.0 ${kind === 'www' ? 401 : 407} X\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n${server.challenge(
        kind,
        q.realm ?? 'example.org',
        q.from ?? HOME,
        0,
        q.stale,
      )}Content-Length: 0\r\n\r\n`,
    );
    return m;
  };
  return Object.assign(b, {
    server,
    view,
    challenged,
    answer: (q: Parameters<Bench['answer']>[0] = {}) =>
      answerChallenge(
        q.challenge ?? challenged(),
        { method: q.method ?? 'REGISTER', uri: 'sip:example.org', body: q.body ?? '' },
        {
          realm: 'example.org',
          user: q.user ?? 'alice',
          password: q.password ?? 'secret',
          ...(q.algorithms === undefined ? {} : { algorithms: q.algorithms }),
        },
        random,
        q.nc ?? 1,
      ) ?? '',
    verify: (authorization: string, q: Parameters<Bench['verify']>[1] = {}) =>
      server.verify(
        view(authorization, q),
        q.kind ?? 'www',
        q.realm ?? 'example.org',
        q.from === undefined ? HOME : Endpoints.of(q.from),
        0,
        user => {
          b.lookups.push(user);
          return user === 'alice' ? alice : undefined;
        },
      ),
  });
}

const refused = (reason: string, stale: boolean, proven: boolean): object => ({ ok: false, reason, stale, proven });
const edit = (line: string, param: string, value: string | undefined): string => {
  const without = line.replace(new RegExp(`,?${param}=("[^"]*"|[^,\\r]*)`), '');
  return value === undefined ? without : without.replace('\r\n', `,${param}=${value}\r\n`);
};

t.test('one challenge per algorithm in the configured order, all with one nonce', async t => {
  const b = bench();
  const lines = b.server.challenge('www', 'example.org', HOME, 0).split('\r\n').slice(0, -1);
  const nonce = /nonce="([^"]+)"/.exec(lines[0] ?? '')?.[1];
  t.same(
    lines,
    ['SHA-512-256', 'SHA-256', 'MD5'].map(
      a => `WWW-Authenticate: Digest realm="example.org",nonce="${nonce}",algorithm=${a},qop="auth,auth-int"`,
    ),
  );
  t.equal(
    bench({ algorithms: ['MD5'], qop: ['auth'] })
      .server.challenge('proxy', 'a "b"', HOME, 0, true)
      .replace(/nonce="[^"]+"/, 'N'),
    'Proxy-Authenticate: Digest realm="a \\"b\\"",N,algorithm=MD5,qop="auth",stale=true\r\n',
  );
  t.throws(() => b.server.challenge('www', 'a\r\nb', HOME, 0));
});

t.test('the right password is good with every algorithm and qop; the user is told', async t => {
  for (const algorithm of DIGEST_ALGORITHMS) {
    for (const qop of ['auth', 'auth-int'] as const) {
      const b = bench({ qop: [qop] });
      const line = b.answer({ algorithms: [algorithm], body: 'hello' });
      t.match(line, `algorithm=${algorithm},qop=${qop},nc=00000001`);
      t.same(b.verify(line, { body: 'hello' }), { ok: true, user: 'alice', algorithm });
      if (qop === 'auth-int')
        t.same(
          bench({ qop: [qop] }).verify(line, { body: 'jello' }),
          refused('bad-credentials', false, true),
          'the body is covered',
        );
      else
        t.same(
          bench({ qop: [qop] }).verify(line, { body: 'jello' }),
          { ok: true, user: 'alice', algorithm },
          'the body is not covered',
        );
    }
  }
  const proxy = bench();
  const line = proxy.answer({ challenge: proxy.challenged({ kind: 'proxy' }) });
  t.match(line, /^Proxy-Authorization: /);
  t.same(proxy.verify(line, { kind: 'proxy' }), { ok: true, user: 'alice', algorithm: 'SHA-512-256' });
  t.same(bench().verify(line, { kind: 'www' }), refused('challenge', false, false));
});

t.test('what is wrong gets its reason: password, user, method, target, realm, algorithm, shape', async t => {
  const good = (): { b: Bench; line: string } => {
    const b = bench();
    return { b, line: b.answer() };
  };
  const check = (
    name: string,
    change: (line: string, b: Bench) => string,
    expected: object,
    o: Parameters<Bench['verify']>[1] = {},
  ): void => {
    const { b, line } = good();
    t.same(b.verify(change(line, b), o), expected, name);
    t.match(b.verify(line), { ok: true }, `${name}: control`);
  };
  check('no credentials', () => '', refused('challenge', false, false));
  check('password', (_l, b) => b.answer({ password: 'guess' }), refused('bad-credentials', false, true));
  check('unknown user', (_l, b) => b.answer({ user: 'mallory' }), refused('bad-credentials', false, true));
  check('method', l => l, refused('bad-credentials', false, true), { method: 'OPTIONS' });
  check(
    'other realm',
    l => l.replace('realm="example.org"', 'realm="example.com"'),
    refused('challenge', false, false),
  );
  check('other target', l => l, refused('malformed-credentials', false, false), { uri: 'sip:victim.example.org' });
  check('response cut short', l => edit(l, 'response', '"0123"'), refused('malformed-credentials', false, false));
  check(
    'response not hex',
    l => edit(l, 'response', `"${'z'.repeat(64)}"`),
    refused('malformed-credentials', false, false),
  );
  check('unknown algorithm', l => edit(l, 'algorithm', 'MD5-sess'), refused('bad-credentials', false, false));
  check('userhash', l => edit(l, 'userhash', 'true'), refused('malformed-credentials', false, false));
  check('nc of zero', l => edit(l, 'nc', '00000000'), refused('malformed-credentials', false, false));
  check('nc too long', l => edit(l, 'nc', '000000001'), refused('malformed-credentials', false, false));
  check('no cnonce', l => edit(l, 'cnonce', undefined), refused('malformed-credentials', false, false));
  check(
    'no qop with SHA',
    l => edit(edit(l, 'algorithm', undefined), 'qop', undefined).replace('\r\n', ',algorithm=SHA-512-256\r\n'),
    refused('malformed-credentials', false, false),
  );
  check('unknown qop', l => edit(l, 'qop', 'auth-conf'), refused('malformed-credentials', false, false));
  check('no user', l => edit(l, 'username', undefined), refused('malformed-credentials', false, false));
  check('no uri', l => edit(l, 'uri', undefined), refused('malformed-credentials', false, false));
  check('no nonce', l => edit(l, 'nonce', undefined), refused('malformed-credentials', false, false));
  check('not ours', l => edit(l, 'nonce', '"abc"'), refused('stale-nonce', false, false));
  check(
    'twice the same name',
    l => l.replace('\r\n', ',nonce="x"\r\n'),
    refused('malformed-credentials', false, false),
  );
  check('Basic', () => 'Authorization: Basic YWxpY2U6c2VjcmV0\r\n', refused('malformed-credentials', false, false));
  check(
    'after the wrong realm the right one',
    (l, b) => l.replace('realm="example.org"', 'realm="elsewhere"') + b.answer({ password: 'no' }),
    refused('bad-credentials', false, true),
  );

  const params = bench();
  t.match(
    params.verify(params.answer(), { uri: 'sip:example.org;transport=tcp' }),
    { ok: true },
    "URI parameters needn't agree",
  );
  const upper = bench();
  t.match(upper.verify(edit(upper.answer(), 'algorithm', 'sha-512-256')), { ok: true });
  const only = bench({ algorithms: ['SHA-256'] });
  t.same(
    only.verify(bench({ algorithms: ['MD5'] }).answer()),
    refused('bad-credentials', false, false),
    'no downgrade below what is configured',
  );
});

t.test('no form of Authorization makes it throw', async t => {
  const seed = Number(process.env['SEED'] ?? 99);
  t.comment(`SEED=${seed}`);
  const random = seededRandom(seed);
  const b = bench();
  const good = b.answer();
  const alphabet = '",=\\ \t;<>:%\u0080\u00ffaZ0';
  let valid = 0;
  for (let n = 0; n < 3000; n++) {
    let value = good.slice('Authorization: '.length, -2);
    const edits = random.u32() % 4;
    for (let i = 0; i < edits; i++) {
      const at = random.u32() % value.length;
      const kind = random.u32() % 3;
      value =
        value.slice(0, at) +
        (kind === 0 ? '' : alphabet[random.u32() % alphabet.length]) +
        value.slice(at + (kind === 2 ? 0 : 1));
    }
    const m = b.view('');
    const result = b.server.verify(
      Object.assign(m, { first: () => 0, next: () => -1, value: () => value }),
      'www',
      'example.org',
      HOME,
      0,
      user =>
        user === 'alice' ? { ha1: { 'SHA-512-256': ha1('SHA-512-256', 'alice', 'example.org', 'secret') } } : undefined,
    );
    if (result.ok) valid++;
  }
  t.equal(valid, 1, 'the nonce count lets the untouched one through once');
});

t.test('a nonce is good for one address, one realm, its lifetime and two keys; otherwise it is stale', async t => {
  const stale = refused('stale-nonce', true, false);
  const port = bench();
  t.match(port.verify(port.answer(), { from: { address: '198.51.100.7', port: 9 } }), { ok: true }, 'a NAT may rebind');
  const address = bench();
  t.same(address.verify(address.answer(), { from: { address: '198.51.100.8', port: 40_000 } }), stale);
  const realm = bench();
  const elsewhere = realm
    .answer()
    .replace(
      /nonce="[^"]+"/,
      `nonce="${parseAuth(realm.challenged({ realm: 'other' }).named('WWW-Authenticate'))?.params.get('nonce')}"`,
    );
  t.same(realm.verify(elsewhere), stale);
  const age = bench();
  const line = age.answer();
  age.wall += 300_000;
  t.match(age.verify(line), { ok: true });
  age.wall += 1;
  t.same(
    age.verify(edit(line, 'nc', '00000002')),
    refused('stale-nonce', true, true),
    'old, but it did reach that address',
  );
  const back = bench();
  const early = back.answer();
  back.wall -= 300_001;
  t.same(back.verify(early), refused('stale-nonce', true, true), 'a clock set back');
  const rotated = bench();
  const first = rotated.answer();
  rotated.server.rotate(Buffer.from('second key'));
  t.match(rotated.verify(first), { ok: true }, 'the former key is live');
  t.match(rotated.verify(rotated.answer()), { ok: true });
  rotated.server.rotate(Buffer.from('third key'));
  t.same(rotated.verify(first), stale, 'the one before is not');
  const fleet = bench();
  t.match(
    bench({ secretKeys: [Buffer.from('other'), KEY] }).verify(fleet.answer()),
    { ok: true },
    'another node that has the key',
  );
  t.same(fleet.lookups, [], 'a nonce that is not good costs no look-up');
  t.same(
    bench()
      .server.challenge('www', 'r', HOME, 0, true)
      .split('\r\n')
      .filter(l => l !== '')
      .map(l => l.endsWith(',stale=true')),
    [true, true, true],
  );
});

t.test('a nonce count is taken once, in a window, and only by valid credentials', async t => {
  const b = bench();
  const challenge = b.challenged();
  const take = (nc: number): unknown =>
    (b.verify(b.answer({ challenge, nc })) as { ok: boolean; reason?: string }).reason ?? 'ok';
  t.same(b.verify(b.answer({ challenge, nc: 9, password: 'guess' })), refused('bad-credentials', false, true));
  t.equal(take(5), 'ok', 'the first may be any');
  t.equal(take(5), 'replayed-nonce');
  t.equal(take(4), 'ok', 'reordered on the way');
  t.equal(take(4), 'replayed-nonce');
  t.equal(take(9), 'ok', 'a wrong password took nothing');
  t.equal(take(5), 'replayed-nonce', 'the window moves with the highest');
  t.equal(take(4), 'replayed-nonce');
  t.equal(take(42), 'ok');
  t.equal(take(41), 'ok', 'past the window all is forgotten');
  t.equal(take(100), 'ok');
  t.equal(take(69), 'ok');
  t.equal(take(68), 'replayed-nonce', 'below the window');
  t.equal(take(5), 'replayed-nonce');
  t.same(b.verify(b.answer({ challenge, nc: 100 })), refused('replayed-nonce', true, true));

  const legacy = bench({ algorithms: ['MD5'], qop: [] });
  const line = legacy.answer();
  t.notMatch(line, 'qop');
  t.match(legacy.verify(line), { ok: true });
  t.same(legacy.verify(line), refused('replayed-nonce', true, true), 'without qop a nonce is good once');
});

t.test('the client answers the topmost challenge it can, in its own realm only', async t => {
  const b = bench();
  t.match(b.answer(), /algorithm=SHA-512-256,qop=auth,/);
  t.match(b.answer({ algorithms: ['MD5', 'SHA-256'] }), /algorithm=SHA-256,/);
  t.equal(b.answer({ challenge: b.challenged({ realm: 'evil.example.com' }) }), '');
  const foreign = new MessageView();
  foreign.parse(
    'SIP/2.0 401 X\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 BYE\r\n' +
      'WWW-Authenticate: Basic realm="example.org"\r\nWWW-Authenticate: Digest realm="example.org", nonce="n", algorithm=SHA-3\r\n' +
      'WWW-Authenticate: Digest realm="example.org", nonce="n\\"q", opaque="o", qop="auth-int, auth"\r\nContent-Length: 0\r\n\r\n',
  );
  const line = b.answer({ challenge: foreign });
  t.match(
    line,
    /^Authorization: Digest username="alice",realm="example.org",nonce="n\\"q",uri="sip:example.org",response="[0-9a-f]{32}",algorithm=MD5,qop=auth,nc=00000001,cnonce="[^"]{16}",opaque="o"\r\n$/,
  );
});

t.test('a response is of the bytes on the wire, ASCII or not', async t => {
  const plain = {
    algorithm: 'MD5',
    ha1: ha1('MD5', 'alice', 'example.org', 'secret'),
    method: 'REGISTER',
    uri: 'sip:h',
    nonce: 'n',
  } as const;
  // By another MD5, over the same bytes.
  t.equal(digestResponse(plain), '5bd313deb25ce5104b4f36c9c69a97f0');
  t.equal(digestResponse({ ...plain, uri: 'sip:\x80@h' }), 'e8a48e27a906788208847ff0b6139c00');
  t.equal(digestResponse({ ...plain, uri: 'sip:j\xc3\xa4@h' }), '188ff85fe194ddcc06e7eb0b3dcc8025');
  t.equal(
    digestResponse({ ...plain, ha2: '0'.repeat(32) }),
    'da8ee17e01705ae797e075fc6c870f32',
    'H(A2) as it is given',
  );
  const whole = { ...plain, qop: 'auth-int', nc: '1', cnonce: 'c' } as const;
  t.equal(digestResponse(whole), 'c08b701c9623d13ddec805459cf81f5b', 'no body is an empty one');
  t.equal(digestResponse({ ...whole, body: '\xff\x80' }), 'ed257fe8dc43fd542b9b0f188b8be407');
});
