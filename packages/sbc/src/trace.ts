import { type Endpoint, Endpoints, formatEndpoint, type Mono, own, type Via } from '@drawbridge/core';
import type { Tap } from '@drawbridge/sip';
import type { TraceMessage } from './admin/facts.js';
import type { Realms } from './realms.js';

/** Messages kept, over all calls; the oldest goes first. */
const MESSAGES = 4096;
/** Calls whose Call-IDs are remembered after they ended. */
const CALLS = 2000;
/** Of a longer message only the beginning is kept. */
const LONGEST = 8192;

export interface TracesModules {
  /** ms since 1970. */
  wall(): number;
  readonly realms: Realms;
}

/** The tap that feeds `trace`: every message as it was on the wire, in one ring; a call is read out of it by its Call-IDs. */
export class Traces implements Tap {
  readonly #m: TracesModules;
  readonly #at = new Float64Array(MESSAGES);
  readonly #out = new Uint8Array(MESSAGES);
  readonly #via = new Uint32Array(MESSAGES);
  readonly #peer = new Endpoints(MESSAGES);
  readonly #text = new Array<string>(MESSAGES).fill('');
  readonly #calls = new Map<string, Map<string, string>>();
  /** Call-IDs of callees' legs → the caller's. */
  readonly #callerOf = new Map<string, string>();
  #next = 0;

  constructor(modules: TracesModules) {
    this.#m = modules;
  }

  wall(): number {
    return this.#m.wall();
  }

  message(_now: Mono, direction: 'in' | 'out', via: Via, peer: Endpoints, j: number, text: string): void {
    if (!ofCall(text)) return;
    const i = this.#next;
    this.#next = (i + 1) % MESSAGES;
    this.#at[i] = this.#m.wall();
    this.#out[i] = direction === 'out' ? 1 : 0;
    this.#via[i] = via;
    this.#peer.copy(i, peer, j);
    this.#text[i] = text.length > LONGEST ? own(text.slice(0, LONGEST)) : text;
  }

  /** A leg of a call has this Call-ID. */
  note(ref: string, callId: string, leg: string): void {
    let legs = this.#calls.get(ref);
    if (legs === undefined) {
      if (this.#calls.size >= CALLS) {
        const oldest = this.#calls.keys().next();
        if (oldest.done !== true) this.#forget(oldest.value);
      }
      legs = new Map();
      this.#calls.set(ref, legs);
    }
    const caller = legs.keys().next();
    if (caller.done !== true) this.#callerOf.set(callId, caller.value);
    legs.set(callId, leg);
  }

  /** The caller's Call-ID of the call that a callee's Call-ID belongs to. */
  callerOf(callId: string): string | undefined {
    return this.#callerOf.get(callId);
  }

  /** The caller's Call-ID of a call. */
  callIdOf(ref: string): string | undefined {
    return this.#calls.get(ref)?.keys().next().value;
  }

  #forget(ref: string): void {
    for (const callId of this.#calls.get(ref)?.keys() ?? []) this.#callerOf.delete(callId);
    this.#calls.delete(ref);
  }

  /** Undefined: no such call, or one that is forgotten. */
  of(ref: string): readonly TraceMessage[] | undefined {
    const legs = this.#calls.get(ref);
    if (legs === undefined) return undefined;
    const found: TraceMessage[] = [];
    for (let k = 0; k < MESSAGES; k++) {
      const i = (this.#next + k) % MESSAGES;
      const text = this.#text[i] ?? '';
      const leg = text === '' ? undefined : legs.get(callIdOf(text));
      if (leg === undefined) continue;
      const listener = this.#m.realms.listener(this.#via[i]!);
      const name = (e: Endpoint): string => `${listener.transport}:${formatEndpoint(e)}`;
      found.push({
        at: this.#at[i]!,
        direction: this.#out[i] === 1 ? 'out' : 'in',
        leg,
        local: name(listener.bind),
        peer: name(this.#peer.get(i)),
        text: redacted(text),
      });
    }
    return found;
  }
}

/** Registrations and keepalives would push the calls out. A stack that spells CSeq oddly only costs a slot. */
function ofCall(text: string): boolean {
  if (text.startsWith('REGISTER ') || text.startsWith('OPTIONS ')) return false;
  if (!text.startsWith('SIP/2.0 ')) return text.length > 4;
  const at = text.indexOf('\nCSeq:');
  const end = at < 0 ? -1 : text.indexOf('\r', at);
  return end < 0 || !(text.endsWith('REGISTER', end) || text.endsWith('OPTIONS', end));
}

/** A digest response is as good as a password to whoever guesses at leisure, in quotes or not, with blanks or folds around. */
export function redacted(text: string): string {
  return text.replace(/(\bresponse[ \t\r\n]*=[ \t\r\n]*"?)[0-9a-f]+/gi, '$1…');
}

/** Without a parse: the value of the first Call-ID line, `i:` included. */
export function callIdOf(text: string): string {
  const found = /\r\n(?:call-id|i)[ \t]*:[ \t]*([^\r\n]*)/i.exec(text);
  return found?.[1]?.trimEnd() ?? '';
}
