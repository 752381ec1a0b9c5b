import { Endpoints, type Reason } from '@drawbridge/core';
import t from 'tap';
import {
  buildReply,
  buildRequest,
  H,
  headerId,
  headerLine,
  headerName,
  MessageView,
  methodAt,
  reasonPhrase,
  Splice,
  safeValue,
} from '../src/index.js';

const VIA = 'Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport';
const BASE = [
  VIA,
  'Max-Forwards: 70',
  'From: "A" <sip:a@example.org>;tag=f1',
  'To: <sip:b@example.org>',
  'Call-ID: c1@192.0.2.1',
  'CSeq: 1 INVITE',
  'Contact: <sip:a@192.0.2.1>',
  'Content-Length: 4',
];

/** An INVITE of these lines; `without` drops lines that start so, `plus` adds some. */
function invite(o: { plus?: string[]; without?: string; start?: string; body?: string } = {}): string {
  const lines = [...BASE.filter(l => o.without === undefined || !l.startsWith(o.without)), ...(o.plus ?? [])];
  return `${o.start ?? 'INVITE sip:b@example.org SIP/2.0'}\r\n${lines.join('\r\n')}\r\n\r\n${o.body ?? 'body'}`;
}

t.test('a plain request', async t => {
  const m = new MessageView();
  t.equal(m.parse(invite()), undefined);
  t.equal(m.isRequest, true);
  t.equal(m.method, 'INVITE');
  t.equal(m.uri, 'sip:b@example.org');
  t.equal(m.status, 0);
  t.equal(m.count, 8);
  t.equal(m.branch, 'z9hG4bKa');
  t.equal(m.sentBy, '192.0.2.1:5060');
  t.equal(m.viaTransport, 'UDP');
  t.equal(m.via.rport, true);
  t.equal(m.fromTag, 'f1');
  t.equal(m.toTag, '');
  t.equal(m.callId, 'c1@192.0.2.1');
  t.equal(m.cseq, 1);
  t.equal(m.cseqMethod, 'INVITE');
  t.equal(m.maxForwards, 70);
  t.equal(m.contentLength, 4);
  t.equal(m.body, 'body');
  t.equal(m.contentType, '');
  t.equal(m.name(2), 'From');
  t.equal(m.value(2), '"A" <sip:a@example.org>;tag=f1');
  t.equal(m.line(2), 'From: "A" <sip:a@example.org>;tag=f1\r\n');
  t.equal(m.id(2), H.from);
  t.equal(m.first(H.route), -1);
  t.equal(m.get(H.route), '');
  t.equal(m.value(-1), '');
  t.equal(m.line(99), '');
  t.equal(m.id(99), 0);
});

t.test('a response', async t => {
  const m = new MessageView();
  t.equal(m.parse(invite({ start: 'SIP/2.0 486 Busy Here' })), undefined);
  t.equal(m.isRequest, false);
  t.equal(m.status, 486);
  t.equal(m.reasonPhrase, 'Busy Here');
  t.equal(m.method, '');
  t.equal(m.cseqMethod, 'INVITE');
  t.equal(m.parse(invite({ start: 'SIP/2.0 200' })), undefined, 'without a phrase');
  t.equal(m.parse(invite({ start: 'SIP/2.0 200 ' })), undefined);
});

t.test('a view that is used again keeps nothing', async t => {
  const m = new MessageView();
  m.parse(invite({ plus: ['Route: <sip:x>', 'X-Odd: 1'] }));
  t.ok(m.has(H.route));
  t.equal(m.parse('SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h\r\n\r\n'), 'missing-header');
  t.notOk(m.has(H.route));
  t.equal(m.named('x-odd'), '');
  t.strictSame(
    [
      m.branch,
      m.fromTag,
      m.toTag,
      m.callId,
      m.cseq,
      m.cseqMethod,
      m.maxForwards,
      m.contentLength,
      m.uri,
      m.method,
      m.count,
    ],
    ['', '', '', '', -1, '', -1, -1, '', '', 1],
  );
  t.equal(m.parse(''), 'malformed-start-line');
  t.strictSame([m.count, m.sentBy, m.isRequest, m.answerable], [0, '', false, false]);
});

