import { type Random, seededRandom } from '@drawbridge/core';
import t from 'tap';
import {
  formatMultipart,
  MULTIPART_LIMITS,
  type Multipart,
  type MultipartFault,
  parseMultipart,
} from '../src/index.js';

/**
 * Invariant: whatever the bytes are, `parseMultipart` returns a Multipart within its limits or a fault, and never throws;
 * what it read, written again with another boundary, reads as the same.
 */
const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`seed ${SEED}; again with SEED=${SEED} node packages/sip/dist/test/multipart.test.js`);

const TYPE = 'multipart/mixed;boundary=b1';
const SDP = 'v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n';
const TWO = `--b1\r\nContent-Type: application/sdp\r\n\r\n${SDP}\r\n--b1\r\nContent-Type: application/pidf+xml\r\nContent-ID: <a@b>\r\n\r\n<x/>\r\n--b1--\r\n`;

function read(body: string, type = TYPE): Multipart {
  const m = parseMultipart(body, type);
  if (typeof m === 'string') throw new Error(`${m}: ${body}`);
  return m;
}
const types = (m: Multipart): string[] => m.parts.map(p => p.type);

t.test('parts with their head lines and content, byte for byte', async t => {
  const m = read(TWO);
  t.equal(m.subtype, 'mixed');
  t.same(
    m.parts.map(p => [p.type, p.head, p.content]),
    [
      ['application/sdp', 'Content-Type: application/sdp\r\n', SDP],
      ['application/pidf+xml', 'Content-Type: application/pidf+xml\r\nContent-ID: <a@b>\r\n', '<x/>'],
    ],
  );
});

t.test(
  'what people write: quoted boundary, case, preamble, epilogue, white space behind the boundary, no last line break',
  async t => {
    t.same(types(read(TWO, 'Multipart/MIXED ; Boundary="b1"')), ['application/sdp', 'application/pidf+xml']);
    t.same(types(read(`preamble\r\n${TWO}epilogue`)), ['application/sdp', 'application/pidf+xml']);
    t.same(types(read(TWO.replaceAll('--b1\r\n', '--b1 \t\r\n'))), ['application/sdp', 'application/pidf+xml']);
    t.same(types(read(TWO.slice(0, -2))), ['application/sdp', 'application/pidf+xml']);
    t.same(types(read('--b1\r\n\r\nhello\r\n--b1--')), ['text/plain']);
    t.same(types(read('--b1\r\ncontent-TYPE : Text/HTML ;charset=x\r\n\r\nhello\r\n--b1--')), ['text/html']);
    const longer = read('--b1\r\n\r\none\r\n--b12\r\ntwo\r\n--b1--');
    t.equal(longer.parts[0]?.content, 'one\r\n--b12\r\ntwo', 'a longer boundary is content');
    t.equal(read('--b1\r\n\r\n\r\n--b1--').parts[0]?.content, '', 'an empty content');
  },
);

t.test('disposition, handling and coding', async t => {
  const p = (lines: string) => read(`--b1\r\n${lines}\r\n\r\nx\r\n--b1--`).parts[0];
  t.match(p('Content-Disposition: signal;handling=Optional'), { disposition: 'signal', optional: true, coded: false });
  t.match(p('Content-Disposition: session; handling=required'), { disposition: 'session', optional: false });
  t.match(p('Content-Disposition:\r\n session;\r\n handling=optional'), { disposition: 'session', optional: true });
  t.match(p('Content-Transfer-Encoding: base64'), { coded: true });
  t.match(p('Content-Transfer-Encoding: 8BIT'), { coded: false });
  t.match(p('Content-Encoding: gzip'), { coded: true });
  t.equal(
    p('X-Route: 10.0.0.1\r\nContent-Length: 99\r\nContent-Language: de')?.head,
    'Content-Language: de\r\n',
    'only what says what it is',
  );
});

