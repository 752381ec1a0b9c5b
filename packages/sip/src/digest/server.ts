import type { Endpoints, Random, Reason } from '@drawbridge/core';
import type { MessageView } from '../message/view.js';
import type { Credentials, DigestAlgorithm, Qop } from './algorithm.js';

export interface DigestServerOptions {
  /** The two live keys, newest first: nonces are made with the first and accepted from both. One is enough. */
  readonly secretKeys: readonly Uint8Array[];
  readonly nonceLifetimeMs: number;
  /** Offered in this order, accepted only from this list (RFC 8760 §2.4). */
  readonly algorithms: readonly DigestAlgorithm[];
  readonly qop: readonly Qop[];
  /** Nonces whose counts are remembered; default 65,536. */
  readonly maxNonces?: number;
}

export interface DigestServerModules {
  readonly random: Random;
  /** Wall clock, ms: a nonce must be readable after a restart. */
  wall(): number;
}

export type DigestKind = 'www' | 'proxy';

export type DigestResult =
  | { readonly ok: true; readonly user: string; readonly algorithm: DigestAlgorithm }
  | { readonly ok: false; readonly reason: Reason; readonly stale: boolean; /** The nonce was minted by us for this very address: the source has shown that it receives there. */ readonly proven: boolean };

export class DigestServer {
  constructor(_options: DigestServerOptions, _modules: DigestServerModules) {}
  /** A new key becomes the first; the former first stays live, older ones are forgotten. */
  rotate(_key: Uint8Array): void {}
  challenge(_kind: DigestKind, _realm: string, _peer: Endpoints, _j: number, _stale = false): string {
    throw new Error('not written yet');
  }
  verify(_m: MessageView, _kind: DigestKind, _realm: string, _peer: Endpoints, _j: number, _lookup: (user: string) => Credentials | undefined): DigestResult {
    throw new Error('not written yet');
  }
}
