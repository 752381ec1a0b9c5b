import { loadConfig } from '@drawbridge/service';
import { H, type MessageView, parseNameAddr } from '@drawbridge/sip';
import t from 'tap';
import { configSchema } from '../src/config.js';
import { outerParty } from '../src/hide/party.js';
import { BorderWorld, CORE_UDP, PBX, type Phone, replyTo } from './harness.js';

interface Parties {
  readonly world: BorderWorld;
  readonly alice: Phone;
  readonly bob: Phone;
  readonly pbx: Phone;
}

function parties(config: object = {}): Parties {
  const world = new BorderWorld({ config });
  return {
    world,
    alice: world.phone('alice', { at: '198.51.100.1:5060' }).register(),
    bob: world.phone('bob', { at: '198.51.100.2:6060' }).register(),
    pbx: world.phone('pbx', { at: PBX, inner: '10.0.0.5:5060', via: CORE_UDP, domain: 'pbx.example.net' }),
  };
}

/** What a MESSAGE becomes on the other side; its answer's status when it never gets there. */
function across(from: Phone, to: Phone, o: { headers?: string; from?: string } = {}): MessageView | number {
  const user = to.user === 'pbx' ? '200' : to.user;
  const uri = `sip:${user}@${to.domain}`;
  from.ask({ method: 'MESSAGE', uri, to: `<${uri}>`, body: 'x', contact: false, ...o });
  const m = to.inbox.shift();
  if (m === undefined) return from.inbox.shift()?.status ?? 0;
  to.send(replyTo(m, 200));
  from.next(200);
  return m;
}

function message(from: Phone, to: Phone, o: { headers?: string; from?: string } = {}): MessageView {
  const m = across(from, to, o);
  if (typeof m === 'number') throw new Error(`answered ${m}`);
  return m;
}

const partyOf = (m: MessageView): string => m.get(H.from).replace(/;tag=.*/, '');

t.test('who has proven himself is asserted toward an upstream, and to nobody else', async t => {
  const { alice, bob, pbx } = parties();
  const from = '"Alice L" <sip:alice@example.org>;tag=1';
  t.same(message(alice, pbx, { from }).list(H.pAssertedIdentity), ['"Alice L" <sip:alice@example.org>']);
  t.same(message(alice, bob, { from }).list(H.pAssertedIdentity), [], 'a subscriber is shown none');
  t.same(message(pbx, bob).list(H.pAssertedIdentity), [], 'an upstream asserts for itself');
  const a = alice.invite('sip:200@pbx.example.net');
  t.same(pbx.called().invite?.list(H.pAssertedIdentity), ['<sip:alice@example.org>'], 'calls as well as messages');
  t.ok(a);
});

t.test('an identity that a subscriber asserts is dropped; one that he prefers counts when it is his own', async t => {
  const { alice, pbx } = parties({
    identity: { aliases: { 'alice@example.org': ['sales', '+4930123', 'info@example.org'] } },
  });
  const said = (headers: string): string[] => message(alice, pbx, { headers }).list(H.pAssertedIdentity);
  const own = ['<sip:alice@example.org>'];
  t.same(said('P-Asserted-Identity: <sip:boss@example.org>\r\n'), own);
  t.same(said('P-Preferred-Identity: <sip:bob@example.org>\r\n'), own, 'somebody else’s');
  t.same(said('P-Preferred-Identity: "Sales" <sip:sales@example.org:5062;x=y>\r\n'), [
    '"Sales" <sip:sales@example.org>',
  ]);
  t.same(
    said('P-Preferred-Identity: <sip:info@example.org>, <tel:+49-30-123>\r\n'),
    ['<sip:info@example.org>', '<tel:+49-30-123>'],
    'one of each scheme (RFC 3325 §9.2)',
  );
  t.same(said('P-Preferred-Identity: <sip:sales@example.org>, <sip:info@example.org>\r\n'), [
    '<sip:sales@example.org>',
  ]);
  t.same(said('P-Preferred-Identity: <tel:+4930999>\r\n'), own, 'a number that is not his');
  t.same(said('P-Preferred-Identity: ;;;\r\n'), own);
  const m = message(alice, pbx, { headers: 'P-Preferred-Identity: <sip:sales@example.org>\r\n' });
  t.equal(m.has(H.pPreferredIdentity), false, 'what is preferred never crosses');
});

