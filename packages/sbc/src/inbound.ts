import type { Endpoints, Mono, Tx, Via } from '@drawbridge/core';
import { type Flow, type MessageView, parseUri, type SipUri } from '@drawbridge/sip';
import type { Realm } from './realms.js';

/** Who sent a request, as far as it is proven. */
export type Identity =
  | { readonly kind: 'subscriber'; readonly user: string; readonly domain: string; readonly aor: string }
  /** Known by its address: the service behind an upstream domain. */
  | { readonly kind: 'peer'; readonly domain: string }
  /** A configured trunk: known by its source address and transport, or by its certificate. */
  | { readonly kind: 'trunk'; readonly trunk: string }
  | { readonly kind: 'none' };

export const NOBODY: Identity = { kind: 'none' };

/** One message on its way through the stages: pooled, valid until the batch ends. */
export interface Inbound {
  now: Mono;
  m: MessageView;
  via: Via;
  peer: Endpoints;
  j: number;
  realm: Realm;
  identity: Identity;
  /** The source is a configured peer's address: its Path and Route count. */
  trustedEdge: boolean;
  /** A REGISTER to an upstream whose credentials answer a challenge of ours: its return path is proven, its password isn't. */
  echoed?: boolean;
  /** Made only once proof or a known address allows; looked up, never created, before that. */
  flow: Flow | undefined;
  tx: Tx;
  /** The Request-URI in its parts, once somebody asked. */
  target?: SipUri | undefined;
  /** The Request-URI that a strict router had put in place of the target, '' as a rule: a digest may have been computed over it. */
  strict?: string;
}

export function targetOf(inbound: Inbound): SipUri | undefined {
  inbound.target ??= parseUri(inbound.m.uri);
  return inbound.target;
}
