import { Endpoints, type Verdict } from '@drawbridge/core';
import { answerChallenge, type Flow, H, headerLine } from '@drawbridge/sip';
import t from 'tap';
import { type Identity, NOBODY } from '../src/inbound.js';
import { ACCESS_TCP, ACCESS_UDP, CORE_UDP, contactsOf, PBX, PBX_TWO, parsed, type Sent, World } from './world.js';

const PHONE = '198.51.100.7:40001';
const OTHER = '198.51.100.8:40002';
const INNER = '<sip:alice@192.168.1.5:5060>';

t.test('a REGISTER is challenged, then bound to the flow it came over, whatever its contact says', async t => {
  const w = new World();
  w.receive(w.request({ contacts: [INNER] }), PHONE);
  const [challenge] = w.take();
  t.match(challenge?.text, /^SIP\/2\.0 401 Unauthorized\r\n/);
  t.match(
    challenge?.text,
    /WWW-Authenticate: Digest realm="example.org",nonce="[^"]+",algorithm=MD5,qop="auth,auth-int"\r\n/,
  );
  t.equal(challenge?.to, PHONE, 'to the source, not to the Via');
  t.equal(w.flows.size, 0, 'no state before proof');
  t.equal(w.transactions.serverCount, 0);

  const ok = w.ask({ contacts: [INNER], headers: 'Expires: 300\r\n' }, PHONE);
  t.equal(ok?.status, 200);
  t.same(contactsOf(ok), [`${INNER};expires=300`]);
  t.match(w.take().at(-1)?.text, /;received=198\.51\.100\.7;rport=40001/);
  const [b] = w.registrar.lookup('alice@example.org');
  t.same(b?.flow.peer.get(b.flow.j), { address: '198.51.100.7', port: 40001 });
  t.equal(b?.flow.via, ACCESS_UDP);
  t.equal(b?.opaque.length, 20);
  t.equal(w.registrar.byOpaque(b?.opaque ?? ''), b);

  for (const contact of [
    '<sip:alice@203.0.113.10:5060>',
    '<sip:alice@victim.example.com>',
    '<sip:alice@10.0.0.5;maddr=8.8.8.8>',
  ]) {
    const poisoned = w.ask({ contacts: [contact], callId: `poison-${contact.length}` }, PHONE);
    t.equal(poisoned?.status, 200, contact);
  }
  for (const each of w.registrar.lookup('alice@example.org')) {
    t.same(each.flow.peer.get(each.flow.j), { address: '198.51.100.7', port: 40001 }, 'the flow is the only way back');
  }
});

t.test('who may register what', async t => {
  const w = new World();
  t.equal(w.ask({ contacts: [INNER] }, PHONE)?.status, 200, 'control: alice for alice');
  t.equal(w.ask({ user: 'bob', authUser: 'alice', contacts: [INNER] }, PHONE)?.status, 403, 'alice for bob');
  t.equal(w.counts.get('not-owner'), 1);
  t.equal(w.registrar.lookup('bob@example.org').length, 0);
  t.equal(w.ask({ contacts: [INNER], password: 'wrong' }, PHONE)?.status, 401);
  t.equal(w.ask({ user: 'nobody', contacts: [INNER] }, PHONE)?.status, 401, 'an unknown user looks the same');
  const known = w.ask({ contacts: [INNER], password: 'wrong' }, PHONE);
  const unknown = w.ask({ user: 'mallory', contacts: [INNER], password: 'wrong' }, PHONE);
  t.equal(known?.text.length, (unknown?.text.length ?? 0) - 2 * ('mallory'.length - 'alice'.length), 'and is as long');
  t.equal(w.ask({ uri: 'sip:elsewhere.example.com', contacts: [INNER] }, PHONE)?.status, 404);
  t.equal(w.counts.get('unknown-domain'), 1);
  t.equal(
    w.ask({ to: '<sip:alice@pbx.example.net>', contacts: [INNER] }, PHONE)?.status,
    404,
    'To of another domain than the Request-URI',
  );
  const escaped = w.ask(
    { to: '<sip:%61lice@EXAMPLE.org:5060;transport=udp>', contacts: ['<sip:x@1.2.3.4>'], callId: 'esc' },
    PHONE,
  );
  t.equal(escaped?.status, 200);
  t.equal(w.registrar.lookup('alice@example.org').length, 2, 'unescaped and stripped before the lookup');
});

