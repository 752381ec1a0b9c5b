import { closeSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import t from 'tap';
import { Baresip } from '../lab/baresip.js';
import { Border, LOCAL } from '../lab/border.js';
import { end, establish, pass, registerAll, talk } from '../lab/calls.js';
import { inLaboratory } from '../lab/evidence.js';
import { eventually, unable } from '../lab/machine.js';
import { type Cell, phoneOptions, setStage, USERS } from '../lab/matrix.js';

const skip = unable() ?? false;
t.setTimeout(120_000);

const CELL: Cell = {
  caller: { nat: 'portrestricted', transport: 'udp' },
  callee: { nat: 'portrestricted', transport: 'udp' },
  domain: 'local',
};

/** Writes until nothing more fits. */
function fill(path: string): void {
  const file = openSync(path, 'w');
  try {
    for (const size of [65_536, 512, 1]) {
      const chunk = Buffer.alloc(size, 'x');
      try {
        while (writeSync(file, chunk) === size);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      }
    }
  } finally {
    closeSync(file);
  }
}

t.test('a disk that fills up under a running border', { skip }, t =>
  inLaboratory(t, 'disk', async lab => {
    await using border = await Border.start(lab, {}, { diskBytes: 2 << 20 });
    for (const [user, password] of Object.entries(USERS)) await border.subscriber(user, password, LOCAL);
    await using stage = await setStage(lab, CELL);
    const { alice, bob } = stage;
    const log = (): string => readFileSync(border.log, 'utf8');
    const records = (): (string | undefined)[] =>
      readFileSync(border.onDisk('cdr.jsonl'), 'utf8')
        .split('\n')
        .filter(line => line !== '')
        .map(line => {
          try {
            return (JSON.parse(line) as { cause?: string }).cause;
          } catch {
            return 'torn';
          }
        });
    const ready = async (): Promise<number> => (await border.get('/readyz')).status;
    const carol = (): Promise<Baresip> =>
      Baresip.start(lab, {
        ...phoneOptions(CELL, 'alice', CELL.caller, 600),
        user: 'carol',
        address: '10.1.0.3',
        tone: 700,
        password: USERS.carol ?? '',
      });

    t.same(await talk(alice.phone, bob.phone), []);
    await eventually(500, 'the first record', () => (records().length === 1 ? true : undefined));
    t.same(records(), ['normal-clearing'], 'control: with room on it');
    t.equal(await ready(), 200, 'control: ready');

    const rubbish = border.onDisk('rubbish');
    fill(rubbish);
    t.same(await talk(alice.phone, bob.phone), [], 'calls go on');
    // A few records still fit into the file's last block.
    await eventually(5000, 'the complaint about records', async () => {
      await establish(alice.phone, bob.phone);
      await end(alice.phone, bob.phone);
      return /call records can't be written \(ENOSPC.*make room/.test(log()) ? true : undefined;
    });
    // The phones name a recording by the second in which its call began.
    await pass(1000);
    // And some registrations into pages that the store has given back.
    let refused = { status: 0, text: '' };
    for (let i = 0; i < 500 && refused.status === 0; i++) {
      const subscriber = { user: `somebody-${i}`, domain: LOCAL, password: 'pass' };
      const answer = await border.ask('POST', '/api/v1/subscribers', subscriber);
      if (answer.status >= 300) refused = answer;
    }
    t.equal(refused.status, 503);
    t.match(refused.text, /is full: free some space/);
    {
      await using third = await carol();
      await registerAll(third);
      await eventually(500, 'the complaint about the store', () =>
        /Registrations are not kept over a restart: The disk that holds .* is full: free some space/.test(log())
          ? true
          : undefined,
      );
      t.equal(await ready(), 503, 'and who watches it is told');
      t.match((await border.get('/readyz')).text, /is full: free some space/);
      t.same(await talk(alice.phone, third), [], 'a phone that the disk has no room for can be called');

      rmSync(rubbish);
    }
    t.same(await talk(bob.phone, alice.phone), []);
    await eventually(500, 'the next record', () =>
      records().at(-1) === 'normal-clearing' && records().length > 1 ? true : undefined,
    );
    await using again = await carol();
    await registerAll(again);
    await eventually(500, 'the store to recover', async () => ((await ready()) === 200 ? true : undefined));
    t.equal(border.code, undefined);
  }),
);
