import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Child } from './child.js';
import type { Box, Lab } from './lab.js';

export interface SippOptions {
  readonly box: Box;
  readonly address: string;
  readonly port: number;
  /** Name of a scenario in test/sipp, without `.xml`. */
  readonly scenario: string;
  /** `host:port` of the other side; without it SIPp waits for calls. */
  readonly remote?: string;
  readonly calls?: number;
  /** Calls a second and at once, for as many seconds: instead of `calls` one after the other. */
  readonly load?: { readonly rate: number; readonly atOnce: number; readonly seconds: number };
  /** SIPp's own word: `u1` (default) one UDP socket, `t1` one TCP connection, `tn` one per call. */
  readonly transport?: 'u1' | 't1' | 'tn';
  /** Rows of the injection file, fields [field0] …; the first line is SEQUENTIAL. */
  readonly rows?: readonly (readonly string[])[];
  /** Counts what SIPp would absorb in silence: the same message once more. It then repeats nothing itself either. */
  readonly countRepeats?: boolean;
  /** Request-URI of its REGISTER without scheme: SIPp would put the next hop into the digest. */
  readonly digestUri?: string;
}

const SCENARIOS = fileURLToPath(new URL('../../sipp/', import.meta.url));

/** One SIPp run. Exit code 0: every call went as the scenario says; 1: one did not; 97: none was made in time; 99 and 255: could not run. */
export class Sipp implements AsyncDisposable {
  readonly folder: string;
  readonly #child: Child;

  constructor(lab: Lab, options: SippOptions) {
    this.folder = lab.room(`sipp-${options.scenario}-${options.port}-${runs++}`);
    const rows = options.rows ?? [];
    const injection = join(this.folder, 'rows.csv');
    if (rows.length > 0) writeFileSync(injection, `SEQUENTIAL\n${rows.map(r => r.join(';')).join('\n')}\n`);
    const args = [
      ...(options.remote === undefined ? [] : [options.remote]),
      ...['-sf', join(SCENARIOS, `${options.scenario}.xml`), '-i', options.address, '-p', String(options.port)],
      ...[
        '-t',
        options.transport ?? 'u1',
        '-max_socket',
        '5000',
        '-nostdin',
        '-timer_resol',
        '10',
        '-trace_err',
        '-error_file',
        join(this.folder, 'errors'),
      ],
      ...(options.load === undefined ? this.#few(options.calls ?? 1) : this.#many(options.load)),
      ...(options.countRepeats === true ? ['-nr'] : []),
      ...(rows.length > 0 ? ['-inf', injection] : []),
      ...(options.digestUri === undefined ? [] : ['-auth_uri', options.digestUri]),
    ];
    this.#child = new Child(lab.inside(options.box, 'sipp', args), join(this.folder, 'screen'), {
      cwd: this.folder,
      env: { ...process.env, TERM: 'dumb' },
    });
  }

  #few(calls: number): string[] {
    const messages = join(this.folder, 'messages');
    const log = ['-trace_msg', '-message_file', messages];
    return ['-m', String(calls), '-l', '1', '-timeout', '90', '-timeout_error', ...log];
  }

  #many({ rate, atOnce, seconds }: NonNullable<SippOptions['load']>): string[] {
    const figures = ['-trace_stat', '-stf', join(this.folder, 'figures'), '-fd', '10'];
    return ['-r', String(rate), '-l', String(atOnce), '-m', String(rate * seconds), ...figures];
  }

  /** Calls that went as the scenario says, and those that didn't, so far: for runs with `load`. */
  figures(): { readonly well: number; readonly failed: number } {
    const [head = '', ...rows] = this.#read('figures').trim().split('\n');
    const of = (name: string): number => Number((rows.at(-1) ?? '').split(';')[head.split(';').indexOf(name)] ?? 0);
    return { well: of('SuccessfulCall(C)'), failed: of('FailedCall(C)') };
  }

  /** Waits for the end; the exit code. */
  async ended(usualMs: number): Promise<number | string> {
    return this.#child.ended(usualMs);
  }

  /** What it complained about. */
  errors(): string {
    return this.#read('errors');
  }

  /** Every message in and out, as SIPp logs it. */
  messages(): string {
    return this.#read('messages');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child.stop('SIGKILL');
  }

  #read(name: string): string {
    return readdirSync(this.folder).includes(name) ? readFileSync(join(this.folder, name), 'latin1') : '';
  }
}

let runs = 0;
