import { spawn } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { mutate } from './mutate.mjs';
import { Failure, node, root } from './process.mjs';

/** Percent of the mutants that the tests must notice. */
const WANTED = 80;
const HOOK = join(root, 'scripts/mutants-hook.mjs');
/** A test that takes longer runs in a process of its own, after the quick ones have had their chance. */
const QUICK_MS = 300;
/** A mutant that takes this many times the CPU of the clean run has left the road; the rest is what a start takes. */
const PATIENCE = 3;
const START_MS = 2000;
/** One that waits instead: so many times longer on the clock, since the machine may have other work. */
const WAIT = 15;
const LOOK_MS = 200;
const TICK_MS = 10;
const CLEAN_MS = 600_000;
const PROGRESS_MS = 10_000;
const USAGE =
  'npm run mutants -- FILE… [--sample N] [--seed S] [--jobs N] [--tests NAME,…], as in packages/sip/src/digest/nonce.ts';

/**
 * Changes one thing at a time in a source file and looks whether the tests of its package notice. Works on a copy of
 * the compiled packages; a mutant meets only the tests that reach it. Returns the exit code: 0 from 80 % on.
 */
export async function mutants(args) {
  const { files, sample, seed, jobs, only } = options(args);
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'drawbridge-mutants-')));
  const leave = () => process.exit(130);
  process.once('SIGINT', leave).once('SIGTERM', leave);
  const tidy = () => rmSync(folder, { recursive: true, force: true });
  process.once('exit', tidy);
  copyPackages(folder);
  const work = prepare(folder, files);
  const tests = new Map();
  for (const room of new Set(work.map(w => w.room))) tests.set(room, await cover(folder, room, work, only));
  for (const { compiled, js } of work) writeFileSync(compiled, js);
  if (jobs > 1) await findUnsociable([...tests.values()].flat(), jobs);
  let enough = true;
  const sum = { killed: 0, all: 0 };
  for (const one of work) {
    const { killed, all } = await mutateFile(one, tests.get(one.room), { sample, seed, jobs });
    enough &&= killed * 100 >= all * WANTED;
    sum.killed += killed;
    sum.all += all;
    if (files.length > 1) console.log(`${one.file}: ${verdict(killed, all)}`);
  }
  console.log(verdict(sum.killed, sum.all));
  return enough ? 0 : 1;
}

/** Writes the compiled files with their mutants. Each mutant has a number of its own among those of all files. */
function prepare(folder, files) {
  let first = 0;
  return files.map(file => {
    const [, room, inside] = /^packages\/([^/]+)\/src\/(.+)\.ts$/.exec(file);
    const { js, noting, mutants } = mutate(readFileSync(join(root, file), 'utf8'), file, first);
    const compiled = join(folder, 'packages', room, 'dist/src', `${inside}.js`);
    writeFileSync(compiled, noting);
    const one = { file, room, topic: inside.split('/').at(-2) ?? inside, mutants, first, compiled, js };
    first += mutants.length;
    return one;
  });
}