t.test('every fault has its reason, and its neighbour none', async t => {
  const cases: [string, Reason, string, string][] = [
    [
      'no version',
      'malformed-start-line',
      invite({ start: 'INVITE sip:b@h' }),
      invite({ start: 'INVITE sip:b@h SIP/2.0' }),
    ],
    [
      'two spaces',
      'malformed-start-line',
      invite({ start: 'INVITE  sip:b@h SIP/2.0' }),
      invite({ start: 'INVITE sip:b@h sip/2.0' }),
    ],
    [
      'bare CR in the Request-URI',
      'malformed-start-line',
      invite({ start: 'INVITE sip:b\rX:@h SIP/2.0' }),
      invite({ start: 'INVITE sip:bX:@h SIP/2.0' }),
    ],
    [
      'a control in the Request-URI',
      'malformed-start-line',
      invite({ start: 'INVITE sip:b\x01@h SIP/2.0' }),
      invite({ start: 'INVITE sip:b\x80@h SIP/2.0' }),
    ],
    [
      'bare CR in a reason phrase',
      'malformed-start-line',
      invite({ start: 'SIP/2.0 200 O\rK' }),
      invite({ start: 'SIP/2.0 200 O\tK' }),
    ],
    [
      'NUL in a reason phrase',
      'malformed-start-line',
      invite({ start: 'SIP/2.0 200 O\0K' }),
      invite({ start: 'SIP/2.0 200 O K' }),
    ],
    ['space at the end', 'malformed-start-line', invite({ start: 'INVITE sip:b@h SIP/2.0 ' }), invite()],
    ['method no token', 'malformed-start-line', invite({ start: 'INV@TE sip:b@h SIP/2.0' }), invite()],
    ['no scheme', 'malformed-uri', invite({ start: 'INVITE bob SIP/2.0' }), invite({ start: 'INVITE x:bob SIP/2.0' })],
    ['other version', 'unsupported-version', invite({ start: 'INVITE sip:b@h SIP/3.0' }), invite()],
    [
      'other version of a response',
      'unsupported-version',
      invite({ start: 'SIP/3.0 200 OK' }),
      invite({ start: 'sip/2.0 200 OK' }),
    ],
    ['status 99', 'malformed-start-line', invite({ start: 'SIP/2.0 099 No' }), invite({ start: 'SIP/2.0 100 No' })],
    ['status 700', 'malformed-start-line', invite({ start: 'SIP/2.0 700 No' }), invite({ start: 'SIP/2.0 699 No' })],
    [
      'status of four digits',
      'malformed-start-line',
      invite({ start: 'SIP/2.0 2000 No' }),
      invite({ start: 'SIP/2.0 200 No' }),
    ],
    ['no colon', 'malformed-header', invite({ plus: ['Foo'] }), invite({ plus: ['Foo:'] })],
    ['empty name', 'malformed-header', invite({ plus: [': x'] }), invite({ plus: ['a: x'] })],
    ['space in a name', 'malformed-header', invite({ plus: ['Fo o: x'] }), invite({ plus: ['Foo \t : x'] })],
    ['NUL in a name', 'malformed-header', invite({ plus: ['Foo\0: x'] }), invite({ plus: ['Foo_: x'] })],
    ['NUL in a value', 'malformed-header', invite({ plus: ['Foo: \0'] }), invite({ body: 'bo\0y' })],
    ['fold before the colon', 'malformed-header', invite({ plus: ['Foo\r\n : x'] }), invite({ plus: ['Foo:\r\n x'] })],
    ['bare LF', 'malformed-header', invite({ plus: ['Foo: x\nBar: y'] }), invite({ plus: ['Foo: x\r\nBar: y'] })],
    ['bare CR', 'malformed-header', invite({ plus: ['Foo: x\rBar: y'] }), invite({ body: 'b\ro\n' })],
    [
      'bare CR in a fold',
      'malformed-header',
      invite({ plus: ['Foo: x\r\n y\rz'] }),
      invite({ plus: ['Foo: x\r\n y\r\n\tz'] }),
    ],
    ['bare LF in a fold', 'malformed-header', invite({ plus: ['Foo: x\r\n y\nz'] }), invite()],
    ['CR CR LF', 'malformed-header', invite({ plus: ['Foo: x\r'] }), invite()],
    ['no empty line', 'malformed-header', invite({ body: '' }).slice(0, -2), `${invite()}`],
    ['cut in a line', 'malformed-header', invite().slice(0, 120), invite()],
    [
      '129 headers',
      'too-many-headers',
      invite({ plus: new Array<string>(121).fill('Foo: y') }),
      invite({ plus: new Array<string>(120).fill('Foo: y') }),
    ],
    ['no Via', 'missing-header', invite({ without: 'Via' }), invite()],
    ['no From', 'missing-header', invite({ without: 'From' }), invite({ without: 'From', plus: ['f: <sip:a@h>'] })],
    ['no To', 'missing-header', invite({ without: 'To' }), invite({ without: 'To', plus: ['T : <sip:a@h>'] })],
    ['no Call-ID', 'missing-header', invite({ without: 'Call-ID' }), invite({ without: 'Call-ID', plus: ['i: x'] })],
    ['no CSeq', 'missing-header', invite({ without: 'CSeq' }), invite({ without: 'Max-Forwards' })],
    [
      'another byte for the hyphen of a name',
      'missing-header',
      invite({ without: 'Call-ID', plus: ['Call_ID: x'] }),
      invite({ without: 'Call-ID', plus: ['CALL-id\t: x'] }),
    ],
    ['two From', 'duplicate-header', invite({ plus: ['f: <sip:x@h>'] }), invite({ plus: ['ff: <sip:x@h>'] })],
    ['two To', 'duplicate-header', invite({ plus: ['tO: <sip:x@h>'] }), invite()],
    ['two Call-ID', 'duplicate-header', invite({ plus: ['CALL-ID: x'] }), invite({ plus: ['Call-IDs: x'] })],
    ['two CSeq', 'duplicate-header', invite({ plus: ['CSeq: 1 INVITE'] }), invite()],
    ['two Max-Forwards', 'duplicate-header', invite({ plus: ['Max-Forwards: 1'] }), invite()],
    [
      'two Content-Type',
      'duplicate-header',
      invite({ plus: ['c: a/b', 'Content-Type: a/b'] }),
      invite({ plus: ['c: a/b'] }),
    ],
    ['two Content-Length', 'malformed-content-length', invite({ plus: ['l: 4'] }), invite()],
    ['conflicting Content-Length', 'malformed-content-length', invite({ plus: ['l: 5'] }), invite()],
    [
      'Via',
      'malformed-via',
      invite({ without: 'Via', plus: ['Via: SIP/2.0/UDP'] }),
      invite({ without: 'Via', plus: ['Via: SIP/2.0/UDP h'] }),
    ],
    [
      'two tags',
      'malformed-header',
      invite({ without: 'From', plus: ['From: <sip:a@h>;tag=1;tag=2'] }),
      invite({ without: 'From', plus: ['From: <sip:a@h>;tag=1;x=2'] }),
    ],
    [
      'empty tag',
      'malformed-header',
      invite({ without: 'From', plus: ['From: <sip:a@h>;tag='] }),
      invite({ without: 'From', plus: ['From: <sip:a@h>'] }),
    ],
    ['quoted tag', 'malformed-header', invite({ without: 'From', plus: ['From: <sip:a@h>;tag="1"'] }), invite()],
    ['two values in To', 'malformed-header', invite({ without: 'To', plus: ['To: <sip:a@h>, <sip:b@h>'] }), invite()],
    ['space in Call-ID', 'malformed-header', invite({ without: 'Call-ID', plus: ['Call-ID: a b'] }), invite()],
    ['empty Call-ID', 'malformed-header', invite({ without: 'Call-ID', plus: ['Call-ID: '] }), invite()],
    [
      'CSeq 2³¹',
      'malformed-cseq',
      invite({ without: 'CSeq', plus: ['CSeq: 2147483648 INVITE'] }),
      invite({ without: 'CSeq', plus: ['CSeq: 2147483647 INVITE'] }),
    ],
    ['CSeq without method', 'malformed-cseq', invite({ without: 'CSeq', plus: ['CSeq: 1'] }), invite()],
    [
      'CSeq of 400 digits',
      'malformed-cseq',
      invite({ without: 'CSeq', plus: [`CSeq: ${'1'.repeat(400)} INVITE`] }),
      invite(),
    ],
    [
      'CSeq method',
      'cseq-method-mismatch',
      invite({ without: 'CSeq', plus: ['CSeq: 1 BYE'] }),
      invite({ start: 'SIP/2.0 200 OK', without: 'CSeq', plus: ['CSeq: 1 BYE'] }),
    ],
    [
      'CSeq method in lower case',
      'cseq-method-mismatch',
      invite({ without: 'CSeq', plus: ['CSeq: 1 invite'] }),
      invite(),
    ],
    [
      'Max-Forwards 256',
      'malformed-header',
      invite({ without: 'Max', plus: ['Max-Forwards: 256'] }),
      invite({ without: 'Max', plus: ['Max-Forwards: 255'] }),
    ],
    [
      'Content-Length negative',
      'malformed-content-length',
      invite({ without: 'Content', plus: ['l: -1'] }),
      invite({ without: 'Content', plus: ['l: 0'] }),
    ],
    [
      'Content-Length hexadecimal',
      'malformed-content-length',
      invite({ without: 'Content', plus: ['l: 0x4'] }),
      invite({ without: 'Content', plus: ['l: 04'] }),
    ],
    [
      'Content-Length 2³²+4',
      'malformed-content-length',
      invite({ without: 'Content', plus: ['l: 4294967300'] }),
      invite(),
    ],
    [
      'Content-Length of 400 digits',
      'malformed-content-length',
      invite({ without: 'Content', plus: [`l: ${'0'.repeat(399)}4`] }),
      invite(),
    ],
    ['Content-Length a list', 'malformed-content-length', invite({ without: 'Content', plus: ['l: 4, 4'] }), invite()],
    [
      'Content-Length too large',
      'truncated-body',
      invite({ without: 'Content', plus: ['l: 5'] }),
      invite({ without: 'Content', plus: ['l: 3'] }),
    ],
  ];
  const m = new MessageView();
  for (const [name, reason, bad, good] of cases) {
    t.equal(m.parse(bad), reason, name);
    t.equal(m.parse(good), undefined, `${name}: neighbour`);
  }
});

