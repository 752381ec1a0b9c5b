import t from 'tap';
import {
  drop,
  type Masked,
  maskAddress,
  maskUri,
  maskUser,
  own,
  PASS,
  REASONS,
  ReasonCounts,
  randomToken,
  reasonIndex,
  reply,
  seededRandom,
} from '../src/index.js';

t.test('tokens are token characters, of the length asked, repeatable by seed', async t => {
  const a = randomToken(seededRandom(1), 40);
  t.match(a, /^[0-9A-Za-z.-]{40}$/);
  t.equal(randomToken(seededRandom(1), 40), a);
  t.not(randomToken(seededRandom(2), 40), a);
  t.equal(randomToken(seededRandom(1), 0), '');
  t.equal(randomToken(seededRandom(1), 7).length, 7);
});

t.test('every character of a token is equally likely, at every position', async t => {
  const random = seededRandom(42);
  const seen = Array.from({ length: 16 }, () => new Map<string, number>());
  const rounds = 20_000;
  for (let i = 0; i < rounds; i++) {
    const token = randomToken(random, 16);
    for (const [at, map] of seen.entries()) map.set(token[at] as string, (map.get(token[at] as string) ?? 0) + 1);
  }
  for (const [at, map] of seen.entries()) {
    t.equal(map.size, 64, `position ${at}: all 64 characters`);
    const expected = rounds / 64;
    let chi = 0;
    for (const n of map.values()) chi += (n - expected) ** 2 / expected;
    t.ok(chi < 120, `position ${at}: chi square ${chi.toFixed(0)} of 63 degrees`);
  }
});

t.test('seeded bytes repeat', async t => {
  t.same(seededRandom(5).bytes(8), seededRandom(5).bytes(8));
  t.equal(seededRandom(5).bytes(8).length, 8);
  t.equal(seededRandom(5).bytes(0).length, 0);
});

t.test('personal data masks itself wherever it is printed', async t => {
  const cases: readonly [Masked, string, string][] = [
    [maskUser('alice'), 'alice', 'a…e'],
    [maskUser('al'), 'al', '…'],
    [maskUser(''), '', '…'],
    [maskUser('+442071838750'), '+442071838750', '+…50'],
    [maskUser('1001'), '1001', '1…1'],
    [maskUser('20718'), '20718', '2…18'],
    [maskAddress('192.0.2.17'), '192.0.2.17', '192.0.2.x'],
    [maskAddress('2001:db8:1:2::3'), '2001:db8:1:2::3', '2001:db8:1:x'],
    [maskAddress('2001:db8::3'), '2001:db8::3', '2001:db8::x'],
    [maskUri('sip:alice@example.org'), 'sip:alice@example.org', 'sip:a…e@example.org'],
    [
      maskUri('sips:alice@example.org;transport=tcp'),
      'sips:alice@example.org;transport=tcp',
      'sips:a…e@example.org;transport=tcp',
    ],
    [maskUri('sip:example.org'), 'sip:example.org', 'sip:example.org'],
    [maskUri('tel:+442071838750'), 'tel:+442071838750', 'tel:+…50'],
    [maskUri('sip:alice@192.0.2.17:5060;lr'), 'sip:alice@192.0.2.17:5060;lr', 'sip:a…e@192.0.2.x;lr'],
    [maskUri('sip:alice@[2001:db8:1:2::3]'), 'sip:alice@[2001:db8:1:2::3]', 'sip:a…e@[2001:db8:1:x]'],
    [maskUri('sip:192.0.2.17'), 'sip:192.0.2.17', 'sip:192.0.2.x'],
    [maskUri('alice'), 'alice', 'a…e'],
    [
      maskUri('tel:1001;phone-context=example.org'),
      'tel:1001;phone-context=example.org',
      'tel:1…1;phone-context=example.org',
    ],
    [maskUri('sip:alice:secret@example.org'), 'sip:alice:secret@example.org', 'sip:a…e@example.org'],
  ];
  for (const [masked, plain, shown] of cases) {
    t.equal(`${masked}`, shown);
    t.equal(JSON.stringify({ masked }), JSON.stringify({ masked: shown }));
    t.equal(masked.reveal(), plain);
  }
});

t.test('own() copies what it is given, whatever the bytes', async t => {
  const bytes = Buffer.from(Uint8Array.from({ length: 256 }, (_, i) => i)).toString('latin1');
  t.equal(own(bytes), bytes);
  for (const n of [0, 1, 12, 13, 14]) t.equal(own(bytes.slice(40, 40 + n)), bytes.slice(40, 40 + n));
});

t.test('reasons are unique, have an index, and are counted from zero', async t => {
  t.equal(new Set(REASONS).size, REASONS.length);
  for (const [i, reason] of REASONS.entries()) t.equal(reasonIndex(reason), i);
  for (const reason of REASONS) t.match(reason, /^[a-z0-9]+(?:-[a-z0-9]+)*$/);
  const counts = new ReasonCounts();
  t.same(
    [...counts.entries()],
    REASONS.map(r => [r, 0]),
  );
  counts.add('busy');
  counts.add('busy', 3);
  t.equal(counts.get('busy'), 4);
  t.equal(counts.get('cancelled'), 0);
});

t.test('verdicts', async t => {
  t.same(PASS, { do: 'pass' });
  t.same(drop('too-short'), { do: 'drop', reason: 'too-short' });
  t.equal(drop('too-short'), drop('too-short'), 'one object per reason');
  t.same(reply(403, 'forbidden'), { do: 'reply', status: 403, reason: 'forbidden' });
  t.same(reply(423, 'interval-too-brief', 'Min-Expires: 60\r\n'), {
    do: 'reply',
    status: 423,
    reason: 'interval-too-brief',
    headers: 'Min-Expires: 60\r\n',
  });
});
