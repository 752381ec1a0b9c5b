import t from 'tap';
import { z } from 'zod';
import { duration, formatDuration, formatProblems, loadConfig, parseDuration, parseSize, size } from '../src/index.js';

const port = z.union([z.int().min(1).max(65535), z.literal(false)]);
const schema = z.strictObject({
  realms: z
    .record(
      z.string().regex(/^[a-z]+$/, { error: 'a name of small letters' }),
      z.strictObject({
        bind: z.array(z.string()).min(1),
        sip: z.strictObject({ udp: port.default(5060), tcp: port.default(5060) }).prefault({}),
      }),
    )
    .default({}),
  domains: z
    .record(
      z.string(),
      z.discriminatedUnion('kind', [
        z.strictObject({ kind: z.literal('local') }),
        z.strictObject({ kind: z.literal('upstream'), realm: z.string(), next: z.array(z.string()) }),
      ]),
    )
    .default({}),
  keepalive: z.strictObject({ min: duration('15s'), max: duration('180s', { max: '1h' }) }).prefault({}),
  log: z.object({ level: z.enum(['debug', 'info', 'warn']).default('info') }).prefault({}),
  mode: z.union([z.literal('auto'), z.strictObject({ speed: z.number() })]).default('auto'),
  buffer: size('64kB', { min: '1kB', max: '1MB' }),
  host: z.string({ error: 'a host name' }).default('localhost'),
});

function problems(text: string): string[] {
  const r = loadConfig(schema, { text, file: 'x.yaml' });
  return r.ok ? [] : formatProblems(r.problems).split('\n');
}

t.test('nothing, comments and a whole file are configurations; defaults fill the rest', async t => {
  const defaults = {
    realms: {},
    domains: {},
    keepalive: { min: 15_000, max: 180_000 },
    log: { level: 'info' },
    mode: 'auto',
    buffer: 64_000,
    host: 'localhost',
  };
  for (const text of ['', '\n\n', '# nothing yet\n', '{}', '---\n']) {
    t.same(loadConfig(schema, { text, file: 'x.yaml' }), { ok: true, value: defaults }, JSON.stringify(text));
  }
  const text = `
realms:
  access: { bind: [192.0.2.1], sip: { tcp: false } }
keepalive: { max: 2m }
mode: { speed: 3 }
buffer: 128 KiB
`;
  t.same(loadConfig(schema, { text, file: 'x.yaml' }), {
    ok: true,
    value: {
      ...defaults,
      realms: { access: { bind: ['192.0.2.1'], sip: { udp: 5060, tcp: false } } },
      keepalive: { min: 15_000, max: 120_000 },
      mode: { speed: 3 },
      buffer: 131_072,
    },
  });
});

t.test('what is loaded is frozen to the last leaf', async t => {
  const r = loadConfig(schema, { text: 'realms: { a: { bind: [x] } }', file: 'x' });
  if (!r.ok) return t.fail();
  t.throws(() => {
    (r.value.realms.a as { bind: string[] }).bind.push('y');
  }, TypeError);
  t.throws(() => {
    (r.value as { host: string }).host = 'other';
  }, TypeError);
});

t.test('every fault of a file is reported at once, in the order of the lines', async t => {
  const text = `realms:
  access:
    bnd: [1.2.3.4]
    sip: { udp: 70000, tpc: 5060 }
  b:
    bind: []
    sip: { udp: maybe }
domains:
  a.b: { kind: locl }
  c: { kind: upstream, relm: core }
  d: { kind: local, next: [] }
keepalive:
  min: 30
  max: 2h
log:
  level: infoo
  levl: 3
reamls: {}
log: 3
`;
  t.same(problems(text), [
    'x.yaml:2:3: realms.access.bind: is missing; expected a list',
    'x.yaml:3:5: realms.access.bnd: is not a key here; did you mean bind?',
    'x.yaml:4:17: realms.access.sip.udp: is 70000; expected at most 65535',
    'x.yaml:4:24: realms.access.sip.tpc: is not a key here; did you mean tcp?',
    'x.yaml:6:11: realms.b.bind: is a list of 0; expected at least 1 item',
    'x.yaml:7:17: realms.b.sip.udp: is "maybe"; expected a number or false',
    'x.yaml:9:16: domains."a.b".kind: is "locl"; expected local or upstream; did you mean local?',
    'x.yaml:10:3: domains.c.realm: is missing; expected text',
    'x.yaml:10:3: domains.c.next: is missing; expected a list',
    'x.yaml:10:24: domains.c.relm: is not a key here; did you mean realm?',
    'x.yaml:11:21: domains.d.next: is not a key here',
    'x.yaml:13:8: keepalive.min: is 30; expected a duration such as 500ms, 30s, 5m or 1h',
    'x.yaml:14:8: keepalive.max: is "2h"; expected a duration such as 500ms, 30s, 5m or 1h, at most 1h',
    'x.yaml:16:3: log: is 3; expected a mapping of keys',
    'x.yaml:18:1: reamls: is not a key here; did you mean realms?',
    'x.yaml:19:1: log: stands here a second time; keep one of the two',
  ]);
});

