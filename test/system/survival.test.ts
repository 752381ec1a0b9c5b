import type { Test } from 'tap';
import t from 'tap';
import { Border, LOCAL } from '../lab/border.js';
import { end, establish, pass, talk } from '../lab/calls.js';
import type { Packet } from '../lab/capture.js';
import { Capture, isRtp, ssrc } from '../lab/capture.js';
import { inLaboratory } from '../lab/evidence.js';
import { Kamailio } from '../lab/kamailio.js';
import { AT } from '../lab/lab.js';
import { eventually, unable } from '../lab/machine.js';
import type { Cell, Stage } from '../lab/matrix.js';
import { hearOnWire, setStage, USERS } from '../lab/matrix.js';
import { options, Udp } from '../lab/udp.js';

const skip = unable() ?? false;
t.setTimeout(300_000);

const behindNats = (domain: Cell['domain']): Cell => ({
  caller: { nat: 'portrestricted', transport: 'udp' },
  callee: { nat: 'portrestricted', transport: 'udp' },
  domain,
});

const none = (border: Border): Promise<true> =>
  eventually(500, 'no calls', async () => ((await border.api<unknown[]>('/calls')).length === 0 ? true : undefined));

/** The outside ports that the border sees bob's SIP come from, oldest first. */
function portsOfBob(outside: Capture, mark = 0): number[] {
  const seen = outside.since(mark).filter(p => p.from === AT.nat2 && p.toPort === 5060 && /^[A-Z]/.test(p.payload));
  return [...new Set(seen.map(p => p.fromPort))];
}