t.test('intervals: too brief, too long, none, zero, malformed', async t => {
  const w = new World({ config: { registrar: { minExpires: '60s', maxExpires: '1h', defaultExpires: '10m' } } });
  const brief = w.ask({ contacts: [`${INNER};expires=59`] }, PHONE);
  t.equal(brief?.status, 423);
  t.equal(brief?.get(H.minExpires), '60');
  t.equal(w.registrar.lookup('alice@example.org').length, 0);
  t.same(
    contactsOf(w.ask({ contacts: [`${INNER};expires=60`] }, PHONE)),
    [`${INNER};expires=60`],
    'control: the minimum itself',
  );
  t.same(contactsOf(w.ask({ contacts: [`${INNER};expires=999999`] }, PHONE)), [`${INNER};expires=3600`]);
  t.same(contactsOf(w.ask({ contacts: [INNER] }, PHONE)), [`${INNER};expires=600`]);
  t.same(
    contactsOf(w.ask({ contacts: [`${INNER};expires=soon`] }, PHONE)),
    [`${INNER};expires=3600`],
    'malformed counts as an hour',
  );
  t.same(
    contactsOf(w.ask({ contacts: [`${INNER};expires=120`], headers: 'Expires: 0\r\n' }, PHONE)),
    [`${INNER};expires=120`],
    'the parameter outranks the header',
  );
  t.same(contactsOf(w.ask({ contacts: [`${INNER};expires=0`] }, PHONE)), [], 'zero removes, however small the minimum');
  t.same(
    contactsOf(w.ask({ contacts: [`${INNER};expires=0`] }, PHONE)),
    [],
    'and removing what is not there is no fault',
  );
});

t.test('a 200 lists all bindings, with q and unknown parameters as they were', async t => {
  const w = new World();
  w.ask({ contacts: [`${INNER};q=0.5;expires=100`], callId: 'a' }, PHONE);
  const both = w.ask(
    { contacts: ['"Desk" <sips:alice@10.1.1.1;lr>;+sip.instance="<urn:uuid:1>";foo="a b";expires=200'], callId: 'b' },
    OTHER,
  );
  t.same(contactsOf(both), [
    `${INNER};q=0.5;expires=100`,
    '<sips:alice@10.1.1.1;lr>;+sip.instance="<urn:uuid:1>";foo="a b";expires=200',
  ]);
  t.same(
    w.registrar.lookup('alice@example.org').map(b => b.q),
    [1, 0.5],
    'highest q first',
  );
  w.advance(40_000);
  t.same(
    contactsOf(w.ask({}, PHONE)).map(c => c.match(/expires=\d+/)?.[0]),
    ['expires=60', 'expires=160'],
    'a query changes nothing',
  );
  w.advance(61_000);
  t.same(contactsOf(w.ask({}, PHONE)).length, 1, 'the first has expired');
  t.match(
    w.events.map(e => e.kind),
    ['binding-made', 'binding-made', 'binding-ended'],
  );
  t.match(w.events.at(-1), { why: 'expired' });
});

t.test('order within a Call-ID, atomic or not at all', async t => {
  const w = new World();
  t.equal(w.ask({ contacts: [INNER], cseq: 10 }, PHONE)?.status, 200, 'CSeq 11 bound');
  const late = w.ask({ contacts: ['<sip:new@1.1.1.1>', `${INNER};expires=0`], cseq: 9 }, PHONE);
  t.equal(late?.status, 500, 'CSeq 10 after 11');
  t.equal(w.counts.get('out-of-order'), 1);
  t.same(contactsOf(w.ask({}, PHONE)), [`${INNER};expires=600`], 'nothing of it was applied');
  t.equal(w.ask({ contacts: [INNER], cseq: 10 }, PHONE)?.status, 500, 'the same CSeq in a new transaction');
  t.equal(w.ask({ contacts: [INNER], cseq: 11 }, PHONE)?.status, 200, 'control: a higher one');
  t.equal(w.ask({ contacts: [INNER], cseq: 1, callId: 'rebooted' }, PHONE)?.status, 200, 'another Call-ID starts anew');
  const brief = w.ask({ contacts: ['<sip:one@1.1.1.1>', '<sip:two@1.1.1.1>;expires=5'], callId: 'c' }, PHONE);
  t.equal(brief?.status, 423);
  t.equal(w.registrar.lookup('alice@example.org').length, 1, 'the good contact beside the brief one was not bound');
});

