/** One thing that this machine can or can't do. */
export interface Probe {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
  /** What to type or change to get it, when `ok` is false. */
  readonly remedy?: string;
}
export interface ProbeReport {
  readonly probes: readonly Probe[];
}

/** Asks the machine, for `doctor`. Never throws; changes nothing. */
export async function probe(): Promise<ProbeReport> {
  return { probes: [] };
}
