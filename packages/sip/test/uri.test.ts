import t from 'tap';
import { aorOf, escapeUser, formatUri, parseUri, type SipUri, unescapeUri, uriEqual } from '../src/index.js';

function uri(text: string): SipUri {
  const u = parseUri(text);
  if (u === undefined) throw new Error(`not a URI: ${text}`);
  return u;
}

t.test('parts of a URI', async t => {
  const u = uri('SIPS:ali%20ce;x=1:secret@Example.ORG:5071;Transport=TCP;lr;maddr=10.0.0.1?Subject=a%20b&to=x');
  t.equal(u.scheme, 'sips');
  t.equal(u.user, 'ali%20ce;x=1');
  t.equal(u.password, 'secret');
  t.equal(u.host, 'example.org');
  t.equal(u.port, 5071);
  t.strictSame(
    [...u.params],
    [
      ['transport', 'TCP'],
      ['lr', ''],
      ['maddr', '10.0.0.1'],
    ],
  );
  t.equal(u.headers, 'Subject=a%20b&to=x');
  t.equal(formatUri(u), 'sips:ali%20ce;x=1:secret@example.org:5071;transport=TCP;lr;maddr=10.0.0.1?Subject=a%20b&to=x');
  const bare = uri('sip:example.org');
  t.equal(bare.user, undefined);
  t.equal(bare.port, undefined);
});

t.test('IPv6 is canonical inside, bracketed outside', async t => {
  const u = uri('sip:bob@[2001:DB8:0:0::1]:5060;lr');
  t.equal(u.host, '2001:db8::1');
  t.equal(formatUri(u), 'sip:bob@[2001:db8::1]:5060;lr');
  t.equal(parseUri('sip:bob@[2001:db8::1'), undefined);
  t.equal(parseUri('sip:bob@[10.0.0.1]'), undefined);
  t.equal(parseUri('sip:bob@[]'), undefined);
  t.equal(parseUri('sip:bob@2001:db8::1'), undefined);
});

t.test('tel', async t => {
  const u = uri('tel:+44-20-7183-8750;ext=1');
  t.equal(u.scheme, 'tel');
  t.equal(u.user, '+44-20-7183-8750');
  t.equal(u.host, '');
  t.equal(formatUri(u), 'tel:+44-20-7183-8750;ext=1');
  t.equal(aorOf(u), '+442071838750');
  t.ok(uriEqual(u, uri('tel:+442071838750;ext=1')));
  t.notOk(uriEqual(u, uri('tel:+442071838750')));
  t.ok(parseUri('tel:7042;phone-context=example.com'));
  t.equal(parseUri('tel:+44x'), undefined);
  t.equal(parseUri('tel:'), undefined);
  t.equal(parseUri('tel:-.'), undefined);
});

t.test('what breaks the grammar or the limits is refused, its neighbour is not', async t => {
  const pairs: [string, string][] = [
    ['sip:a b@h', 'sip:a%20b@h'],
    ['sip:a%2@h', 'sip:a%2f@h'],
    ['sip:a%zz@h', 'sip:azz@h'],
    ['sip:@h', 'sip:a@h'],
    ['sip:a@', 'sip:a@h'],
    ['sip:a@h@i', 'sip:a%40h@i'],
    ['sip:a@h:0', 'sip:a@h:1'],
    ['sip:a@h:65536', 'sip:a@h:65535'],
    ['sip:a@h:', 'sip:a@h'],
    ['sip:a@h;x;x', 'sip:a@h;x;y'],
    ['sip:a@h;X=1;x=2', 'sip:a@h;X=1;z=2'],
    ['sip:a@h;=1', 'sip:a@h;a=1'],
    ['sip:a@h;', 'sip:a@h;b'],
    ['sip:a@h?', 'sip:a@h?b=c'],
    ['sip:a@h<b', 'sip:a@h'],
    ['sip:a"@h', "sip:a'@h"],
    ['sip:a@h\r\nX: y', 'sip:a@h;X=y'],
    ['sip:a@h\0', 'sip:a@h'],
    ['sip:a:b:c@h', 'sip:a:b@h'],
    ['sip:a@h..i', 'sip:a@h.i'],
    ['http://h', 'sip:h'],
    ['sip', 'sip:a'],
    [`sip:${'a'.repeat(513)}@h`, `sip:${'a'.repeat(512)}@h`],
    [`sip:a@${'h'.repeat(254)}`, `sip:a@${'h'.repeat(253)}`],
    [`sip:a@h;b=${'c'.repeat(2048)}`, `sip:a@h;b=${'c'.repeat(2000)}`],
    [
      `sip:a@h${Array.from({ length: 33 }, (_, i) => `;p${i}`).join('')}`,
      `sip:a@h${Array.from({ length: 32 }, (_, i) => `;p${i}`).join('')}`,
    ],
    ['sip:\u0141@h', 'sip:\xc5\x81@h'],
  ];
  for (const [bad, good] of pairs) {
    t.equal(parseUri(bad), undefined, JSON.stringify(bad.slice(0, 60)));
    t.ok(parseUri(good), JSON.stringify(good.slice(0, 60)));
  }
});