t.test('the wildcard', async t => {
  const w = new World();
  const fill = (): void => {
    w.ask({ contacts: [INNER], callId: 'a' }, PHONE);
    w.ask({ contacts: ['<sip:alice@10.1.1.1>'], callId: 'b' }, OTHER);
  };
  fill();
  t.equal(w.ask({ contacts: ['*'] }, PHONE)?.status, 400, 'without Expires');
  t.equal(w.ask({ contacts: ['*'], headers: 'Expires: 60\r\n' }, PHONE)?.status, 400, 'with another than 0');
  t.equal(w.ask({ contacts: ['*', INNER], headers: 'Expires: 0\r\n' }, PHONE)?.status, 400, 'with company');
  t.equal(w.registrar.lookup('alice@example.org').length, 2);
  t.equal(
    w.ask({ contacts: ['*'], headers: 'Expires: 0\r\n', callId: 'a', cseq: 0 }, PHONE)?.status,
    500,
    'not rising within its Call-ID',
  );
  t.equal(w.registrar.lookup('alice@example.org').length, 2);
  const all = w.ask({ contacts: ['*'], headers: 'Expires: 0\r\n', callId: 'z' }, PHONE);
  t.equal(all?.status, 200);
  t.same(contactsOf(all), []);
  t.equal(w.registrar.lookup('alice@example.org').length, 0);
  t.equal(w.flows.byId(0), undefined);
});

t.test('one binding per contact: URI equality, or instance and reg-id', async t => {
  const w = new World();
  w.ask({ contacts: ['<sip:alice@Host.example:5060;transport=udp>'] }, PHONE);
  w.ask({ contacts: ['<sip:%61lice@hOST.example:5060;transport=UDP>'] }, PHONE);
  t.equal(w.registrar.lookup('alice@example.org').length, 1, 'equal by RFC 3261 §19.1.4');
  w.ask({ contacts: ['<sip:alice@host.example;transport=udp>'] }, PHONE);
  t.equal(w.registrar.lookup('alice@example.org').length, 2, 'a default port is not no port');
  w.ask({ contacts: ['*'], headers: 'Expires: 0\r\n' }, PHONE);
  const instance = '+sip.instance="<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>"';
  w.ask({ contacts: [`<sip:alice@192.168.1.5:5060>;${instance};reg-id=1`] }, PHONE);
  w.ask({ contacts: [`<sip:alice@192.168.1.77:6070>;${instance};reg-id=1`] }, OTHER);
  const [b, ...more] = w.registrar.lookup('alice@example.org');
  t.equal(more.length, 0, 'the same flow of the same phone, elsewhere');
  t.equal(b?.contact, 'sip:alice@192.168.1.77:6070');
  t.same(b?.flow.peer.get(b.flow.j), { address: '198.51.100.8', port: 40002 });
  w.ask({ contacts: [`<sip:alice@192.168.1.77:6070>;${instance};reg-id=2`] }, OTHER);
  t.equal(w.registrar.lookup('alice@example.org').length, 2, 'a second flow of it');
});

t.test('caps: contacts per AoR, contacts per message, bindings in all', async t => {
  const w = new World({ config: { registrar: { maxContacts: 2, maxBindings: 3 } } });
  const contact = (n: number): string => `<sip:c${n}@192.0.2.1>`;
  t.equal(w.ask({ contacts: [contact(1), contact(2)] }, PHONE)?.status, 200);
  t.equal(w.ask({ contacts: [contact(3)] }, PHONE)?.status, 403);
  t.equal(w.counts.get('too-many-contacts'), 1);
  t.equal(w.ask({ contacts: [contact(3), `${contact(1)};expires=0`] }, PHONE)?.status, 200, 'one out, one in');
  t.equal(w.ask({ user: 'bob', contacts: [contact(1)] }, PHONE)?.status, 200);
  const full = w.ask({ user: 'bob', contacts: [contact(2)] }, PHONE);
  t.equal(full?.status, 503);
  t.ok(full?.get(H.retryAfter));
  t.equal(w.ask({ user: 'bob', contacts: Array.from({ length: 65 }, (_, n) => contact(n)) }, PHONE)?.status, 400);
  t.equal(w.ask({ contacts: ['<mailto:alice@example.org>'] }, PHONE)?.status, 400);
  t.equal(w.ask({ contacts: ['<tel:+15551234>'] }, PHONE)?.status, 403);
});