t.test('a folded header is read as closely as before', async t => {
  const m = new MessageView();
  const via = (value: string): string => invite({ without: 'Via', plus: [`Via: ${value}`] });
  t.equal(m.parse(via('SIP/2.0/UDP h:5070;branch=z9\r\n ;rport')), undefined);
  t.strictSame([m.branch, m.sentBy, m.via.rport], ['z9', 'h:5070', true]);
  t.equal(m.parse(via('SIP/2.0/UDP h:5070;rport;branch=z9\r\n\t;received=1.2.3.4 ')), undefined);
  t.strictSame([m.branch, m.via.rport], ['z9', true]);
  for (const bad of [
    'SIP/2.0/UDP h;branch=z@9\r\n ;rport',
    'SIP/2.0/UDP h;branch=z9\r\n ;branch=z8',
    'SIP/2.0/UDP h;branch=z9\r\n x;rport',
  ])
    t.equal(m.parse(via(bad)), 'malformed-via', JSON.stringify(bad));
  const from = (value: string): string => invite({ without: 'From', plus: [`From: ${value}`] });
  t.equal(m.parse(from('"A" <sip:a@h>\r\n ;tag=f2')), undefined);
  t.equal(m.fromTag, 'f2');
  t.equal(m.parse(from('"A\r\n\tB" <sip:a@h>;tag=f3')), undefined);
  t.equal(m.fromTag, 'f3');
  for (const bad of ['<sip:a\r\n\t@h>;tag=f2', '<sip:a"@h>\r\n ;tag=f2', '<sip:a@h>\r\n x;tag=f2'])
    t.equal(m.parse(from(bad)), 'malformed-header', JSON.stringify(bad));
});

