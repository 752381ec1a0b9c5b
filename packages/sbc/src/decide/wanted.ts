import type { Mono } from '@drawbridge/core';
import { type Flow, H, type MessageView, parseNameAddr, parseUri, type SipUri, unescapeUri } from '@drawbridge/sip';
import type { Identity } from '../inbound.js';
import { type Dialled, dialledIn } from '../route/dialled.js';
import type { Numbering } from '../route/number.js';

export interface WantedParts {
  readonly now: Mono;
  readonly identity: Identity;
  readonly uri: SipUri;
  /** The URI as it was written. */
  readonly text: string;
  /** The request, as far as there is one: who calls from a peer stands in its From. */
  readonly m?: MessageView | undefined;
  readonly numbering: Numbering;
  /** The flow that our own Path in its Route names. */
  readonly named?: Flow | 'gone' | undefined;
  /** What it came over, once that is known. */
  readonly flow?: Flow | undefined;
  /** Instead of what identity and From say. */
  readonly caller?: string;
  readonly method: string;
  /** Its targets must stand at once: there is no call that could take more of them later. */
  readonly atOnce: boolean;
}

/** Who wants to reach what. Names and numbers are read only when a table asks. */
export class Wanted {
  readonly now: Mono;
  readonly identity: Identity;
  readonly uri: SipUri;
  readonly text: string;
  readonly method: string;
  readonly atOnce: boolean;
  readonly named: Flow | 'gone' | undefined;
  readonly flow: Flow | undefined;
  readonly #m: MessageView | undefined;
  readonly #numbering: Numbering;
  #dialled: Dialled | undefined = undefined;
  #caller: string | undefined = undefined;

  constructor(p: WantedParts) {
    this.now = p.now;
    this.identity = p.identity;
    this.uri = p.uri;
    this.text = p.text;
    this.method = p.method;
    this.atOnce = p.atOnce;
    this.named = p.named;
    this.flow = p.flow;
    this.#m = p.m;
    this.#numbering = p.numbering;
    this.#caller = p.caller;
  }

  get dialled(): Dialled {
    this.#dialled ??= dialledIn(this.uri, this.#numbering);
    return this.#dialled;
  }

  /** `user@domain` of a subscriber, otherwise what From says. */
  get caller(): string {
    this.#caller ??= this.identity.kind === 'subscriber' ? this.identity.aor : this.#party(H.from);
    return this.#caller;
  }

  /** The number in To: what was dialled when the Request-URI names our registered contact. */
  get inTo(): Dialled | undefined {
    const uri = parseUri(parseNameAddr(this.#m?.get(H.to) ?? '')?.uri ?? '');
    return uri?.user === undefined ? undefined : dialledIn(uri, this.#numbering);
  }

  /** The same caller for another URI, when the request is no longer in hand. */
  to(text: string, uri: SipUri): Wanted {
    return new Wanted({
      now: this.now,
      identity: this.identity,
      uri,
      text,
      caller: this.caller,
      numbering: this.#numbering,
      method: this.method,
      atOnce: true,
    });
  }

  #party(h: number): string {
    const uri = parseUri(parseNameAddr(this.#m?.get(h) ?? '')?.uri ?? '');
    if (uri?.user === undefined) return '';
    return uri.scheme === 'tel' ? uri.user : `${unescapeUri(uri.user)}@${uri.host}`;
  }
}
