import t from 'tap';
import { Baresip } from '../lab/baresip.js';
import { Border, LOCAL } from '../lab/border.js';
import { end, establish, pass } from '../lab/calls.js';
import { Capture, header } from '../lab/capture.js';
import { inLaboratory } from '../lab/evidence.js';
import { AT } from '../lab/lab.js';
import { eventually, unable } from '../lab/machine.js';
import { hearOnWire, setStage, USERS } from '../lab/matrix.js';

const skip = unable() ?? false;
t.setTimeout(120_000);

const TONE = 1500;

t.test('three phones, one transfers another to the third, which is on IPv6', { skip }, t =>
  inLaboratory(t, 'transfer', async lab => {
    await using border = await Border.start(lab, {
      calls: '{ noAnswer: 10s }',
      media: '{ ports: [30000, 30199], inactivity: 20s }',
    });
    for (const [user, password] of Object.entries(USERS)) await border.subscriber(user, password, LOCAL);
    await using stage = await setStage(lab, {
      caller: { nat: 'portrestricted', transport: 'udp' },
      callee: { nat: 'portrestricted', transport: 'udp' },
      domain: 'local',
    });
    const { alice, bob } = stage;
    await using wire = await Capture.start(lab, 'lan6', 'eth0', 'carol');
    await using phone = await Baresip.start(lab, {
      box: 'lan6',
      address: AT.lan6,
      user: 'carol',
      domain: LOCAL,
      password: USERS.carol ?? '',
      outbound: `[${AT.border6}]`,
      tone: TONE,
      regint: 600,
    });
    await phone.registered();
    const carol = { phone, wire, addresses: [AT.lan6] };
    const calls = (): Promise<unknown[]> => border.api<unknown[]>('/calls');

    for (const [name, by, other] of [
      ['the caller', alice, bob],
      ['the callee', bob, alice],
    ] as const) {
      await t.test(`${name} transfers`, async t => {
        phone.forget();
        await establish(alice.phone, bob.phone);
        t.same(await hearOnWire({ alice, bob }, 1), [], 'control: the two hear each other');
        const mark = wire.mark();
        await by.phone.command('transfer', phone.uri);
        await phone.event('CALL_INCOMING');
        await phone.accept();
        await phone.event('CALL_ESTABLISHED');
        await by.phone.event('CALL_CLOSED', 15_000);
        const invite = await wire.until(500, 'the INVITE to the target', mark, p => p.payload.startsWith('INVITE '));
        t.match(header(invite.payload, 'From'), other.phone.uri, 'from the transferee');
        t.match(header(invite.payload, 'Referred-By'), by.phone.uri);
        t.equal((await calls()).length, 1, 'one call is left');
        await pass(300);
        t.same(await hearOnWire({ alice: other, bob: carol }, 2), [], 'transferee and target hear each other');
        other.phone.forget();
        await end(phone, other.phone);
        await eventually(500, 'no calls', async () => ((await calls()).length === 0 ? true : undefined));
      });
    }
  }),
);
