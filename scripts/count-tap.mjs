/**
 * Counts the assertions of a TAP stream that holds one subtest per file. Points that only sum up their subtest don't
 * count; a file or subtest that failed although nothing inside did (it crashed, timed out, planned more) is one failure.
 */
export function countTap(text) {
  const count = { passed: 0, failed: 0, skipped: 0, files: 0 };
  // Per depth: whether a subtest stands open above the next point, and whether anything failed inside.
  const inside = [];
  let diagnostics = -1;
  for (const line of text.split('\n')) {
    const indent = line.length - line.trimStart().length;
    const body = line.trim();
    if (diagnostics >= 0) {
      if (body === '...' && indent === diagnostics) diagnostics = -1;
      continue;
    }
    if (body === '---') {
      diagnostics = indent;
      continue;
    }
    const depth = Math.floor(indent / 4);
    const point = /^(not )?ok\b(.*)$/.exec(body);
    if (point === null) continue;
    const failed = point[1] !== undefined;
    const directive = /(?<!\\)#\s*(SKIP|TODO)\b/i.exec(point[2] ?? '')?.[1]?.toUpperCase();
    const nested = inside[depth + 1];
    inside[depth + 1] = undefined;
    inside.length = Math.min(inside.length, depth + 2);
    if (depth === 0) count.files++;
    let failures = nested?.failures ?? 0;
    if (directive !== undefined && nested === undefined) count.skipped++;
    else if (nested !== undefined) {
      if (failed && directive === undefined && failures === 0) {
        count.failed++;
        failures = 1;
      }
    } else if (failed) {
      count.failed++;
      failures = 1;
    } else count.passed++;
    const here = (inside[depth] ??= { failures: 0 });
    here.failures += failures;
  }
  return count;
}
