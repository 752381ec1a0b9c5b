import { cpSync, mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Lab } from './lab.js';

const RESULTS = fileURLToPath(new URL('../../results/', import.meta.url));

/** Copies a lab's captures, logs and recordings to where they outlive it; the folder, to be printed. */
export function keep(lab: Lab, name: string): string {
  const to = `${RESULTS}${name.replace(/[^\w.-]+/g, '-')}-${process.pid}`;
  mkdirSync(to, { recursive: true });
  cpSync(lab.folder, to, {
    recursive: true,
    filter: path =>
      !path.endsWith('.sock') && !path.endsWith('/ctl') && !path.endsWith('tone.wav') && !path.endsWith('played.wav'),
  });
  return to;
}

/** What this needs of a tap test. */
interface Verdict {
  passing(): boolean;
  comment(text: string): void;
}

/** Builds the one lab of a test file, and tears it down; what a failure left behind is kept and its place printed. */
export async function inLaboratory(t: Verdict, name: string, body: (lab: Lab) => Promise<void>): Promise<void> {
  await using lab = Lab.build();
  let thrown = true;
  try {
    await body(lab);
    thrown = false;
  } finally {
    if (thrown || !t.passing()) t.comment(`kept: ${keep(lab, name)}`);
  }
}
