import { H, type MessageView, parseContact } from '@drawbridge/sip';
import tap from 'tap';
import { BorderWorld, type Half, type Phone } from './harness.js';
import { contactsOf, World } from './world.js';

const UUID = 'urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF';
const LOW = UUID.toLowerCase();
const OTHER = 'urn:uuid:11111111-0000-1000-8000-AABBCCDDEEFF';
const AT = '198.51.100.7:40001';

function contact(phone: { readonly user: string; readonly inner: string }, instance: string, more = ''): string {
  return `<sip:${phone.user}@${phone.inner}>;+sip.instance="<${instance}>"${more}`;
}

interface Given {
  readonly pub: string;
  readonly temp: string;
}

/** The GRUUs that a 200 gives to the contact of one instance. */
function gruus(ok: MessageView | undefined, instance: string): Given {
  for (const value of contactsOf(ok)) {
    const c = parseContact(value);
    if (c?.instance === instance) return { pub: c.params.get('pub-gruu') ?? '', temp: c.params.get('temp-gruu') ?? '' };
  }
  return { pub: '', temp: '' };
}

tap.test('a 200 gives GRUUs to who asks and has an instance, and to nobody else', async t => {
  const w = new World();
  const me = { user: 'alice', inner: '192.168.1.5' };
  const plain = w.ask({ contacts: [contact(me, UUID)], callId: 'a' }, AT);
  t.same(gruus(plain, UUID), { pub: '', temp: '' }, 'not asked');
  const given = gruus(w.ask({ contacts: [contact(me, UUID)], headers: 'Supported: gruu\r\n', callId: 'a' }, AT), UUID);
  t.equal(given.pub, `sip:alice@example.org;gr=${LOW}`);
  t.match(given.temp, /^sip:tgruu\.[A-Za-z0-9_-]{59}@example\.org;gr$/);
  const none = w.ask({ contacts: ['<sip:alice@192.168.1.6>'], headers: 'Supported: gruu\r\n', callId: 'b' }, AT);
  t.same(
    contactsOf(none).filter(c => c.includes('192.168.1.6') && c.includes('gruu')),
    [],
    'no instance',
  );
  t.ok(
    contactsOf(none).some(c => c.includes('temp-gruu')),
    'control: its neighbour has one',
  );
  const again = gruus(w.ask({ contacts: [contact(me, UUID)], headers: 'Supported: gruu\r\n', callId: 'a' }, AT), UUID);
  t.equal(again.pub, given.pub);
  t.not(again.temp, given.temp, 'a new one each time');
  const forged = w.ask(
    {
      contacts: [contact(me, OTHER, ';pub-gruu="sip:bob@example.org;gr=x";temp-gruu="sip:x@y"')],
      headers: 'Require: gruu\r\nSupported: gruu\r\n',
      callId: 'c',
    },
    AT,
  );
  t.equal(gruus(forged, OTHER).pub, `sip:alice@example.org;gr=${OTHER.toLowerCase()}`, 'a phone cannot name its own');
  const odd = 'urn:odd:a=b?c';
  const escaped = gruus(w.ask({ contacts: [contact(me, odd)], headers: 'Supported: gruu\r\n', callId: 'd' }, AT), odd);
  t.equal(escaped.pub, 'sip:alice@example.org;gr=urn:odd:a%3Db%3Fc');
});

/** Two phones of bob's, each with its GRUUs. */
function two(): {
  world: BorderWorld;
  alice: Phone;
  desk: Phone;
  mobile: Phone;
  deskGruu: Given;
  ask: typeof register;
} {
  const world = new BorderWorld({ config: { auth: { trustRegisteredFlow: true } } });
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const desk = world.phone('bob', { at: '198.51.100.2:6060', inner: '172.16.5.9:5070' });
  const mobile = world.phone('bob', { at: '198.51.100.3:6060', inner: '172.16.5.10:5070' });
  const deskGruu = register(desk, UUID, 'desk');
  register(mobile, OTHER, 'mobile');
  return { world, alice, desk, mobile, deskGruu, ask: register };
}

function register(phone: Phone, instance: string, callId: string, more = ''): Given {
  phone.ask({
    method: 'REGISTER',
    uri: 'sip:example.org',
    to: `<${phone.aor}>`,
    contact: contact(phone, instance, more),
    headers: 'Supported: gruu\r\n',
    callId,
  });
  return gruus(phone.next(200), instance);
}

