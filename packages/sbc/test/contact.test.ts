import { H } from '@drawbridge/sip';
import tap from 'tap';
import { BORDER, BorderWorld, type Phone } from './harness.js';

/** Bob says where he is; alice calls. The Request-URI that reaches bob, and everything that left anybody else. */
function called(
  contact: string,
  at = '198.51.100.2:6060',
): { uri: string; ok: readonly string[]; elsewhere: string[] } {
  const world = new BorderWorld({ config: { auth: { trustRegisteredFlow: true } } });
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const bob: Phone = world.phone('bob', { at, inner: '172.16.5.9:5070' });
  let ok: readonly string[] = [];
  for (let n = 0; n < 3; n++) {
    bob.ask({ method: 'REGISTER', uri: 'sip:example.org', to: `<${bob.aor}>`, contact, callId: 'same' });
    ok = bob.next(200).list(H.contact);
  }
  const mark = world.wires.length;
  alice.invite('sip:bob@example.org');
  const uri = bob.next('INVITE').uri;
  world.pass(70_000);
  const elsewhere = world.wires
    .slice(mark)
    .filter(w => w.direction === 'out' && w.peer !== alice.at && w.peer !== bob.at)
    .map(w => w.peer);
  return { uri, ok, elsewhere };
}

tap.test('a contact is never a destination: a victim, the border itself, a subscriber of ours', async t => {
  for (const uri of [
    'sip:bob@203.0.113.99:5060',
    `sip:bob@${BORDER}:5060`,
    'sip:alice@example.org',
    'sip:bob@172.16.5.9;maddr=203.0.113.99',
    'sip:bob@127.0.0.1:8080',
  ]) {
    const { uri: asked, elsewhere } = called(`<${uri}>`);
    t.equal(asked, uri, 'bob gets his own words back, over his own flow');
    t.same(elsewhere, []);
  }
});

tap.test('a contact stays as it is over refreshes and calls: alias, IPv6, quotes', async t => {
  for (const [contact, uri] of [
    ['<sip:bob@172.16.5.9:5070;alias=10.1.1.1~5060~1>', 'sip:bob@172.16.5.9:5070;alias=10.1.1.1~5060~1'],
    ['<sip:bob@[2001:db8::9]:5070;transport=udp>', 'sip:bob@[2001:db8::9]:5070;transport=udp'],
    ['"Bob, at his desk" <sip:b%6Fb@[2001:db8::9]>;foo="<a;b>"', 'sip:b%6Fb@[2001:db8::9]'],
    ['<sip:bob@172.16.5.9:5070;ob>', 'sip:bob@172.16.5.9:5070;ob'],
  ] as const) {
    const { uri: asked, ok, elsewhere } = called(contact, '[2001:db8:1::2]:6060');
    t.equal(asked, uri);
    t.equal(ok.length, 1, 'one binding after three refreshes');
    t.ok(ok[0]?.startsWith(`<${uri}>`), ok.join());
    t.same(elsewhere, []);
  }
});

tap.test('the same detector sees a packet that goes elsewhere', async t => {
  const world = new BorderWorld();
  world.receive('\r\n\r\n', '203.0.113.99:5060');
  t.same(
    world.wires.filter(w => w.direction === 'out').map(w => w.peer),
    ['203.0.113.99:5060'],
  );
});