function options(args) {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      sample: { type: 'string' },
      seed: { type: 'string' },
      jobs: { type: 'string' },
      tests: { type: 'string' },
    },
  });
  const number = (name, otherwise) => {
    const value = values[name] === undefined ? otherwise : Number(values[name]);
    if (Number.isInteger(value) && value > 0) return value;
    if (value === Infinity && values[name] === undefined) return value;
    throw new Failure(`--${name} wants a whole number above 0.`);
  };
  const files = positionals.map(file => file.replaceAll('\\', '/').replace(/^\.\//, ''));
  if (files.length === 0) throw new Failure(`Say which file: ${USAGE}`);
  for (const file of files)
    if (!/^packages\/[^/]+\/src\/.+\.ts$/.test(file)) throw new Failure(`${file} is no source of a package: ${USAGE}`);
  return {
    files,
    sample: number('sample', Number.POSITIVE_INFINITY),
    seed: number('seed', 1),
    jobs: number('jobs', availableParallelism()),
    only: values.tests?.split(',').map(name => `${name}.test.js`),
  };
}

function verdict(killed, all) {
  const percent = all === 0 ? 100 : Math.floor((killed * 1000) / all) / 10;
  return `${killed} of ${all} mutants killed (${percent} %)`;
}

/** The repository as the tests see it, with packages of its own and everything else by link. */
function copyPackages(folder) {
  for (const name of readdirSync(root)) {
    if (name !== 'packages' && name !== 'node_modules') symlinkSync(join(root, name), join(folder, name));
  }
  cpSync(join(root, 'packages'), join(folder, 'packages'), { recursive: true });
  const packages = new Map(
    readdirSync(join(folder, 'packages')).map(name => {
      const path = join(folder, 'packages', name);
      return [JSON.parse(readFileSync(join(path, 'package.json'), 'utf8')).name, path];
    }),
  );
  const modules = join(root, 'node_modules');
  for (const name of readdirSync(modules)) {
    if (name !== '@drawbridge' && !packages.has(name)) {
      mkdirSync(join(folder, 'node_modules'), { recursive: true });
      symlinkSync(join(modules, name), join(folder, 'node_modules', name));
    }
  }
  mkdirSync(join(folder, 'node_modules/@drawbridge'));
  for (const [name, path] of packages) symlinkSync(path, join(folder, 'node_modules', name));
}

async function mutateFile({ file, mutants, first }, tests, { sample, seed, jobs }) {
  const chosen = choose(mutants.length, sample, seed);
  const survivors = [];
  let late = 0;
  let done = 0;
  const start = Date.now();
  const progress = setInterval(() => {
    const seconds = ((Date.now() - start) / 1000).toFixed(0);
    process.stderr.write(`${file}: ${done} of ${chosen.length}, ${survivors.length} alive, ${seconds} s\n`);
  }, PROGRESS_MS);
  const waiting = [...chosen];
  const worker = async () => {
    for (let n = waiting.shift(); n !== undefined; n = waiting.shift()) {
      const end = await kill(first + n, tests);
      if (end === 'late') late++;
      else if (end !== 'killed') survivors.push({ n, end });
      done++;
    }
  };
  await Promise.all(Array.from({ length: jobs }, worker));
  clearInterval(progress);
  survivors.sort((a, b) => a.n - b.n);
  for (const { n, end } of survivors) {
    const { line, from, to } = mutants[n];
    console.log(`${file}:${line}  ${from}  →  ${to}${end === 'unreached' ? '  (no test gets there)' : ''}`);
  }
  const killed = chosen.length - survivors.length;
  process.stderr.write(`${file}: ${late} of the ${killed} killed by their deadline\n`);
  return { killed, all: chosen.length };
}

/** Numbers of the mutants to run, in order. */
function choose(all, sample, seed) {
  const numbers = Array.from({ length: all }, (_, n) => n);
  let s = seed >>> 0;
  const random = below => {
    s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
    return Math.floor((s / 2 ** 32) * below);
  };
  const out = [];
  while (numbers.length > 0 && out.length < sample) out.push(...numbers.splice(random(numbers.length), 1));
  return out.sort((a, b) => a - b);
}

/**
 * Runs every test file of a package without a mutant. Returns its tests that reach mutants, the quick ones first.
 * What runs while modules load is reached by every file that imports it: it meets the tests of its topic (style: a test
 * file for each source folder) where there is such a file.
 */
async function cover(folder, room, work, only) {
  const dist = join(folder, 'packages', room, 'dist/test');
  const names = readdirSync(dist).filter(name =>
    only === undefined ? name.endsWith('.test.js') : only.includes(name),
  );
  const hits = join(folder, 'hits');
  const tests = [];
  for (const name of names.sort()) {
    const path = join(dist, name);
    writeFileSync(hits, '');
    const start = performance.now();
    if ((await runTests(path, { MUTANT_HITS: hits }, CLEAN_MS)) !== 'passed') {
      process.stderr.write(`${room}/${name} fails without any mutant and is left out\n`);
      continue;
    }
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    const { found, anywhere } = read(hits);
    for (const { first, mutants, topic } of work.filter(w => w.room === room)) {
      if (names.includes(`${topic}.test.js`) && name !== `${topic}.test.js`)
        for (let n = first; n < first + mutants.length; n++) anywhere.delete(n);
    }
    let reached = 0;
    for (const [test, { ms, reaches }] of found) {
      for (const n of anywhere) reaches.add(n);
      reached = Math.max(reached, reaches.size);
      if (reaches.size > 0) tests.push({ path, test, ms, reaches });
    }
    process.stderr.write(`${room}/${name}: ${reached === 0 ? 'no mutant' : 'reaches mutants'}, ${seconds} s\n`);
  }
  if (tests.length === 0) throw new Failure(`No test of ${room} that passes without mutants gets to any.`);
  return tests.sort((a, b) => a.ms - b.ms);
}

/** By test: how long it took and which mutants it reached. `anywhere`: reached while modules loaded, or in another thread. */
function read(hits) {
  const found = new Map();
  const anywhere = new Set();
  for (const line of readFileSync(hits, 'utf8').split('\n').filter(Boolean)) {
    const { test, n, ms } = JSON.parse(line);
    if (test === '') {
      anywhere.add(n);
      continue;
    }
    const one = found.get(test) ?? { ms: 0, reaches: new Set() };
    found.set(test, one);
    if (n === undefined) one.ms += ms;
    else one.reaches.add(n);
  }
  return { found, anywhere };
}

/** Marks the tests of files that, run side by side with themselves, disturb each other: one process of these at a time. */
async function findUnsociable(tests, jobs) {
  for (const path of new Set(tests.map(t => t.path))) {
    const ends = await Promise.all(Array.from({ length: jobs }, () => runTests(path, { MUTANT: '-1' }, CLEAN_MS)));
    if (ends.every(end => end === 'passed')) continue;
    process.stderr.write(`${basename(path)} can't run side by side with itself\n`);
    const queue = { last: Promise.resolve() };
    for (const test of tests) if (test.path === path) test.queue = queue;
  }
}

async function kill(n, tests) {
  const reaching = tests.filter(t => t.reaches.has(n));
  if (reaching.length === 0) return 'unreached';
  for (const { path, names, ms, queue } of processes(reaching)) {
    const env = { MUTANT: String(n), MUTANT_TESTS: JSON.stringify(names) };
    const run = () => runTests(path, env, START_MS + PATIENCE * ms);
    const end = await (queue === undefined ? run() : (queue.last = queue.last.then(run)));
    if (end !== 'passed') return end === 'late' ? 'late' : 'killed';
  }
  return 'alive';
}

/** The quick tests of each file together, then each slow one by itself. */
function processes(tests) {
  const quick = new Map();
  const slow = [];
  for (const { path, test, ms, queue } of tests) {
    if (ms > QUICK_MS) slow.push({ path, names: [test], ms, queue });
    else {
      const one = quick.get(path) ?? { path, names: [], ms: 0, queue };
      one.names.push(test);
      one.ms += ms;
      quick.set(path, one);
    }
  }
  return [...[...quick.values()].sort((a, b) => a.ms - b.ms), ...slow];
}

/** 'passed', 'failed' or 'late'; `deadline` in ms of CPU. */
function runTests(path, env, deadline) {
  return new Promise((resolve, reject) => {
    // A group of its own, so that what a mutant left behind goes with it.
    const child = spawn(node, [path], {
      cwd: join(path, '../../../../..'),
      env: {
        ...process.env,
        ...env,
        MUTANT_FILE: path,
        TAP_BAIL: env.MUTANT_HITS === undefined ? '1' : '0',
        NODE_OPTIONS: `--import=${pathToFileURL(HOOK).href}`,
      },
      stdio: 'ignore',
      detached: true,
    });
    let late = false;
    const end = () => {
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch (error) {
        if (error.code !== 'ESRCH') reject(error);
      }
    };
    process.once('exit', end);
    const start = Date.now();
    const timer = setInterval(() => {
      if (cpuMs(child.pid) <= deadline && Date.now() - start <= deadline * WAIT) return;
      late = true;
      end();
    }, LOOK_MS);
    child.once('error', reject);
    child.once('close', code => {
      clearInterval(timer);
      process.off('exit', end);
      end();
      resolve(late ? 'late' : code === 0 ? 'passed' : 'failed');
    });
  });
}

/** What a process with its threads has used of the CPU; 0 once it is gone. */
function cpuMs(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return 0;
    throw error;
  }
}
