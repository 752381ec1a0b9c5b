import { H, MessageView } from '@drawbridge/sip';
import t from 'tap';
import { bodyCrosses, crossingNames, trustedNames } from '../src/hide/allow.js';
import { ALLOW_LINE, hide } from '../src/hide/hide.js';
import { outerParty } from '../src/hide/party.js';
import { BorderWorld, CORE_UDP, PBX, talking, type Wire } from './harness.js';

/** What an inner side must not show to the other: each string is put into what that side says, and looked for in what leaves. */
interface Mark {
  readonly name: string;
  readonly text: string;
}

/** Messages that crossed toward `peer`; with hiding off that would be what the other side said. */
function found(texts: readonly string[], marks: readonly Mark[]): string[] {
  return marks.filter(mark => texts.some(text => text.includes(mark.text))).map(mark => mark.name);
}

const texts = (wires: readonly Wire[], direction: Wire['direction'], peer: string): string[] =>
  wires.filter(w => w.direction === direction && w.peer === peer).map(w => w.text);

const HEADERS = (where: string): string =>
  [
    `Record-Route: <sip:rr.${where}.invalid;lr>`,
    `Call-Info: <http://ci.${where}.invalid/icon.png>;purpose=icon`,
    `Alert-Info: <http://ai.${where}.invalid/ring.wav>`,
    `Error-Info: <sip:ei.${where}.invalid>`,
    `Warning: 399 w.${where}.invalid "made by w2.${where}.invalid"`,
    `Reason: SIP;cause=200;text="by r.${where}.invalid"`,
    `History-Info: <sip:hi.${where}.invalid>;index=1`,
    `P-Asserted-Identity: <sip:pai@pai.${where}.invalid>`,
    `P-Preferred-Identity: <sip:ppi@ppi.${where}.invalid>`,
    `P-Charging-Vector: icid-value=pcv.${where}.invalid`,
    `Remote-Party-ID: <sip:rpi@rpi.${where}.invalid>`,
    `Diversion: <sip:d@d.${where}.invalid>`,
    `In-Reply-To: irt@${where}.invalid`,
    `Reply-To: <sip:rt@rt.${where}.invalid>`,
    `User-Agent: ua.${where}.invalid/1.0`,
    `Server: sv.${where}.invalid/1.0`,
    `Session-ID: 0123456789abcdef0123456789abcdef;remote=sid.${where}`,
    `X-Secret-${where}: yes`,
    `Subject: about ${where === 'caller' ? 'lunch' : 'dinner'}`,
    '',
  ].join('\r\n');

function marksOf(where: string, inner: string, ids: readonly string[]): Mark[] {
  return [
    ...['rr', 'ci', 'ai', 'ei', 'w', 'w2', 'r', 'hi', 'pai', 'ppi', 'pcv', 'rpi', 'd', 'rt', 'ua', 'sv'].map(name => ({
      name,
      text: `${name}.${where}.invalid`,
    })),
    { name: 'in-reply-to', text: `irt@${where}.invalid` },
    { name: 'session-id', text: `sid.${where}` },
    { name: 'unknown header', text: `X-Secret-${where}` },
    { name: 'inner address', text: inner },
    ...ids.map((text, i) => ({ name: `identifier ${i}`, text })),
  ];
}

