import { type Endpoint, Masked, type Mono, maskAddress, maskUser } from '@drawbridge/core';
import type { Logger } from '@drawbridge/service';
import type { BorderEvent } from './events.js';
import type { Binding } from './registrar/binding.js';

/** Lines about refused requests per second: a flood must not become a flood of lines. */
const REJECTED_PER_SECOND = 10;

/** Every event of the border as at most one log line; lines of a call carry its reference as `call`. */
export class EventLog {
  readonly #log: Logger;
  #second = -1;
  #inSecond = 0;
  #suppressed = 0;

  constructor(log: Logger) {
    this.#log = log;
  }

  write(now: Mono, e: BorderEvent): void {
    switch (e.kind) {
      case 'ask':
      case 'ask-store':
      case 'media-reported':
      case 'binding-refreshed':
        return;
      case 'binding-made':
        return this.#log.info(bindingFields(e.binding), 'registered');
      case 'binding-moved':
        return this.#log.info(bindingFields(e.binding), 'registration moved to another flow');
      case 'binding-ended':
        return this.#log.info({ ...bindingFields(e.binding), why: e.why }, 'registration ended');
      case 'binding-grace':
        return this.#log.warn(
          bindingFields(e.binding),
          e.what === 'began'
            ? 'registration kept although its upstream is silent'
            : 'registration needs no grace any more',
        );
      case 'hops-changed': {
        const { name: peer, uri, hops, stale, why } = e;
        if (hops.length > 0 && !stale)
          return this.#log.info({ peer, uri, hops, ...(why === '' ? {} : { why }) }, 'next hops');
        return this.#log.warn({ peer, uri, hops, why }, stale ? 'next hops as last known' : 'no next hop');
      }
      case 'trunk-hop':
        return this.#log[e.up ? 'info' : 'warn'](
          { trunk: e.trunk, hop: e.hop },
          e.up ? 'a hop of a trunk is back' : 'a hop of a trunk is down',
        );
      case 'trunk-registration':
        return this.#log[e.registered ? 'info' : 'warn'](
          { trunk: e.trunk, why: e.why },
          e.registered ? 'registered with a trunk' : 'not registered with a trunk',
        );
      case 'rejected':
        return this.#rejected(now, e);
      case 'call-ended':
        return this.#log.info(
          {
            call: e.ref,
            caller: e.caller,
            callee: e.callee,
            cause: e.cause,
            by: e.by,
            status: e.status,
            lastedMs: Math.round(e.lastedMs),
            talkedMs: Math.round(e.talkedMs),
          },
          'call ended',
        );
      case 'call-started':
        if (this.#log.isLevelEnabled('debug'))
          this.#log.debug(
            { call: e.ref, caller: e.caller, callee: e.callee, from: place(e.from), realm: e.realm, forks: e.forks },
            'call started',
          );
        return;
      case 'media-refused':
      case 'media-inactive':
        return this.#log.warn(fieldsOf(e), e.kind.replace('-', ' '));
      default:
        // One line per call at its end is what an operator keeps; its steps are for whoever looks closer.
        if (this.#log.isLevelEnabled('debug')) this.#log.debug(fieldsOf(e), e.kind.replace('-', ' '));
    }
  }

  #rejected(now: Mono, e: Extract<BorderEvent, { kind: 'rejected' }>): void {
    const second = Math.floor(now / 1000);
    if (second !== this.#second) {
      if (this.#suppressed > 0)
        this.#log.info({ lines: this.#suppressed }, 'more requests were rejected than are listed');
      this.#second = second;
      this.#inSecond = 0;
      this.#suppressed = 0;
    }
    if (++this.#inSecond > REJECTED_PER_SECOND) {
      this.#suppressed++;
      return;
    }
    // A challenge is how every registration begins.
    const level = e.reason === 'challenge' || e.reason === 'stale-nonce' ? 'debug' : 'info';
    this.#log[level]({ method: e.method, status: e.status, reason: e.reason, source: e.source }, 'rejected');
  }
}

/** The simple events: their fields as they are, endpoints masked. */
function fieldsOf(e: BorderEvent): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(e)) {
    if (key === 'kind' || key === 'at') continue;
    out[key === 'ref' ? 'call' : key] = isEndpoint(value) ? place(value) : value;
  }
  return out;
}

function bindingFields(b: Binding): Record<string, unknown> {
  const at = b.aor.lastIndexOf('@');
  const user = maskUser(b.aor.slice(0, at));
  return {
    aor: new Masked(b.aor, `${user.toString()}${b.aor.slice(at)}`),
    source: place(b.flow.peer.get(b.flow.j)),
    transport: b.flow.transport,
    binding: b.kind,
  };
}

function place(e: Endpoint): Masked {
  const masked = maskAddress(e.address);
  return new Masked(`${masked.reveal()} ${e.port}`, `${masked.toString()} ${e.port}`);
}

function isEndpoint(v: unknown): v is Endpoint {
  return typeof v === 'object' && v !== null && 'address' in v && 'port' in v;
}
