import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';

/** Pairs A B A B …; the first pair warms both sides up and is discarded. */
export const PAIRS = 6;
/** Above these a figure is measured again, then given up (bench.md). */
export const MAX_SPREAD = 0.25;
export const MAX_STEAL = 0.05;

/** User + system time of every thread of the given processes, microseconds (schedstat counts nanoseconds). */
export function cpuMicros(pids: readonly number[]): number {
  let ns = 0;
  for (const pid of pids) {
    for (const tid of readdirSync(`/proc/${pid}/task`)) {
      try {
        ns += Number(readFileSync(`/proc/${pid}/task/${tid}/schedstat`, 'latin1').split(' ')[0]);
      } catch {
        // A thread may end between the listing and the read.
      }
    }
  }
  return ns / 1000;
}

/** A process and all its descendants. */
export function family(pid: number): number[] {
  const all = [pid];
  for (let i = 0; i < all.length; i++) {
    try {
      for (const tid of readdirSync(`/proc/${all[i]}/task`)) {
        const kids = readFileSync(`/proc/${all[i]}/task/${tid}/children`, 'latin1').trim();
        if (kids !== '') all.push(...kids.split(' ').map(Number));
      }
    } catch {
      // The process ended.
    }
  }
  return all;
}

/** Anonymous resident memory of the processes, bytes; shared pages counted once by their proportional share. */
export function anonymousBytes(pids: readonly number[]): number {
  let kb = 0;
  for (const pid of pids) {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
    for (const key of ['Pss_Anon', 'Pss_Shmem']) {
      kb += Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0);
    }
  }
  return kb * 1024;
}

export interface MachineTimes {
  readonly total: number;
  readonly steal: number;
}

export function machineTimes(): MachineTimes {
  const line = readFileSync('/proc/stat', 'latin1').split('\n')[0] ?? '';
  const f = line.trim().split(/\s+/).slice(1).map(Number);
  return { total: f.slice(0, 8).reduce((a, b) => a + b, 0), steal: f[7] ?? 0 };
}

export function stealSince(from: MachineTimes): number {
  const now = machineTimes();
  return now.total === from.total ? 0 : (now.steal - from.steal) / (now.total - from.total);
}

export function median(list: readonly number[]): number {
  const s = [...list].sort((a, b) => a - b);
  const mid = s.length >> 1;
  return s.length === 0 ? Number.NaN : s.length % 2 === 1 ? (s[mid] ?? 0) : ((s[mid - 1] ?? 0) + (s[mid] ?? 0)) / 2;
}

export function spread(list: readonly number[]): number {
  return (Math.max(...list) - Math.min(...list)) / median(list);
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

export function commitOf(): string {
  try {
    const dirty = execFileSync('git', ['status', '--porcelain'], { encoding: 'utf8' }).trim() !== '';
    return (
      execFileSync('git', ['rev-parse', '--short=12', 'HEAD'], { encoding: 'utf8' }).trim() + (dirty ? '+changes' : '')
    );
  } catch {
    return 'unknown';
  }
}

/** `value` with three significant digits: what a ratio is good for. */
export function round3(value: number): number {
  return Number(value.toPrecision(3));
}
