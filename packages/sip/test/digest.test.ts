import { type Endpoint, Endpoints, seededRandom } from '@drawbridge/core';
import t from 'tap';
import { checked, checkNonce, mintNonce, nonceKey } from '../src/digest/nonce.js';
import { NonceCounts } from '../src/digest/nonce-counts.js';
import { SipHash } from '../src/digest/siphash.js';
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
  statelessTag,
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

t.test('SipHash-2-4-128 agrees with its authors and with OpenSSL', async t => {
  const key = Uint8Array.from({ length: 16 }, (_, i) => i);
  const mac = new SipHash(key);
  const of = (length: number): string => {
    mac.mixBytes(key, 0, length);
    const out = Buffer.alloc(16);
    mac.end().forEach((word, k) => void out.writeInt32LE(word, k * 4));
    return out.toString('hex');
  };
  // vectors_sip128 of the reference implementation
  t.equal(of(0), 'a3817f04ba25a8e66df67214c7550293');
  t.equal(of(1), 'da87c1d86b99af44347659119b22fc45');
  t.equal(of(2), '8177228da4a45dc7fca38bdef60affe4');
  const text = (...parts: string[]): string => {
    for (const p of parts) mac.mixText(p);
    const out = Buffer.alloc(16);
    mac.end().forEach((word, k) => void out.writeInt32LE(word, k * 4));
    return out.toString('hex');
  };
  // openssl mac -macopt hexkey:000102030405060708090a0b0c0d0e0f -macopt size:16 -in FILE SIPHASH
  t.equal(text('a longer message, of more than one block'), 'a6cca0f4939f209d6ca499f22b465a17');
  t.equal(text('x'.repeat(1000), 'y'.repeat(3000)), 'e5e954b6ac6b9a985ec9c6ae46705dc9', 'past the room it begins with');
  t.equal(text('a', 'b'), text('ab'));
  t.not(text('é'), text('Ã©'), 'nothing but ASCII stands for itself');
  // The same of the bytes e0 83 a9 e2 82 ac.
  t.equal(text('é€'), 'bec19773e3824997f8548a0bd4d3301f', 'three bytes each');
  t.equal(of(2), '8177228da4a45dc7fca38bdef60affe4', 'nothing is left of a longer message before it');
  t.throws(() => new SipHash(key.subarray(1)), TypeError);
});

t.test('the table of counts is bounded, and forgetting allows no replay', async t => {
  const counts = new NonceCounts(3, 1000);
  for (let n = 0; n < 3; n++) t.ok(counts.take(n, n, 70 + n, 1));
  t.ok(counts.take(3, 3, 73, 1));
  t.equal(counts.size, 3);
  t.notOk(counts.take(3, 0, 70, 1), 'forgotten, and refused for it');
  t.notOk(counts.take(3, 0, 70, 2));
  t.ok(counts.take(3, 1, 71, 2), 'the others go on');
  t.ok(counts.take(2000, 2000, 74, 1));
  t.equal(counts.size, 1, 'expired ones make room first');
  t.ok(counts.take(2000, 1999, 75, 1), 'and those leave no floor');
  t.ok(counts.take(2000, 2, 76, 1));
});

t.test(
  'nonces of one moment, or of one salt, are counted apart; a count far below the window is not taken',
  async t => {
    const counts = new NonceCounts(8, 1000);
    t.ok(counts.take(5, 5, 70, 1));
    t.ok(counts.take(5, 5, 71, 1), 'the same moment');
    t.ok(counts.take(6, 6, 70, 1), 'the same salt');
    t.equal(counts.size, 3);
    for (const [mintedAt, salt] of [
      [5, 70],
      [5, 71],
      [6, 70],
    ] as const)
      t.notOk(counts.take(6, mintedAt, salt, 1), `${mintedAt} ${salt}`);
    t.ok(counts.take(6, 5, 70, 100));
    t.notOk(counts.take(6, 5, 70, 67), '33 below the highest');
    t.ok(counts.take(6, 5, 70, 69), 'control: 31 below it');
  },
);

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

