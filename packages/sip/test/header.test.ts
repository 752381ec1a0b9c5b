import t from 'tap';
import {
  acceptList,
  formatNameAddr,
  hasToken,
  parseAuth,
  parseContact,
  parseCSeq,
  parseExpires,
  parseNameAddr,
  parseQ,
  parseRAck,
  parseVia,
  quote,
  splitList,
  tokenList,
  unfold,
  unquote,
} from '../src/index.js';

t.test('name-addr in its three forms', async t => {
  const quoted = parseNameAddr('"Bob \\"B\\" <x>, Esq" <sip:bob@example.org;lr>;tag=1;x="a;b"');
  t.equal(quoted?.display, 'Bob "B" <x>, Esq');
  t.equal(quoted?.uri, 'sip:bob@example.org;lr');
  t.strictSame(
    [...(quoted?.params ?? [])],
    [
      ['tag', '1'],
      ['x', 'a;b'],
    ],
  );
  const tokens = parseNameAddr('Bob the  Builder <sip:bob@h>');
  t.equal(tokens?.display, 'Bob the  Builder');
  const bare = parseNameAddr('sip:bob@h;tag=1');
  t.equal(bare?.uri, 'sip:bob@h', 'outside <> parameters belong to the header');
  t.equal(bare?.params.get('tag'), '1');
  t.equal(parseNameAddr('<sip:[2001:db8::1]:5060>;a')?.uri, 'sip:[2001:db8::1]:5060');
  t.equal(parseNameAddr('J\xf6rg <sip:j@h>')?.display, 'J\xf6rg');
  t.equal(parseNameAddr("O'Neil (home) <sip:o@h>")?.display, "O'Neil (home)");
});

t.test('what is no name-addr', async t => {
  const pairs: [string, string][] = [
    ['', 'sip:a@h'],
    ['"Bob <sip:a@h>', '"Bob" <sip:a@h>'],
    ['"Bob\\" <sip:a@h>', '"Bob\\"" <sip:a@h>'],
    ['"Bob" sip:a@h', '"Bob" <sip:a@h>'],
    ['<sip:a@h', '<sip:a@h>'],
    ['< sip:a@h>', '<sip:a@h>'],
    ['<sip:a@h >', '<sip:a@h> '],
    ['<>', '<a:b>'],
    ['<sip:>', '<sip:a>'],
    ['<1sip:a@h>', '<sip1:a@h>'],
    ['a, b <sip:a@h>', 'a b <sip:a@h>'],
    ['sip:a@h, sip:b@h', 'sip:a@h'],
    ['sip:a@h?x=y', '<sip:a@h?x=y>'],
    ['<sip:a@h>x', '<sip:a@h>;x'],
    ['<sip:a@h>;', '<sip:a@h>;x'],
    ['<sip:a@h>;;x', '<sip:a@h>;x'],
    ['<sip:a@h>;x;X', '<sip:a@h>;x;y'],
    ['<sip:a@h>;x=a b', '<sip:a@h>;x=a'],
    ['<sip:a@h>;x="a', '<sip:a@h>;x="a"'],
    ['sip:a b', 'sip:a'],
    ['alice', 'sip:alice'],
    ['sip:x <sip:a@h>', 'sip <sip:a@h>'],
    ['a\0b <sip:a@h>', 'ab <sip:a@h>'],
  ];
  for (const [bad, good] of pairs) {
    t.equal(parseNameAddr(bad), undefined, bad);
    t.ok(parseNameAddr(good), good);
  }
});

t.test('formatting a name-addr reads back', async t => {
  const text = formatNameAddr({
    display: 'a "b" \\c',
    uri: 'sip:a@h',
    params: new Map([
      ['tag', 'x'],
      ['lr', ''],
      ['q', 'a;b'],
    ]),
  });
  t.equal(text, '"a \\"b\\" \\\\c" <sip:a@h>;tag=x;lr;q="a;b"');
  const back = parseNameAddr(text);
  t.equal(back?.display, 'a "b" \\c');
  t.equal(back?.params.get('q'), 'a;b');
  t.equal(formatNameAddr({ uri: 'sip:a@h' }), '<sip:a@h>');
});

