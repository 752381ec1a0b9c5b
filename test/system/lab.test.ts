import t from 'tap';
import { Baresip } from '../lab/baresip.js';
import { end, establish, pass, registerAll, ring, talk } from '../lab/calls.js';
import { Capture, isRtp, media } from '../lab/capture.js';
import { inLaboratory } from '../lab/evidence.js';
import { Kamailio } from '../lab/kamailio.js';
import { AT } from '../lab/lab.js';
import { unable } from '../lab/machine.js';
import { found, marksOf } from '../lab/marks.js';
import type { NatKind } from '../lab/nat.js';
import { deaf, g711Samples, listen, toneWav, wav, wavSamples } from '../lab/tone.js';
import { Udp } from '../lab/udp.js';

const skip = unable() ?? false;
t.setTimeout(120_000);

t.test('the tone detector', async t => {
  const far = wavSamples(toneWav(440, 4));
  const own = wavSamples(toneWav(1000, 4));
  const ears = { far: 440, own: 1000 };
  t.same(listen(far, ears), { windows: 20, far: 20, own: 0 });
  t.same(listen(own, ears), { windows: 20, far: 0, own: 20 });
  t.same(listen(new Int16Array(32000), ears), { windows: 20, far: 0, own: 0 }, 'silence is neither');
  t.equal(deaf(listen(far, ears), 4), undefined);
  t.match(
    deaf(listen(far.subarray(0, 27000), ears), 4),
    /far tone in 16 of 20/,
    'a recording too short is a call half heard',
  );
  const echo = far.map((v, i) => v * 0.7 + own[i]! * 0.3);
  t.match(deaf(listen(echo, ears), 4), /own tone in 20 windows/, 'an echo of the own voice is noticed under the other');
  const crash = wav(far);
  crash.writeUInt32LE(0, 40);
  t.equal(wavSamples(crash).length, 32000, 'a header never completed');
  // G.711 of silence and of the largest samples, ITU-T G.711 tables 1a and 2a
  t.same([...g711Samples([{ type: 8, bytes: '\xd5\x55\xaa\x2a' }])], [8, -8, 32256, -32256]);
  t.same([...g711Samples([{ type: 0, bytes: '\xff\x7f\x80\x00' }])], [0, 0, 32124, -32124]);
});

