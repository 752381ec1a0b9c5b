import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { check } from './check.mjs';
import { preparePeers } from './peers.mjs';
import { Failure, node, root, run, step } from './process.mjs';
import { readTap } from './read-tap.mjs';

const TAP = join(root, 'node_modules/tap/dist/esm/run.mjs');
/** Failures repeated at the end. */
const SHOWN = 40;
const STREAMS = join(root, '.tap/streams');

/** The whole suite; the last line of standard output is `N passed, N failed`. Returns the exit code. */
export async function test() {
  const ci = process.env.CI === 'true' || process.env.CI === '1';
  rmSync(STREAMS, { recursive: true, force: true });
  mkdirSync(STREAMS, { recursive: true });
  const sum = { passed: 0, failed: 0, skipped: 0, failures: [] };
  let clean = true;
  const failing = async work => {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      if (error.message !== '') console.error(error.message);
      clean = false;
      return false;
    }
  };

  await failing(check);
  await failing(() => step('unit and compliance tests', () => tap('unit', ['--jobs=2'], [], sum)));
  const files = testFiles(join(root, 'test/dist/system'));
  if (files.length > 0 && (await failing(() => preparePeers({ ci })))) {
    await failing(() =>
      step('system tests', () => tap('system', ['--jobs=1', '--disable-coverage', '--timeout=600'], files, sum)),
    );
  }

  if (!clean && sum.failed === 0) sum.failed = 1;
  // Once more, after all that scrolled by.
  for (const failure of sum.failures.slice(0, SHOWN)) console.error(`FAILED ${failure}`);
  if (sum.failures.length > SHOWN) console.error(`and ${sum.failures.length - SHOWN} more`);
  if (sum.skipped > 0) console.error(`${sum.skipped} skipped`);
  console.log(`${sum.passed} passed, ${sum.failed} failed`);
  return sum.failed === 0 ? 0 : 1;
}

async function tap(name, options, files, sum) {
  const stream = join(STREAMS, `${name}.tap`);
  try {
    await run(node, [TAP, 'run', '--reporter=terse', '--no-color', `--output-file=${stream}`, ...options, ...files]);
  } finally {
    const read = readTap(existsSync(stream) ? readFileSync(stream, 'utf8') : '');
    sum.passed += read.passed;
    sum.failed += read.failed;
    sum.skipped += read.skipped;
    sum.failures.push(...read.failures);
    console.error(`${name}: ${read.passed} passed, ${read.failed} failed, ${read.skipped} skipped`);
  }
}

function testFiles(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true })
    .filter(f => f.endsWith('.test.js'))
    .map(f => join(folder, f))
    .sort();
}
