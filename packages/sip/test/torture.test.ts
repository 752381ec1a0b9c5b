import { readdirSync, readFileSync } from 'node:fs';
import type { Reason } from '@drawbridge/core';
import t from 'tap';
import { buildReply, H, MessageView, parseContacts, parseNameAddr, parseUri } from '../src/index.js';

const CORPUS = new URL('../../test/corpus/rfc4475/', import.meta.url);

interface Verdict {
  /** What `parse` says; 'ok' for undefined. */
  readonly parse: Reason | 'ok';
  /** A reply can be built although it failed. */
  readonly answerable?: boolean;
  readonly why: string;
}

/** RFC 4475 message by message. Faults of a layer above parsing are accepted here and named. */
const VERDICTS: Readonly<Record<string, Verdict>> = {
  // 3.1.1 valid
  wsinv: { parse: 'ok', why: 'folds and white space everywhere' },
  intmeth: { parse: 'malformed-header', why: 'legal, but a NUL in the head never crosses a border' },
  esc01: { parse: 'ok', why: 'escapes in the user part' },
  escnull: { parse: 'ok', why: '%00 in URIs' },
  esc02: { parse: 'ok', why: '% in a method is no escape' },
  lwsdisp: { parse: 'ok', why: 'no white space before <' },
  longreq: { parse: 'ok', why: 'long values' },
  dblreq: { parse: 'ok', why: 'octets after the body are ignored' },
  semiuri: { parse: 'ok', why: 'semicolon in a user part' },
  transports: { parse: 'ok', why: 'unknown transports in Via' },
  mpart01: { parse: 'ok', why: 'binary body' },
  unreason: { parse: 'ok', why: 'UTF-8 reason phrase' },
  noreason: { parse: 'ok', why: 'empty reason phrase' },
  // 3.1.2 invalid
  badinv01: { parse: 'malformed-via', answerable: true, why: 'empty via-params' },
  clerr: { parse: 'truncated-body', answerable: true, why: 'Content-Length past the datagram' },
  ncl: { parse: 'malformed-content-length', answerable: true, why: 'negative Content-Length' },
  scalar02: { parse: 'malformed-cseq', answerable: true, why: 'CSeq of 36893488147419103232' },
  scalarlg: { parse: 'malformed-cseq', why: 'a response with such a CSeq' },
  quotbal: { parse: 'malformed-header', answerable: true, why: 'quote not closed in To' },
  ltgtruri: { parse: 'malformed-start-line', answerable: true, why: '<> around the Request-URI' },
  lwsruri: { parse: 'malformed-start-line', answerable: true, why: 'white space in the Request-URI' },
  lwsstart: { parse: 'malformed-start-line', answerable: true, why: 'several SP in the start line' },
  trws: { parse: 'malformed-start-line', answerable: true, why: 'SP at the end of the start line' },
  escruri: { parse: 'ok', why: 'headers in the Request-URI are ignored, not used' },
  baddate: { parse: 'ok', why: 'Date is not interpreted' },
  regbadct: { parse: 'ok', why: 'Contact without <> but with ?: refused by parseContacts' },
  badaspec: { parse: 'malformed-header', answerable: true, why: 'spaces within <>' },
  baddn: { parse: 'malformed-header', answerable: true, why: 'comma in an unquoted display name' },
  badvers: { parse: 'unsupported-version', answerable: true, why: 'SIP/7.0' },
  mismatch01: { parse: 'cseq-method-mismatch', answerable: true, why: 'CSeq of another method' },
  mismatch02: { parse: 'cseq-method-mismatch', answerable: true, why: 'the same with an unknown method' },
  bigcode: { parse: 'malformed-start-line', why: 'status 4294967301' },
  // 3.2 … 3.4
  badbranch: { parse: 'ok', why: 'a branch that is only the cookie: transaction layer' },
  insuf: { parse: 'missing-header', why: 'no Call-ID, From, To' },
  unkscm: { parse: 'ok', why: 'unknown scheme: 416 by whoever routes' },
  novelsc: { parse: 'ok', why: 'scheme of another protocol: 416' },
  unksm2: { parse: 'ok', why: 'unknown scheme in To and Contact' },
  bext01: { parse: 'ok', why: 'unknown Require: 420 by the core' },
  invut: { parse: 'ok', why: 'unknown body type: 415' },
  regaut01: { parse: 'ok', why: 'unknown auth scheme' },
  multi01: { parse: 'duplicate-header', answerable: true, why: 'two CSeq, Call-ID, To, From …' },
  mcl01: { parse: 'malformed-content-length', answerable: true, why: 'two Content-Length' },
  bcast: { parse: 'ok', why: 'response with a broadcast Via: transaction layer' },
  zeromf: { parse: 'ok', why: 'Max-Forwards 0: 483' },
  cparam01: { parse: 'ok', why: 'unknown contact parameter' },
  cparam02: { parse: 'ok', why: 'contact with a URI parameter' },
  regescrt: { parse: 'ok', why: 'escaped Route in a Contact URI' },
  sdp01: { parse: 'ok', why: 'Accept excludes SDP' },
  inv2543: { parse: 'ok', why: 'RFC 2543 INVITE' },
  test: { parse: 'malformed-start-line', why: 'RFC 2543-style start line without a version' },
};