t.test('the laboratory', { skip }, async t => {
  await inLaboratory(t, 'lab', async lab => {
    await t.test('NATs behave as they are called', async t => {
      await using inside = await Udp.open(lab, 'lan1', AT.lan1, 7000);
      await using first = await Udp.open(lab, 'pub', AT.border, 7000);
      await using second = await Udp.open(lab, 'pub', AT.public, 7000);
      await using third = await Udp.open(lab, 'pub', AT.public, 7001);
      let round = 0;

      // mapping: the port each of three remotes sees; filtering: who gets in after only `first` was written to
      const observe = async (
        kind: NatKind,
        remap?: number,
      ): Promise<{ keepsPort: boolean; oneMapping: boolean; openTo: string[]; port: number }> => {
        lab.nat(1, { kind, ...(remap === undefined ? {} : { remap }) });
        const mark = `${kind} ${round++}`;
        await inside.send(first.address, first.port, `${mark} a`);
        const seen = await first.receive(g => g.payload === `${mark} a`);
        t.equal(seen.from, AT.nat1);
        const openTo: string[] = [];
        await third.send(AT.nat1, seen.port, `${mark} other port`);
        await second.send(AT.nat1, seen.port, `${mark} other address`);
        // sent after the others had left, through the same wires: what is not in by now was not let in
        await first.send(AT.nat1, seen.port, `${mark} back`);
        await inside.receive(g => g.payload === `${mark} back`);
        for (const g of inside.got)
          if (g.payload.startsWith(`${mark} other`)) openTo.push(g.payload.slice(mark.length + 1));
        await inside.send(second.address, second.port, `${mark} b`);
        const other = await second.receive(g => g.payload === `${mark} b`);
        return {
          keepsPort: seen.port === 7000,
          oneMapping: other.port === seen.port,
          openTo: openTo.sort(),
          port: seen.port,
        };
      };

      t.match(await observe('fullcone'), {
        keepsPort: true,
        oneMapping: true,
        openTo: ['other address', 'other port'],
      });
      t.match(await observe('portrestricted'), { keepsPort: true, oneMapping: true, openTo: [] });
      t.match(await observe('symmetric'), { keepsPort: false, oneMapping: false, openTo: [] });
      t.match(await observe('symmetric-address'), { oneMapping: false, openTo: [] });
      t.match(await observe('portrestricted', 1), { keepsPort: false, oneMapping: true, openTo: [] });
      t.match(await observe('fullcone', 1), {
        keepsPort: false,
        oneMapping: true,
        openTo: ['other address', 'other port'],
      });
      const before = await observe('portrestricted', 2);
      const after = await observe('portrestricted', 3);
      t.not(before.port, after.port, 'a NAT that lost its table maps anew');
      const restricted = await observe('restricted');
      t.same(restricted.openTo, [], 'nobody else on another address');
      lab.nat(1, { kind: 'restricted' });
      await inside.send(second.address, second.port, 'restricted open');
      const open = await second.receive(g => g.payload === 'restricted open');
      await third.send(AT.nat1, open.port, 'restricted same address');
      await inside.receive(g => g.payload === 'restricted same address');
      lab.nat(1, { kind: 'blockudp' });
      await inside.send(first.address, first.port, 'blocked');
      lab.nat(1, { kind: 'portrestricted' });
      await inside.send(first.address, first.port, 'unblocked');
      await first.receive(g => g.payload === 'unblocked');
      t.notOk(first.got.some(g => g.payload === 'blocked'));
    });

    await t.test('control without a border: two phones and a registrar, no NAT', async t => {
      lab.nat(1, { kind: 'none' });
      lab.nat(2, { kind: 'none' });
      const capture = await Capture.start(lab, 'pub', 'br0', 'control');
      await using _service = await Kamailio.start(lab, {
        box: 'pub',
        address: AT.public,
        domain: 'control.test',
        users: { alice: 'wonder', bob: 'builder' },
      });
      const common = { domain: 'control.test', outbound: AT.public };
      await using alice = await Baresip.start(lab, {
        ...common,
        box: 'lan1',
        address: AT.lan1,
        user: 'alice',
        password: 'wonder',
        tone: 440,
      });
      await using bob = await Baresip.start(lab, {
        ...common,
        box: 'lan2',
        address: AT.lan2,
        user: 'bob',
        password: 'builder',
        tone: 1000,
        transport: 'tcp',
      });
      await registerAll(alice, bob);

      t.same(await talk(alice, bob), [], 'both hear the other');

      await ring(alice, bob);
      await bob.hangup();
      t.match((await alice.event('CALL_CLOSED')).param, /^486 /, 'busy');
      await ring(alice, bob);
      t.match((await end(alice, bob)).type, 'CALL_CLOSED', 'the caller cancels');

      await establish(alice, bob);
      const held = capture.mark();
      await alice.hold();
      await capture.until(500, 'the hold', held, p => p.from === AT.lan1 && p.payload.includes('a=sendonly'));
      await capture.until(500, 'its ACK', held, p => p.from === AT.lan1 && p.payload.startsWith('ACK '));
      const mark = capture.mark();
      await alice.resume();
      await capture.until(500, 'the end of the hold', mark, p => p.to === AT.lan2 && p.payload.startsWith('ACK '));
      await pass(1200);
      await end(bob, alice);

      const later = capture.since(mark);
      const packets = await capture.stop();
      for (const [to, tone] of [
        [AT.lan2, { far: 440, own: 1000 }],
        [AT.lan1, { far: 1000, own: 440 }],
      ] as const) {
        t.equal(
          deaf(listen(g711Samples(media(later.filter(p => p.to === to))), tone), 1),
          undefined,
          `after the hold ${to} is sent the other's tone`,
        );
      }
      const marks = marksOf(
        packets.filter(p => p.from === AT.lan1),
        [AT.lan1],
      );
      const seen = found(
        marks,
        packets.filter(p => p.to === AT.lan2),
      );
      t.ok(seen.length >= 5, `the leak scan finds what nobody hides: ${seen.length} marks`);
      t.ok(
        packets.some(p => isRtp(p) && p.from === AT.lan1 && p.to === AT.lan2),
        'and the phones send each other media directly',
      );
    });
  });
});
