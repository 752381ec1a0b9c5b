import tap from 'tap';
import { answered, hangUp, refused, refuses, trunked, trunkOf } from './trunk-world.js';

const SOS = { emergency: { numbers: ['112', '911'], trunks: ['carrier', 'second'], max: 2 } };

tap.test('emergency calls pass every limit but their own', async t => {
  const { world, alice, carrier } = trunked({
    carrier: { maxCalls: 1, maxCallsPerSecond: 1, maxCallsPerCaller: 1 },
    config: { ...SOS, calls: { perSubscriber: 1, max: 1 } },
    routes: [{ name: 'out', to: { trunk: 'carrier' } }],
  });
  const a = alice.invite('sip:+4930123456@example.org');
  const ordinary = answered(a, carrier);
  refused(alice.invite('sip:+4930123456@example.org'), 503);
  const first = alice.invite('sip:112@example.org');
  t.equal(carrier.inbox[0]?.uri, 'sip:112@carrier.example', 'the number as it is');
  const b = answered(first, carrier);
  world.border.drain(world.now);
  refused(alice.invite('sip:+4930123456@example.org'), 503);
  const second = alice.invite('tel:911');
  const c = answered(second, carrier);
  t.equal(trunkOf(world, 'carrier').active, 3);
  refused(alice.invite('sip:112@example.org'), 503);
  t.equal(world.count('emergency-limit'), 1, 'the third of two');
  hangUp(first, b);
  const again = alice.invite('urn:service:sos.fire');
  t.equal(carrier.inbox[0]?.uri, 'sip:112@carrier.example', 'RFC 5031');
  hangUp(again, answered(again, carrier));
  hangUp(second, c);
  hangUp(a, ordinary);
  t.equal(trunkOf(world, 'carrier').active, 0);
});

tap.test('trunks that are down are tried all the same, after those that are up', async t => {
  const { world, alice, carrier, second } = trunked({ config: SOS });
  carrier.unplug();
  second.unplug();
  const lost = alice.invite('sip:112@example.org');
  world.pass(20_000, () => world.lost.some(w => w.peer === second.at));
  t.ok(world.lost.some(w => w.peer === second.at && w.text.startsWith('INVITE sip:112@second.example')));
  lost.cancel();
  world.pass(60_000);
  alice.heard();
  // Three ordinary failures take the first one down.
  for (let i = 0; i < 3; i++) {
    const x = alice.invite('sip:+4930123456@example.org');
    world.pass(9000);
    x.cancel();
    world.pass(60_000);
    alice.heard();
  }
  world.lost.length = 0;
  const a = alice.invite('sip:112@example.org');
  t.ok(
    world.lost.some(w => w.text.startsWith('INVITE')),
    'somebody is asked whatever their state',
  );
  a.cancel();
});

tap.test('failover, and who may', async t => {
  const { world, alice, carrier, second } = trunked({ config: SOS });
  const a = alice.invite('sip:112@example.org');
  refuses(carrier, 503);
  hangUp(a, answered(a, second));
  const stranger = world.phone('alice', { at: '198.51.100.99:5060' });
  const ask = (uri: string): void =>
    stranger.send(stranger.request({ method: 'INVITE', uri, to: `<${uri}>`, sdp: stranger.sdp() }));
  ask('sip:112@example.org');
  stranger.next(407);
  t.same([carrier.heard(), second.heard()], [[], []], 'who proves nothing gets no way through');
  const open = trunked({ config: { emergency: { ...SOS.emergency, unauthenticated: true } } });
  const other = open.world.phone('nobody', { at: '198.51.100.99:5060', domain: 'unknown.example' });
  const call = other.invite('sip:112@example.org');
  hangUp(call, answered(call, open.carrier));
  for (const uri of ['sip:113@example.org', 'sip:112@elsewhere.example', 'sip:112@carrier.example']) {
    other.send(other.request({ method: 'INVITE', uri, to: `<${uri}>`, sdp: other.sdp() }));
    t.equal(other.next(403).status, 403, uri);
  }
  t.same(open.carrier.heard(), [], 'only the emergency itself is free');
  const none = trunked();
  none.alice.invite('urn:service:sos');
  none.alice.next(416);
});