t.test('two views at once, and a short message after a long one', async t => {
  const a = new MessageView();
  const b = new MessageView();
  t.equal(a.parse(invite()), undefined);
  t.equal(b.parse(invite({ start: 'BYE sip:x SIP/2.0', plus: ['X: y'] }).replace('1 INVITE', '2 BYE')), undefined);
  t.strictSame([a.method, a.branch, a.contactUri, a.cseq], ['INVITE', 'z9hG4bKa', 'sip:a@192.0.2.1', 1]);
  t.strictSame([a.fromTag, a.value(0), a.body, b.cseq], ['f1', VIA.slice(5), 'body', 2]);
  // What the longer one left behind is no part of the shorter.
  for (let n = 0; n < invite().length; n++) {
    a.parse(invite());
    t.not(a.parse(invite().slice(0, n)), undefined);
    if (a.bodyEnd > n || a.line(a.count - 1).length > n) t.fail(`cut at ${n}`);
  }
});

t.test('a head has an end within 128 kB, whatever the body', async t => {
  const m = new MessageView();
  const long = (n: number): string => invite({ plus: [`X: ${'y'.repeat(n)}`] });
  const room = 131_072 - long(0).indexOf('\r\n\r\n') - 4;
  t.equal(m.parse(long(room)), undefined);
  t.equal(m.body, 'body', 'past what is copied');
  t.equal(m.parse(long(room + 4)), 'malformed-header');
  t.equal(m.answerable, false);
});

