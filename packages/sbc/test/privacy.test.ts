import { H, type MessageView } from '@drawbridge/sip';
import t from 'tap';
import { BorderWorld, CORE_UDP, PBX, type Phone, replyTo } from './harness.js';

const ANONYMOUS = '"Anonymous" <sip:anonymous@anonymous.invalid>';

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

function message(from: Phone, to: Phone, headers: string, party?: string): MessageView {
  const uri = `sip:${to.user === 'pbx' ? '200' : to.user}@${to.domain}`;
  from.ask({
    method: 'MESSAGE',
    uri,
    to: `<${uri}>`,
    body: 'x',
    contact: false,
    headers,
    ...(party === undefined ? {} : { from: `${party};tag=1` }),
  });
  const m = to.next('MESSAGE');
  to.send(replyTo(m, 200));
  from.next(200);
  return m;
}

const partyOf = (m: MessageView): string => m.get(H.from).replace(/;tag=.*/, '');
const MINE = '"Alice" <sip:alice@example.org>';
const PAI = 'P-Asserted-Identity: <sip:+4930123@10.0.0.5>\r\n';
const TOLD = 'Subject: mine\r\nOrganization: ours\r\n';

t.test('each kind of privacy toward a subscriber, who is not trusted', async t => {
  const { alice, bob } = parties();
  const seen = (privacy: string): [string, string, string] => {
    const m = message(alice, bob, `${privacy === '' ? '' : `Privacy: ${privacy}\r\n`}${TOLD}`, MINE);
    return [partyOf(m), m.get(H.subject), m.get(H.privacy)];
  };
  t.same(seen(''), [MINE, 'mine', ''], 'the control');
  t.same(seen('none'), [MINE, 'mine', 'none']);
  t.same(seen('id'), [ANONYMOUS, 'mine', '']);
  t.same(seen('user'), [ANONYMOUS, '', '']);
  t.same(seen('user;id'), [ANONYMOUS, '', '']);
  t.same(seen('ID ; critical'), [ANONYMOUS, 'mine', '']);
  t.same(
    seen('header;session;history'),
    [MINE, 'mine', ''],
    'done for everybody: nothing of the path crosses, media is anchored',
  );
  t.same(seen('wishful'), [MINE, 'mine', 'wishful'], 'what we do not know is passed on');
  t.same(seen('wishful;id'), [ANONYMOUS, 'mine', 'wishful']);
});

t.test('toward who is trusted identity and wish travel together: the last one who knows carries it out', async t => {
  const { alice, pbx } = parties();
  const m = message(alice, pbx, `Privacy: user;id;critical\r\n${TOLD}`, MINE);
  t.equal(partyOf(m), MINE);
  t.equal(m.get(H.subject), 'mine');
  t.match(m.text, '\r\nPrivacy: user;id;critical\r\n');
  t.same(m.list(H.pAssertedIdentity), [MINE]);
});

t.test('a caller who calls himself anonymous proves who he is, and is asserted toward the trusted alone', async t => {
  const { alice, bob, pbx, world } = parties({ identity: { aliases: { 'alice@example.org': ['sales'] } } });
  const asked = 'Privacy: id\r\nP-Preferred-Identity: <sip:sales@example.org>\r\n';
  const told = message(alice, pbx, asked, ANONYMOUS);
  t.equal(partyOf(told), ANONYMOUS);
  t.same(told.list(H.pAssertedIdentity), ['<sip:sales@example.org>']);
  t.same(message(alice, pbx, 'Privacy: id\r\n', ANONYMOUS).list(H.pAssertedIdentity), ['<sip:alice@example.org>']);
  const hidden = message(alice, bob, asked, ANONYMOUS);
  t.equal(partyOf(hidden), ANONYMOUS);
  t.notMatch(hidden.text, /alice|sales/, 'nothing says who it is');
  t.match(message(alice, bob, asked, MINE).text.includes('sales'), false);
  t.match(message(alice, bob, '', MINE).text, /alice/, 'the control');
  const mallory = world.phone('mallory', { at: '198.51.100.66:5060' });
  mallory.ask({ method: 'MESSAGE', uri: bob.aor, to: `<${bob.aor}>`, from: `${ANONYMOUS};tag=1`, body: 'x' });
  t.same(mallory.heard(), [407], 'without a password nobody is anonymous');
  t.same(bob.heard(), []);
});

t.test(
  'what an upstream asserts is shown to a subscriber where the caller asked for no privacy, and not otherwise',
  async t => {
    const { bob, pbx } = parties();
    const shown = (privacy: string): string[] =>
      message(pbx, bob, `${PAI}${privacy === '' ? '' : `Privacy: ${privacy}\r\n`}`).list(H.pAssertedIdentity);
    t.same(shown('none'), ['<sip:+4930123@pbx.example.net>'], 'RFC 3325 §7');
    for (const privacy of ['', 'id', 'user', 'header', 'none;id']) t.same(shown(privacy), [], privacy);
    t.equal(partyOf(message(pbx, bob, `${PAI}Privacy: id\r\n`)), ANONYMOUS);
  },
);

t.test('a call is private from its first message to its last', async t => {
  const { world, alice, bob } = parties();
  world.wires.length = 0;
  const a = alice.invite('sip:bob@example.org', { headers: `Privacy: user\r\n${TOLD}`, from: MINE });
  const b = bob.called();
  b.answer(200, { sdp: bob.sdp() });
  bob.next('ACK');
  a.expect(200);
  a.send('ACK');
  a.send('INVITE', {
    sdp: alice.sdp({ version: 2, lines: ['a=sendonly'] }),
    headers: 'Privacy: user\r\nSubject: mine\r\n',
  });
  alice.next(100);
  b.reply(bob.next('INVITE'), 200, { sdp: bob.sdp({ version: 2, lines: ['a=recvonly'] }) });
  bob.next('ACK');
  alice.next(200);
  a.send('ACK');
  a.send('BYE');
  bob.send(replyTo(bob.next('BYE'), 200));
  alice.next(200);
  const out = world.wires.filter(w => w.direction === 'out' && w.peer === bob.at).map(w => w.text);
  const said = world.wires.filter(w => w.direction === 'in' && w.peer === alice.at).map(w => w.text);
  t.ok(out.length >= 4);
  t.equal(
    said.some(x => /alice|Alice|mine|ours/.test(x)),
    true,
    'the control: it was all said',
  );
  for (const x of out) t.notMatch(x, /alice|Alice|mine|ours/);
});

t.test('critical with a part that nobody here can give: 500, and nothing is sent', async t => {
  const { alice, bob, pbx } = parties();
  const ask = (to: string, privacy: string): number | undefined => {
    alice.ask({ method: 'MESSAGE', uri: to, to: `<${to}>`, body: 'x', headers: `Privacy: ${privacy}\r\n` });
    return alice.inbox.shift()?.status;
  };
  t.equal(ask('sip:bob@example.org', 'wishful;critical'), 500);
  t.same(bob.heard(), []);
  ask('sip:bob@example.org', 'id;critical');
  t.same(bob.heard(), ['MESSAGE'], 'the control: what we can give');
  ask('sip:200@pbx.example.net', 'wishful;critical');
  t.same(pbx.heard(), ['MESSAGE'], 'who is trusted may know more than we');
});