t.test('a 200 that changes something waits for the disk, a refresh does not', async t => {
  const w = new World();
  w.autoCommit = false;
  t.equal(w.ask({ contacts: [INNER] }, PHONE), undefined, 'no answer yet');
  t.equal(w.registrar.lookup('alice@example.org').length, 1, 'but callers find it already');
  w.take();
  w.commit();
  t.match(
    w.take().map(s => s.text),
    [/^SIP\/2\.0 200 OK/],
  );
  const refreshed = w.ask({ contacts: [INNER] }, PHONE);
  t.equal(refreshed?.status, 200, 'at once');
  t.equal(w.asked.length, 1, 'and written behind');
  w.commit();
  t.equal(w.ask({ contacts: [INNER] }, OTHER), undefined, 'moved to another flow: waits');
  w.commit();
  t.match(w.take().at(-1)?.text, /^SIP\/2\.0 200 OK/);
  t.equal(w.ask({ contacts: [`${INNER};expires=0`] }, OTHER), undefined, 'removal: waits');
  w.take();
  w.commit(false);
  t.match(w.take().at(-1)?.text, /^SIP\/2\.0 200 OK/, 'a full disk keeps nobody out');
  t.equal(w.counts.get('store-failed'), 1);
  t.equal(w.ask({ contacts: [INNER] }, PHONE), undefined);
  w.take();
  w.advance(5100);
  t.match(
    w
      .take()
      .map(s => s.text)
      .filter(s => s.startsWith('SIP')),
    [/^SIP\/2\.0 200 OK/],
    'nor does a store that never answers',
  );
  t.equal(w.counts.get('store-failed'), 2);
});

t.test('bindings come back after a kill: UDP flows, not streams, not what expired meanwhile', async t => {
  const w = new World();
  w.ask({ contacts: [`${INNER};q=0.7;+sip.instance="<urn:x>";expires=600`], callId: 'a' }, PHONE);
  w.ask({ user: 'bob', contacts: ['<sip:bob@192.168.1.6>;expires=60'], callId: 'b' }, OTHER);
  const stream = w.stream(0x100 + ACCESS_TCP, '198.51.100.9:50000');
  w.ask({ contacts: ['<sip:alice@192.168.1.9;transport=tcp>'], callId: 'c' }, '198.51.100.9:50000', stream);
  t.equal(w.registrar.bindings.size, 3);
  const before = w.registrar.lookup('alice@example.org').find(b => b.flow.transport === 'udp');

  const records = [];
  for await (const r of w.store.load('binding/')) records.push(r);
  t.equal(records.length, 3);
  records.push({ key: 'binding/bad', value: { v: 99 }, version: 1 });
  const again = new World({ store: w.store, now: w.now + 100_000 });
  t.same(again.registrar.restore(again.now, records), { kept: 1, dropped: 3 });
  const [b, ...more] = again.registrar.lookup('alice@example.org');
  t.equal(more.length, 0);
  t.equal(b?.opaque, before?.opaque, 'callers and upstreams still know it by its name');
  t.same(b?.flow.peer.get(b.flow.j), { address: '198.51.100.7', port: 40001 });
  t.same(contactsOf(again.ask({}, PHONE)), [`${INNER};+sip.instance="<urn:x>";q=0.7;expires=500`]);
  t.equal(
    again.ask({ contacts: [INNER], callId: 'a', cseq: 0 }, PHONE)?.status,
    500,
    'the order of its Call-ID survives too',
  );
  const left = [];
  for await (const r of again.store.load('binding/')) left.push(r.key);
  t.equal(left.length, 1, 'and what could not come back is gone from the disk');
});

t.test('a stream that closes takes its bindings along', async t => {
  const w = new World();
  const stream = w.stream(0x100 + ACCESS_TCP, '198.51.100.9:50000');
  w.ask({ contacts: [INNER] }, '198.51.100.9:50000', stream);
  t.equal(w.registrar.lookup('alice@example.org').length, 1, 'control');
  w.closeStream(stream);
  t.equal(w.registrar.lookup('alice@example.org').length, 0);
  t.match(w.events.at(-1), { kind: 'binding-ended', why: 'flow-gone' });
  t.equal(w.flows.size, 0, 'and nothing holds the flow any more');
});

