import { appendFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/*
 * The product's own program, with one thing added from outside: SIGUSR2 collects garbage and appends to the file in
 * DRAWBRIDGE_MEMORY what is left, so that a leak and a heap that merely waits for its collector look different.
 */

const file = process.env.DRAWBRIDGE_MEMORY ?? '';
setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;
process.on('SIGUSR2', () => {
  gc();
  const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage();
  appendFileSync(file, `${JSON.stringify({ rss, heapUsed, external, arrayBuffers })}\n`);
});

const program = fileURLToPath(new URL('../../../packages/sbc/dist/src/main.js', import.meta.url));
process.argv = [process.argv[0] ?? '', program, ...process.argv.slice(2)];
await import(program);
