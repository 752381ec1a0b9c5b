/** The members that every line has, and that don't belong among its facts. */
const FRAME: ReadonlySet<string> = new Set(['level', 'time', 'msg', 'err']);

/** One JSON log line as one line for a terminal: `12:00:00.000 warn  what happened  call=c1 reason=busy`. */
export function plainLine(json: string): string {
  let line: Record<string, unknown>;
  try {
    line = JSON.parse(json) as Record<string, unknown>;
  } catch {
    return `${visible(json.trimEnd())}\n`;
  }
  const time = typeof line.time === 'string' ? line.time.slice(11, 23) : '';
  const facts = Object.entries(line)
    .filter(([key]) => !FRAME.has(key))
    .map(([key, value]) => `${key}=${fact(value)}`);
  const error = line.err as { message?: unknown; stack?: unknown } | undefined;
  if (error !== undefined) facts.push(`error=${fact(error.message ?? error)}`);
  const at = typeof error?.stack === 'string' ? error.stack.split('\n')[1]?.trim() : undefined;
  if (at !== undefined) facts.push(`(${at})`);
  const head = `${time} ${String(line.level ?? '').padEnd(5)} ${typeof line.msg === 'string' ? line.msg : ''}`;
  return `${visible(facts.length === 0 ? head : `${head}  ${facts.join(' ')}`)}\n`;
}

function fact(value: unknown): string {
  if (typeof value === 'string') return /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
  return JSON.stringify(value) ?? '';
}

/** A terminal obeys control characters, so what came from the wire shows them instead. */
function visible(text: string): string {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g,
    c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
