import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Baresip } from './baresip.js';
import { Border, type BorderOptions, LOCAL, type Settings } from './border.js';
import { pass, registerAll, talk } from './calls.js';
import { Capture } from './capture.js';
import { keep } from './evidence.js';
import { Kamailio } from './kamailio.js';
import { AT, Lab } from './lab.js';
import { run, unable } from './machine.js';
import type { Cell, Place } from './matrix.js';
import { cellName, leaks, phoneOptions, playCell, setStage, USERS } from './matrix.js';
import { soak } from './soak.js';

/*
 * npm run lab -- NAME [--resume] [--minutes N]
 *
 * Runs everything where `npm test` runs a sample, and leaves docs/results/NAME.json with the commit it was run on.
 * --resume goes on with what an interrupted run of the same commit has not done yet.
 */

/** One row of a result; `wrong` is empty when all went well. */
interface Row {
  readonly case: string;
  readonly wrong: readonly string[];
  readonly seconds: number;
  readonly figures?: Readonly<Record<string, number>>;
}
interface Result {
  readonly name: string;
  readonly commit: string;
  readonly rows: Row[];
}

interface Case {
  readonly name: string;
  readonly play: (lab: Lab, border: Border) => Promise<Pick<Row, 'wrong' | 'figures'>>;
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { resume: { type: 'boolean', default: false }, minutes: { type: 'string', default: '15' } },
});
/** How long a soak lasts. */
const minutes = Number(values.minutes);
const RESULTS = fileURLToPath(new URL('../../../docs/results/', import.meta.url));

interface Programme {
  readonly cases: readonly Case[];
  /** Each in a laboratory of its own, all at once: they wait for most of their time. */
  readonly together?: boolean;
  readonly settings?: Settings;
  readonly options?: BorderOptions;
}

const PROGRAMMES: Readonly<Record<string, Programme>> = {
  matrix: {
    cases: matrix().map(cell => ({ name: cellName(cell), play: (lab, border) => playWhole(lab, border, cell) })),
  },
  soak: {
    settings: { media: '{ ports: [30000, 35999], inactivity: 60s }' },
    options: { collects: true },
    cases: [
      {
        name: 'calls, registrations, streams and phones',
        play: (lab, border) => soak(lab, border, minutes, line => process.stdout.write(`  ${line}\n`)),
      },
    ],
  },
  keepalive: {
    together: true,
    cases: [30, 60, 120].map(timeout => ({
      name: `a NAT that forgets after ${timeout} s`,
      play: (lab, border) => searchKeepalive(lab, border, timeout),
    })),
  },
};

function matrix(): Cell[] {
  const nats = ['fullcone', 'restricted', 'portrestricted', 'symmetric', 'symmetric-address'] as const;
  const udp = nats.map((nat): Place => ({ nat, transport: 'udp' }));
  const tcp = nats.map((nat): Place => ({ nat, transport: 'tcp' }));
  const v6: Place[] = [
    { nat: 'ipv6', transport: 'udp' },
    { nat: 'ipv6', transport: 'tcp' },
  ];
  const pairs: [Place, Place][] = [];
  for (const caller of udp) for (const callee of udp) pairs.push([caller, callee]);
  for (const [i, place] of tcp.entries())
    pairs.push([place, udp[(i + 1) % udp.length] ?? place], [udp[i] ?? place, place], [place, place]);
  for (const place of v6) pairs.push([place, udp[2] ?? place], [udp[3] ?? place, place]);
  return (['local', 'upstream'] as const).flatMap(domain =>
    pairs.map(([caller, callee]) => ({ caller, callee, domain })),
  );
}

async function playWhole(lab: Lab, border: Border, cell: Cell): Promise<Pick<Row, 'wrong'>> {
  const wrong: string[] = [];
  await using core = await Capture.start(lab, 'core', 'eth0', 'core');
  await using stage = await setStage(lab, cell);
  await playCell(stage, border, async (name, work) => {
    const why = await work().catch((error: unknown) => [String(error)]);
    for (const w of why) wrong.push(`${name}: ${w}`);
  });
  if (cell.domain === 'upstream') wrong.push(...leaks(stage, core.packets()));
  return { wrong };
}

/** What GET /api/v1/bindings says of the search. */
interface BindingFacts {
  readonly aor: string;
  readonly keepalive?: { readonly intervalS: number; readonly searching: boolean };
}

