import t from 'tap';
import { Border, UPSTREAM } from '../lab/border.js';
import { pass, talk } from '../lab/calls.js';
import { Capture } from '../lab/capture.js';
import { inLaboratory } from '../lab/evidence.js';
import { Kamailio } from '../lab/kamailio.js';
import { AT, type Lab } from '../lab/lab.js';
import { eventually, unable } from '../lab/machine.js';
import { setStage, USERS } from '../lab/matrix.js';

const skip = unable() ?? false;
t.setTimeout(240_000);

const WINDOW_MS = 18_000;

function upstream(lab: Lab): Promise<Kamailio> {
  return Kamailio.start(lab, { box: 'core', address: AT.service, domain: UPSTREAM, users: USERS });
}

/** REGISTERs that went well, as they were answered by `from`. */
function registered(of: Capture, from: string, mark: number): number {
  return of
    .since(mark)
    .filter(
      p => p.from === from && p.payload.startsWith('SIP/2.0 200 ') && /\r\nCSeq: \d+ REGISTER\r\n/.test(p.payload),
    ).length;
}

t.test('Kamailio as registrar: asked seldom, and gone for a while', { skip }, t =>
  inLaboratory(t, 'registrar', async lab => {
    let service = await upstream(lab);
    await using border = await Border.start(lab, {
      registrar: '{ minExpires: 4s, upstreamExpires: 20s, downstreamExpires: { udp: 4s }, grace: 120s }',
      calls: '{ noAnswer: 20s }',
    });
    await using core = await Capture.start(lab, 'core', 'eth0', 'core');
    await using stage = await setStage(
      lab,
      {
        caller: { nat: 'portrestricted', transport: 'udp' },
        callee: { nat: 'portrestricted', transport: 'udp' },
        domain: 'upstream',
      },
      { regint: 4 },
    );
    const { alice, bob } = stage;
    const inGrace = async (): Promise<number> =>
      Number(/^drawbridge_bindings_in_grace(?:\{[^}]*\})? (\d+)$/m.exec((await border.get('/metrics')).text)?.[1]);

    await t.test('phones register often, the border seldom', async t => {
      const marks = { alice: alice.wire.mark(), bob: bob.wire.mark(), core: core.mark() };
      await pass(WINDOW_MS);
      const phones = registered(alice.wire, AT.border, marks.alice) + registered(bob.wire, AT.border, marks.bob);
      const there = registered(core, AT.service, marks.core);
      t.comment(`in ${WINDOW_MS / 1000} s: ${phones} of the phones, ${there} at the registrar`);
      t.ok(phones >= 8, 'each phone every 4 s or sooner');
      t.ok(there >= 2, 'each before the registrar forgets it');
      t.ok(there * 2 <= phones, 'by the ratio of the intervals');
      t.equal(await inGrace(), 0);
    });

    await t.test('the registrar dies: its phones stay registered', async t => {
      alice.phone.forget();
      bob.phone.forget();
      await service[Symbol.asyncDispose]();
      await eventually(15_000, 'both to live on grace', async () => ((await inGrace()) === 2 ? true : undefined));
      t.notOk(alice.phone.has('REGISTER_FAIL') || bob.phone.has('REGISTER_FAIL'), 'no phone noticed');
      alice.phone.forget();
      bob.phone.forget();
      await Promise.all([alice.phone.registered(5000), bob.phone.registered(5000)]);
      t.notOk(alice.phone.has('REGISTER_FAIL') || bob.phone.has('REGISTER_FAIL'), 'nor on grace');
      t.equal((await border.api<unknown[]>('/bindings')).length, 2);
    });

    await t.test('it comes back and knows nobody: both are there again, and a call gets through', async t => {
      service = await upstream(lab);
      const mark = core.mark();
      await eventually(25_000, 'no need of grace', async () => ((await inGrace()) === 0 ? true : undefined));
      t.ok(registered(core, AT.service, mark) >= 2, 'both registered there');
      t.same(await talk(alice.phone, bob.phone), []);
    });
    await service[Symbol.asyncDispose]();
  }),
);
