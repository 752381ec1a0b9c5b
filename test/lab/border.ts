import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Bridge } from './bridge.js';
import { Child } from './child.js';
import type { Lab } from './lab.js';
import { AT } from './lab.js';
import { eventually, run } from './machine.js';

const COLLECTING = fileURLToPath(new URL('./border-inside.js', import.meta.url));
const PROGRAM = fileURLToPath(new URL('../../../packages/sbc/dist/src/main.js', import.meta.url));

export const LOCAL = 'local.test';
export const UPSTREAM = 'upstream.test';

/** Top-level keys of the configuration, as YAML flow or block text; they replace those of the lab's default. */
export type Settings = Readonly<Record<string, string>>;

/**
 * The product, in the namespace `pub`: realm `access` on 203.0.113.10 and 2001:db8:1::10, realm `core` on 10.0.0.1;
 * local.test is its own domain, upstream.test that of the service at 10.0.0.5.
 */
const DEFAULTS: Settings = {
  realms: `
  access: { bind: [${AT.border}, "${AT.border6}"], networks: ["0.0.0.0/0", "::/0"] }
  core: { bind: [${AT.borderCore}], networks: ["10.0.0.0/24"] }`,
  domains: `
  ${LOCAL}: { kind: local }
  ${UPSTREAM}: { kind: upstream, realm: core, next: ["sip:${AT.service}:5060;transport=udp"] }`,
  registrar: '{ minExpires: 10s }',
  calls: '{ noAnswer: 3s }',
  media: '{ ports: [30000, 30199], inactivity: 3s }',
  admin: '{ listen: "127.0.0.1:8080" }',
  log: '{ level: debug, personal: plain }',
};

export interface BorderOptions {
  /** Gives the store and the call records a disk of their own, this large; it goes with the process. */
  readonly diskBytes?: number;
  /** Lets `memory` ask it to collect its garbage. */
  readonly collects?: boolean;
}

export class Border implements AsyncDisposable {
  readonly folder: string;
  readonly #lab: Lab;
  readonly #bridge: Bridge;
  readonly #diskBytes: number | undefined;
  readonly #program: string;
  #child: Child | undefined;

  private constructor(lab: Lab, folder: string, bridge: Bridge, options: BorderOptions) {
    this.#lab = lab;
    this.folder = folder;
    this.#bridge = bridge;
    this.#diskBytes = options.diskBytes;
    this.#program = options.collects === true ? COLLECTING : PROGRAM;
  }

  static async start(lab: Lab, settings: Settings = {}, options: BorderOptions = {}): Promise<Border> {
    const folder = lab.room(`border-${borders++}`);
    const disk = options.diskBytes === undefined ? folder : lab.room(join(`border-${borders - 1}`, DISK));
    const all: Settings = {
      ...DEFAULTS,
      store: `{ kind: lmdb, path: "${disk}/store" }`,
      cdr: `{ file: "${disk}/cdr.jsonl" }`,
      ...settings,
    };
    writeFileSync(
      join(folder, 'drawbridge.yaml'),
      Object.entries(all)
        .map(([key, value]) => `${key}: ${value}\n`)
        .join(''),
    );
    const border = new Border(lab, folder, await lab.bridge('pub'), options);
    await border.up();
    return border;
  }

  /** A file on the border's own disk, as it is seen from outside its mount namespace. */
  onDisk(name: string): string {
    return `/proc/${this.#child?.pid}/root${join(this.folder, DISK, name)}`;
  }

  get #memory(): string {
    return join(this.folder, 'memory');
  }

  /** Bytes in use once its garbage is collected. */
  async memory(): Promise<{ readonly rss: number; readonly heapUsed: number }> {
    const lines = (): string[] =>
      existsSync(this.#memory) ? readFileSync(this.#memory, 'latin1').trim().split('\n') : [];
    const before = lines().length;
    this.#child?.kill('SIGUSR2');
    const line = await eventually(500, 'the garbage to be collected', () => lines()[before]);
    return JSON.parse(line) as { rss: number; heapUsed: number };
  }

  /** File descriptors it holds. */
  get descriptors(): number {
    return readdirSync(`/proc/${this.#child?.pid}/fd`).length;
  }

  get log(): string {
    return join(this.folder, 'log');
  }

  /** Starts it (again, after `kill`) on the same configuration and store. */
  async up(): Promise<void> {
    const program = [process.execPath, this.#program, 'up', '-c', join(this.folder, 'drawbridge.yaml')] as const;
    const [command, ...args] =
      this.#diskBytes === undefined ? program : ownDisk(join(this.folder, DISK), this.#diskBytes, program);
    const child = new Child(this.#lab.inside('pub', command, args), this.log, {
      cwd: this.folder,
      env: { ...process.env, DRAWBRIDGE_MEMORY: this.#memory },
    });
    this.#child = child;
    await eventually(2000, 'the border to be ready', async () => {
      if (child.code !== undefined)
        throw new Error(`the border ended with ${child.code}:\n${child.output().slice(-4000)}`);
      const r = await this.get('/readyz').catch(() => undefined);
      return r?.status === 200 ? true : undefined;
    });
  }

  /** SIGKILL: no unregistering, no store closed, nothing said to anybody. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#child?.ended(300);
  }

  /** SIGTERM: takes no new calls and ends with the last one. */
  terminate(): void {
    this.#child?.kill('SIGTERM');
  }

  /** Exit code or signal; undefined while it runs. */
  get code(): number | string | undefined {
    return this.#child?.code;
  }

  async ended(usualMs: number): Promise<number | string | undefined> {
    return this.#child?.ended(usualMs);
  }

  async subscriber(user: string, password: string, domain = LOCAL): Promise<void> {
    const r = await this.ask('POST', '/api/v1/subscribers', { user, domain, password });
    if (r.status >= 300) throw new Error(`subscriber ${user}: ${r.status} ${r.text}`);
  }

  async api<T>(path: string): Promise<T> {
    const r = await this.get(`/api/v1${path}`);
    if (r.status !== 200) throw new Error(`${path}: ${r.status} ${r.text}`);
    return JSON.parse(r.text) as T;
  }

  get(path: string): Promise<{ status: number; text: string }> {
    return this.ask('GET', path);
  }

  ask(method: string, path: string, body?: unknown): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const text = body === undefined ? undefined : JSON.stringify(body);
      const asked = request(
        {
          method,
          path,
          headers: {
            host: '127.0.0.1:8080',
            connection: 'close',
            ...(text === undefined
              ? {}
              : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
          },
          createConnection: () => this.#bridge.connect('127.0.0.1', 8080),
        },
        (response: IncomingMessage) => {
          let got = '';
          response.setEncoding('utf8');
          response.on('data', (chunk: string) => {
            got += chunk;
          });
          response.on('end', () => resolve({ status: response.statusCode ?? 0, text: got }));
        },
      );
      asked.on('error', reject);
      asked.end(text);
    });
  }

  /** One of the product's commands against this border. */
  command(args: readonly string[]): string {
    return run(
      ...this.#lab.inside('pub', process.execPath, [PROGRAM, ...args, '-c', join(this.folder, 'drawbridge.yaml')]),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child?.stop();
  }
}

let borders = 0;

const DISK = 'disk';

/** The program in a mount namespace of its own with a file system of that size at `path`; the process id stays. */
function ownDisk(path: string, bytes: number, program: readonly string[]): [string, ...string[]] {
  const script = 'mount -t tmpfs -o "size=$1" none "$0" && shift && exec "$@"';
  return ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script, path, String(bytes), ...program];
}
