import type { Test } from 'tap';
import t from 'tap';
import { Border, LOCAL } from '../lab/border.js';
import { inLaboratory } from '../lab/evidence.js';
import type { Lab } from '../lab/lab.js';
import { AT } from '../lab/lab.js';
import { eventually, unable } from '../lab/machine.js';
import { Sipp } from '../lab/sipp.js';
import { sipsak } from '../lab/sipsak.js';
import { options, Udp } from '../lab/udp.js';

const skip = unable() ?? false;
t.setTimeout(240_000);

/*
 *   core 10.0.0.5:5060 (upstream.test, known by address) ── border ── evil 203.0.113.66:5060 (bob@local.test)
 *
 * The scenarios hold the expectations, message by message: test/sipp. T1 is 100 ms here, so 64*T1 is 6.4 s.
 */
const CASES: readonly {
  readonly name: string;
  readonly uac: string;
  readonly uas?: string;
  readonly countRepeats?: true;
}[] = [
  {
    name: 'a 2xx is sent again until it is acknowledged',
    uac: 'retransmission',
    uas: 'uas-answers',
    countRepeats: true,
  },
  { name: 'an ACK that never comes ends the call on both legs', uac: 'lost-ack', uas: 'uas-answers' },
  { name: 'a CANCEL before the answer', uac: 'cancel', uas: 'uas-cancelled' },
  { name: 'a CANCEL after the answer', uac: 'late-cancel', uas: 'uas-answers' },
  { name: 'a CANCEL of nothing', uac: 'stray-cancel' },
  { name: 're-INVITEs from both sides at once', uac: 'glare', uas: 'uas-glare' },
  { name: 'a merged request', uac: 'merged', uas: 'uas-answers-late' },
  { name: 'a lower CSeq', uac: 'lower-cseq', uas: 'uas-answers' },
  { name: 'Max-Forwards 0', uac: 'max-forwards' },
  { name: 'an unknown extension in Require', uac: 'require' },
];

t.test('SIP as the RFCs say it', { skip }, t =>
  inLaboratory(t, 'sipp', async lab => {
    await using border = await Border.start(lab, {
      timers: '{ t1: 100ms, t2: 4s, t4: 5s }',
      media: '{ ports: [30000, 30199], inactivity: 60s }',
      calls: '{ noAnswer: 20s }',
    });
    await border.subscriber('bob', 'builder', LOCAL);
    const callee = { box: 'evil', address: AT.evil, port: 5060 } as const;
    const caller = { box: 'core', address: AT.service, port: 5060, remote: `${AT.borderCore}:5060` } as const;
    await using registration = new Sipp(lab, {
      ...callee,
      scenario: 'register',
      remote: `${AT.border}:5060`,
      digestUri: LOCAL,
    });
    t.equal(await registration.ended(1000), 0, 'bob registers with digest', { errors: registration.errors() });

    // what is refused must not reach the callee
    const refused = async (t: Test, uac: string): Promise<void> => {
      await using bob = await Udp.open(lab, callee.box, callee.address, callee.port);
      await using calling = new Sipp(lab, { ...caller, scenario: uac });
      t.equal(await calling.ended(3000), 0, 'the scenario went as written', { caller: calling.errors() });
      t.same(bob.got, [], 'nothing reaches the callee');
      await bob.send(AT.border, 5060, options(bob));
      t.match((await bob.receive(() => true)).payload, /^SIP\/2.0 200 /, 'control: what is sent to him does');
    };

    for (const { name, uac, uas, ...options } of CASES) {
      await t.test(name, async t => {
        if (uas === undefined) return refused(t, uac);
        await using answering = new Sipp(lab, { ...callee, scenario: uas });
        await listening(lab, AT.evil);
        await using calling = new Sipp(lab, { ...caller, ...options, scenario: uac });
        const codes = { caller: await calling.ended(3000), callee: await answering.ended(3000) };
        t.same(codes, { caller: 0, callee: 0 }, 'both scenarios went as written', {
          caller: calling.errors(),
          callee: answering.errors(),
          kept: [calling.folder, answering.folder],
        });
        await eventually(1000, 'no calls', async () =>
          (await border.api<unknown[]>('/calls')).length === 0 ? true : undefined,
        );
      });
    }

    await t.test('sipsak: OPTIONS to the border itself', async t => {
      const r = sipsak(lab, 'evil', ['-vv', '-l', '5099', '-s', `sip:${AT.border}:5060`]);
      t.equal(r.code, 0, r.output);
      t.match(r.output, /SIP\/2\.0 200/);
      const nobody = sipsak(lab, 'evil', ['-vv', '-l', '5099', '-s', `sip:${AT.public}:5060`]);
      t.not(nobody.code, 0, 'control: sipsak notices when nobody answers');
    });
  }),
);

async function listening(lab: Lab, address: string): Promise<void> {
  await eventually(500, 'the callee to listen', () =>
    lab.run('evil', 'ss', ['-Hlun', `src ${address}`]).includes(':5060') ? true : undefined,
  );
}