/** Calls, says which phones ring, and gives up. */
function rings(at: ReturnType<typeof two>, uri: string): string[] {
  const half: Half = at.alice.invite(uri);
  const rung = [at.desk, at.mobile]
    .filter(p => p.heard().includes('INVITE'))
    .map(p => (p === at.desk ? 'desk' : 'mobile'));
  if (rung.length === 0) return [String(at.alice.inbox.shift()?.status)];
  half.cancel();
  at.world.pass(40_000);
  for (const p of [at.alice, at.desk, at.mobile]) p.heard();
  return rung;
}

tap.test('a call to a GRUU reaches that phone alone', async t => {
  const at = two();
  t.same(rings(at, 'sip:bob@example.org'), ['desk', 'mobile'], 'control: the address of record rings both');
  t.same(rings(at, at.deskGruu.pub), ['desk']);
  t.same(rings(at, at.deskGruu.pub.replace(LOW, UUID)), ['desk'], 'in other letters');
  t.same(rings(at, at.deskGruu.temp), ['desk']);
  t.same(rings(at, `sip:bob@example.org;gr=${OTHER}`), ['mobile']);
  t.same(rings(at, 'sip:bob@example.org;gr=urn:uuid:2'), ['480'], 'no such phone is registered');
  t.same(rings(at, `sip:nobody@example.org;gr=${UUID}`), ['404']);
  const forged = at.deskGruu.temp;
  for (const k of [12, 30, 60]) {
    const c = forged[k] === 'A' ? 'B' : 'A';
    t.same(rings(at, forged.slice(0, k) + c + forged.slice(k + 1)), ['404'], `character ${k}`);
  }
  t.same(rings(at, 'sip:tgruu.x@example.org;gr'), ['404']);
  t.same(rings(at, 'sip:bob@example.org;gr'), ['404']);
  const invite = at.alice.invite(at.deskGruu.temp);
  t.equal(at.desk.next('INVITE').uri, 'sip:bob@172.16.5.9:5070', 'the phone sees its own contact');
  invite.cancel();
});

tap.test('temporary GRUUs end with the Call-ID, and with the last binding; the public one stays', async t => {
  const at = two();
  const second = at.ask(at.desk, UUID, 'desk');
  t.same(rings(at, at.deskGruu.temp), ['desk'], 'an earlier one of the same Call-ID is good still');
  t.same(rings(at, second.temp), ['desk']);
  const third = at.ask(at.desk, UUID, 'rebooted');
  t.same(rings(at, at.deskGruu.temp), ['404'], 'a new Call-ID revokes');
  t.same(rings(at, second.temp), ['404']);
  t.same(rings(at, third.temp), ['desk'], 'control');
  at.ask(at.desk, UUID, 'rebooted', ';expires=0');
  t.same(rings(at, third.temp), ['404']);
  t.same(rings(at, at.deskGruu.pub), ['480']);
  at.ask(at.desk, UUID, 'rebooted');
  t.same(rings(at, third.temp), ['404'], 'and does not come back');
  t.same(rings(at, at.deskGruu.pub), ['desk']);
});

tap.test('a temporary GRUU says nothing of its owner', async t => {
  const w = new World();
  const me = { user: 'alice', inner: '192.168.1.5' };
  const users = Array.from({ length: 50 }, () => {
    const ok = w.ask({ contacts: [contact(me, UUID)], headers: 'Supported: gruu\r\n', callId: 'a' }, AT);
    return gruus(ok, UUID).temp;
  });
  t.equal(new Set(users).size, 50);
  const name = w.registrar.lookup('alice@example.org')[0]?.opaque ?? '';
  t.equal(name.length, 20);
  for (const u of users)
    t.notOk(Buffer.from(u.slice(10, 69), 'base64url').toString('latin1').includes(name.slice(0, 4)));
  // Same place, same letter: with nothing masked every token would share them.
  const shared = [...(users[0] ?? '')].slice(10, 69).filter((c, i) => users.every(u => u[10 + i] === c));
  t.equal(shared.length, 0, 'no two show that they are one phone’s');
});

tap.test('a phone’s GRUU in its Contact stays inside: the border’s own goes out', async t => {
  const at = two();
  at.desk.ask({
    method: 'INVITE',
    uri: 'sip:alice@example.org',
    to: '<sip:alice@example.org>',
    contact: `<${at.deskGruu.temp}>`,
    sdp: at.desk.sdp(),
  });
  const m = at.alice.next('INVITE');
  t.notOk(m.text.includes('tgruu'));
  t.match(m.get(H.contact), /@203\.0\.113\.10:5060/);
});
