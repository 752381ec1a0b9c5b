import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Child } from './child.js';
import { eventually } from './machine.js';

const PROGRAM = fileURLToPath(new URL('../../../packages/sbc/dist/src/main.js', import.meta.url));

/** A border of its own on loopback, and what it says of itself. */
export class Loopback {
  readonly child: Child;
  readonly folder: string;
  readonly udp: number;
  readonly admin: string;

  private constructor(child: Child, folder: string, udp: number, admin: string) {
    this.child = child;
    this.folder = folder;
    this.udp = udp;
    this.admin = admin;
  }

  /** `settings`: lines of the configuration beside its one realm, its media and its store. */
  static async start(settings: readonly string[]): Promise<Loopback> {
    const folder = mkdtempSync(join(tmpdir(), 'drawbridge-loopback-'));
    writeFileSync(
      join(folder, 'drawbridge.yaml'),
      [
        'realms: { loop: { bind: [127.0.0.1], sip: { udp: 0, tcp: 0 } } }',
        ...settings,
        'media: { ports: [26200, 26299], path: dgram }',
        'store: { kind: memory }',
        'admin: { listen: "127.0.0.1:0" }',
        '',
      ].join('\n'),
    );
    const child = new Child(
      [process.execPath, [PROGRAM, 'up', '--json', '-c', join(folder, 'drawbridge.yaml')]],
      join(folder, 'log'),
      {
        cwd: folder,
      },
    );
    const status = await eventually(2000, 'the border to be up', () => {
      if (child.code !== undefined) throw new Error(child.output());
      const line = child
        .output()
        .split('\n')
        .find(l => l.startsWith('{"version"'));
      return line === undefined
        ? undefined
        : (JSON.parse(line) as { admin: string; listeners: { transport: string; bind: { port: number } }[] });
    });
    const port = (transport: string): number => status.listeners.find(l => l.transport === transport)?.bind.port ?? 0;
    return new Loopback(child, folder, port('udp'), status.admin);
  }

  /** CPU time of all its threads so far, ms. */
  cpu(): number {
    let ns = 0;
    const tasks = `/proc/${this.child.pid}/task`;
    for (const task of readdirSync(tasks))
      ns += Number(readFileSync(`${tasks}/${task}/schedstat`, 'latin1').split(' ')[0]);
    return ns / 1e6;
  }

  async stop(): Promise<void> {
    await this.child.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
