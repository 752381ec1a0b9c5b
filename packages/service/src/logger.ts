import { Masked } from '@drawbridge/core';
import { pino } from 'pino';
import { plainLine } from './plain-line.js';

export type Logger = pino.Logger;
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

export interface LoggerOptions {
  readonly level?: LogLevel;
  /** `masked`: users, numbers and addresses as `a…e`; `plain`: as they are. Credentials never show. */
  readonly personal?: 'masked' | 'plain';
  /** `json`: one object per line; `plain`: one readable line; `auto`: plain on a terminal. */
  readonly form?: 'auto' | 'json' | 'plain';
  /** Where lines go, each ending in a line feed. Standard output when left out. */
  readonly to?: { write(line: string): void };
}

/** Log of a process. Lines of one call come from `logger.child({ call })`. */
export function createLogger(o: LoggerOptions = {}): Logger {
  const show = o.personal === 'plain';
  const plain = o.form === 'plain' || (o.form !== 'json' && o.to === undefined && process.stdout.isTTY === true);
  const sink =
    o.to ??
    pino.destination(plain ? { fd: 1, sync: true } : { fd: 1, sync: false, minLength: 8192, periodicFlush: 200 });
  const to = plain ? { write: (line: string): void => void sink.write(plainLine(line)) } : sink;
  const logger = pino(
    {
      level: o.level ?? 'info',
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: {
        level: label => ({ level: label }),
        log: given => presentable(given, show, 0) as Record<string, unknown>,
      },
      // formatters.log has described it already
      serializers: { err: (described: unknown) => described },
      hooks: {
        logMethod(args, method) {
          method.apply(this, withMessage(args).map(a => (typeof a === 'string' ? redact(a) : a)) as typeof args);
        },
      },
    },
    to,
  );
  // pino gives a child's bindings to no formatter; children inherit this from the logger they come from.
  const child: (this: unknown, bindings: pino.Bindings, options?: object) => unknown = logger.child;
  return Object.assign(logger, {
    child(this: unknown, bindings: pino.Bindings, options?: object) {
      return child.call(this, presentable(bindings, show, 0) as pino.Bindings, options);
    },
  }) as Logger;
}

/** An error's words as a message of its own, so that they too are looked through for credentials. */
function withMessage(args: readonly unknown[]): unknown[] {
  const [first, second] = args;
  const error = first instanceof Error ? first : (first as { err?: unknown } | undefined)?.err;
  if (typeof second === 'string' || !(error instanceof Error)) return [...args];
  return [first instanceof Error ? { err: first } : first, error.message];
}

const SECRET = /^(?:password|passwd|secret|ha1|authorization|proxy-?authorization|cnonce|token|apikey|api_key)$/i;
const HIDDEN = '[redacted]';
const MAX_DEPTH = 6;
const MAX_TEXT = 4096;

/** A copy fit for the log: secrets hidden, personal values as the operator wants them, depth and length bounded. */
function presentable(value: unknown, show: boolean, depth: number): unknown {
  if (typeof value === 'string') return redact(value);
  if (typeof value === 'bigint') return String(value);
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Masked) return show ? value.reveal() : value.toString();
  if (value instanceof Error) return describeError(value, show, depth);
  if (depth >= MAX_DEPTH) return '[deeper]';
  if (Array.isArray(value)) return value.map(v => presentable(v, show, depth + 1));
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return value;
  const out: Record<string, unknown> = {};
  for (const [key, v] of Object.entries(value)) out[key] = SECRET.test(key) ? HIDDEN : presentable(v, show, depth + 1);
  return out;
}

function describeError(error: Error, show: boolean, depth: number): unknown {
  const { reason, code } = error as { reason?: unknown; code?: unknown };
  return {
    type: error.name,
    message: redact(error.message),
    ...(typeof reason === 'string' ? { reason } : {}),
    ...(typeof code === 'string' ? { code } : {}),
    ...(error.stack === undefined ? {} : { stack: redact(error.stack) }),
    ...(error.cause === undefined || depth >= MAX_DEPTH ? {} : { cause: presentable(error.cause, show, depth + 1) }),
  };
}

/** Credentials inside text, such as a whole message that a trace line quotes. */
function redact(text: string): string {
  const cut = text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}… (${text.length} characters)` : text;
  return /authorization|response=|password/i.test(cut)
    ? cut
        .replace(/((?:proxy-)?authorization[ \t]*:[ \t]*)[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*/gi, `$1${HIDDEN}`)
        .replace(/\b(response|password)=("[^"]*"?|[^\s,;]+)/gi, `$1=${HIDDEN}`)
    : cut;
}
