import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { Child } from './child.js';
import type { Box, Lab } from './lab.js';
import { eventually, Late, within } from './machine.js';
import { toneWav, wavSamples } from './tone.js';

export interface PhoneOptions {
  readonly box: Box;
  /** Address it listens on; its SIP port is 5060 unless two phones share a box. */
  readonly address: string;
  readonly port?: number;
  readonly user: string;
  readonly domain: string;
  readonly password: string;
  /** First hop: `203.0.113.10` or `[2001:db8:1::10]:5060`. */
  readonly outbound: string;
  readonly transport?: 'udp' | 'tcp' | 'tls';
  /** PEM file of who may vouch for the first hop, on TLS. */
  readonly ca?: string;
  /** Seconds between registrations; 0 registers never. */
  readonly regint?: number;
  /** Its voice. */
  readonly tone: number;
  readonly answer?: 'manual' | 'auto';
}

/** An event of baresip's ctrl_tcp module. */
export interface PhoneEvent {
  readonly type: string;
  readonly class: string;
  readonly direction?: string;
  readonly peeruri?: string;
  readonly id?: string;
  readonly param?: string;
}

let controlPort = 4440;

/**
 * A real phone without a screen: Debian's baresip, driven over its control port (JSON in netstrings).
 * What it hears is written by its sndfile module; the files are whole only after a clean `quit`.
 */
export class Baresip implements AsyncDisposable {
  readonly options: PhoneOptions;
  readonly #folder: string;
  readonly #child: Child;
  readonly #control: Socket;
  #events: PhoneEvent[] = [];
  #buffered = Buffer.alloc(0);
  #waiters: (() => void)[] = [];
  readonly #replies = new Map<string, (data: { ok: boolean; data: string }) => void>();
  readonly #recordings = new Set<string>();
  #token = 0;
  #closed = false;