function corpus(name: string): string {
  return readFileSync(new URL(`${name}.dat`, CORPUS), 'latin1');
}

t.test('every message of RFC 4475 gets its verdict', async t => {
  const names = readdirSync(CORPUS)
    .filter(f => f.endsWith('.dat'))
    .map(f => f.slice(0, -4))
    .sort();
  t.strictSame(names, Object.keys(VERDICTS).sort(), 'the table names each message of the corpus');
  const m = new MessageView();
  let accepted = 0;
  for (const [name, verdict] of Object.entries(VERDICTS)) {
    const fault = m.parse(corpus(name));
    t.equal(fault ?? 'ok', verdict.parse, `${name}: ${verdict.why}`);
    t.equal(m.answerable, verdict.answerable ?? false, `${name}: answerable`);
    if (fault === undefined) accepted++;
  }
  t.ok(accepted * 3 >= names.length, 'at least a third is accepted');
});

t.test('an answerable fault gives a 400 that parses', async t => {
  const m = new MessageView();
  const again = new MessageView();
  for (const [name, verdict] of Object.entries(VERDICTS)) {
    if (verdict.answerable !== true) continue;
    m.parse(corpus(name));
    const text = buildReply(m, 400, { toTag: 'tag1' });
    t.match(text, /^SIP\/2\.0 400 Bad Request\r\n/, name);
    t.equal(text.indexOf('\r\n\r\n'), text.length - 4, `${name}: one head`);
    again.parse(text);
    for (const h of [H.from, H.to, H.callId, H.cseq])
      t.equal(again.next(again.first(h)), -1, `${name}: header ${h} once`);
    t.equal(again.status, 400);
  }
});

t.test('the tortuous INVITE is read as RFC 4475 §3.1.1.1 says', async t => {
  const m = new MessageView();
  t.equal(m.parse(corpus('wsinv')), undefined);
  t.equal(m.method, 'INVITE');
  t.equal(m.uri, 'sip:vivekg@chair-dnrc.example.com;unknownparam');
  t.equal(m.get(H.to), 'sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n');
  t.equal(m.toTag, '1918181833n');
  t.equal(m.fromTag, '98asjd8');
  t.equal(parseNameAddr(m.get(H.from))?.display, 'J Rosenberg \\"');
  t.equal(m.maxForwards, 68);
  t.equal(m.cseq, 9);
  t.equal(m.contentLength, 150);
  t.equal(m.viaTransport, 'UDP');
  t.equal(m.sentBy, '192.0.2.2');
  t.equal(m.branch, '390skdjuw');
  t.equal(m.list(H.via).length, 3);
  t.equal(m.get(H.subject), '');
  t.ok(m.has(H.subject));
  t.equal(m.named('newfangledheader'), 'newfangled value continued newfangled value');
  t.equal(m.named('UnknownHeaderWithUnusualValue'), ';;,,;;,;');
  t.strictSame(m.list(H.route), ['<sip:services.example.com;lr;unknownwith=value;unknown-no-value>']);
  const contact = parseContacts(m)?.[0];
  t.equal(contact?.display, 'Quoted string ""');
  t.equal(contact?.q, 0.33);
  t.equal(contact?.params.get('newparam'), 'newvalue');
  t.equal(m.contentType, 'application/sdp');
});

t.test('other details of the corpus', async t => {
  const m = new MessageView();
  m.parse(corpus('dblreq'));
  t.equal(m.method, 'REGISTER');
  t.equal(m.body, '', 'what follows Content-Length octets is not the body');
  m.parse(corpus('mpart01'));
  t.equal(m.body.length, 553);
  t.equal(m.contentType, 'multipart/mixed');
  m.parse(corpus('esc01'));
  t.equal(parseUri(m.uri)?.user, 'sips%3Auser%40example.com');
  m.parse(corpus('semiuri'));
  t.equal(parseUri(m.uri)?.user, 'user;par=u%40example.net');
  m.parse(corpus('escruri'));
  t.equal(parseUri(m.uri)?.headers, 'Route=%3Csip:example.com%3E');
  m.parse(corpus('unkscm'));
  t.equal(parseUri(m.uri), undefined);
  m.parse(corpus('regbadct'));
  t.equal(parseContacts(m), undefined, 'a ? outside <> is ambiguous');
  m.parse(corpus('cparam01'));
  t.equal(parseContacts(m)?.[0]?.params.has('unknownparam'), true);
  m.parse(corpus('noreason'));
  t.equal(m.status, 100);
  t.equal(m.reasonPhrase, '');
});
