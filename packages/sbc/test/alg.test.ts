import { Metrics } from '@drawbridge/service';
import tap from 'tap';
import { ALG_KINDS, algAdvice } from '../src/registrar/alg.js';
import { registerAlgMetrics } from '../src/registrar/metrics.js';
import { BorderWorld, type Phone } from './harness.js';

const OUTER = '198.51.100.7';
const INNER = '192.168.77.5';

/** Alice behind a NAT whose router changes what she sends. */
function behind(
  router: (text: string) => string,
  o: { inner?: string; at?: string } = {},
): { world: BorderWorld; alice: Phone } {
  const world = new BorderWorld({ config: { auth: { trustRegisteredFlow: true } } });
  const alice = world.phone('alice', { at: o.at ?? `${OUTER}:5062`, inner: o.inner ?? `${INNER}:5062` });
  alice.send = text => world.receive(router(text), alice.at, alice.via);
  return { world, alice };
}

function kinds(world: BorderWorld): string[] {
  return [...world.registrar.bindings.all()].flatMap(b => b.alg.map(f => f.kind));
}

function counted(world: BorderWorld): Record<string, number> {
  return Object.fromEntries([...world.registrar.alg.counts].filter(([, n]) => n > 0));
}

function register(phone: Phone, callId: string, contact?: string): void {
  phone.register({ callId, ...(contact === undefined ? {} : { contact }) });
}

const AS_IT_IS = (text: string): string => text;
const IN_CONTACT = (text: string): string => text.replace(/^(Contact: .*)192\.168\.77\.5/m, `$1${OUTER}`);
const IN_VIA = (text: string): string => text.replace(/^(Via: .*)192\.168\.77\.5/m, `$1${OUTER}`);
const IN_SDP = (text: string): string => text.replace(/^(c=IN IP4 )192\.168\.77\.5/gm, `$1${OUTER}`);

/** Registers three times and calls somebody. */
function aDay(alice: Phone): void {
  for (let n = 0; n < 3; n++) register(alice, 'day');
  alice.invite('sip:bob@example.org');
  alice.heard();
}

tap.test('nothing is found where nothing is wrong', async t => {
  for (const [why, o] of [
    ['a plain NAT', {}],
    ['no NAT', { inner: `${OUTER}:5062` }],
    ['a LAN', { at: '192.168.5.5:5060', inner: '192.168.5.5:5060' }],
    ['a NAT inside', { at: '10.3.3.3:5060' }],
    ['a name', { inner: 'phone.example.com:5060' }],
  ] as const) {
    const { world, alice } = behind(AS_IT_IS, o);
    if (why === 'a name') for (let n = 0; n < 3; n++) register(alice, 'day');
    else aDay(alice);
    t.same(kinds(world), [], why);
    t.same(counted(world), {}, why);
  }
  const { world, alice } = behind(IN_CONTACT);
  aDay(alice);
  t.same(kinds(world), ['contact-rewritten'], 'control: the same day with a router that helps');
});

tap.test('a phone that learns its outer address from our answers does no damage', async t => {
  const { world, alice } = behind(AS_IT_IS);
  register(alice, 'call');
  alice.ask({
    method: 'REGISTER',
    uri: 'sip:example.org',
    to: `<${alice.aor}>`,
    contact: `<sip:alice@${OUTER}:5062>,<sip:alice@${INNER}:5062>;expires=0`,
    callId: 'call',
  });
  alice.next(200);
  register(alice, 'call', `<sip:alice@${OUTER}:5062>`);
  t.same(kinds(world), []);
  alice.moveTo(`${OUTER}:7777`);
  register(alice, 'call', `<sip:alice@${OUTER}:5062>`);
  register(alice, 'call', `<sip:alice@${OUTER}:7777>`);
  t.same(kinds(world), [], 'nor when its NAT gives it another port');
  const silent = behind(AS_IT_IS);
  register(silent.alice, 'call');
  register(silent.alice, 'call', `<sip:alice@${OUTER}:5062>`);
  t.same(kinds(silent.world), [], 'nor without taking the old contact back');
});

tap.test('Contact, Via and SDP with the outer address beside the inner one', async t => {
  const contact = behind(IN_CONTACT);
  register(contact.alice, 'a');
  const [b] = contact.world.registrar.lookup('alice@example.org');
  t.same(b?.alg, [{ kind: 'contact-rewritten', evidence: `Contact says ${OUTER}, Via ${INNER}, the packet ${OUTER}` }]);
  register(contact.alice, 'a');
  t.same(counted(contact.world), { 'contact-rewritten': 1 }, 'counted once');

  const via = behind(IN_VIA);
  register(via.alice, 'a');
  t.same(kinds(via.world), ['via-rewritten']);

  const sdp = behind(IN_SDP);
  register(sdp.alice, 'a');
  t.same(kinds(sdp.world), []);
  sdp.alice.invite('sip:bob@example.org');
  t.same(sdp.world.registrar.lookup('alice@example.org')[0]?.alg, [
    { kind: 'sdp-rewritten', evidence: `SDP says ${OUTER}, Contact ${INNER}, Via ${INNER}` },
  ]);
});