t.test('equality, RFC 3261 §19.1.4', async t => {
  const equal: [string, string][] = [
    ['sip:%61lice@atlanta.com;transport=TCP', 'sip:alice@AtLanTa.CoM;Transport=tcp'],
    ['sip:carol@chicago.com', 'sip:carol@chicago.com;newparam=5'],
    ['sip:carol@chicago.com', 'sip:carol@chicago.com;security=on'],
    ['sip:carol@chicago.com;newparam=5', 'sip:carol@chicago.com;security=on'],
    [
      'sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com',
      'sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com',
    ],
    [
      'sip:alice@atlanta.com?subject=project%20x&priority=urgent',
      'sip:alice@atlanta.com?priority=urgent&subject=project%20x',
    ],
    ['sip:a@[2001:db8:0::1]', 'sip:a@[2001:DB8::1]'],
  ];
  const different: [string, string][] = [
    ['SIP:ALICE@AtLanTa.CoM;Transport=udp', 'sip:alice@AtLanTa.CoM;Transport=UDP'],
    ['sip:bob@biloxi.com', 'sip:bob@biloxi.com:5060'],
    ['sip:bob@biloxi.com', 'sip:bob@biloxi.com;transport=udp'],
    ['sip:bob@biloxi.com', 'sip:bob@biloxi.com:6000;transport=tcp'],
    ['sip:carol@chicago.com', 'sip:carol@chicago.com?Subject=next%20meeting'],
    ['sip:bob@phone21.boxesbybob.com', 'sip:bob@192.0.2.4'],
    ['sip:carol@chicago.com;security=on', 'sip:carol@chicago.com;security=off'],
    ['sip:a@h', 'sips:a@h'],
    ['sip:h', 'sip:a@h'],
    ['sip:a:b@h', 'sip:a@h'],
    ['sip:a@h;maddr=10.0.0.1', 'sip:a@h'],
    ['sip:a@h;ttl=1', 'sip:a@h'],
    ['sip:a@h;user=phone', 'sip:a@h'],
    ['sip:a@h;method=INVITE', 'sip:a@h'],
    ['sip:a%3bb@h', 'sip:a;b@h'],
  ];
  for (const [a, b] of equal) {
    t.ok(uriEqual(uri(a), uri(b)), `${a} = ${b}`);
    t.ok(uriEqual(uri(b), uri(a)), `${b} = ${a}`);
  }
  for (const [a, b] of different) {
    t.notOk(uriEqual(uri(a), uri(b)), `${a} ≠ ${b}`);
    t.notOk(uriEqual(uri(b), uri(a)), `${b} ≠ ${a}`);
  }
});

t.test('the address of record', async t => {
  t.equal(aorOf(uri('sip:%61lice@Example.ORG:5060;transport=tcp?x=y')), 'alice@example.org');
  t.equal(aorOf(uri('sips:Alice:pw@example.org')), 'Alice@example.org');
  t.equal(aorOf(uri('sip:Example.org')), 'example.org');
  t.equal(aorOf(uri('sip:null-%00-null@example.com')), 'null-\0-null@example.com');
  t.not(aorOf(uri('sip:a%2561@h')), aorOf(uri('sip:aa@h')), 'unescaped once only');
});

t.test('escapes', async t => {
  t.equal(unescapeUri('a%40b%zz%4'), 'a@b%zz%4');
  t.equal(escapeUser('a@b c#\xe9;='), 'a%40b%20c%23%E9;=');
  t.equal(unescapeUri(escapeUser('a@b c#\xe9%41')), 'a@b c#\xe9%41');
});
