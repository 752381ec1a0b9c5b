import { Parser } from 'tap-parser';

/**
 * What a TAP stream that holds one subtest per file says: how many assertions there were, and those that failed, each
 * with its file, its place in the tests and what tap knows of it. Points that only sum up their subtest don't count; a
 * file that failed although nothing inside did (it crashed, timed out, planned more) is one failure.
 */
export function readTap(text) {
  const read = { passed: 0, failed: 0, skipped: 0, failures: [] };
  for (const [event, point] of Parser.parse(text, { flat: true })) {
    if (event !== 'assert') continue;
    if (point.skip !== false || point.todo !== false) read.skipped++;
    else if (point.ok) read.passed++;
    else {
      read.failed++;
      read.failures.push(`${point.fullname}\n${about(point.diag ?? {})}`);
    }
  }
  return read;
}

const LINES = 12;

/** Where it failed and how, without the excerpt of the compiled source. */
function about(diag) {
  const { at, diff, expired, exitCode, signal } = diag;
  const lines = [];
  if (at?.fileName !== undefined) lines.push(`at ${at.fileName}:${at.lineNumber}`);
  if (diff !== undefined) lines.push(...diff.trimEnd().split('\n').slice(0, LINES));
  else if (diag.found !== undefined || diag.wanted !== undefined)
    lines.push(`found ${JSON.stringify(diag.found)}, wanted ${JSON.stringify(diag.wanted)}`);
  if (expired !== undefined) lines.push(`no end in time: ${expired}`);
  if (exitCode) lines.push(`exit code ${exitCode}`);
  if (signal) lines.push(`ended by ${signal}`);
  return lines.map(l => `    ${l}`).join('\n');
}
