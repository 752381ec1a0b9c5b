import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser as Chromium, chromium, type Page } from 'playwright-core';
import type { Box, Lab } from './lab.js';
import { deadline } from './machine.js';
import { pack } from './pack.js';

/** Any name will do, as long as it is https: only then does a page get a microphone. Nothing is fetched from there. */
const ORIGIN = 'https://phone.test/';

/**
 * In the page: a JsSIP user agent. `seen` are the events in their order; `session` is the call under way. An incoming
 * call waits for `session.answer`.
 */
const PHONE = `
globalThis.seen = [];
globalThis.start = o => {
  const note = (what, detail) => seen.push(detail === undefined ? what : what + ' ' + detail);
  const socket = new JsSIP.WebSocketInterface(o.at);
  globalThis.ua = new JsSIP.UA({
    sockets: [socket],
    uri: 'sip:' + o.user + '@' + o.domain,
    password: o.password,
    register_expires: 600,
    session_timers: true,
  });
  for (const e of ['connected', 'disconnected', 'registered', 'unregistered', 'registrationFailed']) ua.on(e, () => note(e));
  ua.on('newMessage', e => { if (e.originator === 'remote') note('message', e.request.body); });
  ua.on('newRTCSession', e => {
    globalThis.session = e.session;
    if (e.originator === 'remote') note('incoming', e.request.from.uri.user);
    for (const what of ['progress', 'accepted', 'confirmed', 'ended', 'failed', 'hold', 'unhold'])
      e.session.on(what, d => note(what, what === 'failed' || what === 'ended' ? d.cause : what === 'progress' ? undefined : d && d.originator));
    e.session.on('newDTMF', d => { if (d.originator === 'remote') note('dtmf', d.dtmf.tone); });
    e.session.on('newInfo', d => { if (d.originator === 'remote') note('info'); });
  });
  ua.start();
};
globalThis.call = to => { ua.call(to, { mediaConstraints: { audio: true, video: false } }); };
globalThis.answer = () => session.answer({ mediaConstraints: { audio: true, video: false } });
globalThis.heard = async () => {
  let packets = 0;
  for (const r of (await session.connection.getStats()).values()) if (r.type === 'inbound-rtp') packets += r.packetsReceived;
  return packets;
};
`;

/** A Chromium without a screen in one box of the laboratory. */
export class Browser implements AsyncDisposable {
  readonly #chromium: Chromium;
  readonly #phone: string;

  private constructor(browser: Chromium) {
    this.#chromium = browser;
    this.#phone = pack('jssip', 'JsSIP');
  }

  static async start(lab: Lab, box: Box): Promise<Browser> {
    const script = join(lab.room(`chromium-${box}`), 'chromium');
    const [command, args] = lab.inside(box, 'chromium', []);
    writeFileSync(script, `#!/bin/sh\nexec ${command} ${args.join(' ')} "$@"\n`);
    chmodSync(script, 0o755);
    return new Browser(
      await chromium.launch({
        executablePath: script,
        args: [
          '--no-sandbox',
          '--ignore-certificate-errors',
          '--use-fake-device-for-media-stream',
          '--use-fake-ui-for-media-stream',
          '--disable-features=WebRtcHideLocalIpsWithMdns',
        ],
      }),
    );
  }

  /** `at`: URL of the border's WebSocket. */
  async phone(o: {
    readonly user: string;
    readonly domain: string;
    readonly password: string;
    readonly at: string;
  }): Promise<WebPhone> {
    const context = await this.#chromium.newContext({ ignoreHTTPSErrors: true, permissions: ['microphone'] });
    const page = await context.newPage();
    const nothing = { contentType: 'text/html', body: '<!doctype html><title>phone</title>' };
    await page.route(`${ORIGIN}**`, route => route.fulfill(nothing));
    await page.goto(ORIGIN);
    await page.addScriptTag({ content: this.#phone });
    await page.addScriptTag({ content: PHONE });
    await page.evaluate(`start(${JSON.stringify(o)})`);
    return new WebPhone(page, o.user);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#chromium.close();
  }
}

/** JsSIP in a page. */
export class WebPhone {
  readonly user: string;
  readonly #page: Page;
  /** Events that were waited for already. */
  #taken = 0;

  constructor(page: Page, user: string) {
    this.#page = page;
    this.user = user;
  }

  /** The next event that begins like this; those before it are passed over. Gives the whole of it. */
  async event(what: string, usualMs = 1000): Promise<string> {
    const found = (await this.#page
      .waitForFunction(
        `(() => { const i = seen.findIndex((e, n) => n >= ${this.#taken} && e.startsWith(${JSON.stringify(what)})); return i < 0 ? undefined : { i, e: seen[i] }; })()`,
        undefined,
        { timeout: deadline(usualMs) },
      )
      .then(handle => handle.jsonValue())
      .catch(async (error: unknown) => {
        throw new Error(`${this.user} waits for ${what}, has seen ${(await this.seen()).join(', ')}: ${String(error)}`);
      })) as { i: number; e: string };
    this.#taken = found.i + 1;
    return found.e;
  }

  /** As when the person closes the tab: nothing is said to anybody. */
  async close(): Promise<void> {
    await this.#page.close();
  }

  async seen(): Promise<readonly string[]> {
    return (await this.#page.evaluate('seen')) as string[];
  }

  /** Something in the page's own words: `session.hold()`. */
  async do(script: string): Promise<unknown> {
    return this.#page.evaluate(script);
  }

  /** Waits until that many RTP packets more have been heard than now. */
  async hears(packets: number): Promise<void> {
    const before = Number(await this.do('heard()'));
    await this.#page.waitForFunction(`heard().then(n => n >= ${before + packets})`, undefined, {
      timeout: deadline(2000),
    });
  }
}
