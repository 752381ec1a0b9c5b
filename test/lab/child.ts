import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { within } from './machine.js';

/** A program that runs beside the test, its output kept in one log file. */
export class Child {
  readonly log: string;
  readonly #process: ChildProcess;
  readonly #ended: Promise<number | string>;
  #code: number | string | undefined;

  constructor(
    [command, args]: readonly [string, readonly string[]],
    log: string,
    options: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv; readonly console?: boolean } = {},
  ) {
    this.log = log;
    const out = openSync(log, 'a');
    const { console = false, ...spawning } = options;
    this.#process = spawn(command, args, { stdio: [console ? 'pipe' : 'ignore', out, out], ...spawning });
    closeSync(out);
    // one that has ended reads nothing any more; whoever waits for its answer finds out
    this.#process.stdin?.on('error', () => {});
    this.#ended = new Promise(resolve => {
      this.#process.once('error', error => resolve(String(error)));
      this.#process.once('exit', (code, signal) => resolve(code ?? signal ?? 'ended'));
    });
    void this.#ended.then(code => {
      this.#code = code;
    });
    living.add(this);
  }

  get pid(): number {
    return this.#process.pid ?? -1;
  }

  /** Exit code or signal; undefined while it runs. */
  get code(): number | string | undefined {
    return this.#code;
  }

  output(): string {
    return readFileSync(this.log, 'latin1');
  }

  /** Types a line; only into a child that was started with a `console`. */
  type(line: string): void {
    this.#process.stdin?.write(`${line}\n`);
  }

  async ended(usualMs: number): Promise<number | string> {
    const code = await within(usualMs, `end of ${this.log}`, this.#ended);
    living.delete(this);
    return code;
  }

  kill(signal: NodeJS.Signals): void {
    if (this.#code === undefined) this.#process.kill(signal);
  }

  /** Asks it to end, then makes it. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.kill(signal);
    try {
      await this.ended(500);
    } catch {
      this.kill('SIGKILL');
      await this.#ended;
    }
    living.delete(this);
  }
}

const living = new Set<Child>();
// a test that dies must not leave phones ringing
process.once('exit', () => {
  for (const child of living) child.kill('SIGKILL');
});