t.test(
  'neither side of a call sees anything of the other’s inside; the same scan over what was said finds every mark',
  async t => {
    const world = new BorderWorld();
    const alice = world.phone('alice', { at: '198.51.100.1:5060', inner: '192.168.77.5:5062' }).register();
    const bob = world.phone('bob', { at: '198.51.100.2:6060', inner: '172.16.5.9:5070' }).register();
    world.wires.length = 0;

    const a = alice.invite('sip:bob@example.org', {
      headers: HEADERS('caller'),
      callId: 'callid-of-caller@192.168.77.5',
    });
    const b = bob.called();
    b.answer(183, { headers: HEADERS('callee'), sdp: bob.sdp() });
    a.expect(183);
    b.answer(200, { headers: HEADERS('callee'), sdp: bob.sdp() });
    bob.next('ACK');
    a.expect(200);
    a.send('ACK', { headers: HEADERS('caller') });
    a.send('INFO', { headers: HEADERS('caller'), body: 'Signal=1\r\n', contentType: 'application/dtmf-relay' });
    b.reply(bob.next('INFO'), 200, { headers: HEADERS('callee') });
    alice.next(200);
    b.send('INVITE', { sdp: bob.sdp({ version: 2 }), headers: HEADERS('callee') });
    bob.next(100);
    a.reply(alice.next('INVITE'), 200, { sdp: alice.sdp({ version: 2 }), headers: HEADERS('caller') });
    bob.next(200);
    alice.next('ACK');
    b.send('ACK');
    b.send('BYE', { headers: HEADERS('callee') });
    alice.next('BYE');
    bob.next(200);

    const callerMarks = marksOf('caller', '192.168.77.5', [a.callId, a.localTag, a.branch]);
    const calleeMarks = marksOf('callee', '172.16.5.9', [b.localTag]);
    t.same(found(texts(world.wires, 'out', bob.at), callerMarks), [], 'nothing of the caller reached the callee');
    t.same(found(texts(world.wires, 'out', alice.at), calleeMarks), [], 'nothing of the callee reached the caller');
    // The control: with hiding off the callee would have got what the caller said, and the other way round.
    t.same(
      found(texts(world.wires, 'in', alice.at), callerMarks),
      callerMarks.map(m => m.name),
    );
    t.same(
      found(texts(world.wires, 'in', bob.at), calleeMarks),
      calleeMarks.map(m => m.name),
    );
    t.match(texts(world.wires, 'out', bob.at).join(''), /Subject: about lunch/, 'what may cross does');
    t.match(
      texts(world.wires, 'out', alice.at).join(''),
      /Reason: SIP;cause=200\r\n/,
      'the cause crosses, its text does not',
    );
  },
);

t.test('failures hide as much as successes do', async t => {
  const world = new BorderWorld();
  const alice = world.phone('alice', { at: '198.51.100.1:5060', inner: '192.168.77.5:5062' }).register();
  const bob = world.phone('bob', { at: '198.51.100.2:6060', inner: '172.16.5.9:5070' }).register();
  world.wires.length = 0;
  for (const status of [180, 302, 404, 486, 500, 603]) {
    const a = alice.invite('sip:bob@example.org');
    const b = bob.called();
    b.answer(status, { headers: `${HEADERS('callee')}${status === 302 ? 'Contact: <sip:bob@172.16.5.9>\r\n' : ''}` });
    if (status < 200) b.answer(480, { headers: HEADERS('callee') });
    alice.inbox.length = 0;
    bob.inbox.length = 0;
    alice.send(a.text('ACK', { branch: a.branch, cseq: a.cseq }));
  }
  const marks = marksOf('callee', '172.16.5.9', []);
  t.same(found(texts(world.wires, 'out', alice.at), marks), []);
  t.same(
    found(texts(world.wires, 'in', bob.at), marks),
    marks.map(m => m.name),
    'the control',
  );
});

t.test('spelling does not help a header across: case, compact form, white space, folds, duplicates', async t => {
  const world = new BorderWorld();
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const bob = world.phone('bob', { at: '198.51.100.2:6060' }).register();
  const smuggled = [
    'P-Asserted-Identity : <sip:boss@example.org>',
    'p-asserted-identity\t: <sip:boss@example.org>',
    'P-ASSERTED-IDENTITY:\r\n <sip:boss@example.org>',
    'pAI: <sip:boss@example.org>',
    'P-Asserted-Identity: <sip:boss@example.org>\r\nP-Asserted-Identity: <sip:boss@example.org>',
  ];
  for (const line of smuggled) {
    const a = alice.invite('sip:bob@example.org', { headers: `${line}\r\n` });
    const b = bob.called();
    t.notMatch(b.invite?.text, /boss/, JSON.stringify(line));
    b.answer(486);
    bob.inbox.length = 0;
    alice.inbox.length = 0;
    alice.send(a.text('ACK', { branch: a.branch, cseq: a.cseq }));
  }
  // The control: these spellings of a header that may cross do.
  for (const line of ['Subject: boss', 's: boss', 'SUBJECT\t: boss', 'Subject:\r\n boss']) {
    const a = alice.invite('sip:bob@example.org', { headers: `${line}\r\n` });
    const b = bob.called();
    t.equal(b.invite?.get(H.subject), 'boss', JSON.stringify(line));
    b.answer(486);
    bob.inbox.length = 0;
    alice.inbox.length = 0;
    alice.send(a.text('ACK', { branch: a.branch, cseq: a.cseq }));
  }
});