t.test('answerable', async t => {
  const m = new MessageView();
  const cases: [string, boolean, string][] = [
    ['CSeq mismatch', true, invite({ without: 'CSeq', plus: ['CSeq: 1 BYE'] })],
    ['truncated body', true, invite({ body: '' })],
    ['malformed line', true, invite({ plus: ['x'] })],
    ['duplicate', true, invite({ plus: ['To: <sip:c@h>'] })],
    ['a response never', false, invite({ start: 'SIP/2.0 200 OK', body: '' })],
    ['an ACK never', false, invite({ start: 'ACK sip:b@h SIP/2.0' })],
    ['without To', false, invite({ without: 'To' })],
    ['Via without host', false, invite({ without: 'Via', plus: ['Via: SIP/2.0/UDP'] })],
    ['a bare CR', false, invite({ plus: ['X: a\rb'] })],
    ['a NUL', false, invite({ plus: ['X: a\0b'] })],
    ['nothing wrong', false, invite()],
  ];
  for (const [name, answerable, text] of cases) {
    m.parse(text);
    t.equal(m.answerable, answerable, name);
  }
});

t.test('framed from a stream', async t => {
  const m = new MessageView();
  t.equal(m.parse(invite({ without: 'Content' }), true), 'missing-header');
  t.equal(m.parse(invite({ without: 'Content' }), false), undefined);
  t.equal(m.body, 'body', 'on a datagram the rest is the body');
  t.equal(m.parse(`\r\n\r\n${invite()}`, true), undefined, 'CRLF before the start line is ignored');
  t.equal(m.method, 'INVITE');
});

t.test('octets past Content-Length are ignored', async t => {
  const m = new MessageView();
  t.equal(m.parse(`${invite()}${invite()}`), undefined);
  t.equal(m.body, 'body');
  t.equal(new Splice(m).build(), invite());
});

