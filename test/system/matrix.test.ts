import t from 'tap';
import { Border, LOCAL } from '../lab/border.js';
import { Capture } from '../lab/capture.js';
import { inLaboratory } from '../lab/evidence.js';
import { Kamailio } from '../lab/kamailio.js';
import { AT } from '../lab/lab.js';
import { unable } from '../lab/machine.js';
import type { Cell, Place } from '../lab/matrix.js';
import { cellName, leaks, playCell, setStage, USERS } from '../lab/matrix.js';

const skip = unable() ?? false;
t.setTimeout(540_000);

const udp = (nat: Place['nat']): Place => ({ nat, transport: 'udp' });
const PAIRS: readonly (readonly [Place, Place])[] = [
  [udp('portrestricted'), udp('portrestricted')],
  [udp('symmetric'), udp('symmetric')],
  [udp('fullcone'), udp('symmetric')],
  [{ nat: 'portrestricted', transport: 'tcp' }, udp('portrestricted')],
  [udp('ipv6'), udp('portrestricted')],
];
const CELLS: readonly Cell[] = (['local', 'upstream'] as const).flatMap(domain =>
  PAIRS.map(([caller, callee]) => ({ caller, callee, domain })),
);

t.test('two phones talk through the border', { skip }, t =>
  inLaboratory(t, 'matrix', async lab => {
    await using _service = await Kamailio.start(lab, {
      box: 'core',
      address: AT.service,
      domain: 'upstream.test',
      users: USERS,
    });
    await using border = await Border.start(lab);
    for (const [user, password] of Object.entries(USERS)) await border.subscriber(user, password, LOCAL);

    for (const cell of CELLS) {
      await t.test(cellName(cell), async t => {
        await using core = await Capture.start(lab, 'core', 'eth0', `core-${CELLS.indexOf(cell)}`);
        await using stage = await setStage(lab, cell);
        await playCell(stage, border, (name, work) =>
          t
            .test(name, async t => {
              t.same(await work(), []);
            })
            .then(() => {}),
        );
        if (cell.domain === 'upstream')
          t.same(leaks(stage, core.packets()), [], 'nor does the service learn about either');
      });
    }
  }),
);