t.test('Via', async t => {
  const v = parseVia('SIP / 2.0 / udp  [2001:DB8::1] : 5070 ; branch = z9hG4bKx ; rport;received=2001:db8::2;ttl=1');
  t.equal(v?.transport, 'UDP');
  t.equal(v?.host, '2001:db8::1');
  t.equal(v?.port, 5070);
  t.equal(v?.sentBy, '[2001:DB8::1]:5070');
  t.equal(v?.branch, 'z9hG4bKx');
  t.equal(v?.params.get('received'), '2001:db8::2');
  t.equal(v?.params.get('rport'), '');
  t.equal(parseVia('SIP/2.0/TCP Example.org')?.host, 'example.org');
  t.equal(parseVia('SIP/2.0/TCP example.org')?.port, undefined);
  const pairs: [string, string][] = [
    ['', 'SIP/2.0/UDP h'],
    ['SIP/2.0/UDP', 'SIP/2.0/UDP h'],
    ['SIP/2.0 UDP h', 'SIP/2.0/UDP h'],
    ['HTTP/2.0/UDP h', 'sip/2.0/UDP h'],
    ['SIP/2.0/UDP h:', 'SIP/2.0/UDP h:1'],
    ['SIP/2.0/UDP h:0', 'SIP/2.0/UDP h:1'],
    ['SIP/2.0/UDP h:65536', 'SIP/2.0/UDP h:65535'],
    ['SIP/2.0/UDP h;branch=a;branch=b', 'SIP/2.0/UDP h;branch=a;x=b'],
    ['SIP/2.0/UDP h;branch', 'SIP/2.0/UDP h;branch=a'],
    ['SIP/2.0/UDP h;branch="a"', 'SIP/2.0/UDP h;branch=a'],
    ['SIP/2.0/UDP h;;', 'SIP/2.0/UDP h;a'],
    ['SIP/2.0/UDP h i', 'SIP/2.0/UDP h'],
    ['SIP/2.0/UDP [::1', 'SIP/2.0/UDP [::1]'],
    ['SIP/2.0/UDP h, SIP/2.0/UDP i', 'SIP/2.0/UDP h'],
  ];
  for (const [bad, good] of pairs) {
    t.equal(parseVia(bad), undefined, bad);
    t.ok(parseVia(good), good);
  }
});

t.test('Contact', async t => {
  const c = parseContact('"A" <sip:a@h;ob>;q=0.7;expires=3600;+sip.instance="<urn:uuid:1>";reg-id=2');
  t.equal(c?.q, 0.7);
  t.equal(c?.expires, 3600);
  t.equal(c?.instance, 'urn:uuid:1');
  t.equal(c?.regId, 2);
  t.equal(c?.wildcard, false);
  t.equal(parseContact('*')?.wildcard, true);
  const plain = parseContact('sip:a@h');
  t.equal(plain?.q, 1);
  t.equal(plain?.expires, undefined);
  t.equal(plain?.regId, 0);
  t.equal(parseContact('<sip:a@h>;q=2'), undefined);
  t.equal(parseContact('<sip:a@h>;reg-id=x'), undefined);
  t.equal(parseContact('<sip:a@h>;reg-id=0'), undefined);
  t.equal(parseContact('**'), undefined);
});

t.test('numbers', async t => {
  t.equal(parseExpires('60'), 60);
  t.equal(parseExpires('0'), 0);
  t.equal(parseExpires('4294967296'), 4294967295);
  t.equal(parseExpires('9'.repeat(400)), 4294967295);
  t.equal(parseExpires('soon'), 3600);
  t.equal(parseExpires('-1'), 3600);
  for (const [text, q] of [
    ['0', 0],
    ['1', 1],
    ['0.5', 0.5],
    ['1.000', 1],
    ['.5', 0.5],
    ['0.', 0],
  ] as const)
    t.equal(parseQ(text), q, text);
  for (const text of ['', '1.1', '-0.5', '0.5555', 'x', '1e0', ' 1']) t.equal(parseQ(text), -1, JSON.stringify(text));
  t.strictSame(parseCSeq('2147483647 INVITE'), { seq: 2147483647, method: 'INVITE' });
  t.strictSame(parseCSeq(' 0009\t INVITE '), { seq: 9, method: 'INVITE' });
  for (const text of ['2147483648 INVITE', '-1 INVITE', '1INVITE', '1', 'INVITE', '1 IN VITE', '1 "X"', ''])
    t.equal(parseCSeq(text), undefined, text);
  t.strictSame(parseRAck('776656 1 INVITE'), { rseq: 776656, seq: 1, method: 'INVITE' });
  for (const text of ['0 1 INVITE', '1 INVITE', '1 2 3 INVITE', 'x 1 INVITE', '4294967296 1 INVITE'])
    t.equal(parseRAck(text), undefined, text);
});

