import type { RouteConfig } from './config.js';

/** A number or user, or its beginning with `*` at the end: what a route's patterns say, and nothing more. */
export function matchesAny(
  patterns: readonly string[] | undefined,
  ...texts: readonly (string | undefined)[]
): boolean {
  if (patterns === undefined) return true;
  for (const p of patterns) {
    const open = p.endsWith('*');
    const head = open ? p.slice(0, -1) : p;
    for (const t of texts) if (t !== undefined && (open ? t.startsWith(head) : t === head)) return true;
  }
  return false;
}

type Time = NonNullable<RouteConfig['when']['time']>;

const CLOCKS = new Map<string, Intl.DateTimeFormat>();

/** Whether a moment (ms since 1970) lies in a span of days and hours of a time zone. After midnight the day before counts. */
export function withinTime(time: Time | undefined, wall: number): boolean {
  if (time === undefined) return true;
  let clock = CLOCKS.get(time.zone);
  if (clock === undefined) {
    clock = new Intl.DateTimeFormat('en-GB', {
      timeZone: time.zone,
      weekday: 'short',
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
    });
    CLOCKS.set(time.zone, clock);
  }
  const parts = new Map(clock.formatToParts(wall).map(p => [p.type, p.value]));
  const now = `${parts.get('hour')}:${parts.get('minute')}`;
  const today = (parts.get('weekday') ?? '').toLowerCase();
  const { from, to, days } = time;
  const overnight = to <= from;
  const inHours = overnight ? now >= from || now < to : now >= from && now < to;
  if (!inHours) return false;
  const day = overnight && now < to && now < from ? before(today) : today;
  return days === undefined || days.some(d => d === day);
}

function before(day: string): string {
  const days = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];
  return days[(days.indexOf(day) + 6) % 7] ?? day;
}