t.test('Path counts only from a configured peer', async t => {
  const w = new World();
  const path = 'Path: <sip:edge.example.net;lr>, <sip:second.example.net;lr>\r\n';
  w.ask({ contacts: [INNER], headers: path }, PHONE);
  t.same(w.registrar.lookup('alice@example.org')[0]?.path, []);
  w.ask({ contacts: ['<sip:alice@10.2.2.2>'], headers: path, callId: 'edge' }, PBX, CORE_UDP);
  t.same(
    w.registrar.lookup('alice@example.org').find(b => b.callId === 'edge')?.path,
    ['<sip:edge.example.net;lr>', '<sip:second.example.net;lr>'],
    'control',
  );
});

const UPSTREAM = {
  uri: 'sip:pbx.example.net',
  to: '<sip:carol@pbx.example.net>',
  from: '<sip:carol@pbx.example.net>;tag=phone',
  contacts: ['<sip:carol@192.168.1.5:5060>;q=0.8'],
  headers: 'Expires: 1800\r\n',
};

/** What went to the PBX, answered as a registrar that lists `contacts` for each of ours. */
function answer(w: World, request: Sent | undefined, status: string, headers: string): void {
  const m = parsed(request?.text ?? '');
  const lines = ['via', 'from', 'to', 'callId', 'cseq'] as const;
  w.receive(
    `SIP/2.0 ${status}\r\n${lines
      .map(h => m.line(m.first(H[h])))
      .join('')
      .replace(/(To: [^\r]*)/, '$1;tag=pbx')}${headers}Content-Length: 0\r\n\r\n`,
    request?.to ?? PBX,
    CORE_UDP,
  );
}

t.test('who counts as a configured peer, and what it may do', async t => {
  const w = new World();
  const message = (from: string, via: number): number => {
    w.receive(
      w.request({ method: 'MESSAGE', uri: 'sip:alice@example.org', from: '<sip:x@elsewhere.example>;tag=p' }),
      from,
      via,
    );
    return parsed(w.take().at(-1)?.text ?? '').status;
  };
  t.equal(message(PBX, CORE_UDP), 200);
  t.equal(message('10.0.0.5:6666', CORE_UDP), 403, 'another program on its host');
  t.equal(message('10.0.0.9:5060', CORE_UDP), 403);
  t.equal(message(PBX, ACCESS_UDP), 403, 'its address on the wrong side');
});

t.test('methods: anyone, authenticated, denied, unknown; ACK and CANCEL are never challenged', async t => {
  const w = new World({ config: { methods: { SUBSCRIBE: 'deny' } } });
  const status = (method: string, from = '<sip:alice@example.org>;tag=m'): number | undefined => {
    w.receive(w.request({ method, uri: 'sip:bob@example.org', from }), PHONE);
    const [s] = w.take();
    return s === undefined ? undefined : parsed(s.text).status;
  };
  t.equal(status('OPTIONS'), 200);
  for (const method of ['MESSAGE', 'INVITE', 'NOTIFY', 'PUBLISH', 'INFO', 'UPDATE'])
    t.equal(status(method), 407, method);
  t.equal(status('SUBSCRIBE'), 403);
  t.equal(status('REFER'), 403);
  t.equal(status('FROBNICATE'), 405);
  t.equal(status('ACK'), undefined);
  t.equal(status('MESSAGE', '<sip:alice@elsewhere.example>;tag=m'), 403, 'From of nobody here');
  t.equal(
    status('MESSAGE', '<sip:carol@pbx.example.net>;tag=m'),
    403,
    'From of an upstream domain, not registered from here',
  );
  t.equal(w.flows.size, 1, 'only the answered OPTIONS has left a flow');
  t.equal(w.ask({ method: 'MESSAGE', uri: 'sip:bob@example.org', contacts: [] }, PHONE)?.status, 200, 'control');
  t.equal(
    w.ask({ method: 'MESSAGE', uri: 'sip:bob@example.org', authUser: 'alice', user: 'bob' }, PHONE)?.status,
    403,
    'From of another subscriber',
  );
  w.ask({ contacts: [INNER] }, PHONE);
  t.equal(status('INVITE'), 407, 'a registered flow proves itself too');
  const trusting = new World({ config: { auth: { trustRegisteredFlow: true } } });
  trusting.ask({ contacts: [INNER] }, PHONE);
  trusting.take();
  trusting.receive(trusting.request({ method: 'MESSAGE', uri: 'sip:bob@example.org' }), PHONE);
  t.equal(parsed(trusting.take()[0]?.text ?? '').status, 200, 'unless the configuration trusts it');
  trusting.receive(trusting.request({ method: 'MESSAGE', uri: 'sip:bob@example.org' }), OTHER);
  t.equal(parsed(trusting.take()[0]?.text ?? '').status, 407, 'which says nothing about other flows');
});

