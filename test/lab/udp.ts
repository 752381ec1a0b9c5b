import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Box, Lab } from './lab.js';
import { AT } from './lab.js';
import { within } from './machine.js';
import type { Order, Report } from './udp-inside.js';

type Got = Extract<Report, { kind: 'got' }>;

/** A bare UDP socket in a box: the probe that shows what a NAT does, the attacker, the peer that says what no real one would. */
export class Udp implements AsyncDisposable {
  readonly address: string;
  readonly port: number;
  readonly got: Got[] = [];
  readonly #child: ChildProcess;
  #waiters: ((report: Report) => boolean)[] = [];

  private constructor(address: string, port: number, child: ChildProcess) {
    this.address = address;
    this.port = port;
    this.#child = child;
    child.on('message', (report: Report) => {
      if (report.kind === 'got') this.got.push(report);
      this.#waiters = this.#waiters.filter(done => !done(report));
    });
  }

  static async open(lab: Lab, box: Box, address: string, port: number): Promise<Udp> {
    const program = fileURLToPath(new URL('./udp-inside.js', import.meta.url));
    const [command, args] = lab.inside(box, process.execPath, [program, address, String(port)]);
    const udp = new Udp(address, port, spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] }));
    await within(
      500,
      `socket ${address}:${port}`,
      udp.#report(r => r.kind === 'ready'),
    );
    return udp;
  }

  /** Done when the kernel has it: what another socket sends after that comes later. */
  async send(to: string, port: number, payload: string): Promise<void> {
    const sent = this.#report(r => r.kind === 'sent');
    this.#order({ kind: 'send', to, port, payload });
    await within(200, 'a datagram to leave', sent);
  }

  /** The first datagram like this, already here or still to come. */
  async receive(like: (got: Got) => boolean, usualMs = 300): Promise<Got> {
    const here = this.got.find(like);
    if (here !== undefined) return here;
    const report = await within(
      usualMs,
      `a datagram at ${this.address}:${this.port}`,
      this.#report(r => r.kind === 'got' && like(r)),
    );
    return report as Got;
  }

  spray(o: Omit<Extract<Order, { kind: 'spray' }>, 'kind'>): void {
    this.#order({ kind: 'spray', ...o });
  }

  /** Stops spraying; the number of packets sent. */
  async quiet(): Promise<number> {
    const report = this.#report(r => r.kind === 'sprayed');
    this.#order({ kind: 'quiet' });
    const r = await within(200, 'end of spraying', report);
    return r.kind === 'sprayed' ? r.packets : 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const gone = new Promise(resolve => this.#child.once('exit', resolve));
    if (this.#child.connected) this.#child.disconnect();
    await gone;
  }

  #order(order: Order): void {
    this.#child.send(order);
  }

  #report(like: (report: Report) => boolean): Promise<Report> {
    return new Promise(resolve => {
      this.#waiters.push(report => {
        if (!like(report)) return false;
        resolve(report);
        return true;
      });
    });
  }
}

/** OPTIONS from such a socket to the border itself: what anybody may ask, and is answered. */
export function options(from: Udp): string {
  const at = `${from.address}:${from.port}`;
  return [
    `OPTIONS sip:${AT.border} SIP/2.0`,
    `Via: SIP/2.0/UDP ${at};branch=z9hG4bK${asked++}probe;rport`,
    'Max-Forwards: 70',
    `From: <sip:probe@${from.address}>;tag=probe`,
    `To: <sip:${AT.border}>`,
    `Call-ID: probe-${asked}@${from.address}`,
    'CSeq: 1 OPTIONS',
    'Content-Length: 0',
    '',
    '',
  ].join('\r\n');
}

let asked = 0;
