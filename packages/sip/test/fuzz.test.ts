import { seededRandom } from '@drawbridge/core';
import fc from 'fast-check';
import t from 'tap';
import {
  acceptList,
  buildRequest,
  formatUri,
  H,
  headerLine,
  MessageView,
  parseAuth,
  parseContact,
  parseNameAddr,
  parseUri,
  parseVia,
  quote,
  Splice,
  safeValue,
  splitList,
  tokenList,
  unquote,
  uriEqual,
} from '../src/index.js';
import { check, mutated, SEEDS } from './fuzzing.js';

const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`seed ${SEED}; again with SEED=${SEED} node packages/sip/dist/test/fuzz.test.js`);
const RUNS = { seed: SEED, numRuns: 300 };

const TOKEN = [..."abcXYZ019-.!%*_+`'~"];
const token = fc.string({ unit: fc.constantFrom(...TOKEN), minLength: 1, maxLength: 12 });
/** In a URI a `%` begins an escape. */
const paramName = token.map(n => n.replaceAll('%', 'p'));
/** Any byte. */
const byte = fc.integer({ min: 0, max: 255 }).map(c => String.fromCharCode(c));
const bytes = fc.string({ unit: byte, maxLength: 40 });
/** What may stand in a value: visible bytes, those from 0x80 on, SP and HTAB. */
const text = fc
  .string({
    unit: fc
      .integer({ min: 32, max: 255 })
      .filter(c => c !== 127)
      .map(c => String.fromCharCode(c)),
    maxLength: 30,
  })
  .map(s => s.trim());
const host = fc.constantFrom('example.org', '192.0.2.1', '[2001:db8::1]', 'a-b.c', '[::ffff:10.0.0.1]');
const port = fc.option(fc.integer({ min: 1, max: 65535 }), { nil: undefined });
const user = fc.string({
  unit: fc.constantFrom(...'abc0;=+$,?/&', '%41', '%00', '%40', '\xe9'),
  minLength: 1,
  maxLength: 10,
});
const uri = fc
  .tuple(
    fc.constantFrom('sip', 'sips'),
    fc.option(user, { nil: undefined }),
    host,
    port,
    fc.uniqueArray(fc.tuple(paramName, fc.constantFrom('', '1', 'TCP', 'a%20b')), {
      selector: p => p[0].toLowerCase(),
      maxLength: 4,
    }),
  )
  .map(
    ([scheme, u, h, p, params]) =>
      `${scheme}:${u === undefined ? '' : `${u}@`}${h}${p === undefined ? '' : `:${p}`}${params.map(([n, v]) => `;${n}${v === '' ? '' : `=${v}`}`).join('')}`,
  );
/** A display name that needs quoted pairs now and then. */
const display = fc.string({
  unit: fc.constantFrom('a', ' ', '"', '\\', ',', ';', '<', '>', '\xc3', '\xa4', ':'),
  maxLength: 12,
});
const nameAddr = fc
  .tuple(display, uri, fc.option(token, { nil: undefined }))
  .map(([d, u, tag]) => `${quote(d)} <${u}>${tag === undefined ? '' : `;tag=${tag}`}`);
const fold = fc.constantFrom('', '', ' ', '\t', '\r\n ', '\r\n\t  ', '  \r\n ');

interface Line {
  readonly raw: string;
  readonly name: string;
  readonly value: string;
}

/** A header nobody knows, with folds between its words; `value` is what must be read. */
const oddLine: fc.Arbitrary<Line> = fc
  .tuple(
    token.map(n => `X-${n}`),
    fc.constantFrom('', ' ', '\t '),
    fold,
    fc.array(
      fc.tuple(
        text.map(w => w.replaceAll(/[ \t]/g, '_')).filter(w => w !== ''),
        fc.constantFrom(' ', '\r\n ', ' \r\n\t'),
      ),
      { maxLength: 4 },
    ),
  )
  .map(([name, before, after, words]) => ({
    name,
    raw: `${name}${before}:${after}${words.map(([w], i) => w + (i < words.length - 1 ? words[i]?.[1] : '')).join('')}\r\n`,
    value: words.map(([w]) => w).join(' '),
  }));