/** What the authenticator says to a request inside a dialog that lives on `flow`. */
function inDialog(
  w: World,
  at: { readonly address: string; readonly port: number },
  flow: Flow,
  identity: Identity,
  method = 'BYE',
  via = ACCESS_UDP,
): Verdict {
  return w.authenticator.authenticateInDialog(
    {
      now: w.now,
      m: parsed(w.request({ method, uri: 'sip:bob@example.org' })),
      via,
      peer: Endpoints.of(at),
      j: 0,
      realm: w.realms.of(via),
      identity: NOBODY,
      trustedEdge: false,
      flow: undefined,
      tx: { text: () => false, inPlace: () => false },
    },
    flow,
    identity,
  );
}

t.test('in a dialog: its flow and its address pass, others prove themselves', async t => {
  const w = new World();
  const flow = w.flows.of(w.now, ACCESS_UDP, Endpoints.of({ address: '198.51.100.7', port: 40001 }), 0);
  if (flow === undefined) return t.fail('control');
  const from = (address: string, port: number, identity: Identity, method = 'BYE', via = ACCESS_UDP): Verdict =>
    inDialog(w, { address, port }, flow, identity, method, via);
  const alice: Identity = { kind: 'subscriber', user: 'alice', domain: 'example.org', aor: 'alice@example.org' };
  t.match(from('198.51.100.7', 40001, alice), { do: 'pass' });
  t.match(from('198.51.100.7', 50000, alice), { do: 'pass' }, 'a NAT has rebound');
  t.match(from('198.51.100.66', 40001, alice), { do: 'reply', status: 407 });
  t.match(from('198.51.100.66', 40001, alice, 'ACK'), { do: 'pass' }, 'nobody can answer a challenge to an ACK');
  t.match(from('198.51.100.66', 40001, { ...alice, domain: 'pbx.example.net' }), {
    do: 'reply',
    status: 403,
    reason: 'wrong-source',
  });
  t.match(from('198.51.100.66', 40001, { kind: 'peer', domain: 'pbx.example.net' }), { do: 'reply', status: 403 });
  t.match(
    from('10.0.0.5', 7777, { kind: 'peer', domain: 'pbx.example.net' }, 'BYE', CORE_UDP),
    { do: 'pass' },
    'another port of the trunk',
  );
});

t.test('in a dialog of an upstream’s subscriber: a phone moves by registering from where it went', async t => {
  const w = new World();
  const flow = w.flows.of(w.now, ACCESS_UDP, Endpoints.of({ address: '198.51.100.7', port: 40001 }), 0);
  if (flow === undefined) return t.fail('control');
  const carol: Identity = {
    kind: 'subscriber',
    user: 'carol',
    domain: 'pbx.example.net',
    aor: 'carol@pbx.example.net',
  };
  const bye = (address: string, identity = carol): Verdict => inDialog(w, { address, port: 40001 }, flow, identity);
  t.match(bye('198.51.100.8'), { do: 'reply', status: 403, reason: 'wrong-source' });
  w.receive(w.request(UPSTREAM), '198.51.100.8:40001');
  const [out] = w.take();
  const ours = parsed(out?.text ?? '').get(H.contact);
  t.match(bye('198.51.100.8'), { do: 'reply', status: 403 }, 'the upstream has not said yes');
  answer(w, out, '200 OK', headerLine('Contact', ours));
  t.match(bye('198.51.100.8'), { do: 'pass' });
  t.match(bye('198.51.100.9'), { do: 'reply', status: 403 }, 'nobody registered from there');
  t.match(
    bye('198.51.100.8', { ...carol, user: 'dave', aor: 'dave@pbx.example.net' }),
    { do: 'reply', status: 403 },
    'carol did, not dave',
  );
});

