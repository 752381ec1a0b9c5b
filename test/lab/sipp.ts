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
        '-m',
        String(options.calls ?? 1),
        '-l',
        '1',
        '-nostdin',
        '-timer_resol',
        '10',
        '-timeout',
        '90',
        '-timeout_error',
      ],
      ...[
        '-trace_err',
        '-trace_msg',
        '-message_file',
        join(this.folder, 'messages'),
        '-error_file',
        join(this.folder, 'errors'),
      ],
      ...(options.countRepeats === true ? ['-nr'] : []),
      ...(rows.length > 0 ? ['-inf', injection] : []),
      ...(options.digestUri === undefined ? [] : ['-auth_uri', options.digestUri]),
    ];
    this.#child = new Child(lab.inside(options.box, 'sipp', args), join(this.folder, 'screen'), {
      cwd: this.folder,
      env: { ...process.env, TERM: 'dumb' },
    });
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
