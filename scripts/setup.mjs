import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Failure, node, root, run, step } from './process.mjs';

const INSTALLED = join(root, 'node_modules/.drawbridge-stamp');
const BUILT = join(root, 'node_modules/.drawbridge-build');
/** Rooms that `tsc -b` knows of. */
const ROOMS = ['packages', 'test', 'bench', 'fuzz'];

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
  const npm = process.env.npm_execpath;
  const [file, args] = npm?.endsWith('.js') ? [node, [npm]] : ['npm', []];
  await step('installing dependencies (npm ci)', () =>
    run(file, [...args, 'ci', '--loglevel=error'], {
      quiet: true,
      otherwise:
        'npm ci failed, its own words are above. Is the network there, and the registry reachable? Then try again.',
    }),
  );
  writeFileSync(INSTALLED, want);
}

/** Compiles what is newer than the last build. Looks at names, sizes and times only, so that a second start is quick. */
export async function build() {
  const now = sources();
  if (content(BUILT) === now && existsSync(join(root, 'packages/sbc/dist/src/index.js'))) return;
  await step('building', () =>
    run(node, [join(root, 'node_modules/typescript/bin/tsc'), '-b', '--pretty'], {
      quiet: true,
      otherwise: "It doesn't compile: the complaints are above.",
    }),
  );
  mkdirSync(join(root, 'node_modules'), { recursive: true });
  writeFileSync(BUILT, now);
}

/** A fingerprint of every file that the compiler reads. */
function sources() {
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
  for (const room of ROOMS) if (existsSync(join(root, room))) visit(room);
  return hash.digest('hex');
}

function content(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
