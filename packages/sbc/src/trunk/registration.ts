import { type Mono, randomToken, Waiting } from '@drawbridge/core';
import {
  type ClientTransaction,
  type ClientUser,
  escapeUser,
  H,
  headerLine,
  type MessageView,
  parseContacts,
  parseExpires,
  parseUri,
} from '@drawbridge/sip';
import type { NextHop } from '../locate/hop-list.js';
import { isStale } from './challenge.js';
import type { TrunkConfig } from './config.js';
import { sendOwn } from './own-request.js';
import type { Trunk } from './trunk.js';
import type { WatchModules } from './watch.js';

/** Between a failure and the next try, ms: doubled each time up to the longest (RFC 5626 §4.5 has the shape). */
const FIRST_WAIT_MS = 5_000;
const LONGEST_WAIT_MS = 600_000;
/** A registrar can't make us promise more, seconds. */
const LONGEST_S = 86_400;
/** Challenges, and intervals found too brief, in one round. */
const MOST_TRIES = 4;

type Register = NonNullable<TrunkConfig['register']>;

/**
 * Our registration with a provider (RFC 3261 §10.2): one binding under one Call-ID, refreshed when about nine tenths of
 * what the provider granted are over. Failures are repeated ever more slowly, over the next hop in turn.
 */
export class Registration extends Waiting implements ClientUser {
  readonly #trunk: Trunk;
  readonly #o: Register;
  readonly #m: WatchModules;
  readonly #callId: string;
  #cseq = 0;
  /** Seconds to ask for. */
  #expires: number;
  #failures = 0;
  #tries = 0;
  #nonceTried = false;
  #stopping = false;
  #ct: ClientTransaction | undefined = undefined;
  #hop: NextHop | undefined = undefined;

  constructor(trunk: Trunk, options: Register, modules: WatchModules) {
    super();
    this.#trunk = trunk;
    this.#o = options;
    this.#m = modules;
    this.#callId = randomToken(modules.random, 24);
    this.#expires = Math.max(1, Math.round(options.expires / 1000));
  }

  start(now: Mono): void {
    this.#m.wheel.arm(this, now + (this.#m.random.u32() % 500));
  }

  /** RFC 3261 §10.2.2: expires 0, and no further refresh. */
  stop(now: Mono): void {
    this.#stopping = true;
    this.#m.wheel.cancel(this);
    if (this.#trunk.registered === true) this.#round(now);
  }

  override onDue(now: Mono): void {
    this.#round(now);
  }

  onResponse(now: Mono, ct: ClientTransaction, m: MessageView): void {
    if (m.status < 200 || ct !== this.#ct) return;
    this.#ct = undefined;
    this.#trunk.heard(now, ct.flow, m);
    if (m.status < 300) return this.#granted(now, m);
    if ((m.status === 401 || m.status === 407) && this.#answered(now, m)) return;
    if (m.status === 423 && this.#longer(now, m)) return;
    this.#failed(now, String(m.status));
  }

  onTimeout(now: Mono, ct: ClientTransaction): void {
    this.#trunk.lost(now, ct.flow);
    if (ct === this.#ct) this.#failed(now, 'timeout');
  }

  onTransportError(now: Mono, ct: ClientTransaction): void {
    this.#trunk.lost(now, ct.flow);
    if (ct === this.#ct) this.#failed(now, 'no connection');
  }

  #round(now: Mono): void {
    this.#tries = 0;
    this.#nonceTried = false;
    this.#send(now, '');
  }

  #uri(): string {
    return `sip:${this.#o.registrar ?? this.#trunk.host}`;
  }

  #send(now: Mono, credentials: string): void {
    this.#hop = this.#trunk.usable(now, true)[0];
    if (this.#hop === undefined || ++this.#tries > MOST_TRIES) return this.#failed(now, 'nowhere to send');
    const { user, account } = this.#o;
    const us = `<sip:${escapeUser(account ?? user)}@${this.#o.registrar ?? this.#trunk.host}>`;
    const expires = this.#stopping ? 0 : this.#expires;
    const { listener } = this.#hop;
    const transport = listener.transport === 'udp' ? '' : `;transport=${listener.transport}`;
    const sent = sendOwn(
      this.#m,
      now,
      this.#hop,
      {
        method: 'REGISTER',
        uri: this.#uri(),
        from: us,
        to: us,
        callId: this.#callId,
        cseq: ++this.#cseq,
        contact: `<sip:${escapeUser(this.#trunk.contactUser ?? user)}@${listener.sentBy}${transport}>`,
        headers: headerLine('Expires', String(expires)) + credentials,
      },
      this,
    );
    if (sent === undefined) this.#failed(now, 'too many transactions');
    else this.#ct = sent.ct;
  }

  /** Once, and once more for a nonce that had aged. */
  #answered(now: Mono, m: MessageView): boolean {
    if (this.#nonceTried && !isStale(m)) return false;
    const line = this.#trunk.registerCredentials(m, { method: 'REGISTER', uri: this.#uri() });
    if (line === undefined) return false;
    this.#nonceTried = true;
    this.#send(now, line);
    return true;
  }

  /** RFC 3261 §10.2.8: what the registrar finds long enough. */
  #longer(now: Mono, m: MessageView): boolean {
    const least = /^\s*(\d{1,9})\s*$/.exec(m.get(H.minExpires))?.[1];
    if (least === undefined || Number(least) <= this.#expires || Number(least) > LONGEST_S) return false;
    this.#expires = Number(least);
    this.#nonceTried = false;
    this.#send(now, '');
    return true;
  }

  #granted(now: Mono, m: MessageView): void {
    if (this.#stopping) {
      this.#tell(now, false, 'taken back');
      return;
    }
    this.#failures = 0;
    const seconds = Math.min(LONGEST_S, Math.max(1, this.#ours(m)));
    this.#tell(now, true, '200');
    // 85 to 90 %, at different moments for trunks that began together.
    this.#m.wheel.arm(this, now + seconds * (850 + (this.#m.random.u32() % 51)));
  }

  /** Seconds that our own contact has; the header Expires, or what we asked for, when it isn't told apart. */
  #ours(m: MessageView): number {
    const user = this.#trunk.contactUser;
    for (const c of parseContacts(m) ?? []) {
      if (c.expires === undefined) continue;
      const uri = parseUri(c.uri);
      if (uri?.user === user && uri?.host === this.#hop?.listener.advertise.address) return c.expires;
    }
    return m.has(H.expires) ? parseExpires(m.get(H.expires)) : this.#expires;
  }

  #failed(now: Mono, why: string): void {
    this.#ct = undefined;
    this.#tell(now, false, why);
    if (this.#stopping) return;
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(this.#failures++, 20));
    this.#m.wheel.arm(this, now + wait * (0.75 + (this.#m.random.u32() % 501) / 1000));
  }

  #tell(now: Mono, registered: boolean, why: string): void {
    const before = this.#trunk.registered;
    this.#trunk.registered = registered;
    if (before === registered && registered) return;
    this.#m.outbox.push({ kind: 'trunk-registration', at: now, trunk: this.#trunk.name, registered, why });
  }
}
