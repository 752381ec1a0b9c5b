import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { INVITE_CLIENT, INVITE_SERVER, NON_INVITE_CLIENT, NON_INVITE_SERVER } from '../packages/sip/dist/src/index.js';
import { root } from './process.mjs';

// node scripts/diagrams.mjs          writes docs/transactions.md from the transition tables
// node scripts/diagrams.mjs --check  fails when the file is not what the tables say

const file = join(root, 'docs', 'transactions.md');

const machines = [
  ['INVITE client', INVITE_CLIENT, 'calling', 'RFC 3261 §17.1.1, RFC 6026 §7.2, and §9.1 for CANCEL'],
  ['non-INVITE client', NON_INVITE_CLIENT, 'trying', 'RFC 3261 §17.1.2'],
  ['INVITE server', INVITE_SERVER, 'proceeding', 'RFC 3261 §17.2.1, RFC 6026 §7.1'],
  ['non-INVITE server', NON_INVITE_SERVER, 'trying', 'RFC 3261 §17.2.2, RFC 4320'],
];

function draw([name, table, first, source]) {
  const lines = Object.entries(table).flatMap(([state, events]) =>
    Object.entries(events).map(([event, t]) => {
      const what = t.do.length === 0 ? '' : ` / ${t.do.join(', ')}`;
      return `  ${state} --> ${t.to === 'terminated' ? '[*]' : t.to} : ${event}${what}`;
    }),
  );
  return `## ${name}\n\n${source}\n\n\`\`\`mermaid\nstateDiagram-v2\n  [*] --> ${first}\n${lines.join('\n')}\n\`\`\`\n`;
}

const text = `# The four transactions

Drawn from the tables in \`packages/sip/src/transaction/machine.ts\` by \`node scripts/diagrams.mjs\`; the theory stands there.
An arrow reads *event / what is done*. Single letters are the timers of RFC 3261 §17 (L and M: RFC 6026; X: 64·T1 after
a CANCEL; Z: our own bound on a user who never answers).

${machines.map(draw).join('\n')}`;

if (process.argv.includes('--check')) {
  if (readFileSync(file, 'utf8') !== text) {
    process.stderr.write('docs/transactions.md is not what the tables say; run node scripts/diagrams.mjs\n');
    process.exitCode = 1;
  }
} else writeFileSync(file, text);