t.test('From names its sender: himself or an alias; anything else is 403', async t => {
  const { alice, pbx } = parties({ identity: { aliases: { 'alice@example.org': ['sales', '+4930123'] } } });
  const from = (uri: string): MessageView | number => across(alice, pbx, { from: `<${uri}>;tag=1` });
  t.equal(from('sip:bob@example.org'), 403);
  t.equal(from('sip:%62ob@EXAMPLE.org.'), 403, 'in any spelling');
  t.equal(from('sip:alice@elsewhere.example'), 403);
  t.equal(from('tel:+4930999'), 403);
  for (const fine of ['sip:alice@example.org', 'sip:%61lice@EXAMPLE.org', 'sip:sales@example.org', 'tel:+4930123'])
    t.type(from(fine), 'object', fine);
  const alias = message(alice, pbx, { from: '<sip:sales@example.org>;tag=1' });
  t.equal(partyOf(alias), '<sip:sales@example.org>');
  t.same(alias.list(H.pAssertedIdentity), ['"" <sip:alice@example.org>'.slice(3)], 'the identity is still who he is');
});

t.test('rewrite puts From right, any leaves it; both still ask for the password', async t => {
  const from = '"Boss" <sip:boss@example.org>;tag=1';
  for (const [mode, party] of [
    ['rewrite', '"Boss" <sip:alice@example.org>'],
    ['any', '"Boss" <sip:boss@example.org>'],
  ] as const) {
    const { alice, pbx, world } = parties({ identity: { from: mode } });
    const m = message(alice, pbx, { from });
    t.equal(partyOf(m), party, mode);
    t.same(m.list(H.pAssertedIdentity), ['<sip:alice@example.org>'], 'whatever he calls himself');
    const stranger = world.phone('mallory', { at: '198.51.100.66:5060' });
    t.equal(across(stranger, pbx, { from }), 407, 'the control: nobody without a password');
    t.same(pbx.heard(), []);
  }
  const { alice, pbx } = parties({ identity: { from: 'rewrite' } });
  t.equal(partyOf(message(alice, pbx, { from: '<sip:x@elsewhere.example>;tag=1' })), '<sip:alice@example.org>');
});

t.test('a forged identity gives no privilege: trust hangs on the source that was proven', async t => {
  const { world, bob, pbx } = parties();
  const mallory = world.phone('mallory', { at: '198.51.100.66:5060' });
  const forged = 'P-Asserted-Identity: <sip:200@pbx.example.net>\r\nIdentity: forged\r\nUser-Agent: pbx\r\n';
  t.equal(across(mallory, bob, { from: '<sip:200@pbx.example.net>;tag=1', headers: forged }), 403);
  t.equal(across(mallory, bob, { from: '<sip:alice@example.org>;tag=1', headers: forged }), 407);
  t.same(bob.heard(), []);
  t.type(
    across(pbx, bob, { from: '<sip:200@pbx.example.net>;tag=1' }),
    'object',
    'the control: the real one gets through',
  );
});

const TRUSTED_LINES = [
  'P-Asserted-Identity: "A" <sip:+4930123@10.0.0.5:5070;user=phone>, <tel:+4930123>',
  'Diversion: "Desk" <sip:100@10.0.0.5>;reason=user-busy;counter=2;privacy=full;x-inner=10.0.0.5',
  'History-Info: <sip:100@10.0.0.5?Reason=SIP%3Bcause%3D302%3Btext%3D%2210.0.0.5%22&Privacy=history&X=y>;index=1;foo=bar',
  'History-Info: <sip:bob@example.org>;index=1.1;mp=1',
  'Identity: eyJhbGciOi.J9.c2ln;info=<https://cert.example/a.pem>;alg=ES256;ppt=shaken',
  'P-Access-Network-Info: 3GPP-E-UTRAN;utran-cell-id-3gpp=1',
  'Warning: 399 gw.inner.example "by 10.0.0.5", 304 x "y"',
  '',
].join('\r\n');