t.test('From and To keep name, user and domain, and lose the rest', async t => {
  const world = new BorderWorld();
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const bob = world.phone('bob', { at: '198.51.100.2:6060' }).register();
  const a = alice.invite('sip:bob@example.org', {
    from: '"Alice \\"A\\" Liddell" <sip:alice@example.org:5062;transport=udp;x=192.168.77.5>',
  });
  const b = bob.called();
  t.equal(b.invite?.get(H.from), `"Alice \\"A\\" Liddell" <sip:alice@example.org>;tag=${b.remoteTag}`);
  t.equal(b.invite?.get(H.to), '<sip:bob@example.org>');
  b.answer(486);
  t.ok(a);
});

t.test('no extension that needs a part of us which is not there is offered across', async t => {
  const world = new BorderWorld();
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const bob = world.phone('bob', { at: '198.51.100.2:6060' }).register();
  alice.invite('sip:bob@example.org', {
    headers: 'Supported: 100rel, replaces, path, outbound, gruu\r\nAllow: PRACK, INVITE, PUBLISH\r\n',
  });
  const invite = bob.next('INVITE');
  t.notMatch(invite.list(H.supported).join(), /path|outbound|gruu/);
  t.notMatch(invite.list(H.allow).join(), /PUBLISH/);
  t.match(invite.list(H.allow).join(), /INVITE/);
});

t.test('credentials of a caller go to his upstream and nowhere else', async t => {
  const world = new BorderWorld();
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const bob = world.phone('bob', { at: '198.51.100.2:6060' }).register();
  alice.invite('sip:bob@example.org');
  const invite = bob.next('INVITE');
  t.equal(invite.has(H.proxyAuthorization), false, 'the password of a local domain is ours to check');
  t.equal(
    texts(world.wires, 'in', alice.at).some(text => text.includes('Proxy-Authorization')),
    true,
    'the control: it was there',
  );

  const pbx = world.phone('pbx', { at: PBX, inner: '10.0.0.5:5060', via: CORE_UDP, domain: 'pbx.example.net' });
  alice.send(
    alice.request({
      method: 'MESSAGE',
      uri: 'sip:200@pbx.example.net',
      to: '<sip:200@pbx.example.net>',
      body: 'hi',
      headers: 'Authorization: Digest username="alice",realm="pbx.example.net",nonce="n",uri="x",response="secret"\r\n',
    }),
  );
  t.same(
    pbx.inbox.filter(m => m.text.includes('secret')),
    [],
    'nor do credentials in somebody’s name go to an upstream that he does not belong to',
  );
});

t.test('every text that leaves is one message: nothing that a peer says ends a line early', async t => {
  const world = new BorderWorld();
  const { alice, bob } = talking(world);
  const view = new MessageView();
  for (const value of ['x\r\n y', 'x\t\ty', '"\\"', 'x;y=z', '\x80\xff', 'Bye\r\n\tEvil: yes']) {
    alice.send('INFO', {
      headers: `Subject: ${value}\r\n`,
      body: 'Signal=1\r\n',
      contentType: 'application/dtmf-relay',
    });
    const info = bob.phone.inbox.shift();
    if (info !== undefined) {
      t.equal(view.parse(info.text), undefined);
      t.equal(info.named('Evil'), '');
      bob.reply(info, 200);
    }
    alice.phone.inbox.length = 0;
  }
});

