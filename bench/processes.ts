import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { family } from './measure.js';

/** One temporary folder per run; removed when the run ends. */
export class Workshop {
  readonly folder = mkdtempSync(join(tmpdir(), 'drawbridge-bench-'));
  readonly #running = new Set<Daemon>();

  file(name: string): string {
    return join(this.folder, name);
  }

  start(
    command: readonly string[],
    options: { readonly core?: number; readonly cwd?: string; readonly log: string },
  ): Daemon {
    const daemon = new Daemon(command, { ...options, log: this.file(options.log) });
    this.#running.add(daemon);
    return daemon;
  }

  async end(): Promise<void> {
    for (const d of this.#running) await d.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A long-running process of the benchmark's own, pinned to a core when one is given. */
export class Daemon {
  readonly #child: ChildProcess;
  readonly #log: string;
  readonly #exited: Promise<void>;
  #ended = false;

  constructor(
    command: readonly string[],
    options: { readonly core?: number; readonly cwd?: string; readonly log: string },
  ) {
    const full = options.core === undefined ? command : ['taskset', '-c', String(options.core), ...command];
    this.#log = options.log;
    const log = openSync(options.log, 'a');
    this.#child = spawn(full[0] ?? '', full.slice(1), {
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    this.#exited = new Promise(resolve => {
      const done = (): void => {
        this.#ended = true;
        resolve();
      };
      this.#child.once('exit', done);
      this.#child.once('error', done);
    });
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get pids(): number[] {
    return family(this.pid);
  }

  get ended(): boolean {
    return this.#ended;
  }

  log(): string {
    return existsSync(this.#log) ? readFileSync(this.#log, 'utf8') : '';
  }

  /** Polls `ready` until it holds; throws with the end of the log when the process ends or time runs out. */
  async until(what: string, ready: () => boolean | Promise<boolean>, withinMs = 15_000): Promise<void> {
    const end = Date.now() + withinMs;
    while (!(await ready())) {
      if (this.#ended || Date.now() > end) throw new Error(`${what}: not ready.\n${this.log().slice(-2000)}`);
      await new Promise(r => setTimeout(r, 50));
    }
  }

  async stop(): Promise<void> {
    if (this.#ended) return;
    this.#child.kill('SIGTERM');
    const hard = setTimeout(() => this.#child.kill('SIGKILL'), 4000);
    await this.#exited;
    clearTimeout(hard);
  }
}

/** A peer's version, wherever it prints it; undefined when it isn't installed. */
export function peerVersion(command: string, args: readonly string[], pattern: RegExp): string | undefined {
  const { stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  return pattern.exec(`${stdout ?? ''}${stderr ?? ''}`)?.[1];
}

/** True when something is bound to the UDP port on this IPv4 address. */
export function udpBound(address: string, port: number): boolean {
  const hex = `${address
    .split('.')
    .map(Number)
    .reverse()
    .map(n => n.toString(16).padStart(2, '0'))
    .join('')}:${port.toString(16).padStart(4, '0')}`.toUpperCase();
  return readFileSync('/proc/net/udp', 'latin1').includes(` ${hex} `);
}