t.test('between trusted sides identities and diversions cross with hosts mapped, STIR byte for byte', async t => {
  const config = { identity: { trusted: ['access'] } };
  const { bob, pbx } = parties(config);
  const m = message(pbx, bob, { headers: TRUSTED_LINES });
  t.same(m.list(H.pAssertedIdentity), ['"A" <sip:+4930123@pbx.example.net>', '<tel:+4930123>']);
  t.same(m.list(H.diversion), ['"Desk" <sip:100@pbx.example.net>;reason=user-busy;counter=2;privacy=full']);
  t.same(m.list(H.historyInfo), [
    '<sip:100@pbx.example.net?Reason=SIP%3Bcause%3D302&Privacy=history>;index=1',
    '<sip:bob@example.org>;index=1.1;mp=1',
  ]);
  t.match(m.text, '\r\nIdentity: eyJhbGciOi.J9.c2ln;info=<https://cert.example/a.pem>;alg=ES256;ppt=shaken\r\n');
  t.match(m.text, '\r\nP-Access-Network-Info: 3GPP-E-UTRAN;utran-cell-id-3gpp=1\r\n');
  t.same(m.list(H.warning), [
    '399 203.0.113.10:5060 "Miscellaneous warning"',
    '304 203.0.113.10:5060 "Media type not available"',
  ]);
  t.notMatch(m.text.slice(m.headStart), /10\.0\.0\.5|gw\.inner|x-inner|X=y|foo=bar/);
});

t.test('none of it crosses when either side is not trusted; the control is the test before', async t => {
  const closed = /P-Asserted|Diversion|History-Info|Identity:|P-Access/;
  const { alice, bob, pbx } = parties();
  t.notMatch(message(pbx, bob, { headers: TRUSTED_LINES }).text, closed, 'to a subscriber');
  t.notMatch(message(alice, bob, { headers: TRUSTED_LINES }).text, closed, 'between subscribers');
  const asserted = message(alice, pbx, { headers: TRUSTED_LINES });
  t.notMatch(asserted.text, /Diversion|History-Info|Identity: ey|P-Access/, 'from a subscriber');
  t.same(asserted.list(H.pAssertedIdentity), ['<sip:alice@example.org>']);
  const out = parties({ identity: { untrusted: ['pbx.example.net'] } });
  t.notMatch(message(out.alice, out.pbx).text, closed, 'to an upstream that the operator does not trust');
  const spelled = parties({
    domains: { 'PBX.Example.Net': { kind: 'upstream', next: ['sip:10.0.0.5'] } },
    identity: { untrusted: ['PBX.Example.Net'] },
  });
  t.notMatch(message(spelled.alice, spelled.pbx).text, closed, 'however its name is spelled');
  const realm = parties({ identity: { untrusted: ['core'], trusted: ['access'] } });
  t.notMatch(message(realm.pbx, realm.bob, { headers: TRUSTED_LINES }).text, closed, 'nor from a realm');
});

t.test('responses are judged by who sends them', async t => {
  const { alice, bob, pbx } = parties();
  const answered = (from: Phone, to: Phone): MessageView => {
    const uri = from === pbx ? 'sip:200@pbx.example.net' : from.aor;
    to.ask({ method: 'MESSAGE', uri, to: `<${uri}>`, body: 'x', contact: false });
    const m = from.next('MESSAGE');
    const lines = 'P-Asserted-Identity: <sip:200@10.0.0.5>\r\nSubject: s\r\n';
    from.send(replyTo(m, 200).replace('Content-Length', `${lines}Content-Length`));
    return to.next(200);
  };
  t.same(answered(bob, pbx).list(H.pAssertedIdentity), [], 'a subscriber asserts nothing, in a response neither');
  t.same(answered(pbx, alice).list(H.pAssertedIdentity), []);
  t.equal(answered(bob, alice).get(H.subject), 's', 'the control: the rest of the response is there');
});

t.test('an upstream’s own subscribers are not vouched for: nobody asked them for a password here', async t => {
  const { world, pbx } = parties();
  const phone = world.phone('300', { at: '198.51.100.9:5060', domain: 'pbx.example.net' });
  phone.send(phone.request({ method: 'REGISTER', uri: 'sip:pbx.example.net', to: `<${phone.aor}>` }));
  const register = pbx.next('REGISTER');
  pbx.send(replyTo(register, 200).replace('Content-Length', `Contact: ${register.get(H.contact)}\r\nContent-Length`));
  phone.next(200);
  t.same(message(phone, pbx).list(H.pAssertedIdentity), []);
  const anonymous = message(phone, pbx, { from: '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1' });
  t.equal(partyOf(anonymous), '"Anonymous" <sip:anonymous@anonymous.invalid>', 'and may call without a name');
});