t.test('the list of what crosses is short and names no address', async t => {
  const names = crossingNames();
  t.ok(names.length < 45, `${names.length}`);
  for (const never of [
    'Via',
    'Record-Route',
    'Route',
    'Contact',
    'Call-ID',
    'Warning',
    'Refer-To',
    'Replaces',
    'History-Info',
    'P-Asserted-Identity',
    'Call-Info',
    'User-Agent',
    'Server',
    'Path',
    'Service-Route',
    'Diversion',
  ]) {
    t.notOk(names.includes(never), never);
  }
  t.same(trustedNames().sort(), [
    'Accept-Resource-Priority',
    'Diversion',
    'History-Info',
    'Identity',
    'Identity-Info',
    'P-Access-Network-Info',
    'P-Asserted-Identity',
    'P-Charging-Vector',
    'P-Early-Media',
    'Resource-Priority',
  ]);
});

/** Headers that cross whoever the two sides are. */
const OPEN =
  `Expires, Min-Expires, Privacy, Event, Subscription-State, Allow-Events, Retry-After, Subject, Date, Accept,
  Accept-Encoding, Accept-Language, Content-Encoding, Content-Language, Content-Disposition, MIME-Version, Organization, Priority,
  SIP-ETag, SIP-If-Match, User-to-User, Info-Package, Recv-Info, Answer-Mode, Request-Disposition, Suppress-If-Match, Unsupported, Refer-Sub,
  Geolocation, Geolocation-Routing, Geolocation-Error, Content-ID`
    .split(',')
    .map(name => name.trim())
    .sort();
const CREDENTIALS = ['Authorization', 'Proxy-Authorization'];
const CHALLENGES = ['Authentication-Info', 'Proxy-Authenticate', 'Proxy-Authentication-Info', 'WWW-Authenticate'];
const CLOSED = ['Call-Info', 'Contact', 'P-Asserted-Identity', 'Require', 'Server', 'User-Agent', 'Warning', 'X-Mine'];

const NO_TRUST = { credentials: false, challenges: false };

/** What crosses of these header lines. */
function crossed(lines: string, trust: { credentials: boolean; challenges: boolean } = NO_TRUST): string {
  const m = new MessageView();
  const fault = m.parse(
    `INFO sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nMax-Forwards: 9\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>;tag=2\r\nCall-ID: c\r\nCSeq: 1 INFO\r\n${lines}\r\nthe body`,
  );
  if (fault !== undefined) throw new Error(fault);
  return hide(m, trust);
}

t.test('each header crosses as its class says; credentials and challenges where there is trust alone', async t => {
  const all = [...OPEN, ...CREDENTIALS, ...CHALLENGES, ...CLOSED];
  const names = (trust: { credentials: boolean; challenges: boolean }): string[] =>
    all.filter(name => crossed(`${name}: 1\r\n`, trust) === `${name}: 1\r\n`).sort();
  t.same(names(NO_TRUST), OPEN);
  t.same(names({ credentials: true, challenges: false }), [...OPEN, ...CREDENTIALS].sort());
  t.same(names({ credentials: false, challenges: true }), [...OPEN, ...CHALLENGES].sort());
  t.same(
    crossingNames().sort(),
    [...OPEN, ...CREDENTIALS, ...CHALLENGES, 'Reason', 'Require', 'Session-ID', 'Supported'].sort(),
  );
  for (const name of CLOSED) t.equal(crossed(`${name}: 1\r\n`, { credentials: true, challenges: true }), '', name);
});

t.test('what crosses keeps its bytes and its order, at the beginning, in the middle and at the end', async t => {
  t.equal(crossed(''), '');
  t.equal(crossed('s:  a\r\n b\r\nDate: d\r\n'), 's:  a\r\n b\r\nDate: d\r\n', 'two in a row at the end');
  t.equal(
    crossed('Subject: 1\r\nServer: x\r\nPriority: 2\r\nX-A: y\r\nX-A: z\r\nDate: 3\r\nUser-Agent: x\r\n'),
    'Subject: 1\r\nPriority: 2\r\nDate: 3\r\n',
  );
  t.equal(
    crossed('Subject: 1\r\nSupported: tdialog\r\nReason: Q.850;cause=16\r\nDate: 3\r\n'),
    'Subject: 1\r\nSupported: tdialog\r\nReason: Q.850;cause=16\r\nDate: 3\r\n',
  );
});

