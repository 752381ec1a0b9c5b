import { seededRandom } from '@drawbridge/core';
import { type Answer, encode, type Packet } from 'dns-packet';
import t from 'tap';
import {
  type Candidate,
  DnsCache,
  type DnsQuestion,
  type DnsRecord,
  drawByWeight,
  type LocateOptions,
  type LocateTransport,
  locate,
  parseUri,
  Resolver,
  readAnswer,
} from '../src/index.js';

const SEED = Number(process.env.SEED ?? 20260101);
t.comment(`seed ${SEED}`);

const ALL: LocateOptions = { transports: ['udp', 'tcp', 'tls', 'ws', 'wss'], families: [4, 6] };
const PLAIN: LocateOptions = { transports: ['udp', 'tcp'], families: [4, 6] };

/** A zone as `TYPE name` → records; what isn't there doesn't exist. */
type Zone = Readonly<Record<string, readonly DnsRecord[]>>;

function walk(uri: string, zone: Zone, options: LocateOptions = PLAIN): { asked: string[]; tiers: string[][] } {
  const u = parseUri(uri);
  if (u === undefined) throw new Error(uri);
  const known = new Map<string, readonly DnsRecord[]>();
  const asked: string[] = [];
  for (let round = 0; round < 5; round++) {
    const located = locate(u, options, q => {
      const records = known.get(`${q.type} ${q.name}`);
      return records === undefined ? undefined : { records, until: 1000, stale: false, why: '' };
    });
    if (located.missing.length === 0)
      return { asked, tiers: located.tiers.map(tier => tier.flatMap(s => s.candidates.map(text))) };
    for (const q of located.missing) {
      const key = `${q.type} ${q.name}`;
      asked.push(key);
      known.set(key, zone[key] ?? []);
    }
  }
  throw new Error('no end');
}

function text(c: Candidate): string {
  return `${c.transport} ${c.address} ${c.port}`;
}
function naptr(order: number, services: string, replacement: string, preference = 50): DnsRecord {
  return { type: 'NAPTR', order, preference, flags: 's', services, regexp: '', replacement };
}
function srv(priority: number, weight: number, port: number, target: string): DnsRecord {
  return { type: 'SRV', priority, weight, port, target };
}
function a(address: string): DnsRecord {
  return { type: address.includes(':') ? 'AAAA' : 'A', address };
}

/** RFC 3263 §4.1. */
const EXAMPLE: Zone = {
  'NAPTR example.com': [
    naptr(100, 'SIP+D2U', '_sip._udp.example.com'),
    naptr(50, 'SIPS+D2T', '_sips._tcp.example.com'),
    naptr(90, 'SIP+D2T', '_sip._tcp.example.com'),
  ],
  'SRV _sip._tcp.example.com': [srv(0, 1, 5060, 'server1.example.com'), srv(0, 2, 5060, 'server2.example.com')],
  'SRV _sip._udp.example.com': [srv(0, 1, 5080, 'server1.example.com')],
  'SRV _sips._tcp.example.com': [srv(0, 1, 5061, 'server2.example.com')],
  'A server1.example.com': [a('192.0.2.1')],
  'A server2.example.com': [a('192.0.2.2')],
  'A example.com': [a('192.0.2.9')],
};

t.test('RFC 3263 §4.1: the example, with and without TLS', async t => {
  const without = walk('sip:user@example.com', EXAMPLE);
  t.same(without.tiers, [['tcp 192.0.2.1 5060', 'tcp 192.0.2.2 5060'], ['udp 192.0.2.1 5080']]);
  t.equal(without.asked[0], 'NAPTR example.com');
  t.notOk(
    without.asked.some(q => q.includes('_sips')),
    'what nobody speaks is not asked for',
  );
  const withTls = walk('sip:user@example.com', EXAMPLE, ALL);
  t.same(withTls.tiers[0], ['tls 192.0.2.2 5061'], 'lowest order first');
  t.same(walk('sips:user@example.com', EXAMPLE, ALL).tiers, [['tls 192.0.2.2 5061']], 'sips: nothing else');
  t.same(walk('sips:user@example.com', EXAMPLE, PLAIN).tiers, [], 'sips without TLS leads nowhere');
});

