import type { Random } from '@drawbridge/core';
import type { MessageView } from '../message/view.js';
import type { DigestAlgorithm } from './algorithm.js';

export interface DigestClientCredentials {
  /** Only a challenge in this realm is answered. */
  readonly realm: string;
  readonly user: string;
  readonly password: string;
  readonly algorithms?: readonly DigestAlgorithm[];
}

/** Authorization or Proxy-Authorization line (with CRLF) for the 401/407 `m`; undefined when it asks for something we don't answer. */
export function answerChallenge(
  _m: MessageView, _request: { readonly method: string; readonly uri: string; readonly body?: string },
  _credentials: DigestClientCredentials, _random: Random, _nonceCount = 1,
): string | undefined {
  throw new Error('not written yet');
}
