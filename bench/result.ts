/** What every benchmark prints as its last line. Figures are medians over the counted pairs. */
export interface BenchResult {
  readonly bench: string;
  readonly commit: string;
  readonly ours: Readonly<Record<string, unknown>>;
  readonly peers: Readonly<Record<string, { readonly version: string } & Readonly<Record<string, unknown>>>>;
  /** What the method itself shows where nobody is measured. */
  readonly control?: Readonly<Record<string, unknown>>;
  readonly work: Readonly<
    Record<string, { readonly done: number; readonly failed: number; readonly retransmitted: number }>
  >;
  /** CPU microseconds per unit of work. */
  readonly cpu_us: Readonly<Record<string, number>>;
  /** (max − min) ÷ median over the counted pairs. */
  readonly spread: Readonly<Record<string, number>>;
  /** sha256 of each side's configuration. */
  readonly config: Readonly<Record<string, string>>;
  readonly ratios: Readonly<Record<string, number>>;
  /** Why there is no ratio: failed units, unequal work, missing peer, too much spread or steal. Absent when all is well. */
  readonly refused?: string;
}

export interface BenchOptions {
  readonly seed: number;
  readonly seconds: number;
  onProgress(line: string): void;
}

export type Bench = (options: BenchOptions) => Promise<BenchResult>;