  private constructor(options: PhoneOptions, folder: string, child: Child, control: Socket) {
    this.options = options;
    this.#folder = folder;
    this.#child = child;
    this.#control = control;
    control.on('data', (chunk: Buffer) => this.#receive(chunk));
    control.on('error', () => {});
    control.on('close', () => {
      this.#closed = true;
      this.#wake();
    });
  }

  static async start(lab: Lab, options: PhoneOptions): Promise<Baresip> {
    const control = controlPort++;
    const folder = lab.room(`${options.user}-${control}`);
    // apart from every other phone's: two hosts behind one cone NAT must not want the same outside port
    const ports = 10000 + ((control - 4440) % 200) * 100;
    const v6 = options.address.includes(':');
    const transport = options.transport ?? 'udp';
    const host = v6 ? `[${options.address}]` : options.address;
    writeFileSync(join(folder, 'tone.wav'), toneWav(options.tone, 60));
    lab.room(`${options.user}-${control}/heard`);
    // every module by name: the packaged default would load sound cards and a console
    writeFileSync(
      join(folder, 'config'),
      `poll_method epoll
sip_listen ${host}:${options.port ?? 5060}
${options.ca === undefined ? '' : `sip_cafile ${options.ca}\n`}audio_source aufile,${folder}/tone.wav
audio_player aufile,${folder}/played.wav
ausrc_srate 8000
auplay_srate 8000
audio_level no
rtp_ports ${ports}-${ports + 98}
rtcp_mux no
jitter_buffer_delay 2-5
snd_path ${folder}/heard
ctrl_tcp_listen 127.0.0.1:${control}
menu_bell no
ringback_disabled yes
statmode_default off
call_max_calls 8
module_path /usr/lib/baresip/modules
module g711.so
module aufile.so
module sndfile.so
module ctrl_tcp.so
module_app account.so
module_app menu.so
`,
    );
    const outbound = `sip:${options.outbound};transport=${transport}`;
    writeFileSync(join(folder, 'accounts'), '');
    writeFileSync(join(folder, 'contacts'), '');
    const child = new Child(lab.inside(options.box, 'baresip', [v6 ? '-6' : '-4', '-f', folder]), join(folder, 'log'), {
      cwd: folder,
    });
    const bridge = await lab.bridge(options.box);
    const phone = await eventually(500, `control port of ${options.user}`, async () => {
      if (child.code !== undefined) throw new Error(`baresip ended at once: ${child.output()}`);
      const socket = bridge.connect('127.0.0.1', control);
      const candidate = new Baresip(options, folder, child, socket);
      return (await candidate.#answers()) ? candidate : undefined;
    });
    // only now: an account in the file would register before anybody listens to the events
    await phone.command(
      'uanew',
      `<sip:${options.user}@${options.domain};transport=${transport}>;auth_user=${options.user};auth_pass=${options.password};outbound="${outbound}";regint=${options.regint ?? 60};answermode=${options.answer ?? 'manual'};audio_codecs=pcma/8000/1,pcmu/8000/1`,
    );
    return phone;
  }

  get uri(): string {
    return `sip:${this.options.user}@${this.options.domain}`;
  }

  get pid(): number {
    return this.#child.pid;
  }

  log(): string {
    return this.#child.output();
  }

  /** Sends one of baresip's long commands and waits for its reply. */
  async command(command: string, params = ''): Promise<string> {
    const token = String(++this.#token);
    const reply = new Promise<{ ok: boolean; data: string }>(resolve => this.#replies.set(token, resolve));
    const json = JSON.stringify(params === '' ? { command, token } : { command, params, token });
    this.#control.write(`${Buffer.byteLength(json)}:${json},`);
    const { ok, data } = await within(200, `${this.options.user}: ${command}`, reply);
    if (!ok) throw new Error(`${this.options.user}: ${command} ${params} refused: ${data}`);
    return data;
  }

  dial(uri: string): Promise<string> {
    return this.command('dial', uri);
  }
  accept(): Promise<string> {
    return this.command('accept');
  }
  /** Ends its call; a ringing one is refused with 486. */
  hangup(): Promise<string> {
    return this.command('hangup');
  }
  hold(): Promise<string> {
    return this.command('hold');
  }
  resume(): Promise<string> {
    return this.command('resume');
  }

  /** The oldest event of this type that nobody has taken yet. */
  async event(type: string, usualMs = 500): Promise<PhoneEvent> {
    return within(usualMs, `${this.options.user}: ${type} (unclaimed: ${this.#unclaimed()})`, this.#take(type)).catch(
      (error: unknown) => {
        throw error instanceof Late ? new Late(`${error.message}; unclaimed now: ${this.#unclaimed()}`) : error;
      },
    );
  }

  /** Whether such an event is waiting, without taking it. */
  has(type: string): boolean {
    return this.#events.some(e => e.type === type);
  }

  /** Drops what nobody has taken: between two calls. */
  forget(): void {
    this.#events = [];
  }

  async registered(usualMs = 500): Promise<void> {
    await this.event('REGISTER_OK', usualMs);
  }

  /** Clean end: hangs up, unregisters, completes the recordings. */
  async quit(): Promise<void> {
    if (this.#child.code === undefined && !this.#closed) {
      const json = JSON.stringify({ command: 'quit' });
      this.#control.write(`${json.length}:${json},`);
    }
    try {
      await this.#child.ended(600);
    } catch {
      await this.#child.stop('SIGKILL');
    }
    this.#control.destroy();
  }

  /** Dies as a phone whose battery is pulled: no BYE, no unregistering. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#child.ended(200);
    this.#control.destroy();
  }

  /**
   * What it heard since this was last asked. One recording per call; baresip 1.0 takes the recorder out of the
   * receiving side at the first re-INVITE, so what comes after a hold is to be read from a capture.
   */
  heard(): Int16Array {
    const folder = join(this.#folder, 'heard');
    const fresh = readdirSync(folder)
      .filter(name => name.endsWith('-dec.wav') && !this.#recordings.has(name))
      .sort();
    for (const name of fresh) this.#recordings.add(name);
    const parts = fresh.map(name => wavSamples(readFileSync(join(folder, name))));
    const all = new Int16Array(parts.reduce((n, p) => n + p.length, 0));
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.quit();
  }

  async #answers(): Promise<boolean> {
    return new Promise(resolve => {
      this.#control.once('close', () => resolve(false));
      this.command('reginfo').then(
        () => resolve(true),
        () => resolve(false),
      );
    });
  }

  async #take(type: string): Promise<PhoneEvent> {
    for (;;) {
      const at = this.#events.findIndex(e => e.type === type);
      if (at >= 0) return this.#events.splice(at, 1)[0] as PhoneEvent;
      if (this.#closed) throw new Error(`${this.options.user} is gone: ${this.log().slice(-2000)}`);
      await new Promise<void>(resolve => this.#waiters.push(resolve));
    }
  }

  #unclaimed(): string {
    return this.#events.map(e => `${e.type}${e.param ? `(${e.param})` : ''}`).join(' ') || 'none';
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }

  #receive(chunk: Buffer): void {
    this.#buffered = Buffer.concat([this.#buffered, chunk]);
    for (;;) {
      const colon = this.#buffered.indexOf(58);
      if (colon < 0) return;
      const length = Number(this.#buffered.toString('latin1', 0, colon));
      const end = colon + 1 + length;
      if (this.#buffered.length < end + 1) return;
      const text = this.#buffered.toString('utf8', colon + 1, end);
      this.#buffered = this.#buffered.subarray(end + 1);
      this.#message(text);
    }
  }

  #message(text: string): void {
    const message: unknown = JSON.parse(text);
    if (typeof message !== 'object' || message === null) return;
    if ('response' in message) {
      const reply = message as { ok?: boolean; data?: string; token?: string };
      const token = reply.token ?? '';
      this.#replies.get(token)?.({ ok: reply.ok === true, data: reply.data ?? '' });
      this.#replies.delete(token);
      return;
    }
    this.#events.push(message as unknown as PhoneEvent);
    if (this.#events.length > 1000) this.#events.shift();
    this.#wake();
  }
}
