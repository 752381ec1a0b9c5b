#!/usr/bin/env node
// Every npm script: sets up what is missing, then runs the named command. Built-ins only, because nothing may be
// installed yet.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Failure, node, root, run } from './process.mjs';
import { build, install, requireNode } from './setup.mjs';

const COMMANDS = {
  start: 'run the border (arguments go to `drawbridge up`)',
  test: 'everything: build, lint, unit, compliance and system tests',
  dev: 'FILE: build and run one test file',
  check: 'types, biome, layers, unused code',
  bench: 'NAME: one benchmark',
  lab: 'NAME: a whole matrix or soak of the laboratory',
  fuzz: 'NAME: one fuzz target',
  mutants: 'FILE…: mutate source files and see whether their tests notice',
};

const [name, ...args] = process.argv.slice(2);

const commands = {
  async start() {
    const main = join(root, 'packages/sbc/dist/src/main.js');
    // In this process, not in a child: signals reach the border as they are, and nobody is left behind.
    process.argv = [process.argv[0], main, 'up', ...args];
    await import(pathToFileURL(main).href);
  },
  async test() {
    const { test } = await import('./test.mjs');
    process.exitCode = await test();
  },
  async dev() {
    const file = compiled(args[0] ?? fail('Say which test file: npm run dev -- packages/core/test/wheel.test.ts'));
    await run(node, ['--enable-source-maps', file, ...args.slice(1)]);
  },
  async check() {
    const { check } = await import('./check.mjs');
    await check();
  },
  async bench() {
    await run(node, [join(root, 'bench/dist/main.js'), ...args]);
  },
  async lab() {
    await run(node, [join(root, 'test/dist/lab/main.js'), ...args]);
  },
  async fuzz() {
    await run(node, [named('fuzz', args[0]), ...args.slice(1)]);
  },
  async mutants() {
    const { mutants } = await import('./mutants.mjs');
    process.exitCode = await mutants(args);
  },
};

/** `packages/core/test/wheel.test.ts` → `packages/core/dist/test/wheel.test.js`. */
function compiled(file) {
  const path = file.replaceAll('\\', '/');
  const js = path
    .replace(/^(packages\/[^/]+)\/(?!dist\/)/, '$1/dist/')
    .replace(/^(test|bench|fuzz)\/(?!dist\/)/, '$1/dist/')
    .replace(/\.ts$/, '.js');
  return existsSync(join(root, js))
    ? join(root, js)
    : fail(`There is no ${js}; is ${file} spelled as from the repository's root?`);
}

function named(folder, what) {
  if (what === undefined) fail(`Say which: npm run ${folder} -- NAME`);
  const file = join(root, folder, 'dist', `${what}.js`);
  return existsSync(file) ? file : fail(`There is no ${folder} called ${what}: no ${folder}/${what}.ts.`);
}

function fail(sentence) {
  throw new Failure(sentence);
}

try {
  if (!Object.hasOwn(commands, name ?? '')) {
    const list = Object.entries(COMMANDS).map(([n, what]) => `  npm run ${n.padEnd(8)} ${what}`);
    fail(`${name === undefined ? 'Say what to run' : `There is no command ${name}`}:\n${list.join('\n')}`);
  }
  requireNode();
  await install();
  await build({ packagesOnly: name === 'start' });
  await commands[name]();
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  if (error.message !== '') console.error(error.message);
  process.exitCode = error.code;
}
