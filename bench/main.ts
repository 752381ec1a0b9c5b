import { parseArgs } from 'node:util';
import type { Bench, BenchResult } from './result.js';

const BENCHES: Readonly<Record<string, () => Promise<Bench>>> = {
  parse: async () => (await import('./parse.js')).parse,
  calls: async () => (await import('./calls.js')).calls,
  register: async () => (await import('./register.js')).register,
  relay: async () => (await import('./relay.js')).relay,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean' }, seed: { type: 'string' }, seconds: { type: 'string' } },
});
const name = positionals[0] ?? '';
const load = BENCHES[name];
if (load === undefined) {
  process.stderr.write(`There is no benchmark "${name}". There are: ${Object.keys(BENCHES).join(', ')}.\n`);
  process.exit(2);
}
const bench = await load();
const result = await bench({
  seed: Number(values.seed ?? 1),
  seconds: Number(values.seconds ?? 0),
  onProgress: line => process.stderr.write(`${line}\n`),
});
if (values.json !== true) process.stdout.write(table(result));
process.stdout.write(`${JSON.stringify(result)}\n`);
process.exit(result.refused === undefined ? 0 : 1);

function table(r: BenchResult): string {
  const rows: string[] = [`\n${r.bench} at ${r.commit}`];
  const add = (title: string, cells: Readonly<Record<string, unknown>>): void => {
    for (const [key, value] of Object.entries(cells)) {
      rows.push(
        `  ${title.padEnd(9)} ${key.padEnd(36)} ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`,
      );
    }
  };
  add('ours', r.ours);
  for (const [peer, cells] of Object.entries(r.peers)) add(peer, cells);
  if (r.control !== undefined) add('control', r.control);
  add('work', r.work);
  add('cpu µs', r.cpu_us);
  add('spread', r.spread);
  add('ratio', r.ratios);
  if (r.refused !== undefined) rows.push(`  no ratio: ${r.refused}`);
  return `${rows.join('\n')}\n\n`;
}
