import { type Endpoints, own, type Random, type Reason } from '@drawbridge/core';
import { type AuthParams, parseAuth } from '../header/auth.js';
import { quote } from '../header/param.js';
import { H } from '../message/header-id.js';
import { headerLine } from '../message/line.js';
import type { MessageView } from '../message/view.js';
import { parseUri } from '../uri.js';
import {
  type Credentials,
  DIGEST_ALGORITHMS,
  DIGEST_LENGTH,
  type DigestAlgorithm,
  digestAlgorithm,
  digestHa2,
  digestResponse,
  ha1,
  type Qop,
} from './algorithm.js';
import { checked, checkNonce, mintNonce, type NonceKey, nonceKey } from './nonce.js';
import { NonceCounts } from './nonce-counts.js';

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
  /** Wall clock, ms: a nonce must be readable after a restart and on another node. */
  wall(): number;
}

/** `www`: 401 and Authorization, for a registrar or UA; `proxy`: 407 and Proxy-Authorization. */
export type DigestKind = 'www' | 'proxy';

export type DigestResult =
  | { readonly ok: true; readonly user: string; readonly algorithm: DigestAlgorithm }
  | {
      readonly ok: false;
      readonly reason: Reason;
      /** The next challenge should say stale=true: what was wrong is the nonce, not (as far as was looked) the password. */
      readonly stale: boolean;
      /** The nonce was minted by us for this very address: the source has shown that it receives there. */
      readonly proven: boolean;
    };

/** The one claim of a request that is looked at, in shape. */
interface Claim {
  readonly user: string;
  readonly uri: string;
  readonly nonce: string;
  readonly response: string;
  readonly algorithm: DigestAlgorithm;
  readonly qop: Qop | undefined;
  readonly nc: string;
  readonly cnonce: string;
}

/** Authorization lines looked at in one message. */
const MAX_LINES = 8;
const DUMMY: Credentials = { ha1: Object.fromEntries(DIGEST_ALGORITHMS.map(a => [a, ha1(a, '', '', '')])) };

/**
 * The server's half of HTTP digest as SIP uses it (RFC 3261 §22, RFC 7616, RFC 8760). No state before a valid
 * credential: the nonce carries what is needed to check it.
 */
export class DigestServer {
  readonly #o: DigestServerOptions;
  readonly #m: DigestServerModules;
  readonly #counts: NonceCounts;
  readonly #qop: string;
  readonly #last = { algorithm: '', method: '', uri: '', ha2: '' };
  #keys: readonly NonceKey[];

  constructor(options: DigestServerOptions, modules: DigestServerModules) {
    if (options.secretKeys.length === 0) throw new TypeError('a digest server needs a key');
    this.#o = options;
    this.#m = modules;
    this.#keys = options.secretKeys.slice(0, 2).map(nonceKey);
    this.#counts = new NonceCounts(options.maxNonces ?? 65_536, options.nonceLifetimeMs);
    this.#qop = options.qop.join(',');
  }

  /** A new key becomes the first; the former first stays live, the one before it is forgotten. */
  rotate(key: Uint8Array): void {
    this.#keys = [nonceKey(key), ...this.#keys].slice(0, 2);
  }

