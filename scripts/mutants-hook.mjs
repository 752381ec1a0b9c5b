// Loaded before a test file under mutation, in its threads and in its children too: says which mutant lives, which of
// the file's tests run, and, in the first run, which of them reach which mutant.
import { appendFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

const { MUTANT, MUTANT_FILE, MUTANT_TESTS, MUTANT_HITS } = process.env;
/** '': the loading of the modules, or another thread or process. */
let test = '';

if (MUTANT_HITS === undefined) {
  globalThis.drawbridgeMutant = Number(MUTANT);
} else {
  const seen = new Map();
  globalThis.drawbridgeMutant = n => {
    let hits = seen.get(test);
    if (hits === undefined) seen.set(test, (hits = new Set()));
    if (!hits.has(n)) {
      hits.add(n);
      note({ test, n });
    }
    return false;
  };
}

if (isMainThread && process.argv[1] === MUTANT_FILE) {
  const { t } = await import('tap');
  const chosen = MUTANT_TESTS === undefined ? undefined : new Set(JSON.parse(MUTANT_TESTS));
  const plain = t.test;
  t.test = (name, ...rest) => {
    if (chosen !== undefined && !chosen.has(name)) return Promise.resolve(null);
    const body = rest.pop();
    return plain.call(t, name, ...rest, async child => {
      const start = performance.now();
      test = name;
      await body(child);
      if (MUTANT_HITS !== undefined) note({ test, ms: performance.now() - start });
    });
  };
}

function note(line) {
  appendFileSync(MUTANT_HITS, `${JSON.stringify(line)}\n`);
}
