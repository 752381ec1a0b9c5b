import { type Mono, Waiting } from '@drawbridge/core';
import type { Leg } from './leg.js';
import type { RelayHub } from './relay.js';
import type { MediaSession } from './session.js';

/**
 * Watches whether media still comes. Only streams that both ends agreed to be sendrecv are judged: who is on hold may
 * be silent. A leg counts as heard while any of its judged streams brings RTP.
 */
export class InactivityWatch extends Waiting {
  readonly #session: MediaSession;
  readonly #hub: RelayHub;
  /** Since when media is expected: the last final answer that made a stream sendrecv. */
  #since: Mono = 0;
  #told: 'none' | 'one' | 'both' = 'none';

  constructor(session: MediaSession, hub: RelayHub) {
    super();
    this.#session = session;
    this.#hub = hub;
  }

  start(): void {
    if (this.#hub.inactivityMs <= 0) return;
    this.#since = this.#hub.now();
    this.#hub.arm(this, this.#since + this.#hub.inactivityMs);
  }

  stop(): void {
    this.#hub.disarm(this);
  }

  onDue(now: Mono): void {
    const limit = this.#hub.inactivityMs;
    let next = now + limit;
    const silent: string[] = [];
    let judged = 0;
    let longest = 0;
    for (const leg of this.#session.legs) {
      const heard = this.#lastHeard(leg);
      if (heard === undefined) continue;
      judged++;
      const quiet = now - Math.max(heard, this.#since);
      if (quiet >= limit) {
        silent.push(leg.id);
        longest = Math.max(longest, quiet);
      } else next = Math.min(next, now + limit - quiet);
    }
    const scope = silent.length === 0 ? 'none' : silent.length === judged ? 'both' : 'one';
    if (scope !== 'none' && scope !== this.#told) {
      this.#hub.emit({
        kind: 'inactive',
        session: this.#session.id,
        scope,
        legs: silent,
        silentMs: longest,
        facts: this.#session.streams,
      });
    }
    this.#told = scope;
    this.#hub.arm(this, next);
  }

  /** Undefined when nothing is expected from the leg; 0 when nothing ever came. */
  #lastHeard(leg: Leg): Mono | undefined {
    let last: Mono | undefined;
    for (const [i, s] of leg.streams.entries()) {
      const other = leg.peer?.streams[i];
      if (
        s.side === undefined ||
        s.agreed?.description.direction !== 'sendrecv' ||
        other?.agreed?.description.direction !== 'sendrecv'
      )
        continue;
      const reply = this.#hub.apply({ do: 'stats', side: s.side.id });
      if (reply.ok && 'stats' in reply) last = Math.max(last ?? 0, reply.stats.lastRtp);
    }
    return last;
  }
}
