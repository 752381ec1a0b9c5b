import { H } from '@drawbridge/sip';
import tap from 'tap';
import { BORDER_CORE, type Phone } from './harness.js';
import { answered, hangUp, refused, refuses, type TrunkWorld, trunked } from './trunk-world.js';

const contact = (...uris: string[]): { headers: string } => ({ headers: uris.map(u => `Contact: ${u}\r\n`).join('') });

function withBob(o: Parameters<typeof trunked>[0]): TrunkWorld & { bob: Phone; carol: Phone } {
  const w = trunked(o);
  const bob = w.world.phone('bob', { at: '198.51.100.2:6060' }).register();
  const carol = w.world.phone('carol', { at: '198.51.100.3:6060' }).register();
  return { ...w, bob, carol };
}

const RECURSE = { config: { calls: { redirect: 'recurse' } } };

tap.test('a redirection is refused unless the configuration follows it', async t => {
  const { alice, bob, carol } = withBob({});
  const a = alice.invite('sip:bob@example.org');
  refuses(bob, 302, contact('<sip:carol@example.org>'));
  refused(a, 480);
  t.same(carol.heard(), []);
  const w = withBob(RECURSE);
  const b = w.alice.invite('sip:bob@example.org');
  refuses(w.bob, 302, contact('<sip:carol@example.org>'));
  const c = answered(b, w.carol);
  t.equal(w.world.border.calls().length, 1);
  hangUp(b, c);
});

tap.test('contacts are followed by falling q, only where a call may go: no open relay', async t => {
  const { world, alice, bob, carol, carrier, second } = withBob(RECURSE);
  const a = alice.invite('sip:bob@example.org');
  world.lost.length = 0;
  refuses(
    bob,
    302,
    contact(
      '<sip:carol@example.org>;q=0.2',
      '<sip:+4930123456@example.org>;q=0.5',
      '<sip:victim@192.0.2.66>;q=1',
      '<sip:victim@example.com;maddr=192.0.2.66>;q=0.9',
      '<https://example.com/>;q=0.8',
    ),
  );
  t.equal(carrier.inbox[0]?.uri, 'sip:+4930123456@carrier.example');
  t.same(carol.heard(), [], 'not yet');
  refuses(carrier, 486);
  t.equal(carol.inbox[0]?.method, 'INVITE', 'the next lower q');
  hangUp(a, answered(a, carol));
  t.same(world.lost, [], 'nothing to the others');
  t.same(second.heard(), []);
});

tap.test('loops end, and so do chains: five contacts in all', async t => {
  const { alice, bob, carol } = withBob(RECURSE);
  const a = alice.invite('sip:bob@example.org');
  refuses(bob, 302, contact('<sip:carol@example.org>'));
  refuses(carol, 302, contact('<sip:bob@example.org>'));
  refuses(bob, 302, contact('<sip:carol@example.org>'));
  refused(a, 480);
  t.same([bob.heard(), carol.heard()], [[], []], 'each is asked once more at most');
  const w = withBob({ ...RECURSE, second: { maxCalls: 50 } });
  const b = w.alice.invite('sip:bob@example.org');
  refuses(w.bob, 302, contact('<sip:+49301111@example.org>'));
  let asked = 0;
  for (let n = 1; w.carrier.inbox.length > 0; n++) {
    asked++;
    w.carrier.called().answer(302, contact(`<sip:+493022${10 + n}@example.org>`));
    w.carrier.next('ACK');
  }
  t.equal(asked, 5);
  refused(b, 480);
});

tap.test('pass: the caller hears 302 with what he may call', async t => {
  const { alice, carrier, world } = withBob({ carrier: { redirect: 'pass' } });
  const a = alice.invite('sip:+4930123456@example.org');
  refuses(
    carrier,
    302,
    contact('<sip:+4930777777@10.0.0.7>;q=0.5', '<sip:bob@example.org>', '<sip:+4930888888@example.org>;q=0.7'),
  );
  const m = refused(a, 302);
  t.same(m.list(H.contact), ['<sip:bob@example.org>;q=1.0', '<sip:+4930888888@example.org>;q=0.7']);
  t.notMatch(m.text, /10\.0\.0\.7/, 'no inner address');
  const b = alice.invite('sip:+4930123456@example.org');
  refuses(carrier, 302, contact('<sip:x@10.0.0.7>'));
  refused(b, 480);
  t.equal(world.border.calls().length, 0);
});

tap.test('who is called in and redirects out does so in his own name', async t => {
  const { bob, carrier, second, world } = withBob({
    ...RECURSE,
    carrier: { dids: { '+4930555': 'bob@example.org' } },
    routes: [{ name: 'out', when: { to: '+*', from: 'bob@*' }, to: { trunk: 'second' } }],
  });
  const c = carrier.invite(`sip:+4930555@${BORDER_CORE}`);
  refuses(bob, 302, contact('<sip:+49170999999@example.org>'));
  t.equal(second.inbox[0]?.uri, 'sip:+49170999999@second.example');
  hangUp(c, answered(c, second));
  // The trunk itself gets through nowhere by redirecting.
  const d = bob.invite('sip:+49301234567@example.org');
  refuses(second, 302, contact(`<sip:+41777777777@${BORDER_CORE}>`));
  refuses(second, 404);
  refused(d, 404);
  world.pass(60_000);
  t.equal(world.border.calls().length, 0);
});