t.test('each kind of fault in its own words', async t => {
  const cases: readonly [string, string][] = [
    ['log: { level: wran }', 'x.yaml:1:15: log.level: is "wran"; expected debug, info or warn; did you mean warn?'],
    ['log: { lvel: info }', 'x.yaml:1:8: log.lvel: is not a key here; did you mean level?'],
    ['log: info', 'x.yaml:1:6: log: is "info"; expected a mapping of keys'],
    ['log:', 'x.yaml:1:5: log: has no value; expected a mapping of keys'],
    ['host: 7', 'x.yaml:1:7: host: is 7; expected a host name'],
    ['host: [a, b]', 'x.yaml:1:7: host: is a list of 2; expected a host name'],
    ['buffer: 2MB', 'x.yaml:1:9: buffer: is "2MB"; expected a size such as 512B, 64kB or 16MiB between 1kB and 1MB'],
    ['buffer: yes', 'x.yaml:1:9: buffer: is "yes"; expected a size such as 512B, 64kB or 16MiB between 1kB and 1MB'],
    ['mode: { sped: 3, speed: 1 }', 'x.yaml:1:9: mode.sped: is not a key here; did you mean speed?'],
    ['mode: { speed: fast }', 'x.yaml:1:16: mode.speed: is "fast"; expected a number'],
    ['domains: { a: { next: [x] } }', 'x.yaml:1:12: domains.a.kind: is missing; expected local or upstream'],
    [
      'realms: { A1: { bind: [x] } }',
      'x.yaml:1:11: realms.A1: is not a key that may stand here: a name of small letters',
    ],
    ['- a\n- b', 'x.yaml:1:1: is a list of 2; expected a mapping of keys'],
    ['text', 'x.yaml:1:1: is "text"; expected a mapping of keys'],
    ['__proto__: { a: 1 }', 'x.yaml:1:1: __proto__: is not a key here'],
  ];
  for (const [text, expected] of cases) t.same(problems(text), [expected], text);
});

t.test('bad YAML is a plain sentence with its line', async t => {
  const cases: readonly [string, RegExp][] = [
    ['a:\n\tb: 1\n', /^x\.yaml:2:1: a tab stands where YAML wants spaces; indent with spaces$/],
    ['log:\n  level: info\n level: warn\n', /^x\.yaml:3:1: this line is indented differently from its neighbours/],
    ['a: b: c', /^x\.yaml:1:4: a second colon on one line; put quotes round the text/],
    ['a: [1, 2', /^x\.yaml:1:9: a \] is missing, or stands too far to the left$/],
    ['a: "unfinished', /^x\.yaml:1:\d+: .*something is missing here, a quote/],
    ['host: *x', /^x\.yaml:1:7: \*x names nothing that & marked before it; a text that begins with \* needs quotes$/],
    ['a: 1\n---\nb: 2', /^x\.yaml:2:1: only one document may stand in the file; remove the line ---$/],
    ['host: "\\q"', /backslash sequence means nothing between double quotes/],
  ];
  for (const [text, expected] of cases) {
    const found = problems(text);
    t.match(found[0] ?? '', expected, text);
  }
});

t.test('no YAML makes the loader throw or take long', async t => {
  const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefghi'
    .split('')
    .map((c, i) => `${c}: &${c} [${Array(9).fill(`*${'abcdefgh'[i]}`).join(',')}]`)
    .join('\n')}`;
  for (const text of [
    bomb,
    '? [a]\n: b',
    '!!binary x: 1',
    '1: 2',
    '? ',
    ': x',
    '\0',
    '%YAML 9.9\n---\na: 1',
    '[[[[[[',
    'a: !foo b',
    '&x a: *x',
  ]) {
    const r = loadConfig(schema, { text, file: 'x' });
    t.equal(r.ok, false, JSON.stringify(text.slice(0, 20)));
  }
});

t.test('durations and sizes', async t => {
  const durations: readonly [string, number | undefined][] = [
    ['500ms', 500],
    ['30s', 30_000],
    ['5m', 300_000],
    ['5min', 300_000],
    ['1h30m', 5_400_000],
    ['2d', 172_800_000],
    ['1.5s', 1500],
    ['0s', 0],
    ['30', undefined],
    ['', undefined],
    ['s', undefined],
    ['-1s', undefined],
    ['1 s', undefined],
    ['1w', undefined],
    ['1s ', undefined],
  ];
  for (const [text, ms] of durations) t.equal(parseDuration(text), ms, text);
  const sizes: readonly [string, number | undefined][] = [
    ['512B', 512],
    ['64kB', 64_000],
    ['64KiB', 65_536],
    ['16MiB', 16_777_216],
    ['1.5MB', 1_500_000],
    ['1 GiB', 1_073_741_824],
    ['64', undefined],
    ['64k', undefined],
    ['', undefined],
    ['-1B', undefined],
    ['1TB', undefined],
  ];
  for (const [text, bytes] of sizes) t.equal(parseSize(text), bytes, text);
  for (const ms of [0, 1, 500, 1000, 90_000, 3_600_000, 86_400_000]) t.equal(parseDuration(formatDuration(ms)), ms);
  t.equal(formatDuration(90_000), '90s');
  t.throws(() => duration('soon'), TypeError);
  t.equal(z.object({ a: duration() }).safeParse({}).success, false, 'without a default the key must be there');
});