t.test('display names: controls go, length is bounded, what is clean stays byte for byte', async t => {
  const display = (value: string): string =>
    outerParty(`${value} <sip:a@h>`, h => h, 'sip:n@x').replace(/ ?<sip:a@h>$/, '');
  t.equal(display('"Alice \\"A\\" \xc3\xa4"'), '"Alice \\"A\\" \xc3\xa4"');
  t.equal(display('Alice Liddell'), 'Alice Liddell');
  t.equal(display('"a\x07b\x1b[2Jc\x7f"'), '"ab[2Jc"');
  t.equal(display('"a\xc2\x85b"'), '"ab"', 'C1 as UTF-8');
  t.equal(display('"a\\\x07b"'), '"ab"', 'a quoted pair goes whole');
  t.equal(display(`"${'x'.repeat(500)}"`), `"${'x'.repeat(128)}"`);
  t.equal(display(`"${'x'.repeat(127)}\xc3\xa4"`), `"${'x'.repeat(127)}"`, 'never half a character');
  t.equal(display(`"${'x'.repeat(127)}\\"y"`), `"${'x'.repeat(127)}"`, 'nor half a pair');
  for (const value of ['"\\"'.repeat(1), `"${'\\\\'.repeat(400)}"`, '"\x01"']) {
    const out = outerParty(`${value} <sip:a@h>`, h => h, 'sip:n@x');
    t.ok(parseNameAddr(out) !== undefined, JSON.stringify(out));
  }
});

t.test('the configuration says what it expects', async t => {
  const fault = (text: string): string => {
    const read = loadConfig(configSchema, { file: 'x.yaml', text: `identity:\n${text}` });
    return read.ok ? 'fine' : read.problems.map(p => `${p.line} ${p.message}`).join();
  };
  t.equal(fault('  from: match\n  trusted: [default]\n  aliases: {a@b: [c, 12, "+49"]}\n'), 'fine');
  t.match(fault('  from: sometimes\n'), /^2 .*match.*rewrite.*any/);
  t.match(fault('  aliases: {alice: [x]}\n'), /^2 .*user@domain/);
  t.equal(fault('  trusted: [pbxes]\n'), '2 is "pbxes"; expected a realm (default, loopback)');
  t.equal(
    fault('  untrusted: [cheap]\n'),
    '2 is "cheap"; expected an upstream domain, a trunk or a realm (default, loopback)',
  );
  t.equal(fault('  untrusted: [cheap]\ntrunks: {cheap: {next: ["sip:192.0.2.1"]}}\n'), 'fine', 'control');
  t.match(
    fault('  from: any\ncalls: {transfer: {core: relay}}\n'),
    /^3 is "relay"; expected a realm \(default, loopback\)/,
  );
});

t.test('a trunk is told who calls, unless the operator does not trust it', async t => {
  for (const [untrusted, told] of [
    [[], ['<sip:alice@example.org>']],
    [['carrier'], []],
  ] as const) {
    const carrierAt = '10.0.0.50:5060';
    const world = new BorderWorld({
      config: {
        identity: { untrusted },
        trunks: { carrier: { next: [`sip:${carrierAt}`], host: 'carrier.example', options: false } },
        numbering: { country: '49' },
        routes: [{ name: 'out', when: { to: '+*' }, to: [{ trunk: 'carrier' }] }],
      },
    });
    const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
    const carrier = world.phone('carrier', {
      at: carrierAt,
      inner: carrierAt,
      via: CORE_UDP,
      domain: 'carrier.example',
    });
    alice.invite('sip:+4930999@example.org', { headers: 'P-Asserted-Identity: <sip:boss@example.org>\r\n' });
    const invite = carrier.next('INVITE');
    t.same(invite.list(H.pAssertedIdentity), told);
    t.equal(invite.uri.includes('+4930999'), true, 'the control: it is the call');
  }
});