/** Waits until the search for the interval is over; it must lie within 20 % below the NAT's patience, and the phone be reachable. */
async function searchKeepalive(lab: Lab, border: Border, timeout: number): Promise<Pick<Row, 'wrong' | 'figures'>> {
  const cell: Cell = {
    caller: { nat: 'portrestricted', transport: 'udp' },
    callee: { nat: 'portrestricted', transport: 'udp' },
    domain: 'local',
  };
  lab.nat(1, { kind: 'portrestricted', timeout: 600 });
  lab.nat(2, { kind: 'portrestricted', timeout });
  await using alice = await Baresip.start(lab, phoneOptions(cell, 'alice', cell.caller, 60));
  // long enough not to keep the mapping open by itself, short enough to come back when it is lost
  await using bob = await Baresip.start(lab, phoneOptions(cell, 'bob', cell.callee, 300));
  await registerAll(alice, bob);
  const began = performance.now();
  let interval = 0;
  for (;;) {
    const bindings = await border.api<BindingFacts[]>('/bindings');
    const facts = bindings.find(b => b.aor === `bob@${LOCAL}`)?.keepalive;
    interval = facts?.intervalS ?? 0;
    if (facts !== undefined && !facts.searching) break;
    if (performance.now() - began > timeout * 40_000)
      return { wrong: ['the search does not end'], figures: { interval } };
    await pass(1000);
  }
  const minutes = (performance.now() - began) / 60_000;
  const wrong = interval <= timeout && interval >= timeout * 0.8 ? [] : [`interval ${interval} s`];
  // longer than the NAT's patience: only the keepalives can have held the mapping open
  await pass(timeout * 1500);
  wrong.push(...(await talk(alice, bob)));
  return { wrong, figures: { timeout, interval, minutes } };
}

async function main(): Promise<number> {
  const name = positionals[0] ?? '';
  const programme = PROGRAMMES[name];
  if (programme === undefined) {
    process.stderr.write(`usage: npm run lab -- ${Object.keys(PROGRAMMES).join('|')} [--resume] [--minutes N]\n`);
    return 2;
  }
  const why = unable();
  if (why !== undefined) {
    process.stderr.write(`${why}\n`);
    return 2;
  }
  const file = `${RESULTS}${name}.json`;
  const commit =
    run('git', ['rev-parse', 'HEAD']).trim() +
    (run('git', ['status', '--porcelain', 'packages', 'test']) === '' ? '' : '+changes');
  const result: Result = (values.resume ? earlier(file, commit) : undefined) ?? { name, commit, rows: [] };
  const left = programme.cases.filter(c => !result.rows.some(r => r.case === c.name));
  mkdirSync(RESULTS, { recursive: true });

  let done = 0;
  /** Whether all went well. */
  const perform = async (lab: Lab, border: Border, { name: title, play }: Case): Promise<boolean> => {
    const began = performance.now();
    const row = await play(lab, border).catch((error: unknown) => ({ wrong: [String(error)] }));
    const well = row.wrong.length === 0;
    const seconds = Math.round((performance.now() - began) / 100) / 10;
    result.rows.push({ case: title, seconds, ...row });
    writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`);
    const verdict = well ? 'ok' : `WRONG ${row.wrong.join('; ')}`;
    process.stdout.write(`${++done}/${left.length} ${title}: ${verdict} (${seconds} s)\n`);
    return well;
  };
  const groups = programme.together ? left.map(c => [c]) : [left];
  await Promise.all(
    groups.map(async group => {
      await using lab = Lab.build();
      await using _service = await Kamailio.start(lab, {
        box: 'core',
        address: AT.service,
        domain: 'upstream.test',
        users: USERS,
      });
      await using border = await Border.start(lab, programme.settings, programme.options);
      for (const [user, password] of Object.entries(USERS)) await border.subscriber(user, password, LOCAL);
      let well = true;
      for (const one of group) well = (await perform(lab, border, one)) && well;
      if (!well) process.stdout.write(`kept: ${keep(lab, name)}\n`);
    }),
  );
  const failed = result.rows.filter(r => r.wrong.length > 0).length;
  process.stdout.write(`${result.rows.length - failed} of ${result.rows.length} cells as wanted; ${file}\n`);
  return failed === 0 ? 0 : 1;
}

/** The rows of an interrupted run, when it was of this very commit. */
function earlier(file: string, commit: string): Result | undefined {
  try {
    const result = JSON.parse(readFileSync(file, 'utf8')) as Result;
    return result.commit === commit ? { ...result, rows: result.rows.filter(r => r.wrong.length === 0) } : undefined;
  } catch {
    return undefined;
  }
}

process.exitCode = await main();