t.test('faults', async t => {
  const bad: readonly [string, string, MultipartFault][] = [
    ['', TYPE, 'malformed'],
    ['--b1--\r\n', TYPE, 'malformed'],
    ['--b1\r\n--b1--\r\n', TYPE, 'malformed'],
    ['--b1\r\n\r\nx', TYPE, 'malformed'],
    ['--b1\r\nContent-Type: a/b\r\n--b1--', TYPE, 'malformed'],
    ['--b1\r\nno header\r\n\r\nx\r\n--b1--', TYPE, 'malformed'],
    ['--b1\r\nContent-Type: a/b\r\ncontent-type: c/d\r\n\r\nx\r\n--b1--', TYPE, 'malformed'],
    ['--b1\r\nContent-Type: a\0/b\r\n\r\nx\r\n--b1--', TYPE, 'malformed'],
    ['--b1\r\nContent-Type: a\r/b\r\n\r\nx\r\n--b1--', TYPE, 'malformed'],
    [TWO, 'multipart/mixed', 'malformed'],
    [TWO, 'multipart/mixed;boundary=', 'malformed'],
    [TWO, 'multipart/mixed;boundary=b1;boundary=b2', 'malformed'],
    [TWO, `multipart/mixed;boundary=${'b'.repeat(71)}`, 'malformed'],
    [TWO, 'multipart/mixed;boundary="b\\"1"', 'malformed'],
    [TWO, 'application/sdp;boundary=b1', 'malformed'],
    [`${'--b1\r\n\r\nx\r\n'.repeat(MULTIPART_LIMITS.parts + 1)}--b1--`, TYPE, 'too-large'],
    [`--b1\r\nContent-Type: a/b;x=${'y'.repeat(1100)}\r\n\r\nx\r\n--b1--`, TYPE, 'too-large'],
    [`--b1\r\n${Array.from({ length: 17 }, (_, i) => `X-${i}: y\r\n`).join('')}\r\nx\r\n--b1--`, TYPE, 'malformed'],
  ];
  for (const [body, type, fault] of bad)
    t.equal(parseMultipart(body, type), fault, JSON.stringify([body.slice(0, 60), type.slice(0, 60)]));
  t.type(parseMultipart(`${'--b1\r\n\r\nx\r\n'.repeat(MULTIPART_LIMITS.parts)}--b1--`, TYPE), 'object', 'the control');
});

function nested(levels: number): [string, string] {
  let body = `--b${levels}\r\nContent-Type: application/sdp\r\n\r\n${SDP}\r\n--b${levels}--`;
  for (let i = levels - 1; i >= 1; i--)
    body = `--b${i}\r\nContent-Type: multipart/alternative;boundary=b${i + 1}\r\n\r\n${body}\r\n--b${i}--`;
  return [body, TYPE];
}

t.test('depth is bounded; signed parts are not looked into', async t => {
  t.equal(read(...nested(2)).parts[0]?.inner?.parts[0]?.content, SDP);
  t.equal(parseMultipart(...nested(3)), 'too-large');
  t.equal(parseMultipart(...nested(500)), 'too-large');
  const signed = read('--b1\r\nContent-Type: multipart/signed;boundary=zz\r\n\r\nwhatever\r\n--b1--');
  t.equal(signed.parts[0]?.inner, undefined);
  t.equal(signed.parts[0]?.content, 'whatever');
});

t.test('written again it reads the same; a boundary that stands in a part throws', async t => {
  const m = read(TWO);
  t.same(read(formatMultipart(m.parts, 'other'), 'multipart/mixed;boundary=other').parts, m.parts);
  t.throws(() => formatMultipart([{ head: '', content: 'x--oops' }], 'oops'));
});

const PIECES = [
  '--b1',
  '\r\n',
  '--b1--',
  '--b1\r\n',
  '--b2\r\n',
  ':',
  ';',
  '"',
  '\0',
  '\r',
  '\n',
  ' ',
  '\t',
  'boundary=',
  'Content-Type: multipart/mixed;boundary=b2\r\n',
  'Content-Type: application/sdp\r\n',
  'handling=optional',
  '\r\n\r\n',
  '--',
  'b1',
  '\xff',
];

function mutated(random: Random): [string, string] {
  const below = (n: number): number => random.u32() % n;
  const seeds = [TWO, nested(2)[0], nested(3)[0]];
  let body = seeds[below(seeds.length)] ?? '';
  let type = TYPE;
  for (let n = below(8); n >= 0; n--) {
    const at = below(body.length + 1);
    const kind = below(5);
    if (kind === 0) body = body.slice(0, at) + body.slice(at + below(30));
    else if (kind === 1) body = body.slice(0, at) + (PIECES[below(PIECES.length)] ?? '') + body.slice(at);
    else if (kind === 2) body = body.slice(0, at) + String.fromCharCode(below(256)) + body.slice(at + 1);
    else if (kind === 3) body = body.slice(0, at) + body.slice(at, at + 40).repeat(1 + below(20)) + body.slice(at);
    else if (below(4) === 0)
      type =
        type.slice(0, below(type.length + 1)) + (PIECES[below(PIECES.length)] ?? '') + type.slice(below(type.length));
  }
  return [body, type];
}