t.test('an upstream domain: the REGISTER passes, the digest end to end, the contact is ours', async t => {
  const w = new World({ config: { registrar: { upstreamExpires: false } } });
  w.receive(
    w.request({
      ...UPSTREAM,
      headers:
        'Expires: 1800\r\nAuthorization: Digest username="carol",realm="pbx",nonce="n",uri="sip:pbx.example.net",response="00"\r\nX-Secret: inner\r\n',
    }),
    PHONE,
  );
  const [out, ...more] = w.take();
  t.equal(more.length, 0, 'nothing to the phone yet');
  t.equal(out?.to, PBX);
  t.equal(out?.via, CORE_UDP);
  const m = parsed(out?.text ?? '');
  t.equal(m.uri, 'sip:pbx.example.net');
  t.equal(
    m.get(H.authorization),
    'Digest username="carol",realm="pbx",nonce="n",uri="sip:pbx.example.net",response="00"',
  );
  t.equal(m.get(H.expires), '1800');
  t.equal(m.maxForwards, 69);
  t.match(m.get(H.contact), /^<sip:[A-Za-z0-9_-]{24}@10\.0\.0\.1:5060>;q=0\.8;expires=1800$/);
  for (const inner of ['192.168.1.5', '198.51.100.7', 'X-Secret', 'call-1', 'tag=phone'])
    t.notOk(out?.text.includes(inner), `no ${inner}`);
  t.ok(w.request(UPSTREAM).includes('192.168.1.5'), 'control: they were there');

  answer(
    w,
    out,
    '401 Unauthorized',
    'WWW-Authenticate: Digest realm="pbx",nonce="abc",qop="auth"\r\nServer: pbx 1.0\r\n',
  );
  const [challenge] = w.take();
  t.equal(challenge?.to, PHONE);
  const c = parsed(challenge?.text ?? '');
  t.equal(c.status, 401);
  t.equal(c.get(H.wwwAuthenticate), 'Digest realm="pbx",nonce="abc",qop="auth"');
  t.notOk(c.has(H.server));
  t.equal(w.registrar.bindings.size, 0);

  w.receive(w.request(UPSTREAM), PHONE);
  const [second] = w.take();
  const ours = parsed(second?.text ?? '')
    .get(H.contact)
    .replace(/;.*/, '');
  t.equal(parsed(second?.text ?? '').callId, m.callId, 'the same Call-ID as before');
  t.ok(parsed(second?.text ?? '').cseq > m.cseq);
  answer(
    w,
    second,
    '200 OK',
    headerLine('Contact', `${ours};expires=900`) + headerLine('Contact', '<sip:carol@172.16.0.9>;expires=50'),
  );
  const ok = parsed(w.take()[0]?.text ?? '');
  t.equal(ok.status, 200);
  t.same(
    contactsOf(ok),
    ['<sip:carol@192.168.1.5:5060>;q=0.8;expires=900'],
    'mapped back; a contact of the inside stays there',
  );
  const [b] = w.registrar.lookup('carol@pbx.example.net');
  t.equal(b?.kind, 'upstream');
  t.equal(`<sip:${b?.opaque}@10.0.0.1:5060>`, ours);
  t.equal(b?.flow.proven, true);
  t.equal((b?.expires ?? 0) - w.now, 900_000);

  w.receive(w.request({ ...UPSTREAM, contacts: ['<sip:carol@192.168.1.5:5060>;expires=0'] }), PHONE);
  const [third] = w.take();
  t.match(parsed(third?.text ?? '').get(H.contact), /;expires=0$/);
  answer(w, third, '200 OK', '');
  t.same(contactsOf(parsed(w.take()[0]?.text ?? '')), []);
  t.equal(w.registrar.bindings.size, 0, "gone with the upstream's 200");
});

t.test('an upstream that is slow, busy or gone', async t => {
  const w = new World({ secondHop: true });
  w.receive(w.request(UPSTREAM), PHONE);
  const [first] = w.take();
  t.equal(first?.to, PBX);
  answer(w, first, '503 Service Unavailable', '');
  const [second] = w.take();
  t.equal(second?.to, PBX_TWO, 'the next hop');
  t.not(parsed(second?.text ?? '').branch, parsed(first?.text ?? '').branch, 'with a new branch');
  answer(w, second, '423 Interval Too Brief', 'Min-Expires: 7200\r\n');
  const brief = parsed(w.take()[0]?.text ?? '');
  t.equal(brief.status, 423);
  t.equal(brief.get(H.minExpires), '7200');

  w.receive(w.request({ ...UPSTREAM, callId: 'x' }), PHONE);
  w.take();
  w.advance(14_100);
  t.ok(w.take().some(s => s.to === PBX_TWO));
  w.advance(14_100);
  const gone = w.take().filter(s => s.to === PHONE);
  t.match(
    gone.map(s => s.text),
    [/^SIP\/2\.0 504 /],
  );
  t.equal(w.counts.get('next-hop-down'), 1);
  answer(w, second, '503 Service Unavailable', '');
  t.same(w.take(), [], 'a late answer goes nowhere');
});

