import type { Flow } from '@drawbridge/sip';
import type { Domain } from '../domains.js';
import type { Identity } from '../inbound.js';
import type { RealmListener } from '../realms.js';

/** One place a request may go: a registered contact over its own flow, or a configured next hop. */
export interface Target {
  readonly flow: Flow;
  readonly listener: RealmListener;
  /** Request-URI toward it. */
  readonly uri: string;
  /** 0 … 1, serial groups by falling q. */
  readonly q: number;
  /** Whom we reach there. */
  readonly identity: Identity;
  /** The upstream domain whose own credentials may travel to it. */
  readonly upstream: string | undefined;
  /** Tried in its place when it is silent, unreachable or says 503 (RFC 3263 §4.3). */
  readonly otherwise?: Target | undefined;
}

/** What becomes of a request outside a dialog. */
export type Plan =
  | { readonly do: 'register'; readonly domain: Domain }
  /** Addressed to the border itself (OPTIONS). */
  | { readonly do: 'self' }
  | { readonly do: 'forward'; readonly targets: readonly Target[]; readonly callee: string };
