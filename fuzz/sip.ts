/*
 * Invariant: whatever the bytes are, MessageView.parse returns undefined or a Reason and no accessor, header parser or
 * builder throws; an accepted message spliced without edits is the same message; a reply to an accepted or answerable
 * request is one message with one head. No input takes more than 50 ms.
 *
 *   npm run fuzz -- sip [seconds] [seed]
 */
import { type Random, seededRandom } from '@drawbridge/core';

interface Target {
  mutated(random: Random): string;
  /** Throws where the invariant breaks; true when the message was accepted. */
  check(text: string, framed: boolean): boolean;
}

const seconds = Number(process.argv[2] ?? 10);
const seed = Number(process.argv[3] ?? Date.now() % 2 ** 32);
const random = seededRandom(seed);
// The target lives with the package's tests, which run it with a small budget.
const target = (await import(new URL('../../packages/sip/dist/test/fuzzing.js', import.meta.url).href)) as Target;

let runs = 0;
let accepted = 0;
const until = Date.now() + seconds * 1000;
while (Date.now() < until) {
  const text = target.mutated(random);
  const before = process.cpuUsage();
  try {
    if (target.check(text, runs % 2 === 1)) accepted++;
  } catch (error) {
    process.stderr.write(`seed ${seed}, run ${runs}: ${error}\n${JSON.stringify(text)}\n`);
    process.exit(1);
  }
  const spent = process.cpuUsage(before);
  if (spent.user + spent.system > 50_000 && runs > 1000) {
    console.error(
      `seed ${seed}, run ${runs}: ${spent.user + spent.system} µs for ${text.length} characters\n${JSON.stringify(text.slice(0, 500))}`,
    );
    process.exit(1);
  }
  runs++;
}
process.stdout.write(`${JSON.stringify({ fuzz: 'sip', seed, seconds, runs, accepted })}\n`);