t.test('header names: long, compact, any case, never a lookalike', async t => {
  for (const id of Object.values(H)) {
    const name = headerName(id);
    t.equal(headerId(name), id, name);
    t.equal(headerId(name.toUpperCase()), id);
    t.not(headerId(`${name}x`), id);
    if (name !== 'To') t.not(headerId(name.slice(0, -1)), id, `${name} cut short`);
  }
  for (const [compact, id] of [
    ['v', H.via],
    ['F', H.from],
    ['t', H.to],
    ['I', H.callId],
    ['m', H.contact],
    ['l', H.contentLength],
    ['c', H.contentType],
    ['k', H.supported],
    ['x', H.sessionExpires],
    ['r', H.referTo],
    ['o', H.event],
    ['s', H.subject],
  ] as const) {
    t.equal(headerId(compact), id, compact);
  }
  for (const name of [
    '',
    'vi',
    'call\rid',
    'call_id',
    'Via ',
    'V\xe9a',
    '__proto__',
    'constructor',
    'toString',
    '\xf6',
  ])
    t.equal(headerId(name), 0, JSON.stringify(name));
  const m = new MessageView();
  m.parse(invite({ plus: ['__proto__: 1', 'p-asserted-IDENTITY \t: <sip:x@h>', 'constructor: 2'] }));
  t.equal(m.named('__proto__'), '1');
  t.equal(m.named('Constructor'), '2');
  t.equal(m.get(H.pAssertedIdentity), '<sip:x@h>');
  t.equal(m.named('P-Asserted-Identity'), '<sip:x@h>');
});

t.test('lists over several lines', async t => {
  const m = new MessageView();
  m.parse(
    invite({
      plus: ['Route: <sip:a,b@h;lr>, "x,y" <sip:c>', 'Supported: 100rel', 'route : <sip:d>', 'k: timer,\r\n gruu'],
    }),
  );
  t.strictSame(m.list(H.route), ['<sip:a,b@h;lr>', '"x,y" <sip:c>', '<sip:d>']);
  t.strictSame(m.list(H.supported), ['100rel', 'timer', 'gruu']);
  t.equal(m.next(m.first(H.route)), 10);
  t.equal(m.next(10), -1);
});

t.test('known methods are constants, others are what was written', async t => {
  for (const name of [
    'INVITE',
    'ACK',
    'BYE',
    'CANCEL',
    'REGISTER',
    'OPTIONS',
    'INFO',
    'MESSAGE',
    'SUBSCRIBE',
    'NOTIFY',
    'PUBLISH',
    'REFER',
    'UPDATE',
    'PRACK',
  ]) {
    t.equal(methodAt(`x${name}y`, 1, 1 + name.length), name);
  }
  for (const name of ['invite', 'INVITX', 'BYF', 'X', '', 'NEWMETHOD', 'A'.repeat(30)])
    t.equal(methodAt(name, 0, name.length), name);
});

const PEER = Endpoints.of(
  { address: '198.51.100.7', port: 40000 },
  { address: '192.0.2.1', port: 5060 },
  { address: '2001:db8::7', port: 9 },
);

t.test('a reply: received and rport on the top Via only', async t => {
  const m = new MessageView();
  const top = (via: string, j: number): string => {
    m.parse(invite({ without: 'Via', plus: [via, 'Via: SIP/2.0/TCP proxy;branch=z9hG4bKb;rport'] }));
    const text = buildReply(m, 200, { peer: PEER, j, toTag: 't' });
    const lines = text.split('\r\n');
    t.equal(lines[2], 'Via: SIP/2.0/TCP proxy;branch=z9hG4bKb;rport', 'the next is untouched');
    return lines[1] ?? '';
  };
  t.equal(top(VIA, 0), 'Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;received=198.51.100.7;rport=40000');
  t.equal(
    top(VIA, 1),
    'Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;received=192.0.2.1;rport=5060',
    'with rport always both',
  );
  t.equal(
    top('v: SIP/2.0/UDP 192.0.2.1;branch=x', 1),
    'v: SIP/2.0/UDP 192.0.2.1;branch=x',
    'same address, no rport: nothing added',
  );
  t.equal(top('v: SIP/2.0/UDP 192.0.2.1;branch=x', 0), 'v: SIP/2.0/UDP 192.0.2.1;branch=x;received=198.51.100.7');
  t.equal(top('v: SIP/2.0/UDP host.example;branch=x', 0), 'v: SIP/2.0/UDP host.example;branch=x;received=198.51.100.7');
  t.equal(top('v: SIP/2.0/UDP [2001:DB8:0::7];branch=x', 2), 'v: SIP/2.0/UDP [2001:DB8:0::7];branch=x');
  t.equal(top('v: SIP/2.0/UDP [2001:db8::8];rport', 2), 'v: SIP/2.0/UDP [2001:db8::8];received=2001:db8::7;rport=9');
  t.equal(
    top('v: SIP/2.0/UDP 192.0.2.1;received=9.9.9.9;branch=x;rport=1', 0),
    'v: SIP/2.0/UDP 192.0.2.1;branch=x;received=198.51.100.7',
    'what the sender claims is dropped',
  );
  t.equal(
    top('v: SIP/2.0/UDP 192.0.2.1 ; rport ; branch=x , SIP/2.0/UDP h;rport', 0),
    'v: SIP/2.0/UDP 192.0.2.1 ; branch=x ;received=198.51.100.7;rport=40000, SIP/2.0/UDP h;rport',
    'first of a list',
  );
});