t.test('strangers share a budget toward an upstream, registered phones do not', async t => {
  const w = new World({ config: { registrar: { unprovenRate: 3 } } });
  const register = (from: string, callId: string): Sent[] => {
    w.receive(w.request({ ...UPSTREAM, callId }), from);
    return w.take();
  };
  const [out] = register(PHONE, 'good');
  const ours = parsed(out?.text ?? '')
    .get(H.contact)
    .replace(/;.*/, '');
  answer(w, out, '200 OK', headerLine('Contact', `${ours};expires=900`));
  w.take();
  const passed = Array.from({ length: 50 }, (_, n) => register(`198.51.100.9:${20_000 + n}`, `flood-${n}`)).filter(
    s => s[0]?.to === PBX,
  );
  t.equal(passed.length, 2);
  t.equal(w.counts.get('unproven-budget'), 48);
  t.equal(register(PHONE, 'good')[0]?.to, PBX, 'control: the proven flow passes meanwhile');
  w.advance(1000);
  t.ok(w.take().every(s => s.to !== PHONE));
  t.equal(register('198.51.100.9:30000', 'later')[0]?.to, PBX, 'and the budget fills again');
});

t.test('under pressure strangers first show that they receive, and the upstream never sees that', async t => {
  const w = new World({ config: { registrar: { unprovenRate: 1 } } });
  w.receive(w.request(UPSTREAM), OTHER);
  answer(w, w.take()[0], '401 Unauthorized', 'WWW-Authenticate: Digest realm="pbx realm",nonce="n1",qop="auth"\r\n');
  w.take();
  w.receive(w.request(UPSTREAM), PHONE);
  const [ours] = w.take();
  t.equal(ours?.to, PHONE, 'the budget is used up: not to the upstream');
  const challenge = parsed(ours?.text ?? '');
  t.equal(challenge.status, 401);
  t.match(challenge.get(H.wwwAuthenticate), /realm="pbx realm"/);
  t.equal(
    w.flows.find(ACCESS_UDP, Endpoints.of({ address: '198.51.100.7', port: 40001 }), 0),
    undefined,
    'and nothing is kept',
  );
  const credentials =
    answerChallenge(
      challenge,
      { method: 'REGISTER', uri: UPSTREAM.uri },
      { realm: 'pbx realm', user: 'carol', password: 'whatever' },
      w.random,
    ) ?? '';
  w.receive(w.request({ ...UPSTREAM, headers: credentials }), '198.51.100.99:4000');
  t.equal(parsed(w.take()[0]?.text ?? '').status, 401, 'a nonce made for another address proves nothing');
  w.receive(w.request({ ...UPSTREAM, headers: credentials }), PHONE);
  const [out] = w.take();
  t.equal(out?.to, PBX);
  t.notOk(parsed(out?.text ?? '').has(H.authorization));
  answer(
    w,
    out,
    '401 Unauthorized',
    'WWW-Authenticate: Digest realm="pbx realm",nonce="n2",stale=false,qop="auth"\r\n',
  );
  t.equal(
    parsed(w.take()[0]?.text ?? '').get(H.wwwAuthenticate),
    'Digest realm="pbx realm",nonce="n2",stale=true,qop="auth"',
    'so that nobody is asked for the password again',
  );
  w.receive(
    w.request({
      ...UPSTREAM,
      headers:
        'Authorization: Digest username="carol",realm="pbx realm",nonce="n2",uri="sip:pbx.example.net",response="00"\r\n',
    }),
    PHONE,
  );
  const [last] = w.take();
  t.equal(last?.to, PBX, 'its flow is proven now');
  t.match(parsed(last?.text ?? '').get(H.authorization), /nonce="n2"/, 'control: real credentials pass');
});
