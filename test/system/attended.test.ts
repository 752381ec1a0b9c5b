import t from 'tap';
import { Baresip } from '../lab/baresip.js';
import { Border, LOCAL } from '../lab/border.js';
import { end, registerAll } from '../lab/calls.js';
import type { Packet } from '../lab/capture.js';
import { Capture, header, media } from '../lab/capture.js';
import { inLaboratory } from '../lab/evidence.js';
import { AT } from '../lab/lab.js';
import { Linphone } from '../lab/linphone.js';
import { eventually, unable } from '../lab/machine.js';
import { hearOnWire, TONES, USERS } from '../lab/matrix.js';

const skip = unable() ?? false;
t.setTimeout(120_000);

const CAROL_TONE = 1500;

interface CallFacts {
  readonly from: string;
  readonly to: string;
}

t.test('three phones of two makes, one joins the two it talks to (REFER with Replaces)', { skip }, t =>
  inLaboratory(t, 'attended', async lab => {
    await using border = await Border.start(lab, {
      calls: '{ noAnswer: 10s }',
      media: '{ ports: [30000, 30199], inactivity: 20s }',
    });
    for (const [user, password] of Object.entries(USERS)) await border.subscriber(user, password, LOCAL);
    lab.nat(1, { kind: 'portrestricted' });
    lab.nat(2, { kind: 'portrestricted' });
    const account = (user: 'alice' | 'bob' | 'carol') => ({
      user,
      domain: LOCAL,
      password: USERS[user] ?? '',
      regint: 600,
    });
    await using aliceWire = await Capture.start(lab, 'lan1', 'eth0', 'alice');
    await using bobWire = await Capture.start(lab, 'lan2', 'eth0', 'bob');
    await using carolWire = await Capture.start(lab, 'lan6', 'eth0', 'carol');
    await using alice = await Linphone.start(lab, {
      ...account('alice'),
      box: 'lan1',
      address: AT.lan1,
      outbound: AT.border,
      tone: TONES.alice,
    });
    await using bob = await Baresip.start(lab, {
      ...account('bob'),
      box: 'lan2',
      address: AT.lan2,
      outbound: AT.border,
      tone: TONES.bob,
    });
    await using carol = await Baresip.start(lab, {
      ...account('carol'),
      box: 'lan6',
      address: AT.lan6,
      outbound: `[${AT.border6}]`,
      tone: CAROL_TONE,
    });
    await Promise.all([alice.registered(), registerAll(bob, carol)]);
    const voices = {
      alice: { phone: alice, wire: aliceWire },
      bob: { phone: bob, wire: bobWire },
      carol: { phone: carol, wire: carolWire },
    };
    const calls = (): Promise<CallFacts[]> => border.api<CallFacts[]>('/calls');
    const answered = async (by: Baresip): Promise<string> => {
      const call = await alice.dial(by.uri);
      await by.event('CALL_INCOMING');
      await by.accept();
      await Promise.all([by.event('CALL_ESTABLISHED'), alice.established(call)]);
      return call;
    };
    const toAlice = (p: Packet): boolean => p.to === AT.lan1;

    for (const [name, sent] of [
      ['the one on hold is sent to the one just consulted', bob],
      ['the one just consulted is sent to the one on hold', carol],
    ] as const) {
      const other = sent === bob ? carol : bob;
      await t.test(name, async t => {
        bob.forget();
        carol.forget();
        const first = await answered(bob);
        t.same(
          await hearOnWire({ alice: voices.alice, bob: voices.bob }, 1),
          [],
          'control: alice and bob hear each other',
        );
        const beforeHold = bobWire.mark();
        await alice.hold(first);
        await bobWire.until(500, 'the hold at bob', beforeHold, p =>
          /^INVITE .*a=(sendonly|inactive)/s.test(p.payload),
        );
        const consulting = aliceWire.mark();
        const second = await answered(carol);
        t.same(
          await hearOnWire({ alice: voices.alice, bob: voices.carol }, 1),
          [],
          'control: alice and carol hear each other, and alice hears nobody else',
        );
        t.equal((await calls()).length, 2, 'control: two calls');

        const [call, consultation] = sent === bob ? [first, second] : [second, first];
        const mark = aliceWire.mark();
        await alice.transfer(call, consultation);
        await Promise.all([alice.ended(first), alice.ended(second)]);
        await alice.idle();

        const refer = await aliceWire.until(500, 'the REFER', mark, p => p.payload.startsWith('REFER '));
        const referTo = header(refer.payload, 'Refer-To');
        t.match(referTo, `<${other.uri}?Replaces=`, 'the transfer is an attended one');
        const dialled = aliceWire
          .packets()
          .findLast(p => p.payload.startsWith(`INVITE ${other.uri} `) && p.from === AT.lan1);
        t.match(
          referTo,
          `Replaces=${header(dialled?.payload ?? '', 'Call-ID')}%3b`,
          "it names alice's own call with the target",
        );
        const told = await aliceWire.until(
          500,
          'the last NOTIFY',
          mark,
          p => p.payload.startsWith('NOTIFY ') && toAlice(p) && /^SIP\/2\.0 200/m.test(p.payload.slice(8)),
        );
        t.match(header(told.payload, 'Subscription-State'), /^terminated/, 'alice is told that it worked, and no more');

        await eventually(500, 'one call', async () => ((await calls()).length === 1 ? true : undefined));
        t.match(await calls(), [{ from: sent.uri, to: other.uri }], 'one call is left, between the two others');
        const joined = aliceWire.mark();
        t.same(await hearOnWire({ alice: voices.bob, bob: voices.carol }, 2), [], 'bob and carol hear each other');
        t.not(media(aliceWire.since(consulting).filter(toAlice)).length, 0, 'control: alice was sent media');
        t.equal(media(aliceWire.since(joined).filter(toAlice)).length, 0, 'alice is sent none any more');
        t.same([bob.has('CALL_INCOMING'), carol.has('CALL_INCOMING')], [false, false], 'neither rang again');
        t.same([bob.has('CALL_CLOSED'), carol.has('CALL_CLOSED')], [false, false], 'neither was hung up on');
        await end(bob, carol);
        await eventually(500, 'no calls', async () => ((await calls()).length === 0 ? true : undefined));
      });
    }
  }),
);