t.test('Supported keeps the tags that we relay, Reason protocol and cause, Event all but names of dialogs', async t => {
  t.equal(crossed('Supported: 100rel, timer\r\n'), '');
  t.equal(
    crossed('k: NOREFERSUB,100rel, eventlist , tdialog, histinfo-lbyr,path\r\n'),
    'Supported: NOREFERSUB, eventlist, tdialog, histinfo-lbyr\r\n',
  );
  t.equal(crossed('Reason: SIP ;cause=200;text="Call, completed at h"\r\n'), 'Reason: SIP;cause=200\r\n');
  t.equal(
    crossed('Reason: SIP;text="a";Cause=600, Q.850; cause=16\r\n'),
    'Reason: SIP;cause=600\r\nReason: Q.850;cause=16\r\n',
  );
  for (const line of ['Event: check-sync; reboot=true\r\n', 'o: refer;id=7\r\n']) t.equal(crossed(line), line);
  t.equal(crossed('Event: dialog ; Call-ID="a;b@10.1.1.1";from-tag=x;id=3;to-tag=y\r\n'), 'Event: dialog;id=3\r\n');
  t.equal(crossed('Event: dialog;call-id="a;b@10.1.1.1\r\n'), 'Event: dialog\r\n', 'what can’t be read stays behind');
  t.equal(crossed('Reason: SIP;text="no cause"\r\n'), '');
  t.equal(crossed('Reason: SIP;cause=1234\r\n'), '', 'no cause has four digits');
  t.equal(crossed('Reason: @host;cause=200\r\n'), '', 'no protocol');
  t.equal(crossed('Reason: SIP;text="by ;cause=9@h"\r\n'), 'Reason: SIP;cause=9\r\n', 'digits are all that can leak');
});

t.test('a party keeps its name, its user and the host that it is given', async t => {
  const party = (value: string): string =>
    outerParty(value, host => (host === '10.0.0.1' ? 'example.org' : host), 'sip:nobody@invalid');
  t.equal(party('"A B" <sip:a@10.0.0.1:5070;x=y>;tag=1'), '"A B" <sip:a@example.org>');
  t.equal(party('sip:a@other.example;tag=1'), '<sip:a@other.example>');
  t.equal(party('<sips:a:secret@other.example>'), '<sips:a@other.example>');
  t.equal(party('<sip:10.0.0.1>'), '<sip:example.org>', 'no user');
  t.equal(party('<sip:a@[2001:db8::1]:5060>'), '<sip:a@[2001:db8::1]>');
  t.equal(party('Ann <tel:+15551234;phone-context=h>'), 'Ann <tel:+15551234>');
  t.equal(party('Ann <sip:a@b@c>'), 'Ann <sip:nobody@invalid>', 'no URI');
  t.equal(party('"Ann <sip:a@b>'), '<sip:nobody@invalid>', 'no party');
});

t.test('bodies cross by method and type', async t => {
  const types = [
    'application/dtmf-relay',
    'application/dtmf',
    'application/media_control+xml',
    'application/vnd.nortelnetworks.digits',
    'text/plain',
    'text/html',
    'message/cpim',
    'application/im-iscomposing+xml',
    'message/imdn+xml',
    'application/json',
    'application/simple-message-summary',
    'application/pidf+xml',
    'message/sipfrag',
    'application/watcherinfo+xml',
    'application/resource-lists+xml',
    'application/simple-filter+xml',
    'application/sdp',
    'multipart/mixed',
    '',
  ];
  const of = (method: string): string[] => types.filter(type => bodyCrosses(method, type));
  t.same(of('INFO'), types.slice(0, 4));
  t.same(of('MESSAGE'), types.slice(4, 10));
  t.same(of('NOTIFY'), ['text/plain', ...types.slice(10, 14)]);
  t.same(of('PUBLISH'), ['application/pidf+xml']);
  t.same(of('SUBSCRIBE'), types.slice(14, 16));
  for (const method of ['INVITE', 'OPTIONS', 'BYE']) t.same(of(method), [], method);
  t.equal(
    ALLOW_LINE,
    'Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, MESSAGE, PRACK, UPDATE, SUBSCRIBE, NOTIFY, REFER\r\n',
  );
});