interface Model {
  readonly lines: readonly Line[];
  readonly raw: string;
  readonly body: string;
}

/** A well-formed INVITE in long or compact names, any case, folds after the colon, lists, and headers nobody knows. */
const message: fc.Arbitrary<Model> = fc
  .tuple(
    uri,
    nameAddr,
    nameAddr,
    token,
    token,
    host,
    port,
    fc.boolean(),
    fc.boolean(),
    fold,
    fc.array(oddLine, { maxLength: 5 }),
    fc.array(nameAddr, { minLength: 1, maxLength: 3 }),
    bytes,
  )
  .map(([u, from, to, callId, branch, h, p, compact, upper, f, odd, contacts, body]) => {
    const spell = (long: string, short: string): string =>
      compact ? (upper ? short.toUpperCase() : short) : upper ? long.toUpperCase() : long;
    const line = (name: string, value: string): Line => ({ name, raw: `${name}:${f}${value}\r\n`, value });
    const lines = [
      line(spell('Via', 'v'), `SIP/2.0/UDP ${h}${p === undefined ? '' : `:${p}`};branch=${branch}`),
      line(spell('From', 'f'), from),
      ...odd.slice(0, 2),
      line(spell('To', 't'), to),
      line(spell('Call-ID', 'i'), callId),
      line('CSeq', '7 INVITE'),
      line(spell('Contact', 'm'), contacts.join(' , ')),
      ...odd.slice(2),
      line(spell('Content-Length', 'l'), String(body.length)),
    ];
    return { lines, body, raw: `INVITE ${u} SIP/2.0\r\n${lines.map(l => l.raw).join('')}\r\n${body}` };
  });

t.test(
  'reading gives back what was written: folds, compact names, quoted pairs, lists, IPv6, bytes from 0x80 on',
  async t => {
    const m = new MessageView();
    let folded = 0;
    fc.assert(
      fc.property(message, model => {
        if (m.parse(model.raw) !== undefined) throw new Error(`refused: ${m.parse(model.raw)}`);
        if (m.count !== model.lines.length || m.body !== model.body) return false;
        if (model.raw.includes('\r\n ')) folded++;
        return model.lines.every((l, i) => m.name(i) === l.name && m.value(i) === l.value && m.line(i) === l.raw);
      }),
      RUNS,
    );
    t.ok(folded > 10, 'the generator does fold');
  },
);

t.test('parse ∘ build is identity', async t => {
  const m = new MessageView();
  fc.assert(
    fc.property(
      uri,
      host,
      token,
      nameAddr,
      nameAddr,
      token,
      fc.integer({ min: 0, max: 2 ** 31 - 1 }),
      fc.array(uri, { maxLength: 3 }),
      text,
      bytes,
      (u, h, branch, from, to, callId, cseq, routes, extra, body) => {
        const built = buildRequest({
          method: 'INVITE',
          uri: u,
          via: { transport: 'TCP', sentBy: h, branch },
          maxForwards: 9,
          from,
          to,
          callId,
          cseq,
          routes: routes.map(r => `<${r}>`),
          headers: headerLine('X-Extra', extra),
          contentType: 'application/x',
          body,
        });
        if (m.parse(built, true) !== undefined) return false;
        return (
          m.uri === u &&
          m.sentBy === h &&
          m.branch === branch &&
          m.get(H.from) === from &&
          m.get(H.to) === to &&
          m.callId === callId &&
          m.cseq === cseq &&
          m.body === body &&
          m.named('x-extra') === extra &&
          m.list(H.route).join() === routes.map(r => `<${r}>`).join()
        );
      },
    ),
    RUNS,
  );
  t.pass();
});

