import { z } from 'zod';

const MS: ReadonlyMap<string, number> = new Map([
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['min', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
]);

const BYTES: ReadonlyMap<string, number> = new Map([
  ['b', 1],
  ['kb', 1000],
  ['mb', 1_000_000],
  ['gb', 1_000_000_000],
  ['kib', 1024],
  ['mib', 1024 ** 2],
  ['gib', 1024 ** 3],
]);

/** `500ms`, `30s`, `5m`, `1h30m`, `2d` in milliseconds; undefined for anything else, a bare number included. */
export function parseDuration(text: string): number | undefined {
  const parts = /^(?:\d{1,9}(?:\.\d{1,3})?(?:ms|s|min|m|h|d))+$/.test(text)
    ? text.match(/\d+(?:\.\d+)?(?:ms|s|min|m|h|d)/g)
    : null;
  if (parts === null) return undefined;
  let total = 0;
  for (const part of parts) {
    const unit = part.replace(/^[\d.]+/, '');
    total += Number.parseFloat(part) * (MS.get(unit) ?? 0);
  }
  return Math.round(total);
}

/** The shortest exact spelling with one unit: 90000 → `90s`, 3600000 → `1h`. */
export function formatDuration(ms: number): string {
  for (const [unit, size] of [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1000],
  ] as const) {
    if (ms !== 0 && ms % size === 0) return `${ms / size}${unit}`;
  }
  return `${ms}ms`;
}

/** `64MiB`, `10kB`, `512B` in bytes; undefined for anything else. Units are case-insensitive. */
export function parseSize(text: string): number | undefined {
  const m = /^(\d{1,12}(?:\.\d{1,3})?) ?([kmg]?i?b)$/i.exec(text);
  const unit = BYTES.get((m?.[2] ?? '').toLowerCase());
  return m === null || unit === undefined ? undefined : Math.round(Number(m[1]) * unit);
}

export interface Limits {
  /** Inclusive, spelled like the value itself. */
  readonly min?: string;
  readonly max?: string;
}

type Quantity = z.ZodType<number, string | number>;

/**
 * A span of time in the configuration, milliseconds in the program. `byDefault` is the value of a missing key;
 * without it the key must be there.
 */
export function duration(byDefault: string, limits?: Limits): z.ZodDefault<Quantity>;
export function duration(byDefault?: undefined, limits?: Limits): Quantity;
export function duration(byDefault?: string, limits: Limits = {}): Quantity | z.ZodDefault<Quantity> {
  return quantity('a duration such as 500ms, 30s, 5m or 1h', parseDuration, byDefault, limits);
}

/** An amount of memory or disk in the configuration, bytes in the program. */
export function size(byDefault: string, limits?: Limits): z.ZodDefault<Quantity>;
export function size(byDefault?: undefined, limits?: Limits): Quantity;
export function size(byDefault?: string, limits: Limits = {}): Quantity | z.ZodDefault<Quantity> {
  return quantity('a size such as 512B, 64kB or 16MiB', parseSize, byDefault, limits);
}

function quantity(
  what: string,
  parse: (text: string) => number | undefined,
  byDefault: string | undefined,
  limits: Limits,
): Quantity | z.ZodDefault<Quantity> {
  const own = (text: string): number => {
    const value = parse(text);
    if (value === undefined) throw new TypeError(`${text} is not ${what}`);
    return value;
  };
  const min = limits.min === undefined ? 0 : own(limits.min);
  const max = limits.max === undefined ? Number.POSITIVE_INFINITY : own(limits.max);
  const range =
    limits.min === undefined && limits.max === undefined
      ? ''
      : limits.max === undefined
        ? `, at least ${limits.min}`
        : limits.min === undefined
          ? `, at most ${limits.max}`
          : ` between ${limits.min} and ${limits.max}`;
  const expected = `expected ${what}${range}`;
  const schema: Quantity = z.union([z.string(), z.number()], { error: expected }).transform((given, context) => {
    const value = parse(String(given));
    if (value === undefined || value < min || value > max) {
      context.addIssue({ code: 'custom', message: expected, input: given });
      return z.NEVER;
    }
    return value;
  });
  return byDefault === undefined ? schema : schema.default(own(byDefault));
}