function checkLimits(m: Multipart, depth: number): void {
  if (m.parts.length < 1 || m.parts.length > MULTIPART_LIMITS.parts || depth > MULTIPART_LIMITS.depth)
    throw new Error('past the limits');
  for (const p of m.parts) {
    if (p.head.length > MULTIPART_LIMITS.head || p.head.includes('\r\n\r\n') || /\0/.test(p.head))
      throw new Error('head');
    if (p.inner !== undefined) checkLimits(p.inner, depth + 1);
  }
}

t.test('mutated bodies: parsed within limits or refused, and the same when written again', async t => {
  const random = seededRandom(SEED);
  let parsed = 0;
  for (let i = 0; i < 20_000; i++) {
    const [body, type] = mutated(random);
    const m = parseMultipart(body, type);
    if (typeof m === 'string') continue;
    parsed++;
    checkLimits(m, 1);
    if (m.parts.some(p => p.content.includes('--again') || p.head.includes('--again'))) continue;
    const again = parseMultipart(formatMultipart(m.parts, 'again'), `multipart/${m.subtype};boundary=again`);
    if (JSON.stringify(typeof again === 'string' ? again : again.parts) !== JSON.stringify(m.parts)) {
      t.fail(JSON.stringify([body, type]));
      break;
    }
  }
  t.ok(parsed > 2000, `${parsed} of 20000 were bodies`);
  t.ok(parsed < 18_000);
});

/** ms of CPU for one call, the least of a few rounds. */
function cost(work: () => void): number {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 7; round++) {
    const from = process.cpuUsage();
    for (let i = 0; i < 20; i++) work();
    const used = process.cpuUsage(from);
    least = Math.min(least, (used.user + used.system) / 1000 / 20);
  }
  return least;
}

t.test(
  'adversarial bodies cost linear time: 64 kB in less than 5 ms, twice the size in less than three times',
  async t => {
    const shapes: Readonly<Record<string, (n: number) => [string, string]>> = {
      'almost boundaries': n => ['\r\n--b2'.repeat(n / 6), TYPE],
      'boundaries with a tail': n => ['\r\n--b1x'.repeat(n / 7), TYPE],
      'half boundaries of the longest kind': n => [
        `\r\n--${'b'.repeat(69)}`.repeat(n / 73),
        `multipart/mixed;boundary=${'b'.repeat(70)}`,
      ],
      'white space behind a boundary': n => [`--b1${' '.repeat(n)}`, TYPE],
      'white space behind many': n => [`\r\n--b1${' '.repeat(100)}`.repeat(n / 106), TYPE],
      'line breaks': n => [`--b1\r\n${'\r\n'.repeat(n / 2)}`, TYPE],
      'a head without an end': n => [`--b1\r\n${'a:b\r\n'.repeat(n / 5)}\r\n--b1--`, TYPE],
      folds: n => [`--b1\r\na:${'\r\n '.repeat(n / 3)}\r\n--b1--`, TYPE],
      parameters: n => ['--b1\r\n\r\nx\r\n--b1--', `multipart/mixed${';a=b'.repeat(n / 4)};boundary=b1`],
      quotes: n => ['--b1\r\n\r\nx\r\n--b1--', `multipart/mixed;a="${'\\"'.repeat(n / 2)};boundary=b1`],
    };
    for (const [name, shape] of Object.entries(shapes)) {
      const small = shape(32_768);
      const large = shape(65_536);
      const one = cost(() => parseMultipart(...small));
      const two = cost(() => parseMultipart(...large));
      t.ok(two < 5, `${name}: ${two.toFixed(3)} ms`);
      // Below 50 µs the clock says more than the parser.
      t.ok(two < 3 * Math.max(one, 0.05), `${name}: ${one.toFixed(3)} then ${two.toFixed(3)} ms`);
    }
  },
);
