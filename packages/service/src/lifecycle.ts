export type StopSignal = 'SIGTERM' | 'SIGINT';

export interface StopOptions {
  /** After this long the process ends whether `stop` has finished or not. */
  readonly withinMs: number;
  /** Ends the process; a test gives its own. */
  readonly exit?: (code: number) => void;
}

/** Ctrl-C under npm arrives twice within milliseconds: from the terminal and passed on by npm. */
const SAME_KEYSTROKE_MS = 500;

/**
 * Runs `stop` once at the first SIGTERM or SIGINT and ends with 0 when it has finished; a second signal, or the
 * deadline, ends at once with 1. Returns a function that takes the handlers away again.
 */
export function onStopSignal(stop: (signal: StopSignal) => Promise<void>, o: StopOptions): () => void {
  const exit = o.exit ?? (code => process.exit(code));
  let stoppingSince: number | undefined;
  const handle = (signal: StopSignal): void => {
    if (stoppingSince !== undefined) {
      if (performance.now() - stoppingSince > SAME_KEYSTROKE_MS) exit(1);
      return;
    }
    stoppingSince = performance.now();
    const deadline = setTimeout(() => exit(1), o.withinMs);
    deadline.unref();
    stop(signal).then(
      () => {
        clearTimeout(deadline);
        exit(0);
      },
      () => exit(1),
    );
  };
  process.on('SIGTERM', handle);
  process.on('SIGINT', handle);
  return () => {
    process.off('SIGTERM', handle);
    process.off('SIGINT', handle);
  };
}

/** Resolves true when `count` has reached zero, false at the deadline. For draining: calls end by themselves. */
export async function untilZero(
  count: () => number,
  o: { readonly withinMs: number; readonly everyMs?: number },
): Promise<boolean> {
  const end = performance.now() + o.withinMs;
  while (count() > 0) {
    const left = end - performance.now();
    if (left <= 0) return false;
    await new Promise(resolve => setTimeout(resolve, Math.min(left, o.everyMs ?? 100)));
  }
  return true;
}
