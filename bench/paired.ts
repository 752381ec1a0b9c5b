import {
  cpuMicros,
  MAX_SPREAD,
  MAX_STEAL,
  machineTimes,
  median,
  PAIRS,
  round3,
  spread,
  stealSince,
} from './measure.js';
import type { Daemon } from './processes.js';
import type { SippRun } from './sipp.js';

/** One side's share of one pair. */
export interface Unit {
  /** CPU microseconds per unit of work. */
  readonly cpuUs: number;
  readonly done: number;
  readonly failed: number;
  readonly retransmitted: number;
}

export interface PairedRow {
  readonly ours: readonly Unit[];
  readonly peer: readonly Unit[];
  readonly cpuOurs: number;
  readonly cpuPeer: number;
  readonly spreadOurs: number;
  readonly spreadPeer: number;
  readonly ratio: number;
  readonly refused?: string;
}

/**
 * Ours and the peer in turn, the first pair discarded. Any failed unit or unequal work: no ratio. Too much
 * spread or steal: measured once more, then given up.
 */
export async function pairedRow(
  name: string,
  ours: () => Promise<Unit>,
  peer: () => Promise<Unit>,
  onProgress: (line: string) => void,
): Promise<PairedRow> {
  const first = await onePass(name, ours, peer, onProgress);
  if (first.refused === undefined || !first.refused.startsWith('unsteady')) return first;
  onProgress(`${name}: ${first.refused}; measuring again`);
  return onePass(name, ours, peer, onProgress);
}

async function onePass(
  name: string,
  ours: () => Promise<Unit>,
  peer: () => Promise<Unit>,
  onProgress: (line: string) => void,
): Promise<PairedRow> {
  const a: Unit[] = [];
  const b: Unit[] = [];
  const from = machineTimes();
  for (let pair = 0; pair < PAIRS; pair++) {
    const ua = await ours();
    const ub = await peer();
    const note = pair === 0 ? ' (warm-up)' : '';
    onProgress(
      `${name}: pair ${pair + 1}/${PAIRS}${note}: ours ${ua.cpuUs.toFixed(1)} µs, peer ${ub.cpuUs.toFixed(1)} µs, failed ${ua.failed}/${ub.failed}`,
    );
    if (pair > 0) {
      a.push(ua);
      b.push(ub);
    }
  }
  const steal = stealSince(from);
  const cpuA = a.map(u => u.cpuUs);
  const cpuB = b.map(u => u.cpuUs);
  const row = {
    ours: a,
    peer: b,
    cpuOurs: round3(median(cpuA)),
    cpuPeer: round3(median(cpuB)),
    spreadOurs: round3(spread(cpuA)),
    spreadPeer: round3(spread(cpuB)),
    ratio: round3(median(cpuA) / median(cpuB)),
  };
  const failed = [...a, ...b].reduce((n, u) => n + u.failed, 0);
  if (failed > 0) return { ...row, refused: `${name}: ${failed} units failed` };
  const counts = new Set([...a, ...b].map(u => u.done));
  if (counts.size > 1) return { ...row, refused: `${name}: unequal work (${[...counts].join(', ')})` };
  if (steal > MAX_STEAL) return { ...row, refused: `unsteady: ${name}: steal ${round3(steal)}` };
  const worst = Math.max(row.spreadOurs, row.spreadPeer);
  if (worst > MAX_SPREAD) return { ...row, refused: `unsteady: ${name}: spread ${round3(worst)}` };
  return row;
}

/** CPU of the daemons per unit of the work that `load` had them do. */
export async function measured(of: readonly Daemon[], load: () => Promise<SippRun>): Promise<Unit> {
  const pids = of.flatMap(d => d.pids);
  const before = cpuMicros(pids);
  const run = await load();
  return {
    cpuUs: (cpuMicros(pids) - before) / Math.max(1, run.done),
    done: run.done,
    failed: run.failed,
    retransmitted: run.retransmitted,
  };
}

/** What is left of a row that could not be measured. */
export function unmeasured(name: string, error: unknown): PairedRow {
  return {
    ours: [],
    peer: [],
    cpuOurs: 0,
    cpuPeer: 0,
    spreadOurs: 0,
    spreadPeer: 0,
    ratio: 0,
    refused: `${name}: ${error instanceof Error ? error.message : String(error)}`,
  };
}

export function totals(units: readonly Unit[]): { done: number; failed: number; retransmitted: number } {
  const sum = { done: 0, failed: 0, retransmitted: 0 };
  for (const u of units) {
    sum.done += u.done;
    sum.failed += u.failed;
    sum.retransmitted += u.retransmitted;
  }
  return sum;
}