t.test('what skips which question', async t => {
  const cases: [string, string[], string[][]][] = [
    ['sip:192.0.2.5', [], [['udp 192.0.2.5 5060']]],
    ['sip:192.0.2.5:5070;transport=tcp', [], [['tcp 192.0.2.5 5070']]],
    ['sip:[2001:DB8::5]', [], [['udp 2001:db8::5 5060']]],
    ['sips:192.0.2.5', [], [['tls 192.0.2.5 5061']]],
    ['sip:server1.example.com:5070', ['AAAA server1.example.com', 'A server1.example.com'], [['udp 192.0.2.1 5070']]],
    [
      'sip:server1.example.com:5070;transport=tcp',
      ['AAAA server1.example.com', 'A server1.example.com'],
      [['tcp 192.0.2.1 5070']],
    ],
    [
      'sip:example.com;transport=udp',
      ['SRV _sip._udp.example.com', 'AAAA server1.example.com', 'A server1.example.com'],
      [['udp 192.0.2.1 5080']],
    ],
    [
      'sip:server1.example.com;transport=tcp',
      ['SRV _sip._tcp.server1.example.com', 'AAAA server1.example.com', 'A server1.example.com'],
      [['tcp 192.0.2.1 5060']],
    ],
    ['sip:example.com;transport=sctp', [], []],
    ['sips:example.com;transport=udp', [], []],
  ];
  for (const [uri, asked, tiers] of cases) {
    const got = walk(uri, EXAMPLE, ALL);
    t.same(got.asked, asked, uri);
    t.same(got.tiers, tiers, uri);
  }
});

t.test('no NAPTR: SRV of each transport; no SRV: addresses, by UDP or TLS', async t => {
  const { 'NAPTR example.com': _gone, ...srvOnly } = EXAMPLE;
  t.same(walk('sip:example.com', srvOnly).tiers, [
    ['udp 192.0.2.1 5080'],
    ['tcp 192.0.2.1 5060', 'tcp 192.0.2.2 5060'],
  ]);
  const bare: Zone = { 'A example.com': [a('192.0.2.9')], 'AAAA example.com': [a('2001:db8::9')] };
  t.same(walk('sip:example.com', bare).tiers, [['udp 2001:db8::9 5060', 'udp 192.0.2.9 5060']]);
  t.same(walk('sips:example.com', bare, ALL).tiers, [['tls 2001:db8::9 5061', 'tls 192.0.2.9 5061']]);
  t.same(walk('sip:example.com', bare, { transports: ['udp'], families: [4] }).tiers, [['udp 192.0.2.9 5060']]);
  t.same(walk('sip:EXAMPLE.com.', bare).tiers.length, 1, 'case and a final dot mean nothing');
  t.same(walk('sip:example.com', {}).tiers, []);
});

t.test('records that mean nothing to us, and those that say no', async t => {
  const ours = { 'SRV _sip._udp.example.com': [srv(0, 0, 5060, 's.example.com')], 'A s.example.com': [a('192.0.2.1')] };
  const odd: [string, DnsRecord][] = [
    ['flag u', { ...naptr(1, 'SIP+D2U', 'x.example.com'), flags: 'u' } as DnsRecord],
    ['an expression', { ...naptr(1, 'SIP+D2U', 'x.example.com'), regexp: '!.*!sip:x!' } as DnsRecord],
    ['another service', naptr(1, 'E2U+sip', 'x.example.com')],
    ['SCTP', naptr(1, 'SIP+D2S', 'x.example.com')],
    ['no replacement', naptr(1, 'SIP+D2U', '')],
  ];
  for (const [what, record] of odd) {
    const got = walk('sip:example.com', { ...ours, 'NAPTR example.com': [record] });
    t.same(got.tiers, [['udp 192.0.2.1 5060']], what);
    t.notOk(got.asked.includes('SRV x.example.com'), what);
  }
  const control = walk('sip:example.com', { ...ours, 'NAPTR example.com': [naptr(1, 'sip+d2u', 'x.example.com')] });
  t.ok(control.asked.includes('SRV x.example.com'), 'control: a plain record is followed, in any case');
  t.same(
    control.tiers,
    [['udp 192.0.2.1 5060']],
    'a replacement that leads nowhere falls back to the SRV of the domain',
  );
  const no = walk('sip:example.com;transport=tcp', {
    'SRV _sip._tcp.example.com': [srv(0, 0, 0, '')],
    'A example.com': [a('192.0.2.9')],
  });
  t.same(no.tiers, [], 'RFC 2782: target "." is a clear no');
});

