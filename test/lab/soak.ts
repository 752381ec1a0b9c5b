import { Baresip } from './baresip.js';
import { type Border, LOCAL } from './border.js';
import { pass, registerAll, talk } from './calls.js';
import type { Lab } from './lab.js';
import { AT } from './lab.js';
import { eventually } from './machine.js';
import type { Cell } from './matrix.js';
import { phoneOptions, USERS } from './matrix.js';
import { Sipp } from './sipp.js';

const CALLS_A_SECOND = 20;
const REGISTRATIONS_A_SECOND = 10;
const STREAMS_A_SECOND = 5;
const SUBSCRIBERS = 20;
/** Between two looks at the border, s. */
const EVERY = 20;

/** What an idle border holds none of; names of its metrics. */
const HELD = [
  'drawbridge_calls',
  'drawbridge_transactions',
  'drawbridge_relay_sessions',
  'drawbridge_relay_port_pairs{state="in-use"}',
];

interface Sample {
  readonly rss: number;
  readonly heapUsed: number;
  readonly descriptors: number;
}

/**
 * Real traffic for minutes on end: calls from the service to a phone, registrations that come and go over UDP and over
 * a TCP stream each, and two phones that talk and listen. The border's memory is read after a collection of garbage.
 */
export async function soak(
  lab: Lab,
  border: Border,
  minutes: number,
  say: (line: string) => void,
): Promise<{ wrong: string[]; figures: Record<string, number> }> {
  const wrong: string[] = [];
  const rows: string[][] = [];
  for (let n = 0; n < SUBSCRIBERS; n++) {
    await border.subscriber(`soak${n}`, 'secret', LOCAL);
    rows.push([`soak${n}`, `[authentication username=soak${n} password=secret]`]);
  }
  const seconds = minutes * 60;
  const phone = { box: 'evil', address: AT.evil, port: 5060 } as const;
  const to = { remote: `${AT.border}:5060`, digestUri: LOCAL } as const;
  await using registration = new Sipp(lab, { ...phone, ...to, scenario: 'register' });
  if ((await registration.ended(1000)) !== 0)
    return { wrong: [`bob can't register: ${registration.errors()}`], figures: {} };
  const load = (rate: number, atOnce: number): { rate: number; atOnce: number; seconds: number } => ({
    rate,
    atOnce,
    seconds,
  });
  const idle = { descriptors: border.descriptors };

  await using _answering = new Sipp(lab, { ...phone, scenario: 'uas-answers', load: load(CALLS_A_SECOND, 1000) });
  await using calling = new Sipp(lab, {
    box: 'core',
    address: AT.service,
    // Over a stream the service may call from any port; the other one is its own.
    port: 5090,
    transport: 't1',
    remote: `${AT.borderCore}:5060`,
    scenario: 'soak-caller',
    load: load(CALLS_A_SECOND, 500),
  });
  await using registering = new Sipp(lab, {
    box: 'evil',
    address: AT.evil,
    port: 5070,
    ...to,
    scenario: 'soak-register',
    rows,
    load: load(REGISTRATIONS_A_SECOND, 200),
  });
  await using streaming = new Sipp(lab, {
    box: 'evil',
    address: AT.evil,
    port: 5080,
    ...to,
    scenario: 'soak-register',
    transport: 'tn',
    rows,
    load: load(STREAMS_A_SECOND, 100),
  });
  const cell: Cell = {
    caller: { nat: 'portrestricted', transport: 'udp' },
    callee: { nat: 'symmetric', transport: 'tcp' },
    domain: 'local',
  };
  lab.nat(1, { kind: 'portrestricted', timeout: 300 });
  lab.nat(2, { kind: 'symmetric', timeout: 300 });
  await using alice = await Baresip.start(lab, phoneOptions(cell, 'alice', cell.caller, 60));
  await using carol = await Baresip.start(lab, {
    ...phoneOptions(cell, 'bob', cell.callee, 60),
    user: 'carol',
    password: USERS.carol ?? '',
  });
  await registerAll(alice, carol);

  const samples: Sample[] = [];
  const began = performance.now();
  let talks = 0;
  for (let next = EVERY; next <= seconds; next += EVERY) {
    wrong.push(...(await talk(alice, carol)));
    talks++;
    await pass(Math.max(0, next * 1000 - (performance.now() - began)));
    const { rss, heapUsed } = await border.memory();
    const sample = { rss, heapUsed, descriptors: border.descriptors };
    samples.push(sample);
    const { well, failed } = calling.figures();
    say(
      `${next}/${seconds} s: ${well} calls, ${failed} failed, resident ${mb(rss)} MB, heap ${mb(heapUsed)} MB, ${sample.descriptors} descriptors`,
    );
  }
  const runs = { calls: calling, registrations: registering, streams: streaming };
  const figures: Record<string, number> = { minutes, talks };
  for (const [name, run] of Object.entries(runs)) {
    await run.ended(20_000);
    const { well, failed } = run.figures();
    figures[name] = well;
    figures[`${name} failed`] = failed;
    if (failed > 0) wrong.push(`${failed} ${name} failed: ${run.errors().slice(0, 500)}`);
    if (well === 0) wrong.push(`no ${name}: there was no traffic`);
  }
  await Promise.all([alice[Symbol.asyncDispose](), carol[Symbol.asyncDispose]()]);
  await eventually(7000, 'the border to let everything go', async () => {
    const text = (await border.get('/metrics')).text;
    return HELD.every(name => levels(text, name).every(n => n === 0)) ? true : undefined;
  }).catch(async () => {
    const text = (await border.get('/metrics')).text;
    for (const name of HELD) {
      const left = levels(text, name).filter(n => n !== 0);
      if (left.length > 0) wrong.push(`${name} is ${left.join(', ')} when all is quiet`);
    }
  });
  for (const name of HELD)
    if (levels((await border.get('/metrics')).text, name).length === 0) wrong.push(`there is no metric ${name}`);
  const extra = border.descriptors - idle.descriptors;
  // One stream of Carol's, and what the admin API has open.
  if (extra > 5) wrong.push(`${extra} descriptors more than before`);
  const middle = samples.slice(Math.floor(samples.length / 3), Math.floor((2 * samples.length) / 3));
  const last = samples.slice(Math.floor((2 * samples.length) / 3));
  for (const what of ['rss', 'heapUsed'] as const) {
    const grown = mb(median(last.map(s => s[what])) - median(middle.map(s => s[what])));
    figures[`${what} MB at the end`] = mb(median(last.map(s => s[what])));
    figures[`${what} grown MB`] = grown;
    if (grown > (what === 'rss' ? 6 : 3)) wrong.push(`${what} grows by ${grown} MB from the second third to the last`);
  }
  return { wrong, figures };
}

/** All values of a metric, whatever its labels. */
function levels(metrics: string, name: string): number[] {
  return metrics
    .split('\n')
    .filter(line => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
    .map(line => Number(line.slice(line.lastIndexOf(' ') + 1)));
}

function median(of: readonly number[]): number {
  return of.toSorted((a, b) => a - b)[Math.floor(of.length / 2)] ?? 0;
}

function mb(bytes: number): number {
  return Math.round(bytes / 1e5) / 10;
}
