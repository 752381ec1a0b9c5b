import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PhoneOptions } from './baresip.js';
import { Child } from './child.js';
import type { Lab } from './lab.js';
import { eventually, Late } from './machine.js';
import { toneWav } from './tone.js';

export type LinphoneOptions = Omit<PhoneOptions, 'transport' | 'ca' | 'answer'>;

/**
 * A real phone of another make without a screen: Debian's linphonec over UDP, driven over its console.
 * It can do what baresip 1.0 can't: an attended transfer (RFC 5589 §7.1).
 */
export class Linphone implements AsyncDisposable {
  readonly options: LinphoneOptions;
  readonly #child: Child;
  readonly #debug: string;
  readonly #taken = new Set<number>();

  private constructor(options: LinphoneOptions, child: Child, debug: string) {
    this.options = options;
    this.#child = child;
    this.#debug = debug;
  }

  static async start(lab: Lab, options: LinphoneOptions): Promise<Linphone> {
    const folder = lab.room(`${options.user}-linphone`);
    const voice = join(folder, 'tone.wav');
    writeFileSync(voice, toneWav(options.tone, 60));
    // its database goes there, and it makes no folders
    mkdirSync(join(folder, '.local/share/linphone'), { recursive: true });
    // the registrar is written as the first hop: a REGISTER takes no reg_route, its Request-URI is the identity's domain
    writeFileSync(
      join(folder, 'config'),
      `[sip]
sip_port=${options.port ?? 5060}
sip_tcp_port=0
sip_tls_port=0
default_proxy=0
[rtp]
audio_rtp_port=7078-7098
[net]
dns_srv_enabled=0
[proxy_0]
reg_proxy=<sip:${options.outbound};transport=udp>
reg_route=<sip:${options.outbound};transport=udp;lr>
reg_identity=<sip:${options.user}@${options.domain}>
reg_expires=${options.regint ?? 60}
reg_sendregister=1
[auth_info_0]
username=${options.user}
passwd=${options.password}
domain=${options.domain}
`,
    );
    const debug = join(folder, 'debug');
    const child = new Child(
      lab.inside(options.box, 'linphonec', ['-c', join(folder, 'config'), '-d', '6', '-l', debug]),
      join(folder, 'log'),
      { cwd: folder, env: { ...process.env, HOME: folder }, console: true },
    );
    const phone = new Linphone(options, child, debug);
    // there is no sound card
    await phone.#command('soundcard use files', /^Using wav files instead of soundcard/);
    phone.#child.type(`play ${voice}`);
    return phone;
  }

  get uri(): string {
    return `sip:${this.options.user}@${this.options.domain}`;
  }

  log(): string {
    return this.#child.output();
  }

  /** Its console is silent about this; its debug log isn't. */
  async registered(usualMs = 500): Promise<void> {
    await eventually(usualMs, `${this.options.user}: registered`, () =>
      existsSync(this.#debug) && readFileSync(this.#debug, 'latin1').includes('to [LinphoneRegistrationOk]')
        ? true
        : undefined,
    );
  }

  /** The number of the call, by which the others are asked for. */
  async dial(uri: string): Promise<string> {
    const [, id = ''] = await this.#command(`call ${uri}`, /^Establishing call .* assigned id (\d+)/);
    return id;
  }

  async established(call: string): Promise<void> {
    await this.#says(new RegExp(`^Media streams established .* for call ${call} `));
  }

  /** Puts its current call on hold; done when the other side has agreed. */
  async hold(call: string): Promise<void> {
    await this.#command('pause', new RegExp(`^Call ${call} .* is now paused`));
  }

  /** Sends the other party of `call` to that of `consultation` (REFER with Replaces); done when it is told that it worked. */
  async transfer(call: string, consultation: string): Promise<void> {
    await this.#command(
      `transfer ${call} --to-call ${consultation}`,
      new RegExp(`^The distant endpoint .* of call ${call} has been transfered`),
    );
  }

  async ended(call: string): Promise<void> {
    await this.#says(new RegExp(`^Call ${call} .* ended`));
  }

  /** Done when it says that it has no calls. */
  async idle(): Promise<void> {
    await this.#command('calls', /^No active call/);
  }

  /** Clean end: hangs up, unregisters. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.type('quit');
    try {
      await this.#child.ended(600);
    } catch {
      await this.#child.stop('SIGKILL');
    }
  }

  #command(line: string, answer: RegExp): Promise<RegExpExecArray> {
    this.#child.type(line);
    return this.#says(answer);
  }

  /** The oldest line like this that nobody has taken yet. */
  async #says(like: RegExp): Promise<RegExpExecArray> {
    return eventually(500, `${this.options.user}: ${like}`, () => this.#take(like)).catch((error: unknown) => {
      throw error instanceof Late ? new Late(`${error.message}; it wrote:\n${this.log()}`) : error;
    });
  }

  #take(like: RegExp): RegExpExecArray | undefined {
    // its prompt may stand before a line, and where a line should have ended
    const lines = this.log().split(/\n|linphonec> /);
    for (const [i, line] of lines.entries()) {
      const found = this.#taken.has(i) ? null : like.exec(line);
      if (found === null) continue;
      this.#taken.add(i);
      return found;
    }
    if (this.#child.code !== undefined) throw new Error(`${this.options.user} is gone: ${this.log().slice(-2000)}`);
    return undefined;
  }
}