t.test('priorities in order, bounds on what one domain may name', async t => {
  const zone: Record<string, DnsRecord[]> = { 'SRV _sip._udp.big.example': [] };
  for (let i = 0; i < 100; i++) {
    zone['SRV _sip._udp.big.example']?.push(srv(100 - i, 0, 5060, `s${i}.big.example`));
    zone[`A s${i}.big.example`] = Array.from({ length: 50 }, (_, k) => a(`192.0.${i}.${k}`));
  }
  const { tiers, asked } = walk('sip:big.example;transport=udp', zone);
  t.equal(tiers.length, 16);
  t.equal(tiers.flat().length, 128, 'eight addresses each');
  t.equal(asked.length, 33);
  t.equal(tiers[0]?.[0], 'udp 192.0.99.0 5060', 'lowest number first');
});

t.test('RFC 2782: weights, within the tolerance of chance', async t => {
  const random = seededRandom(SEED);
  const N = 20_000;
  const share = (weights: number[]): number[] => {
    const firsts = weights.map(() => 0);
    const choices = weights.map((weight, i) => ({ weight, i }));
    for (let n = 0; n < N; n++) {
      const drawn = drawByWeight(choices, random);
      if (drawn.length !== weights.length || new Set(drawn).size !== weights.length) throw new Error('lost one');
      const first = drawn[0]?.i ?? 0;
      firsts[first] = (firsts[first] ?? 0) + 1;
    }
    return firsts;
  };
  for (const weights of [
    [1, 3],
    [10, 20, 70],
    [65535, 65535],
    [0, 0, 0, 0],
  ]) {
    const sum = weights.reduce((x, y) => x + y, 0);
    share(weights).forEach((n, i) => {
      // The number is drawn from 0 to the sum, so a small sum shifts one part in sum + 1 to the first.
      const p = sum === 0 ? 1 / weights.length : (weights[i] ?? 0) / (sum + 1) + (i === 0 ? 1 / (sum + 1) : 0);
      t.ok(
        Math.abs(n - N * p) < 3.5 * Math.sqrt(N * p * (1 - p)),
        `${weights.join()}: ${i} came first ${n} times of ${N}`,
      );
    });
  }
  const zero = share([0, 999]);
  t.ok((zero[0] ?? 0) > 0 && (zero[0] ?? 0) < 60, `weight 0 beside 999 has a very small chance: ${zero[0]} of ${N}`);
});

// ---- messages ----

function message(q: DnsQuestion, answers: Answer[], more: Partial<Packet> = {}): Uint8Array {
  return encode({ type: 'response', id: 1, questions: [{ ...q, class: 'IN' }], answers, ...more });
}
const Q: DnsQuestion = { name: 'pbx.example.net', type: 'A' };
const SOA = {
  type: 'SOA' as const,
  class: 'IN' as const,
  name: 'example.net',
  ttl: 900,
  data: { mname: 'ns.example.net', rname: 'host.example.net', serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 60 },
};