t.test('what goes wrong during a registration or a call', { skip }, t =>
  inLaboratory(t, 'survival', async lab => {
    await using _service = await Kamailio.start(lab, {
      box: 'core',
      address: AT.service,
      domain: 'upstream.test',
      users: USERS,
    });
    // 64*T1 is how long the border waits for a dead phone's word
    await using border = await Border.start(lab, { timers: '{ t1: 200ms, t2: 4s, t4: 5s }' });
    for (const [user, password] of Object.entries(USERS)) await border.subscriber(user, password, LOCAL);
    await using outside = await Capture.start(lab, 'pub', 'br0', 'outside', 'udp or tcp');

    for (const domain of ['local', 'upstream'] as const) {
      const on = (
        name: string,
        play: (t: Test, stage: Stage) => Promise<void>,
        options: { readonly regint?: number } = {},
      ): Promise<unknown> =>
        t.test(`${name}, ${domain} domain`, async t => {
          await using stage = await setStage(lab, behindNats(domain), options);
          await play(t, stage);
          await none(border);
        });

      await on(
        'a NAT remaps between two registrations',
        async (t, { alice, bob }) => {
          const mark = outside.mark();
          const before = portsOfBob(outside).at(-1);
          bob.phone.forget();
          lab.nat(2, { kind: 'portrestricted', remap: 11 });
          await bob.phone.event('REGISTER_OK', 12_000);
          t.not(portsOfBob(outside, mark).at(-1), before, 'control: the NAT did map anew');
          t.same(await talk(alice.phone, bob.phone), []);
        },
        { regint: 10 },
      );

      await on('a NAT remaps during a call', async (t, { alice, bob }) => {
        await establish(alice.phone, bob.phone);
        t.same(await hearOnWire({ alice, bob }, 1), [], 'before');
        const mark = outside.mark();
        const before = portsOfBob(outside).at(-1);
        lab.nat(2, { kind: 'portrestricted', remap: 12 });
        const asked = bob.wire.mark();
        await bob.phone.command('reinvite');
        await bob.wire.until(500, "the re-INVITE's answer", asked, p => /^SIP\/2.0 200/.test(p.payload));
        t.not(portsOfBob(outside, mark).at(-1), before, 'control: the NAT did map anew');
        t.same(await hearOnWire({ alice, bob }, 1), [], 'after the phone spoke from its new port');
        await end(bob.phone, alice.phone);
      });

      await on('a NAT remaps during a call and the phone does not notice', async (t, { alice, bob }) => {
        const began = outside.mark();
        await establish(alice.phone, bob.phone);
        const toBob = (p: Packet): boolean => p.to === AT.nat2 && isRtp(p);
        await outside.until(500, 'media towards bob', began, toBob);
        t.same(await hearOnWire({ alice, bob }, 1), [], 'before');
        const mark = outside.mark();
        const known = new Set(
          outside
            .since(began)
            .filter(toBob)
            .map(p => p.toPort),
        );
        lab.nat(2, { kind: 'portrestricted', remap: 13 });
        await outside.until(500, 'media towards the new port', mark, p => toBob(p) && !known.has(p.toPort));
        t.same(await hearOnWire({ alice, bob }, 1), [], 'the relay followed the media alone');
        t.match(await end(bob.phone, alice.phone), { type: 'CALL_CLOSED' }, 'and a BYE from a new port is believed');
      });

      await on('the border is killed and started again', async (t, { alice, bob }) => {
        await border.kill();
        await border.up();
        const mark = outside.mark();
        t.same(await talk(alice.phone, bob.phone), [], 'called without a new registration');
        const registered = outside.since(mark).some(p => p.payload.startsWith('REGISTER'));
        t.notOk(registered, 'nobody registered in between');
        t.ok(
          outside.packets().some(p => p.payload.startsWith('REGISTER')),
          'control: a registration would be seen',
        );
      });

      await on('a phone dies during a call', async (t, { alice, bob }) => {
        await establish(alice.phone, bob.phone);
        await pass(500);
        const mark = outside.mark();
        await bob.phone.kill();
        t.match(await alice.phone.event('CALL_CLOSED', 3000), { type: 'CALL_CLOSED' }, 'the other is hung up on');
        await outside.until(
          500,
          'a BYE towards the dead one',
          mark,
          p => p.to === AT.nat2 && p.payload.startsWith('BYE '),
        );
      });
    }

    await t.test('a third host sprays media before, during and after the latch', async t => {
      await using stage = await setStage(lab, behindNats('local'));
      const { alice, bob } = stage;
      const before = outside.mark();
      await using attacker = await Udp.open(lab, 'evil', AT.evil, 4000);
      await using net = await Capture.start(lab, 'evil', 'eth0', 'evil');
      const foreign = 0xbadbad01;
      attacker.spray({ to: AT.border, first: 30000, last: 30199, ssrc: foreign, perSecond: 4000 });
      await net.until(500, 'the spray', 0, p => isRtp(p) && p.to === AT.border);
      t.same(await talk(alice.phone, bob.phone), [], 'the call does not mind');
      const sent = await attacker.quiet();
      await attacker.send(AT.border, 5060, options(attacker));
      await net.until(500, 'an answer to OPTIONS', 0, p => p.to === AT.evil && p.payload.startsWith('SIP/2.0 '));
      // How often depends on the machine; that none was left out doesn't.
      const sprayed = new Set(net.packets().flatMap(p => (isRtp(p) && p.to === AT.border ? [p.toPort] : [])));
      t.equal(sprayed.size, 200, `every relay port, ${sent} packets`);

      const bySsrc = (packets: readonly { payload: string }[]): number[] => [
        ...new Set(packets.filter(p => isRtp(p as never)).map(p => ssrc(p as never))),
      ];
      t.equal(net.packets().filter(p => p.to === AT.evil && isRtp(p)).length, 0, 'no media reaches the third host');
      t.ok(
        net.packets().some(p => p.to === AT.evil),
        'control: the same capture sees what does reach it',
      );
      const voice = new Set(bySsrc(alice.wire.packets().filter(p => p.from === AT.lan1)));
      const heard = bySsrc(bob.wire.packets().filter(p => p.to === AT.lan2));
      t.notOk(heard.includes(foreign), 'none of its SSRC reaches the callee');
      t.ok(
        heard.some(s => voice.has(s)),
        "control: the caller's own SSRC does",
      );
      t.ok(
        outside.since(before).some(p => isRtp(p) && ssrc(p) === foreign && p.to === AT.border),
        'control: its packets did arrive at the border',
      );
    });
  }),
);