t.test('a reply has what RFC 3261 §8.2.6 wants', async t => {
  const m = new MessageView();
  m.parse(invite({ plus: ['Record-Route: <sip:p1;lr>', 'Timestamp: 54', 'Record-Route: <sip:p2;lr>'] }));
  t.equal(
    buildReply(m, 180, { toTag: 'tt', headers: headerLine('Contact', '<sip:us>') }),
    `SIP/2.0 180 Ringing\r\n${VIA}\r\nFrom: "A" <sip:a@example.org>;tag=f1\r\nTo: <sip:b@example.org>;tag=tt\r\nCall-ID: c1@192.0.2.1\r\nCSeq: 1 INVITE\r\n` +
      'Record-Route: <sip:p1;lr>\r\nRecord-Route: <sip:p2;lr>\r\nContact: <sip:us>\r\nContent-Length: 0\r\n\r\n',
  );
  t.match(buildReply(m, 100, {}), /\r\nTimestamp: 54\r\n/);
  t.notMatch(buildReply(m, 100, {}), /Record-Route|tag=tt/);
  t.notMatch(buildReply(m, 486, { toTag: 'x' }), /Record-Route|Timestamp/);
  t.match(
    buildReply(m, 200, { toTag: 'x', contentType: 'application/sdp', body: 'v=0\r\n' }),
    /\r\nContent-Type: application\/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n$/,
  );
  t.match(buildReply(m, 299, { phrase: 'Fine' }), /^SIP\/2\.0 299 Fine\r\n/);
  m.parse(invite({ without: 'To', plus: ['To: <sip:b@h>;tag=mine'] }));
  t.match(buildReply(m, 200, { toTag: 'other' }), /\r\nTo: <sip:b@h>;tag=mine\r\n/, 'a tag that is there stays');
  t.equal(reasonPhrase(608), 'Rejected');
  t.equal(reasonPhrase(499), 'Request Failure');
});

t.test('a request of our own reads back', async t => {
  const text = buildRequest({
    method: 'INVITE',
    uri: 'sip:b@h',
    via: { transport: 'udp', sentBy: '[2001:db8::1]:5060', branch: 'z9hG4bKq' },
    maxForwards: 69,
    from: '<sip:a@h>;tag=1',
    to: '<sip:b@h>',
    callId: 'x',
    cseq: 7,
    contact: '<sip:us>',
    routes: ['<sip:p1;lr>', '<sip:p2;lr>'],
    headers: headerLine('Supported', 'timer'),
    contentType: 'application/sdp',
    body: 'v=0\r\n',
  });
  const m = new MessageView();
  t.equal(m.parse(text, true), undefined);
  t.equal(m.sentBy, '[2001:db8::1]:5060');
  t.equal(m.via.rport, true);
  t.strictSame(m.list(H.route), ['<sip:p1;lr>', '<sip:p2;lr>']);
  t.strictSame(
    [m.cseq, m.maxForwards, m.body, m.contentType, m.get(H.supported)],
    [7, 69, 'v=0\r\n', 'application/sdp', 'timer'],
  );
});