t.test('a message becomes records, through aliases, with the least TTL', async t => {
  const direct = readAnswer(message(Q, [{ type: 'A', name: 'PBX.example.net', ttl: 300, data: '192.0.2.1' }]), Q);
  t.same(direct, { kind: 'records', records: [a('192.0.2.1')], ttlS: 300 });
  const aliased = readAnswer(
    message(Q, [
      { type: 'CNAME', name: 'pbx.example.net', ttl: 20, data: 'b.example.net' },
      { type: 'A', name: 'other.example.net', ttl: 1, data: '192.0.2.66' },
      { type: 'CNAME', name: 'b.example.net', ttl: 900, data: 'c.example.net' },
      { type: 'A', name: 'c.example.net', ttl: 300, data: '192.0.2.1' },
      { type: 'A', name: 'c.example.net', ttl: 200, data: '192.0.2.2' },
    ]),
    Q,
  );
  t.same(
    aliased,
    { kind: 'records', records: [a('192.0.2.1'), a('192.0.2.2')], ttlS: 20 },
    'and not those of other names',
  );
  const loop = readAnswer(
    message(Q, [
      { type: 'CNAME', name: 'pbx.example.net', ttl: 20, data: 'b.example.net' },
      { type: 'CNAME', name: 'b.example.net', ttl: 20, data: 'pbx.example.net' },
    ]),
    Q,
  );
  t.equal(loop.kind, 'none', 'a loop ends');
  const huge = readAnswer(message(Q, [{ type: 'A', name: 'pbx.example.net', ttl: 2 ** 31, data: '192.0.2.1' }]), Q);
  t.same(huge, { kind: 'records', records: [a('192.0.2.1')], ttlS: 0 }, 'RFC 2181 §8');
});

t.test('negative answers, refusals, and what is not an answer', async t => {
  const rcode = (n: number, more: Partial<Packet> = {}): Uint8Array => message(Q, [], { flags: n, ...more });
  t.same(readAnswer(rcode(3, { authorities: [SOA] }), Q), { kind: 'none', why: 'no such name', ttlS: 60 });
  t.same(readAnswer(rcode(0, { authorities: [SOA] }), Q), { kind: 'none', why: 'no such record', ttlS: 60 });
  t.same(readAnswer(rcode(3), Q), { kind: 'none', why: 'no such name', ttlS: undefined }, 'without SOA');
  t.same(readAnswer(rcode(2), Q), { kind: 'refused', why: 'servfail' });
  t.same(readAnswer(rcode(5), Q), { kind: 'refused', why: 'refused' });
  t.equal(readAnswer(message({ ...Q, type: 'AAAA' }, []), Q).kind, 'malformed', 'another type');
  t.equal(readAnswer(message({ ...Q, name: 'x.example.net' }, []), Q).kind, 'malformed', 'another name');
  t.equal(readAnswer(encode({ type: 'query', questions: [{ ...Q }] }), Q).kind, 'malformed', 'a query');
  for (const data of ['0.0.0.0', '255.255.255.255', '224.0.0.1', '239.1.2.3'])
    t.equal(readAnswer(message(Q, [{ type: 'A', name: Q.name, ttl: 1, data }]), Q).kind, 'none', `${data} is no host`);
  const S: DnsQuestion = { name: '_sip._udp.example.net', type: 'SRV' };
  const target = (name: string): string =>
    readAnswer(message(S, [{ type: 'SRV', name: S.name, ttl: 1, data: { port: 5060, target: name } }]), S).kind;
  t.equal(target('a.example.net'), 'records', 'control');
  t.equal(target('.'), 'records', 'the clear no');
  t.equal(target('a\r\nx.example.net'), 'none', 'a name that would break a line is none');
});

