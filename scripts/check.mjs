import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Failure, node, root, run, step } from './process.mjs';

const bin = (name, file) => join(root, 'node_modules', name, file);

/** Format and lint, the arrows between the rooms, code that nobody uses. Types were checked by the build. */
export async function check() {
  const failed = [];
  const part = async (what, otherwise, file, args) => {
    try {
      await step(what, () => run(file, args, { quiet: true }));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      failed.push(otherwise);
    }
  };
  await part('lint and format (biome)', 'biome: run npx biome check --write, mend the rest by hand', node, [
    bin('@biomejs/biome', 'bin/biome'),
    'check',
    '--error-on-warnings',
    '--no-errors-on-unmatched',
  ]);
  await part(
    'layers (dependency-cruiser)',
    'layers: an import goes where it may not; .dependency-cruiser.cjs says who may import whom',
    node,
    [
      bin('dependency-cruiser', 'bin/dependency-cruise.mjs'),
      '--config',
      '.dependency-cruiser.cjs',
      ...['packages', 'test', 'bench', 'fuzz', 'scripts'].filter(f => existsSync(join(root, f))),
    ],
  );
  await part('unused code (knip)', 'knip: delete what nobody uses, or name it in knip.json with the reason', node, [
    bin('knip', 'bin/knip.js'),
    '--no-progress',
  ]);
  if (failed.length > 0) throw new Failure(failed.join('\n'));
}
