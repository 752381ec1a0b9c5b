import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { REASONS } from '@drawbridge/core';
import { formatProblems, loadConfig } from '@drawbridge/service';
import t from 'tap';
import { HELP } from '../src/commands/help.js';
import { configSchema } from '../src/config.js';

const ROOT = fileURLToPath(new URL('../../../..', import.meta.url));
const REFERENCE = readdirSync(join(ROOT, 'docs/reference')).map(file => `docs/reference/${file}`);
const DECISIONS = readdirSync(join(ROOT, 'docs/decisions')).map(file => `docs/decisions/${file}`);
const PACKAGES = readdirSync(join(ROOT, 'packages')).map(name => `packages/${name}/README.md`);
const PAGES = ['README.md', 'ARCHITECTURE.md', 'docs/STATUS.md', ...REFERENCE, ...DECISIONS, ...PACKAGES];

function read(page: string): string {
  return readFileSync(join(ROOT, page), 'utf8');
}

/** Every YAML block, with as many empty lines before it as bring its complaints to the page's own lines. */
function blocks(text: string): string[] {
  const found: string[] = [];
  let block: string | undefined;
  for (const [i, line] of text.split('\n').entries()) {
    if (block === undefined) block = /^\s*```ya?ml\s*$/.test(line) ? '\n'.repeat(i + 1) : undefined;
    else if (/^\s*```\s*$/.test(line)) {
      found.push(block);
      block = undefined;
    } else block += `${line}\n`;
  }
  return found;
}

function faults(page: string, text: string): string {
  return blocks(text)
    .map(block => loadConfig(configSchema, { text: block, file: page }))
    .map(r => (r.ok ? '' : formatProblems(r.problems)))
    .filter(fault => fault !== '')
    .join('\n');
}

t.test('every YAML example is a configuration that the border takes', async t => {
  let seen = 0;
  for (const page of PAGES) {
    seen += blocks(read(page)).length;
    t.equal(faults(page, read(page)), '', page);
  }
  t.ok(seen >= 15, `${seen} examples`);
  t.equal(
    faults('page.md', 'A page.\n\n```yaml\nrealms:\n  access: { bnd: auto, bind: auto }\n```\n'),
    'page.md:5:13: realms.access.bnd: is not a key here; did you mean bind?',
    'control: a broken example is found, at its line of the page',
  );
});

/** Relative links whose file isn't there. */
function dangling(page: string, text: string): string[] {
  return [...text.matchAll(/\]\(([^)\s#]+)(?:#[^)]*)?\)/g)]
    .map(m => m[1] ?? '')
    .filter(link => !/^[a-z]+:/.test(link) && !existsSync(join(ROOT, dirname(page), link)));
}

t.test('links lead somewhere, and each page and decision is in its index', async t => {
  for (const page of PAGES) t.same(dangling(page, read(page)), [], page);
  t.same(
    dangling('README.md', '[a](docs/none.md) [b](README.md#x) [c](https://x.example)'),
    ['docs/none.md'],
    'control',
  );
  for (const [index, pages] of [
    ['docs/reference/README.md', REFERENCE],
    ['docs/decisions/README.md', DECISIONS],
  ] as const)
    for (const page of pages.filter(p => p !== index))
      t.match(read(index), `](${page.slice(dirname(page).length + 1)})`, `${index} has ${page}`);
  const numbers = DECISIONS.map(page => /\/(\d{3})-/.exec(page)?.[1]).filter(n => n !== undefined);
  t.same(new Set(numbers).size, numbers.length, 'no number twice');
});

/** Names that a page gives to metrics and reasons. */
function named(text: string): { readonly metrics: string[]; readonly reasons: string[] } {
  return {
    metrics: text.match(/drawbridge_[a-z_]+/g) ?? [],
    reasons: [...text.matchAll(/^(?:.* )?Reasons?:([^.]*)\./gm)].flatMap(
      m => (m[1] ?? '').match(/(?<=`)[a-z-]+(?=`)/g) ?? [],
    ),
  };
}

t.test('metrics and reasons that the reference names exist', async t => {
  // That panels ask for metrics which a running border has is shown by the test of the dashboards.
  const panels = new Set(read('grafana/panels.mjs').match(/drawbridge_[a-z_]+/g));
  const all = REFERENCE.map(page => named(read(page)));
  const metrics = all.flatMap(n => n.metrics);
  const reasons = all.flatMap(n => n.reasons);
  t.ok(metrics.length > 40 && reasons.length > 25, `${metrics.length} metrics, ${reasons.length} reasons`);
  t.same(
    metrics.filter(name => !panels.has(name) && !panels.has(`${name}_bucket`)),
    [],
  );
  const known: ReadonlySet<string> = new Set(REASONS);
  t.same(
    reasons.filter(name => !known.has(name)),
    [],
  );
  t.same(named('`drawbridge_x{y}` here. Reasons: `a-b` (400),\n`c`. And `d`.'), {
    metrics: ['drawbridge_x'],
    reasons: ['a-b', 'c'],
  });
});

t.test('every command of the help is described', async t => {
  const commands = [...HELP.matchAll(/^ {2}([a-z]+)/gm)].map(m => m[1] ?? '').filter(name => name !== 'help');
  t.ok(commands.includes('trunks') && commands.includes('forward'), commands.join(' '));
  const page = read('packages/sbc/README.md');
  t.same(
    commands.filter(name => !new RegExp(`^\\| [^|]*\`${name}\\b`, 'm').test(page)),
    [],
  );
});

t.test('the configuration reference is up to date', async t => {
  const script = join(ROOT, 'scripts/config-reference.mjs');
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
  t.equal(status, 0, stdout + stderr);
});
