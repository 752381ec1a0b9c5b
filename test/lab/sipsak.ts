import { spawnSync } from 'node:child_process';
import type { Box, Lab } from './lab.js';

/** One sipsak run: exit code 0 when the answer was 200 (or what the mode asks for), and everything it printed. */
export function sipsak(
  lab: Lab,
  box: Box,
  args: readonly string[],
): { readonly code: number | null; readonly output: string } {
  const [command, all] = lab.inside(box, 'sipsak', args);
  const r = spawnSync(command, all, { encoding: 'latin1', timeout: 20_000 });
  return { code: r.status, output: `${r.stdout}${r.stderr}` };
}
