import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { eventually } from './machine.js';

/**
 * A door into one namespace: Unix sockets don't belong to a network namespace, so a small program inside it
 * (bridge-inside.ts) joins each connection on one to a TCP port in there.
 */
export class Bridge {
  static readonly program: string = fileURLToPath(new URL('./bridge-inside.js', import.meta.url));
  readonly #path: string;
  readonly #process: ChildProcess;

  private constructor(path: string, process: ChildProcess) {
    this.#path = path;
    this.#process = process;
  }

  static async open([command, args]: [string, string[]], path: string): Promise<Bridge> {
    const child = spawn(command, [...args, path], { stdio: ['pipe', 'ignore', 'inherit'] });
    await eventually(300, `the bridge ${path}`, () => (existsSync(path) ? true : undefined));
    return new Bridge(path, child);
  }

  /** A connection to `port` of `host` as seen from inside; closed when there is nobody. */
  connect(host: string, port: number): Socket {
    const socket = connect(this.#path);
    socket.write(`${host} ${port}\n`);
    return socket;
  }

  async close(): Promise<void> {
    const gone = new Promise(resolve => this.#process.once('exit', resolve));
    this.#process.stdin?.end();
    await gone;
  }
}