t.test('hostile messages: cut, flipped and random ones never throw and never give another shape', async t => {
  const random = seededRandom(SEED);
  const N: DnsQuestion = { name: 'example.net', type: 'NAPTR' };
  const good = message(N, [
    { type: 'CNAME', name: 'example.net', ttl: 20, data: 'b.example.net' },
    {
      type: 'NAPTR',
      name: 'b.example.net',
      ttl: 60,
      data: {
        order: 1,
        preference: 2,
        flags: 's',
        services: 'SIP+D2U',
        regexp: '',
        replacement: '_sip._udp.example.net',
      },
    },
  ]);
  t.equal(readAnswer(good, N).kind, 'records', 'control');
  const seen = new Map<string, number>();
  for (let n = 0; n < 20_000; n++) {
    const bytes = Buffer.from(good);
    for (let k = 1 + (random.u32() % 4); k > 0; k--) bytes[random.u32() % bytes.length] = random.u32() & 255;
    const cut = random.u32() % 3 === 0 ? bytes.subarray(0, random.u32() % bytes.length) : bytes;
    const read = readAnswer(cut, N);
    seen.set(read.kind, (seen.get(read.kind) ?? 0) + 1);
    if (read.kind !== 'records') continue;
    for (const r of read.records)
      if (r.type !== 'NAPTR' || !/^[a-z0-9_.-]*$/.test(r.replacement)) t.fail(JSON.stringify(r));
  }
  t.comment([...seen].join(' '));
  t.ok((seen.get('records') ?? 0) > 100 && (seen.get('malformed') ?? 0) > 100, 'both ways were taken');
});

t.test('the worst message of the largest size costs little', async t => {
  // Every name a chain of pointers as long as the format allows.
  const bytes = Buffer.alloc(16_384);
  Buffer.from(message(Q, [])).copy(bytes);
  const start = message(Q, []).length;
  bytes.writeUInt16BE(1300, 6);
  bytes.writeUInt16BE(0xc00c, start);
  for (let at = start + 2; at < 8000; at += 2) bytes.writeUInt16BE(0xc000 + at - 2, at);
  const began = process.cpuUsage();
  readAnswer(bytes, Q);
  const used = process.cpuUsage(began);
  t.ok(used.user + used.system < 250_000, `${(used.user + used.system) / 1000} ms`);
});

// ---- memory ----

const OPTIONS = {
  cap: 100,
  floorMs: 5000,
  ceilingMs: 3_600_000,
  negativeMs: 300_000,
  staleMs: 86_400_000,
  retryMs: 1000,
  retryMaxMs: 60_000,
};
const FOUND = (ttlS: number, address = '192.0.2.1') => ({ kind: 'records' as const, records: [a(address)], ttlS });

t.test('times to live: honoured between floor and ceiling', async t => {
  const lasts = (reading: Parameters<DnsCache['put']>[2]): number => {
    const cache = new DnsCache(OPTIONS);
    cache.put(1000, Q, reading);
    const until = cache.get(1000, Q)?.until ?? 0;
    t.ok(cache.get(until - 1, Q) !== undefined && cache.get(until, Q) === undefined, 'gone at just that time');
    return until - 1000;
  };
  t.equal(lasts(FOUND(60)), 60_000);
  t.equal(lasts(FOUND(0)), 5000, 'floor');
  t.equal(lasts(FOUND(604_800)), 3_600_000, 'ceiling');
  t.equal(lasts({ kind: 'none', why: 'no such name', ttlS: 120 }), 120_000, 'RFC 2308');
  t.equal(lasts({ kind: 'none', why: 'no such name', ttlS: 86_400 }), 300_000, 'capped');
  t.equal(lasts({ kind: 'none', why: 'no such name', ttlS: undefined }), 5000, 'without SOA');
});

