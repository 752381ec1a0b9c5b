import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Failure, node, root, run, step } from './process.mjs';

const INSTALLED = join(root, 'node_modules/.drawbridge-stamp');
const BUILT = join(root, 'node_modules/.drawbridge-build.json');

export function requireNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 20)) return;
  throw new Failure(
    `Drawbridge needs Node 20.20 or newer, this is ${process.versions.node}. Install a newer Node and try again.`,
  );
}

/** Installs the dependencies when the lockfile isn't the one they were installed from. */
export async function install() {
  const lock = readFileSync(join(root, 'package-lock.json'));
  const want = createHash('sha256').update(lock).update(`${process.platform} ${process.arch}`).digest('hex');
  if (content(INSTALLED) === want) return;
  try {
    await step('installing dependencies (npm ci)', () => npm('ci'));
  } catch (error) {
    if (!(error instanceof Failure) || !/EUSAGE/.test(error.output)) {
      process.stderr.write(error.output ?? '');
      throw new Failure('npm ci failed, its own words are above. Is the registry reachable? Then try again.');
    }
    // Not every registry carries the binaries of every platform, and npm ci wants to have seen them all.
    await step('npm ci finds packages of other platforms missing; installing those of this one (npm install)', () =>
      npm('install', '--no-save'),
    ).catch(failed => {
      process.stderr.write(failed.output ?? '');
      throw new Failure('npm install failed, its own words are above. Is the registry reachable? Then try again.');
    });
  }
  writeFileSync(INSTALLED, want);
}

function npm(...args) {
  const path = process.env.npm_execpath;
  const [file, before] = path?.endsWith('.js') ? [node, [path]] : ['npm', []];
  return run(file, [...before, ...args, '--loglevel=error'], { quiet: true, show: false });
}

/**
 * Compiles what is newer than the last build: the whole tree, or the packages alone, which is all that the border needs.
 * Looks at names, sizes and times only, so that a second start is quick.
 */
export async function build({ packagesOnly }) {
  const now = { packages: sources(['packages']), tree: sources(['packages', 'test', 'bench', 'fuzz']) };
  const before = JSON.parse(content(BUILT) ?? '{}');
  const built = existsSync(join(root, 'packages/sbc/dist/src/main.js'));
  if (built && (packagesOnly ? before.packages === now.packages : before.tree === now.tree)) return;
  const color = process.stderr.isTTY ? ['--pretty'] : [];
  await step('building', () =>
    run(
      node,
      [join(root, 'node_modules/typescript/bin/tsc'), '-b', ...(packagesOnly ? ['packages/sbc'] : []), ...color],
      {
        quiet: true,
        otherwise: "It doesn't compile: the complaints are above.",
      },
    ),
  );
  writeFileSync(BUILT, JSON.stringify(packagesOnly ? { packages: now.packages } : now));
}

/** A fingerprint of every file that the compiler reads in these rooms. */
function sources(rooms) {
  const hash = createHash('sha256');
  const visit = folder => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory()) {
        if (entry.name !== 'dist' && entry.name !== 'node_modules' && entry.name !== 'var') visit(path);
      } else if (/\.[cm]?tsx?$|\.json$/.test(entry.name)) stamp(path);
    }
  };
  const stamp = path => {
    const s = statSync(join(root, path));
    hash.update(`${path} ${s.size} ${s.mtimeMs}\n`);
  };
  for (const file of ['tsconfig.json', 'tsconfig.base.json', 'package-lock.json']) stamp(file);
  for (const room of rooms) if (existsSync(join(root, room))) visit(room);
  return hash.digest('hex');
}

function content(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
