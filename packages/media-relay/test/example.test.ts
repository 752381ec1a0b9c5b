import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { seededRandom } from '@drawbridge/core';
import t from 'tap';
import { isRejected, MediaRelay, type RelayEvent } from '../src/index.js';
import { audio, portOf, rtp } from './virtual.js';

/** The lines of README.md on real sockets: two phones on loopback, packets both ways. */
t.test('two phones talk through a relay on this machine', async t => {
  const events: RelayEvent[] = [];
  await using relay = await MediaRelay.open(
    { realms: [{ name: 'access', addresses: [{ bind: '127.0.0.1' }] }], ports: [23_200, 23_299], path: 'dgram' },
    { now: () => performance.now(), random: seededRandom(Date.now()), onEvent: e => events.push(e) },
  );
  t.same(
    relay.paths.map(p => [p.realm, p.address, p.path]),
    [['access', '127.0.0.1', 'dgram']],
  );
  t.type(relay.paths[0]?.because, 'string');

  const alice = createSocket('udp4').bind(0, '127.0.0.1');
  const bob = createSocket('udp4').bind(0, '127.0.0.1');
  await Promise.all([once(alice, 'listening'), once(bob, 'listening')]);
  t.teardown(() => {
    alice.close();
    bob.close();
  });
  const session = relay.session({ id: 'call-1' });
  session.leg('a', { realm: 'access', local: '127.0.0.1' });
  session.leg('b', { realm: 'access', local: '127.0.0.1' });
  const toBob = session.offer({
    from: 'a',
    to: 'b',
    sdp: audio({ at: '127.0.0.1', port: alice.address().port }),
    seenFrom: '127.0.0.1',
  });
  if (isRejected(toBob)) return void t.fail(toBob.detail);
  const toAlice = session.answer({
    from: 'b',
    to: 'a',
    sdp: audio({ at: '127.0.0.1', port: bob.address().port }),
    seenFrom: '127.0.0.1',
    final: true,
  });
  if (isRejected(toAlice)) return void t.fail(toAlice.detail);

  const hear = async (from: typeof alice, port: number, to: typeof alice, ssrc: number): Promise<number> => {
    const heard = once(to, 'message') as Promise<[Buffer]>;
    // A path with a socket per port opens it in its own thread: keep sending until the first packet is through.
    const knock = setInterval(() => from.send(rtp({ ssrc }), port, '127.0.0.1'), 20);
    const [bytes] = await heard;
    clearInterval(knock);
    return bytes.readUInt32BE(8);
  };
  t.equal(await hear(alice, portOf(toAlice), bob, 0xa11ce), 0xa11ce);
  t.equal(await hear(bob, portOf(toBob), alice, 0xb0b), 0xb0b);
  t.same(
    session.streams.map(s => [s.leg, s.latched?.port, s.path]),
    [
      ['a', alice.address().port, 'dgram'],
      ['b', bob.address().port, 'dgram'],
    ],
  );
  // The thread counts after it has sent: the phone may hear the packet first.
  while (!session.streams.every(s => s.counters.packets > 0 && s.counters.sent > 0)) await new Promise(setImmediate);
  session.close();
  await relay.drain({ within: 1000 });
  t.same([relay.stats().sessions, relay.stats().pairsInUse], [0, 0]);
});
