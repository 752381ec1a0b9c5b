import fc from 'fast-check';
import t from 'tap';
import {
  bracketed,
  canonicalAddress,
  Endpoints,
  familyOf,
  formatAddressWords,
  formatEndpoint,
  PrefixSet,
  parseAddressWords,
  parseEndpoint,
} from '../src/index.js';

const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
t.comment(`seed ${seed}`);

t.test('every spelling of an address becomes one canonical text', async t => {
  const same: readonly [string, string][] = [
    // IPv4
    ['192.0.2.1', '192.0.2.1'],
    ['0.0.0.0', '0.0.0.0'],
    ['255.255.255.255', '255.255.255.255'],
    ['[192.0.2.1]', '192.0.2.1'],
    // v4-in-v6 (RFC 4291 §2.5.5.2): one host, one value
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:192.0.2.1', '192.0.2.1'],
    ['::ffff:c000:201', '192.0.2.1'],
    ['::FFFF:C000:0201', '192.0.2.1'],
    ['0:0:0:0:0:ffff:192.0.2.1', '192.0.2.1'],
    ['0:0:0:0:0:ffff:c000:0201', '192.0.2.1'],
    ['0000:0000:0000:0000:0000:ffff:c000:0201', '192.0.2.1'],
    ['0000:0000:0000:0000:0000:ffff:192.0.2.1', '192.0.2.1'],
    ['0::ffff:c000:201', '192.0.2.1'],
    ['::0:ffff:192.0.2.1', '192.0.2.1'],
    ['0:0::ffff:192.0.2.1', '192.0.2.1'],
    ['[::ffff:192.0.2.1]', '192.0.2.1'],
    ['::ffff:0:0', '0.0.0.0'],
    ['::ffff:7f00:1', '127.0.0.1'],
    // not v4-in-v6, however alike: v4-compatible, translated, NAT64, 6to4, Teredo stay IPv6
    ['::192.0.2.1', '::c000:201'],
    ['::ffff:0:192.0.2.1', '::ffff:0:c000:201'],
    ['64:ff9b::192.0.2.1', '64:ff9b::c000:201'],
    ['2002:c000:0201::', '2002:c000:201::'],
    ['1::ffff:192.0.2.1', '1::ffff:c000:201'],
    // RFC 5952
    ['2001:0db8:0000:0000:0001:0000:0000:0001', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:DB8::1', '2001:db8::1'],
    ['2001:db8:0:0:0:0:2:1', '2001:db8::2:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['::2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
    ['[2001:db8::1]', '2001:db8::1'],
    ['fe80::1', 'fe80::1'],
    ['1:2:3:4:5:6:1.2.3.4', '1:2:3:4:5:6:102:304'],
  ];
  for (const [spelling, canonical] of same) t.equal(canonicalAddress(spelling), canonical, spelling);
});

t.test('what is not an address is refused', async t => {
  const bad = [
    '',
    ' ',
    '1',
    '1.2.3',
    '1.2.3.',
    '1.2.3.4.',
    '.1.2.3.4',
    '1..2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    '1.2.3.999',
    '01.2.3.4',
    '1.2.3.04',
    '00.0.0.0',
    '1.2.3.4 ',
    ' 1.2.3.4',
    '1.2.3.-4',
    '0x7f.0.0.1',
    '2130706433',
    '127.1',
    '1.2.3.4/8',
    '[1.2.3.4',
    '1.2.3.4]',
    '[]',
    ':',
    ':::',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1::2::3',
    '12345::',
    'g::',
    '::1%eth0',
    '1:2:3:4:5:6:7:8::',
    '::1:2:3:4:5:6:7:8',
    '::ffff:1.2.3',
    '::ffff:1.2.3.4.5',
    '::ffff:256.1.1.1',
    '::1.2.3.4:5',
    '1:2:3:4:5:6:7:1.2.3.4',
    '[::1',
    '::1]',
    '[[::1]]',
    ':1',
    '1:',
    `::${'0'.repeat(60)}`,
    'localhost',
    'example.org',
    '１.2.3.4',
    '1.2.3.4\n',
    '::1\0',
  ];
  for (const text of bad) t.equal(canonicalAddress(text), undefined, JSON.stringify(text));
});

t.test('words and text are inverse for any address', async t => {
  const words = fc.uint32Array({ minLength: 4, maxLength: 4 });
  const sparse = fc
    .array(fc.constantFrom(0, 0, 0, 0xffff, 0xffff0000, 1, 0x00010000, 0xffffffff), { minLength: 4, maxLength: 4 })
    .map(list => Uint32Array.from(list));
  fc.assert(
    fc.property(fc.oneof(words, sparse), w => {
      const text = formatAddressWords(w, 0);
      const back = new Uint32Array(6);
      return (
        parseAddressWords(text, back, 1) && w.every((v, i) => v === back[i + 1]) && canonicalAddress(text) === text
      );
    }),
    { seed, numRuns: 5000 },
  );
  t.pass('5000 addresses');
});

t.test('endpoints as text', async t => {
  const good: readonly [string, number | undefined, string, number][] = [
    ['192.0.2.1:5060', undefined, '192.0.2.1', 5060],
    ['192.0.2.1', 5060, '192.0.2.1', 5060],
    ['[2001:db8::1]:5061', undefined, '2001:db8::1', 5061],
    ['[2001:db8::1]', 5060, '2001:db8::1', 5060],
    ['2001:db8::1', 5060, '2001:db8::1', 5060],
    ['[::ffff:10.0.0.1]:80', undefined, '10.0.0.1', 80],
    ['127.0.0.1:0', undefined, '127.0.0.1', 0],
    ['127.0.0.1:65535', 1, '127.0.0.1', 65535],
  ];
  for (const [text, fallback, address, port] of good) t.same(parseEndpoint(text, fallback), { address, port }, text);
  for (const text of [
    '192.0.2.1',
    '[::1]',
    '::1',
    '1.2.3.4:',
    '1.2.3.4:65536',
    '1.2.3.4:5060x',
    '1.2.3.4:-1',
    ':5060',
    '[::1]x:5060',
    'host:5060',
    '1.2.3.4:1:2',
  ]) {
    t.equal(parseEndpoint(text), undefined, text);
  }
  t.equal(formatEndpoint({ address: '2001:db8::1', port: 5060 }), '[2001:db8::1]:5060');
  t.equal(formatEndpoint({ address: '192.0.2.1', port: 5060 }), '192.0.2.1:5060');
  t.equal(bracketed('::1'), '[::1]');
  t.equal(familyOf('::1'), 6);
  t.equal(familyOf('127.0.0.1'), 4);
});

t.test('packed endpoints compare, copy and hash by address and port', async t => {
  const e = Endpoints.of(
    { address: '192.0.2.1', port: 5060 },
    { address: '::ffff:192.0.2.1', port: 5060 },
    { address: '192.0.2.1', port: 5061 },
    { address: '2001:db8::1', port: 5060 },
  );
  t.ok(e.equal(0, e, 1), 'both spellings are one');
  t.equal(e.hash(0, 7), e.hash(1, 7));
  t.notOk(e.equal(0, e, 2), 'another port is another endpoint');
  t.ok(e.sameAddress(0, e, 2), 'of the same host');
  t.notOk(e.sameAddress(0, e, 3));
  t.not(e.hash(0, 7), e.hash(2, 7));
  t.not(e.hash(0, 7), e.hash(0, 8), 'the hash is keyed');
  t.same([e.family(1), e.family(3)], [4, 6]);
  t.equal(e.v4(0), 0xc0000201);
  t.equal(e.port(2), 5061);
  t.same(e.get(3), { address: '2001:db8::1', port: 5060 });

  const other = new Endpoints(2);
  other.copy(1, e, 3);
  t.ok(other.equal(1, e, 3));
  other.setV4(0, 0xc0000201, 5060);
  t.ok(other.equal(0, e, 0), 'setV4 writes the same form');
  other.setWords(0, 0x20010db8, 0, 0, 1, 5060);
  t.ok(other.equal(0, e, 3));
  t.notOk(other.set(0, { address: 'nobody', port: 1 }));
  t.ok(other.set(0, { address: '::1', port: 1 }));
  t.throws(() => Endpoints.of({ address: 'nobody', port: 1 }), new TypeError('not an address: nobody'));
});

t.test('hashes of neighbouring endpoints spread', async t => {
  const e = new Endpoints(4096);
  for (let i = 0; i < 4096; i++) e.setV4(i, 0x0a000000 + (i >> 4), 1024 + (i & 15));
  const buckets = new Uint32Array(256);
  for (let i = 0; i < 4096; i++) {
    const b = e.hash(i, 12345) & 255;
    buckets[b] = buckets[b]! + 1;
  }
  t.ok(Math.max(...buckets) < 40, `fullest of 256 buckets at a mean of 16: ${Math.max(...buckets)}`);
});

t.test('prefixes match their own family and nothing else', async t => {
  const cases: readonly [string, string, boolean][] = [
    ['0.0.0.0/0', '192.0.2.1', true],
    ['0.0.0.0/0', '2001:db8::1', false],
    ['::/0', '2001:db8::1', true],
    ['::/0', '192.0.2.1', false],
    ['10.0.0.0/8', '10.255.0.1', true],
    ['10.0.0.0/8', '11.0.0.1', false],
    ['10.20.0.0/16', '::ffff:10.20.1.1', true],
    ['10.20.0.0/16', '10.21.1.1', false],
    ['192.0.2.128/25', '192.0.2.128', true],
    ['192.0.2.128/25', '192.0.2.127', false],
    ['192.0.2.1', '192.0.2.1', true],
    ['192.0.2.1', '192.0.2.2', false],
    ['192.0.2.1/32', '192.0.2.0', false],
    ['2001:db8::/32', '2001:db8:ffff::1', true],
    ['2001:db8::/32', '2001:db9::1', false],
    ['2001:db8::/33', '2001:db8:8000::', false],
    ['2001:db8::1', '2001:db8::1', true],
    ['2001:db8::1', '2001:db8::2', false],
    ['::ffff:10.0.0.0/8', '10.1.1.1', true],
  ];
  for (const [prefix, address, expected] of cases) {
    const set = PrefixSet.parse([prefix]);
    if (!(set instanceof PrefixSet)) return t.fail(`${prefix} did not parse`);
    const e = Endpoints.of({ address, port: 1 });
    t.equal(set.has(e, 0), expected, `${address} in ${prefix}`);
    t.equal(set.hasAddress(address), expected);
    t.equal(set.match(e, 0), expected ? prefix : undefined);
  }
});

t.test('bad prefixes are named', async t => {
  for (const bad of [
    '10.0.0.0/33',
    '10.0.0.0/',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '::/129',
    'x/8',
    '',
    '/8',
    '10.0.0.0/08x',
  ]) {
    t.same(PrefixSet.parse(['10.0.0.0/8', bad]), { bad }, JSON.stringify(bad));
  }
  const set = PrefixSet.parse(['10.0.0.0/8', '2001:db8::/32']);
  t.equal(set instanceof PrefixSet && set.size, 2, 'good ones are kept');
  t.notOk(set instanceof PrefixSet && set.hasAddress('nobody'));
  t.ok(set instanceof PrefixSet && set.hasAddress('10.0.0.1'));
});