/** As `NonceCounts` says it works, written down without a thought for speed. */
class PlainCounts {
  readonly #max: number;
  readonly #lifetimeMs: number;
  #entries: { mintedAt: number; salt: number; highest: number; used: Set<number> }[] = [];
  #floor = Number.NEGATIVE_INFINITY;
  constructor(max: number, lifetimeMs: number) {
    this.#max = max;
    this.#lifetimeMs = lifetimeMs;
  }
  get size(): number {
    return this.#entries.length;
  }
  take(wall: number, mintedAt: number, salt: number, nc: number): boolean {
    const known = this.#entries.find(e => e.mintedAt === mintedAt && e.salt === salt);
    if (known !== undefined) {
      if (known.used.has(nc) || nc <= known.highest - 32) return false;
      known.used.add(nc);
      known.highest = Math.max(known.highest, nc);
      return true;
    }
    if (mintedAt <= this.#floor) return false;
    for (let e = this.#entries[0]; e !== undefined; e = this.#entries[0]) {
      const expired = wall - e.mintedAt > this.#lifetimeMs;
      if (!expired && this.#entries.length < this.#max) break;
      this.#entries.shift();
      if (!expired) this.#floor = Math.max(this.#floor, e.mintedAt);
    }
    this.#entries.push({ mintedAt, salt, highest: nc, used: new Set([nc]) });
    return true;
  }
}

t.test('nonce counts in a crowded table are those of a plain list', async t => {
  for (const max of [1, 2, 7, 16, 17]) {
    const random = seededRandom(max);
    const real = new NonceCounts(max, 500);
    const plain = new PlainCounts(max, 500);
    let taken = 0;
    for (let i = 0; i < 20_000; i++) {
      // Minted one per 20 ms, as a rule used soon, a few of one moment.
      const wall = i * 2;
      const mintedAt = Math.max(0, Math.floor(wall / 20) - (random.u32() % 12)) * 20;
      const salt = random.u32() % 3;
      const nc = 1 + (random.u32() % 70);
      const expected = plain.take(wall, mintedAt, salt, nc);
      if (real.take(wall, mintedAt, salt, nc) !== expected || real.size !== plain.size)
        return t.fail(
          `max ${max}, step ${i}: ${mintedAt}/${salt} nc ${nc}, expected ${expected}, ${plain.size} entries`,
        );
      if (expected) taken++;
    }
    t.ok(taken > 1000 && taken < 19_000, `max ${max}: ${taken} of 20000 taken`);
  }
});

t.test('the tag of a stateless reply is the same for a retransmission, another for another request or key', async t => {
  const tag = (change: (text: string) => string, key = KEY): string => {
    const m = new MessageView();
    m.parse(
      change(
        'INVITE sip:b@example.org SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n',
      ),
    );
    return statelessTag(m, key);
  };
  const first = tag(x => x);
  t.match(first, /^[\w-]{16}$/);
  t.equal(
    tag(x => x),
    first,
  );
  const others = [
    tag(x => x.replace('z9hG4bK1', 'z9hG4bK2')),
    tag(x => x.replace('Call-ID: c', 'Call-ID: d')),
    tag(x => x.replace('tag=1', 'tag=2')),
    tag(x => x.replace('CSeq: 1', 'CSeq: 2')),
    tag(x => x.replace('UDP h;', 'UDP i;')),
    tag(x => x.replace('INVITE sip:b@', 'INVITE sip:c@')),
    // The same characters, parted elsewhere.
    tag(x => x.replace('Call-ID: c', 'Call-ID: c1').replace('tag=1', 'tag=')),
    tag(x => x.replace('z9hG4bK1', 'z9hG4bK').replace('UDP h;', 'UDP 1h;')),
    tag(x => x, Buffer.from('other')),
  ];
  t.equal(new Set([first, ...others]).size, 10);
  t.equal(
    first,
    tag(x => x.replace('To: <sip:a@b>', 'To: <sip:other@b>')),
    'what is no part of it',
  );
});

t.test('a nonce is ours to the letter, for one address of a batch, in its lifetime', async t => {
  const LIFE = 300_000;
  const WALL = 1_700_000_000_000;
  const key = nonceKey(KEY);
  const peers = new Endpoints(2);
  peers.set(0, { address: '198.51.100.66', port: 40_000 });
  peers.set(1, { address: '198.51.100.7', port: 40_000 });
  const random = seededRandom(3);
  const nonce = mintNonce(key, WALL, random, 'example.org', peers, 1);
  const check = (text: string, wall = WALL, keys = [key]): string =>
    checkNonce(text, keys, wall, LIFE, 'example.org', peers, 1);
  t.equal(check(nonce), 'good');
  t.same({ ...checked }, { mintedAt: WALL, salt: seededRandom(3).u32() });
  // The MAC as of `openssl mac … SIPHASH`.
  t.equal(nonce, '3QGLz-VoALhgyFJqenh8sr50tAJnS0_u6vEq', 'the same on every node, now and after a restart');
  t.not(mintNonce(key, WALL, random, 'example.org', peers, 1), nonce, 'two phones behind one NAT share none');

  t.equal(checkNonce(nonce, [key], WALL, LIFE, 'example.org', peers, 0), 'unverified', 'another address');
  t.equal(checkNonce(nonce, [key], WALL, LIFE, 'example.com', peers, 1), 'unverified', 'another realm');
  t.equal(check(nonce, WALL, []), 'unverified');
  t.equal(check(nonce, WALL, [nonceKey(Buffer.from('other'))]), 'unverified');
  t.equal(check(nonce, WALL, [nonceKey(Buffer.from('other')), key]), 'good');
  for (let i = 0; i < nonce.length; i++) {
    const change = (c: string): string => check(nonce.slice(0, i) + c + nonce.slice(i + 1));
    t.equal(change(nonce[i] === 'A' ? 'B' : 'A'), 'unverified', `character ${i}`);
    for (const c of ['!', '=', '+', '\u00e9', '\u0141']) t.equal(change(c), 'foreign', `${c} at ${i}`);
  }
  for (const shape of ['', nonce.slice(1), `${nonce}A`, `${nonce}AAAA`]) t.equal(check(shape), 'foreign', shape);

  t.same(
    [LIFE, LIFE + 1, -LIFE, -LIFE - 1].map(age => check(nonce, WALL + age)),
    ['good', 'old', 'good', 'old'],
  );
  const early = mintNonce(key, -5, random, 'example.org', peers, 1);
  t.equal(check(early, 0), 'good', 'a clock before 1970 is no reason to fail');
  t.equal(checked.mintedAt, 0);
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
