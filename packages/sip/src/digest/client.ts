import { type Random, randomToken } from '@drawbridge/core';
import { type AuthParams, parseAuth } from '../header/auth.js';
import { quote } from '../header/param.js';
import { H } from '../message/header-id.js';
import { headerLine, safeValue } from '../message/line.js';
import type { MessageView } from '../message/view.js';
import {
  DIGEST_ALGORITHMS,
  type DigestAlgorithm,
  digestAlgorithm,
  digestResponse,
  ha1,
  type Qop,
} from './algorithm.js';

/** A secret for one realm of one peer. Give it only for responses of that peer: whoever challenges learns a hash (CVE-2021-41158). */
export interface DigestClientCredentials {
  /** Only a challenge in exactly this realm is answered. */
  readonly realm: string;
  readonly user: string;
  readonly password: string;
  /** Algorithms that may be used; all three when absent. */
  readonly algorithms?: readonly DigestAlgorithm[];
}

/** The request that goes out with the answer. */
export interface AnsweredRequest {
  readonly method: string;
  readonly uri: string;
  readonly body?: string;
}

interface Chosen {
  readonly algorithm: DigestAlgorithm;
  readonly nonce: string;
  readonly opaque: string | undefined;
  readonly qop: Qop | undefined;
}

/**
 * The Authorization or Proxy-Authorization line (with CRLF) that answers the 401 or 407 in `m`: the topmost
 * challenge that we can answer (RFC 8760 §2.5). Undefined when there is none in the realm of `credentials`.
 */
export function answerChallenge(
  m: MessageView,
  request: AnsweredRequest,
  credentials: DigestClientCredentials,
  random: Random,
  nonceCount = 1,
): string | undefined {
  const proxy = m.status === 407;
  const chosen = choose(m, proxy ? H.proxyAuthenticate : H.wwwAuthenticate, credentials);
  if (chosen === undefined) return undefined;
  const { algorithm, nonce, qop } = chosen;
  const nc = nonceCount.toString(16).padStart(8, '0');
  const cnonce = randomToken(random, 16);
  const response = digestResponse({
    algorithm,
    ha1: ha1(algorithm, credentials.user, credentials.realm, credentials.password),
    method: request.method,
    uri: request.uri,
    nonce,
    ...(qop === undefined ? {} : { qop, nc, cnonce, body: request.body ?? '' }),
  });
  const counted = qop === undefined ? '' : `,qop=${qop},nc=${nc},cnonce="${cnonce}"`;
  const opaque = chosen.opaque === undefined ? '' : `,opaque=${quote(chosen.opaque)}`;
  return headerLine(
    proxy ? 'Proxy-Authorization' : 'Authorization',
    `Digest username=${quote(credentials.user)},realm=${quote(credentials.realm)},nonce=${quote(nonce)},uri="${request.uri}",response="${response}",algorithm=${algorithm}${counted}${opaque}`,
  );
}

function choose(m: MessageView, h: number, credentials: DigestClientCredentials): Chosen | undefined {
  for (let i = m.first(h); i >= 0; i = m.next(i)) {
    const auth = parseAuth(m.value(i));
    const chosen = auth === undefined ? undefined : usable(auth, credentials);
    if (chosen !== undefined) return chosen;
  }
  return undefined;
}

function usable(auth: AuthParams, credentials: DigestClientCredentials): Chosen | undefined {
  const p = auth.params;
  if (auth.scheme !== 'digest' || p.get('realm') !== credentials.realm) return undefined;
  const algorithm = digestAlgorithm(p.get('algorithm') ?? 'MD5');
  if (algorithm === undefined || !(credentials.algorithms ?? DIGEST_ALGORITHMS).includes(algorithm)) return undefined;
  const nonce = p.get('nonce') ?? '';
  const opaque = p.get('opaque');
  if (nonce === '' || !safeValue(nonce) || (opaque !== undefined && !safeValue(opaque))) return undefined;
  const offered = p.get('qop');
  if (offered === undefined) return { algorithm, nonce, opaque, qop: undefined };
  const list = offered
    .toLowerCase()
    .split(',')
    .map(q => q.trim());
  const qop = list.includes('auth') ? 'auth' : list.includes('auth-int') ? 'auth-int' : undefined;
  return qop === undefined ? undefined : { algorithm, nonce, opaque, qop };
}