tap.test('rport taken out, a contact that wanders, the same Via twice', async t => {
  let strip = false;
  const rport = behind(text => (strip ? text.replace(';rport\r\n', '\r\n') : text));
  for (let n = 0; n < 2; n++) register(rport.alice, 'a');
  t.same(kinds(rport.world), [], 'control');
  strip = true;
  register(rport.alice, 'a');
  t.same(kinds(rport.world), ['rport-stripped']);

  let port = 20_000;
  const wanders = behind(text =>
    text.replace(/^(Contact: <sip:alice@192\.168\.77\.5:)\d+/m, (_, head) => `${head}${++port}`),
  );
  register(wanders.alice, 'a');
  t.same(kinds(wanders.world), [], 'one contact is none too many');
  register(wanders.alice, 'a');
  t.same(new Set(kinds(wanders.world)), new Set(['contact-unstable']));
  const [b] = wanders.world.registrar.bindings.of('alice@example.org');
  t.match(b?.alg[0]?.evidence, /^sip:alice@192\.168\.77\.5:200\d\d became sip:alice@192\.168\.77\.5:200\d\d without/);
  const rebooted = behind(AS_IT_IS);
  register(rebooted.alice, 'a', `<sip:alice@${INNER}:1111>`);
  register(rebooted.alice, 'b', `<sip:alice@${INNER}:2222>`);
  t.same(kinds(rebooted.world), [], 'control: a new Call-ID is a phone that started again');

  const twice = behind(text =>
    text.replace(/^(Via: .*\r\n)/m, '$1$1').replace('192.168.77.5:5062>', '172.16.1.1:5062>'),
  );
  register(twice.alice, 'a');
  t.same(kinds(twice.world), ['via-garbled']);
});

tap.test('messages that arrive damaged', async t => {
  const damage = (change: (text: string) => string, kind: string): void => {
    let on = false;
    const { world, alice } = behind(text => (on ? change(text) : text));
    register(alice, 'a');
    const mark = world.wires.length;
    alice.invite('sip:bob@example.org');
    t.same(kinds(world), [], `control of ${kind}`);
    on = true;
    alice.send(
      alice.request({ method: 'INVITE', uri: 'sip:bob@example.org', to: '<sip:bob@example.org>', sdp: alice.sdp() }),
    );
    t.same(kinds(world), [kind]);
    t.ok(world.wires.length > mark);
    alice.heard();
  };
  damage(text => text.replace(/^Content-Length: .*$/m, 'Content-Length: 9999'), 'length-wrong');
  damage(text => text.replace(/^Content-Length: .*$/m, 'Content-Length: 20'), 'length-wrong');
  damage(text => text.replace(/^Content-Length: .*$/m, 'Content-Length: -1'), 'length-wrong');
  damage(text => text.replace(/^Via: SIP\/2\.0\/UDP /m, 'Via: SIP/2.0/UDP '.padEnd(20, ';')), 'via-garbled');
});

tap.test('strangers leave nothing behind, and nothing is counted for them', async t => {
  const world = new BorderWorld();
  const mallory = world.phone('mallory', { at: '198.51.100.66:5060' });
  for (let n = 0; n < 20; n++) {
    const text = mallory.request({ method: 'REGISTER', uri: 'sip:example.org', to: '<sip:alice@example.org>' });
    mallory.send(text.replace(/^(Contact: .*)192\.168\.77\.5/m, '$1198.51.100.66'));
    mallory.send(text.replace(/^Content-Length: .*$/m, 'Content-Length: 9999'));
  }
  t.same(counted(world), {});
});

tap.test('each kind says what to do, and has its series', async t => {
  const { world, alice } = behind(IN_CONTACT);
  register(alice, 'a');
  for (const kind of ALG_KINDS) t.match(algAdvice(kind), /^Turn SIP ALG .* off .*\.$/);
  const metrics = new Metrics();
  registerAlgMetrics(metrics, world.registrar.alg);
  const text = await metrics.text();
  t.match(text, 'drawbridge_alg_findings_total{kind="contact-rewritten"} 1');
  t.match(text, 'drawbridge_alg_findings_total{kind="sdp-rewritten"} 0', 'zero, not missing');
  metrics.close();
});