  /** Header lines with CRLF, one challenge per algorithm in the configured order (RFC 8760 §2.4). Throws on a realm with CR, LF or NUL. */
  challenge(kind: DigestKind, realm: string, peer: Endpoints, j: number, stale = false): string {
    const nonce = mintNonce(this.#keys[0] as NonceKey, this.#m.wall(), this.#m.random, realm, peer, j);
    const name = kind === 'www' ? 'WWW-Authenticate' : 'Proxy-Authenticate';
    const head = `Digest realm=${quote(realm)},nonce="${nonce}",algorithm=`;
    const tail = `${this.#qop === '' ? '' : `,qop="${this.#qop}"`}${stale ? ',stale=true' : ''}`;
    let out = '';
    for (const algorithm of this.#o.algorithms) out += headerLine(name, `${head}${algorithm}${tail}`);
    return out;
  }

  /**
   * Checks the credentials for `realm`, whatever else the message carries. The steps run from cheap to dear:
   * shape, nonce, password, nonce count. An unknown user costs the same as a known one. Never throws on what
   * the wire says. `also`: another target that the credentials may be for, '' for none.
   */
  verify(
    m: MessageView,
    kind: DigestKind,
    realm: string,
    peer: Endpoints,
    j: number,
    lookup: (user: string) => Credentials | undefined,
    also = '',
  ): DigestResult {
    const claim = this.#claim(m, kind, realm, also);
    if (typeof claim === 'string') return refused(claim, false, false);
    const wall = this.#m.wall();
    const nonce = checkNonce(claim.nonce, this.#keys, wall, this.#o.nonceLifetimeMs, realm, peer, j);
    if (nonce !== 'good') return refused('stale-nonce', nonce !== 'foreign', nonce === 'old');
    const known = lookup(claim.user)?.ha1[claim.algorithm];
    const expected = digestResponse({
      algorithm: claim.algorithm,
      ha1: known ?? DUMMY.ha1[claim.algorithm] ?? '',
      method: m.method,
      uri: claim.uri,
      nonce: claim.nonce,
      qop: claim.qop,
      nc: claim.nc,
      cnonce: claim.cnonce,
      body: claim.qop === 'auth-int' ? m.body : '',
      ha2: this.#ha2(claim.algorithm, m.method, claim.uri),
    });
    if (!sameText(expected, claim.response) || known === undefined) return refused('bad-credentials', false, true);
    // Without qop there is no count: such a nonce is good once.
    const nc = claim.qop === undefined ? 1 : Number.parseInt(claim.nc, 16);
    if (!this.#counts.take(wall, checked.mintedAt, checked.salt, nc)) return refused('replayed-nonce', true, true);
    return { ok: true, user: claim.user, algorithm: claim.algorithm };
  }

  /** A domain's REGISTERs all have the same. */
  #ha2(algorithm: DigestAlgorithm, method: string, uri: string): string {
    const last = this.#last;
    if (last.algorithm !== algorithm || last.method !== method || last.uri !== uri) {
      last.algorithm = algorithm;
      last.method = own(method);
      last.uri = own(uri);
      last.ha2 = digestHa2(algorithm, method, uri);
    }
    return last.ha2;
  }

  /** The first credentials in our realm that we can check, or why there are none. */
  #claim(m: MessageView, kind: DigestKind, realm: string, also: string): Claim | Reason {
    const h = kind === 'www' ? H.authorization : H.proxyAuthorization;
    let why: Reason = 'challenge';
    let lines = 0;
    for (let i = m.first(h); i >= 0 && lines < MAX_LINES; i = m.next(i), lines++) {
      const auth = parseAuth(m.value(i));
      if (auth === undefined) {
        why = 'malformed-credentials';
        continue;
      }
      if (auth.scheme !== 'digest' || auth.params.get('realm') !== realm) continue;
      const claim = this.#read(auth, m.uri, also);
      if (typeof claim !== 'string') return claim;
      why = claim;
    }
    return why;
  }

  #read(auth: AuthParams, requestUri: string, also: string): Claim | Reason {
    const p = auth.params;
    const user = p.get('username') ?? '';
    const uri = p.get('uri') ?? '';
    const nonce = p.get('nonce') ?? '';
    const response = (p.get('response') ?? '').toLowerCase();
    const algorithm = digestAlgorithm(p.get('algorithm') ?? 'MD5');
    if (user === '' || uri === '' || nonce === '') return 'malformed-credentials';
    // We never offer userhash (RFC 7616 §3.4.4): a name that is a hash can't be looked up.
    if (p.get('userhash')?.toLowerCase() === 'true') return 'malformed-credentials';
    if (algorithm === undefined || !this.#o.algorithms.includes(algorithm)) return 'bad-credentials';
    if (response.length !== DIGEST_LENGTH[algorithm] || !/^[0-9a-f]+$/.test(response)) return 'malformed-credentials';
    if (!sameTarget(uri, requestUri) && (also === '' || !sameTarget(uri, also))) return 'malformed-credentials';
    const offered = p.get('qop')?.toLowerCase();
    const nc = p.get('nc') ?? '';
    const cnonce = p.get('cnonce') ?? '';
    if (offered === undefined) {
      // RFC 2069 style; RFC 8760 §2.6 wants qop with everything newer than MD5.
      return algorithm === 'MD5'
        ? { user, uri, nonce, response, algorithm, qop: undefined, nc, cnonce }
        : 'malformed-credentials';
    }
    const qop = this.#o.qop.find(q => q === offered);
    if (qop === undefined || cnonce === '' || !/^[0-9a-fA-F]{8}$/.test(nc) || nc === '00000000')
      return 'malformed-credentials';
    return { user, uri, nonce, response, algorithm, qop, nc, cnonce };
  }
}

function refused(reason: Reason, stale: boolean, proven: boolean): DigestResult {
  return { ok: false, reason, stale, proven };
}

/** Of equal length, in a time that says nothing of where they differ. */
function sameText(a: string, b: string): boolean {
  let differ = a.length ^ b.length;
  for (let i = 0; i < a.length; i++) differ |= a.charCodeAt(i) ^ b.charCodeAt(i);
  return differ === 0;
}

/**
 * RFC 7616 §3.4.6: credentials are for one target. User, host and port must agree; URI parameters needn't, because
 * phones add `transport` to one and not to the other.
 */
function sameTarget(claimed: string, requestUri: string): boolean {
  if (claimed === requestUri) return true;
  const a = parseUri(claimed);
  const b = parseUri(requestUri);
  return a !== undefined && b !== undefined && a.user === b.user && a.host === b.host && a.port === b.port;
}
