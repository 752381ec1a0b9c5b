// Writes docs/reference/configuration.md from the schema of the configuration and the sentences of config-keys.mjs; with
// --check says what is out of date instead. Needs a build.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { configSchema } from '../packages/sbc/dist/src/config.js';
import { KEYS, SECTIONS } from './config-keys.mjs';
import { root } from './process.mjs';

const FILE = 'docs/reference/configuration.md';
const HEAD = `# Configuration reference

Every key of \`drawbridge.yaml\`, made from the program's own schema by \`node scripts/config-reference.mjs\`. All may be left out; those
that are *required* must be there once the mapping around them is. NAME is a name of yours, \`[]\` each item of a list. Durations are
written \`500ms\`, \`30s\`, \`10m\`, \`1h30m\`, \`2d\`.

\`drawbridge check\` lists every mistake at once, with its line, what was expected and the nearest right key. An unknown key is a mistake.
It looks at this file alone: certificates are looked at by \`drawbridge doctor\`; passwords and tables in files of their own are read at a start, which fails
without them.
`;

/** What is written down, beneath defaults and transformations, and what a missing key means. */
function bare(schema) {
  let here = schema;
  let missing = '*required*';
  for (;;) {
    const d = here._zod.def;
    if (d.type === 'default' || d.type === 'prefault') missing = code(d.defaultValue);
    else if (d.type === 'optional') missing = '';
    else if (d.type !== 'pipe') return { d, missing };
    here = d.innerType ?? (d.in._zod.def.type === 'transform' ? d.out : d.in);
  }
}

function code(value) {
  if (typeof value === 'object' && !Array.isArray(value)) return '';
  const text = typeof value === 'string' ? value : JSON.stringify(value).replaceAll(',', ', ').replaceAll('"', '');
  return text === '' ? '' : `\`${text}\``;
}

/** The values a key may have, in words. */
function values(schema) {
  const { d } = bare(schema);
  if (d.error?.({})?.startsWith('expected a duration')) return 'duration';
  switch (d.type) {
    case 'enum':
      return Object.values(d.entries).map(code).join(', ');
    case 'literal':
      return d.values.map(code).join(', ');
    case 'array':
      return `list of ${values(d.element)}`;
    case 'tuple':
      return `[${d.items.map(values).join(', ')}]`;
    case 'union':
      return [...new Set(d.options.map(values))].join(' or ');
    case 'record':
      return mappings(d.valueType, '').length > 0 ? 'mapping' : `mapping to ${values(d.valueType)}`;
    case 'string':
      return 'text';
    case 'boolean':
      return '`true`, `false`';
    case 'object':
      return 'mapping';
    default:
      return d.type;
  }
}

/** The mappings in a schema, with the path each has there. */
function mappings(schema, path) {
  const { d } = bare(schema);
  switch (d.type) {
    case 'object':
      return [{ path, shape: d.shape }];
    case 'record':
      return mappings(d.valueType, `${path}.${path === 'forwarding' ? 'USER@DOMAIN' : 'NAME'}`);
    case 'array':
      return mappings(d.element, `${path}[]`);
    case 'union':
      return d.options.flatMap(o => mappings(o, path));
    default:
      return [];
  }
}

const isWhole = path =>
  KEYS[path] !== undefined && !Object.keys(KEYS).some(k => k.startsWith(`${path}.`) || k.startsWith(`${path}[`));

/** Path → its values and what a missing key means. */
const rows = new Map();
function walk(schema, path) {
  const inner = isWhole(path) ? [] : mappings(schema, path);
  if (path !== '' && (inner.length === 0 || KEYS[path] !== undefined)) {
    const { missing } = bare(schema);
    const known = rows.get(path);
    const all = [...(known?.values ?? []), values(schema)];
    // Two kinds of one mapping share a key: it is required only where both require it.
    rows.set(path, { values: [...new Set(all)], missing: known === undefined ? missing : known.missing && missing });
  }
  for (const m of inner)
    for (const [key, of] of Object.entries(m.shape)) walk(of, m.path === '' ? key : `${m.path}.${key}`);
}
walk(configSchema, '');

const faults = [
  ...[...rows.keys()].filter(k => KEYS[k] === undefined).map(k => `scripts/config-keys.mjs says nothing of ${k}`),
  ...Object.keys(KEYS)
    .filter(k => !rows.has(k))
    .map(k => `scripts/config-keys.mjs has ${k}, which is no key of the configuration`),
];

let page = HEAD;
for (const section of new Set([...rows.keys()].map(k => k.split(/[.[]/)[0]))) {
  const of = [...rows]
    .filter(([k]) => k.split(/[.[]/)[0] === section)
    .map(([k, r]) => `| \`${k}\` | ${r.values.join(', ')} | ${r.missing} | ${KEYS[k]} |`);
  const more = SECTIONS[section] === undefined ? '' : `More: ${SECTIONS[section]}\n\n`;
  page += `\n## ${section}\n\n${more}| key | values | default | |\n|---|---|---|---|\n${of.join('\n')}\n`;
}

const file = join(root, FILE);
if (!process.argv.includes('--check')) writeFileSync(file, page);
else if (!existsSync(file) || readFileSync(file, 'utf8') !== page)
  faults.push(`${FILE} is out of date: node scripts/config-reference.mjs writes it`);
for (const fault of faults) console.error(fault);
process.exitCode = faults.length === 0 ? 0 : 1;