t.test('untouched headers leave byte-identical, whatever else is edited', async t => {
  const m = new MessageView();
  const edit = fc.tuple(fc.constantFrom('replace', 'remove', 'before', 'append'), fc.nat(20), oddLine);
  fc.assert(
    fc.property(message, fc.array(edit, { maxLength: 6 }), (model, edits) => {
      m.parse(model.raw);
      const splice = new Splice(m);
      const before: string[] = model.lines.map(() => '');
      const stands = model.lines.map(l => l.raw);
      let appended = '';
      for (const [kind, n, line] of edits) {
        // The last header, Content-Length, stays: the splice would add one.
        const i = n % (model.lines.length - 1);
        if (kind === 'replace') {
          splice.replace(i, line.raw);
          stands[i] = line.raw;
        } else if (kind === 'remove') {
          splice.remove(i);
          stands[i] = '';
        } else if (kind === 'before') {
          splice.insertBefore(i, line.raw);
          before[i] += line.raw;
        } else {
          splice.append(line.raw);
          appended += line.raw;
        }
      }
      const start = model.raw.slice(0, model.raw.indexOf('\r\n') + 2);
      return splice.build() === `${start}${stands.map((s, i) => before[i] + s).join('')}${appended}\r\n${model.body}`;
    }),
    RUNS,
  );
  t.pass();
});

t.test('no copied field makes a second header', async t => {
  const m = new MessageView();
  const plain = SEEDS[0] ?? '';
  m.parse(plain);
  const count = m.count;
  const again = new MessageView();
  const hostile = fc.oneof(
    bytes,
    fc
      .array(fc.constantFrom('\r', '\n', '\0', ' ', '\t', 'X: y', ':', 'a', '\r\n', '\r\n '), { maxLength: 6 })
      .map(p => p.join('')),
  );
  let refused = 0;
  let taken = 0;
  fc.assert(
    fc.property(hostile, value => {
      m.parse(plain);
      let out: string;
      try {
        out = new Splice(m).append(headerLine('X-Copied', value)).build();
      } catch {
        refused++;
        return !safeValue(value);
      }
      taken++;
      return (
        safeValue(value) &&
        again.parse(out) === undefined &&
        again.count === count + 1 &&
        again.named('X-Copied') === value.replaceAll(/^[ \t]+|[ \t]+$/g, '')
      );
    }),
    { ...RUNS, numRuns: 1000 },
  );
  t.ok(refused > 50 && taken > 50, `refused ${refused}, taken ${taken}`);
});

t.test('URIs and quoted strings survive the way there and back', async t => {
  fc.assert(
    fc.property(uri, s => {
      const u = parseUri(s);
      const back = u === undefined ? undefined : parseUri(formatUri(u));
      return u !== undefined && back !== undefined && uriEqual(u, back) && formatUri(back) === formatUri(u);
    }),
    RUNS,
  );
  fc.assert(
    fc.property(display, d => unquote(quote(d)) === d && parseNameAddr(`${quote(d)} <sip:a>`)?.display === d),
    RUNS,
  );
  t.pass();
});

t.test('header parsers are total', async t => {
  const any = fc.oneof(
    bytes,
    fc
      .array(
        fc.oneof(
          fc.constantFrom(
            '"',
            '\\',
            '<',
            '>',
            ';',
            ',',
            '=',
            ' ',
            '\r\n ',
            '%4',
            '[',
            ']',
            ':',
            '@',
            'Digest ',
            'SIP/2.0/UDP ',
            'sip:',
            'tel:',
          ),
          bytes,
        ),
        { maxLength: 8 },
      )
      .map(p => p.join('')),
  );
  fc.assert(
    fc.property(any, s => {
      void [
        parseNameAddr(s),
        parseContact(s),
        parseVia(s),
        parseAuth(s),
        parseUri(s),
        tokenList(s),
        acceptList(s),
        splitList(s),
        unquote(s),
      ];
    }),
    { ...RUNS, numRuns: 3000 },
  );
  t.pass();
});

t.test('mutated messages keep the invariant of fuzz/sip.ts', async t => {
  const random = seededRandom(SEED);
  let accepted = 0;
  for (const text of SEEDS) check(text, false);
  for (let i = 0; i < 4000; i++) {
    const text = mutated(random);
    try {
      if (check(text, i % 2 === 1)) accepted++;
    } catch (error) {
      t.fail(`seed ${SEED}, run ${i}: ${error}`, { text: JSON.stringify(text) });
      break;
    }
  }
  t.ok(accepted > 100, `${accepted} of 4000 accepted`);
});