t.test('failures: waits that double, and the last good answer for a day', async t => {
  const cache = new DnsCache(OPTIONS);
  const waits: number[] = [];
  let now = 0;
  for (let i = 0; i < 9; i++) {
    cache.failed(now, Q, 'nobody answered');
    const got = cache.get(now, Q);
    t.same([got?.records.length, got?.stale], [0, false]);
    waits.push((got?.until ?? 0) - now);
    now = got?.until ?? 0;
  }
  t.same(waits, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
  cache.put(now, Q, FOUND(60));
  const good = now;
  now += 60_000;
  t.equal(cache.get(now, Q), undefined, 'run out: ask again');
  cache.failed(now, Q, 'nobody answered');
  t.match(cache.get(now, Q), { stale: true, records: [{ address: '192.0.2.1' }], until: now + 1000 });
  now = good + 86_400_000 - 1;
  cache.put(now - 3_600_000, { ...Q, name: 'control.example' }, FOUND(60));
  cache.failed(now, Q, 'nobody answered');
  t.equal(cache.get(now, Q)?.stale, true);
  cache.failed(now + 1, Q, 'nobody answered');
  t.match(cache.get(now + 1, Q), { stale: false, records: [] }, 'a day later it is nothing any more');
  cache.put(now + 2, Q, FOUND(60, '192.0.2.2'));
  t.match(cache.get(now + 2, Q), { stale: false, records: [{ address: '192.0.2.2' }] }, 'and a new answer heals it');
});

t.test('10,000 names do not grow the memory; the newest stay', async t => {
  const cache = new DnsCache(OPTIONS);
  for (let i = 0; i < 10_000; i++) {
    const q: DnsQuestion = { name: `n${i}.example`, type: 'A' };
    if (i % 3 === 0) cache.failed(i, q, 'x');
    else cache.put(i, q, FOUND(60));
  }
  t.equal(cache.size, 100);
  t.equal(cache.get(10_000, { name: 'n0.example', type: 'A' }), undefined);
  t.ok(cache.get(10_000, { name: 'n9998.example', type: 'A' }), 'control');
});

t.test('a resolver asks the same question once, remembers, and is bounded', async t => {
  type Ask = ConstructorParameters<typeof Resolver>[1]['ask'];
  const out: { q: DnsQuestion; done: Parameters<Ask>[2] }[] = [];
  const tx = { text: () => true, inPlace: () => true };
  const r = new Resolver(OPTIONS, {
    ask: (_now, q, done) => {
      if (out.length === 3) return false;
      out.push({ q, done });
      return true;
    },
  });
  const heard: string[] = [];
  const hear = (who: string) => (_now: number, answer: { records: readonly DnsRecord[]; why: string }) =>
    void heard.push(`${who} ${answer.records.length}${answer.why}`);
  t.equal(r.query(0, Q, hear('first')), undefined);
  t.equal(r.query(0, Q, hear('second')), undefined);
  t.equal(out.length, 1, 'one question for both');
  out[0]?.done(10, { message: message(Q, [{ type: 'A', name: Q.name, ttl: 60, data: '192.0.2.1' }]) }, tx);
  t.same(heard, ['first 1', 'second 1']);
  t.equal(r.query(20, Q, hear('third'))?.records.length, 1, 'known at once');
  t.equal(r.query(0, { name: 'b.example', type: 'A' }, hear('b')), undefined);
  t.equal(r.query(0, { name: 'c.example', type: 'A' }, hear('c')), undefined);
  t.match(r.query(0, { name: 'd.example', type: 'A' }, hear('d')), { records: [], why: /too many/ });
  t.match(r.query(0, { name: 'no name.example', type: 'A' }, hear('e')), { records: [], why: /no name/ });
  out[1]?.done(30, undefined, tx);
  out[2]?.done(30, { message: Buffer.from('nonsense that is no message') }, tx);
  t.same(heard.slice(2), ['b 0no name server answered', 'c 0the answer was malformed']);
  t.same(r.counters, { cached: 1, records: 1, none: 0, refused: 0, malformed: 1, failed: 1, limit: 1 });
  t.equal(r.open, 0);
});

t.test('every transport has its names and ports', async t => {
  const zone: Zone = { 'A example.com': [a('192.0.2.9')] };
  const cases: [string, string, string][] = [
    ['udp', '_sip._udp', 'udp 192.0.2.9 5060'],
    ['tcp', '_sip._tcp', 'tcp 192.0.2.9 5060'],
    ['tls', '_sips._tcp', 'tls 192.0.2.9 5061'],
    ['ws', '_sip._ws', 'ws 192.0.2.9 80'],
    ['wss', '_sips._ws', 'wss 192.0.2.9 443'],
  ];
  for (const [transport, service, hop] of cases) {
    const only = { transports: [transport as LocateTransport], families: [4] as const };
    const got = walk(`sip:example.com;transport=${transport}`, zone, only);
    t.equal(got.asked[0], `SRV ${service}.example.com`);
    t.same(got.tiers, [[hop]]);
  }
});