t.test('challenges and credentials', async t => {
  const a = parseAuth('Digest username="al\\"ice", realm="a, b" , nonce=abc== ,nc=00000001,qop=auth, uri="sip:h;x?y"');
  t.equal(a?.scheme, 'digest');
  t.strictSame(
    [...(a?.params ?? [])],
    [
      ['username', 'al"ice'],
      ['realm', 'a, b'],
      ['nonce', 'abc=='],
      ['nc', '00000001'],
      ['qop', 'auth'],
      ['uri', 'sip:h;x?y'],
    ],
  );
  const pairs: [string, string][] = [
    ['', 'Digest a=b'],
    ['Digest', 'Digest a=b'],
    ['Digest ', 'Digest a=b'],
    ['Digest a', 'Digest a=b'],
    ['Digest a=b,', 'Digest a=b'],
    ['Digest a=b,,c=d', 'Digest a=b,c=d'],
    ['Digest a=b c=d', 'Digest a=b, c=d'],
    ['Digest a="b', 'Digest a="b"'],
    ['Digest a="b\\"', 'Digest a="b\\\\"'],
    ['Digest a=b,A=c', 'Digest a=b,c=c'],
    ['"Digest" a=b', 'Digest a=b'],
    [
      `Digest ${Array.from({ length: 65 }, (_, i) => `p${i}=1`).join(',')}`,
      `Digest ${Array.from({ length: 64 }, (_, i) => `p${i}=1`).join(',')}`,
    ],
  ];
  for (const [bad, good] of pairs) {
    t.equal(parseAuth(bad), undefined, bad.slice(0, 40));
    t.ok(parseAuth(good), good.slice(0, 40));
  }
  t.equal(parseAuth('Digest __proto__=x')?.params.get('__proto__'), 'x');
});

t.test('lists', async t => {
  t.strictSame(splitList('a, "b,\\"c" <sip:d,e> ,, <f"g,h>,'), ['a', '"b,\\"c" <sip:d,e>', '<f"g,h>']);
  t.strictSame(splitList('"open, b'), ['"open, b']);
  t.strictSame(splitList('"a\\'), ['"a\\']);
  t.strictSame(splitList(''), []);
  t.strictSame(tokenList('100rel , timer'), ['100rel', 'timer']);
  t.equal(tokenList('100rel timer'), undefined);
  t.ok(hasToken(['100rel', 'Timer'], 'timer'));
  t.notOk(hasToken(['100rel'], 'timer'));
  t.strictSame(
    acceptList('application/SDP;level=1, text/*;q=0.5, */*;q=0')?.map(a => [a.value, a.q]),
    [
      ['application/sdp', 1],
      ['text/*', 0.5],
      ['*/*', 0],
    ],
  );
  t.equal(acceptList('a/b;q=x'), undefined);
  t.equal(acceptList('a/;q=1'), undefined);
  t.equal(acceptList('"a"'), undefined);
});

t.test('quotes and folds', async t => {
  t.equal(unquote('"a\\\\b\\"c\\d"'), 'a\\b"cd');
  t.equal(unquote('plain'), 'plain');
  t.equal(quote('a"b\\c'), '"a\\"b\\\\c"');
  t.equal(unquote(quote('a"b\\c')), 'a"b\\c');
  t.equal(unfold('a \r\n\t b\r\n c'), 'a b c');
  t.equal(unfold('abc'), 'abc');
});