t.test('the builders refuse what could become another header', async t => {
  const m = new MessageView();
  m.parse(invite());
  for (const bad of ['a\r\nX: y', 'a\nb', 'a\rb', 'a\0b']) {
    t.notOk(safeValue(bad));
    t.throws(() => headerLine('X', bad), TypeError);
    t.throws(() => headerLine(`X${bad}`, 'y'), TypeError);
    t.throws(() => buildReply(m, 200, { phrase: bad }), TypeError);
    t.throws(() => buildReply(m, 200, { toTag: bad }), TypeError);
    t.throws(() => buildReply(m, 200, { contentType: bad, body: 'x' }), TypeError);
    t.throws(() => new Splice(m).startLine(bad), TypeError);
    t.throws(() => new Splice(m).body(bad, 'x'), TypeError);
    t.throws(() => new Splice(m).append(`X: ${bad}\r\n`), TypeError);
  }
  t.ok(safeValue('a\tb\xff'));
  t.equal(headerLine('X', 'a\tb\xff'), 'X: a\tb\xff\r\n');
  for (const bad of [
    'X: y',
    'X: y\r\n\r\n',
    'X: y\r\nZ: w\r\n',
    'X y\r\n',
    ': y\r\n',
    '',
    'X\r\n : y\r\n',
    'X: y\r\n \r\nZ',
    'X: y\n',
  ]) {
    t.throws(() => new Splice(m).append(bad), TypeError, JSON.stringify(bad));
  }
  t.ok(new Splice(m).append('X: y\r\n z\r\n').build().includes('X: y\r\n z\r\n'), 'a fold is no second header');
  for (const bad of ['X: y', '\r\n', 'X: y\r\n\r\nZ: w\r\n', 'X: \0\r\n'])
    t.throws(() => buildReply(m, 200, { headers: bad }), TypeError, JSON.stringify(bad));
  t.throws(() => new Splice(m).remove(8), RangeError);
  t.throws(() => new Splice(m).insertBefore(9, 'X: y\r\n'), RangeError);
});

t.test('splicing', async t => {
  const m = new MessageView();
  const text = invite({ plus: ['s:  folded\r\n  subject  ', 'X: 1'] });
  m.parse(text);
  t.equal(new Splice(m).build(), text, 'no edit, no change');
  const out = new Splice(m)
    .startLine('BYE sip:x SIP/2.0')
    .replace(0, 'Via: ours\r\n')
    .insertBefore(1, 'A: 1\r\n')
    .insertBefore(1, 'B: 2\r\n')
    .remove(6)
    .append('Z: 9\r\n')
    .build();
  t.equal(
    out,
    `BYE sip:x SIP/2.0\r\nVia: ours\r\nA: 1\r\nB: 2\r\nMax-Forwards: 70\r\n${BASE[2]}\r\n${BASE[3]}\r\n${BASE[4]}\r\n${BASE[5]}\r\n${BASE[7]}\r\ns:  folded\r\n  subject  \r\nX: 1\r\nZ: 9\r\n\r\nbody`,
  );
  t.equal(
    new Splice(m).replace(1, 'A: 1\r\n').replace(1, 'B: 1\r\n').build(),
    text.replace('Max-Forwards: 70', 'B: 1'),
    'the later edit wins',
  );
  t.match(
    new Splice(m).body('application/sdp', 'v=0\r\n').build(),
    /Content-Length: 5\r\n.*Content-Type: application\/sdp\r\n\r\nv=0\r\n$/s,
  );
  t.match(new Splice(m).body('', '').build(), /Content-Length: 0\r\n.*\r\n\r\n$/s);
  m.parse(invite({ without: 'Content', plus: ['c: text/plain'] }));
  t.match(
    new Splice(m).build(),
    /c: text\/plain\r\nContent-Length: 4\r\n\r\nbody$/,
    'a missing Content-Length is added',
  );
  t.notMatch(new Splice(m).body('', '').build(), /text\/plain/);
});