/** CPU microseconds of one call, the least of several. */
function cost(work: () => void): number {
  let least = Number.POSITIVE_INFINITY;
  for (let k = 0; k < 7; k++) {
    const from = process.cpuUsage();
    for (let n = 0; n < 20; n++) work();
    const used = process.cpuUsage(from);
    least = Math.min(least, (used.user + used.system) / 20);
  }
  return least;
}

t.test('64 kB of one hostile field cost time in proportion', async t => {
  const m = new MessageView();
  const head = (line: string): string =>
    `${(SEEDS[0] ?? '').replace(/\r\nMax-Forwards/, () => `\r\n${line}\r\nMax-Forwards`)}`;
  const swap = (name: string, value: string): string =>
    (SEEDS[0] ?? '').replace(new RegExp(`\\r\\n${name}: [^\\r]*`), () => `\r\n${name}: ${value}`);
  const fields: [string, (n: number) => void][] = [
    ['Request-URI', n => m.parse((SEEDS[0] ?? '').replace('sip:b@', () => `sip:${'%'.repeat(n)}@`))],
    ['method', n => m.parse('I'.repeat(n) + (SEEDS[0] ?? ''))],
    ['Via blanks', n => m.parse(swap('Via', `SIP/2.0/UDP h${' '.repeat(n)}x`))],
    ['Via params', n => m.parse(swap('Via', `SIP/2.0/UDP h${';a'.repeat(n / 2)}`))],
    ['From quotes', n => m.parse(swap('From', `"${'\\"'.repeat(n / 2)}`))],
    ['From angles', n => m.parse(swap('From', '<'.repeat(n)))],
    ['To blanks', n => m.parse(swap('To', `a${' '.repeat(n)}`))],
    ['To tags', n => m.parse(swap('To', `<sip:a>${';tag'.repeat(n / 4)}`))],
    ['Call-ID', n => m.parse(swap('Call-ID', 'a'.repeat(n)))],
    ['CSeq', n => m.parse(swap('CSeq', '0'.repeat(n)))],
    ['folds', n => m.parse(head(`X: a${'\r\n '.repeat(n / 3)}`))],
    [
      'unfolding',
      n => {
        m.parse(head(`X-F: a${'\r\n b'.repeat(n / 4)}`));
        m.named('X-F');
      },
    ],
    ['colons', n => m.parse(head(':'.repeat(n)))],
    ['name', n => m.parse(head(`${'n'.repeat(n)}: x`))],
    ['empty lines', n => m.parse(head('x\r\n'.repeat(n / 3)))],
    ['CRs', n => m.parse(head('\r'.repeat(n)))],
    ['list', n => void splitList('a,'.repeat(n / 2))],
    ['list of quotes', n => void splitList('"'.repeat(n))],
    ['name-addr', n => void parseNameAddr(`<sip:a>${';x="'.repeat(n / 4)}`)],
    ['auth', n => void parseAuth(`Digest ${'a="\\"",'.repeat(n / 7)}`)],
    ['auth of blanks', n => void parseAuth(`Digest a${' '.repeat(n)}`)],
    ['unquote', n => void unquote(`"${'\\'.repeat(n)}"`)],
    ['accept', n => void acceptList('a/b;q=0.5,'.repeat(n / 10))],
  ];
  for (const [name, work] of fields) {
    const small = cost(() => work(16_384));
    const large = cost(() => work(65_536));
    t.ok(large < 50_000, `${name}: ${large} µs`);
    // Four times the bytes: 4 when linear, 16 when quadratic. Below 100 µs the clock is too coarse to tell.
    t.ok(large < 100 || large < 10 * small, `${name}: ${small} → ${large} µs`);
  }
  const quadratic = (n: number): void => {
    let s = 0;
    for (let i = 0; i < n / 16; i++) for (let k = 0; k < n / 16; k++) s += i ^ k;
    if (s === 1) throw new Error();
  };
  t.notOk(
    cost(() => quadratic(65_536)) < 10 * cost(() => quadratic(16_384)),
    'the same yardstick finds a quadratic one',
  );
});
