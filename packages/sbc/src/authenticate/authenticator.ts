import { PASS, type Reason, reply, type Verdict } from '@drawbridge/core';
import { type DigestServer, escapeUser, type Flow, H, headerLine, parseNameAddr } from '@drawbridge/sip';
import type { Config, MethodPolicy } from '../config.js';
import type { Addressed, Domain, Domains, LocalDomain, UpstreamDomain } from '../domains.js';
import type { IdentityPolicy } from '../identity/policy.js';
import { type Identity, type Inbound, NOBODY, targetOf } from '../inbound.js';
import type { Registrar } from '../registrar/registrar.js';
import type { Routing } from '../route/routing.js';
import type { Subscribers } from '../subscribers.js';
import type { Trunks } from '../trunk/trunks.js';

export interface AuthenticatorModules {
  /** One per set of algorithms, since domains may offer different ones. */
  digestOf(domain: Domain): DigestServer;
  readonly domains: Domains;
  readonly registrar: Registrar;
  readonly subscribers: Subscribers;
  readonly identity: IdentityPolicy;
  readonly trunks: Trunks;
  readonly routing: Routing;
}

export interface AuthenticatorOptions {
  readonly auth: Config['auth'];
  readonly methods: Config['methods'];
}

/**
 * Request → identity, or a stateless answer. Keeps nothing per source: the nonce carries its own proof.
 *
 * A request outside a dialog is judged in this order: ACK and CANCEL pass (nobody can answer a challenge to them,
 * RFC 3261 §22.1) · the method's policy · a configured peer's address · a REGISTER to an upstream is that upstream's
 * to judge · the From names one of our domains, and its owner must prove that he is it.
 */
export class Authenticator {
  readonly #o: AuthenticatorOptions;
  readonly #m: AuthenticatorModules;
  readonly #policies: ReadonlyMap<string, MethodPolicy>;
  constructor(options: AuthenticatorOptions, modules: AuthenticatorModules) {
    this.#o = options;
    this.#m = modules;
    this.#policies = new Map<string, MethodPolicy>([
      ...Object.entries(options.methods),
      ['INVITE', 'authenticated'],
      ['REGISTER', 'authenticated'],
    ]);
  }

  /** Requests outside a dialog. Sets `inbound.identity` and `inbound.trustedEdge` when it passes. */
  authenticate(inbound: Inbound): Verdict {
    const { m, via, peer, j } = inbound;
    inbound.identity = NOBODY;
    inbound.echoed = false;
    const upstream = this.#m.domains.peer(via, peer, j);
    inbound.trustedEdge = upstream !== undefined;
    if (m.method === 'ACK' || m.method === 'CANCEL') return PASS;
    const policy = this.#policies.get(m.method);
    if (policy === undefined)
      return DIALOG_ONLY.has(m.method) ? reply(481, 'no-dialog') : reply(405, 'method-not-allowed', this.#allow());
    if (policy === 'deny') return reply(403, 'method-denied');
    if (m.method === 'REGISTER') return this.#register(inbound);
    if (upstream !== undefined) {
      inbound.identity = { kind: 'peer', domain: upstream.name };
      return PASS;
    }
    const trunk = this.#m.trunks.peer(via, peer, j, inbound.flow);
    if (trunk !== undefined) {
      inbound.identity = { kind: 'trunk', trunk: trunk.name };
      return PASS;
    }
    if (policy === 'anyone' || this.#urgent(inbound)) return PASS;
    return this.#caller(inbound);
  }

  /**
   * Requests of a dialog that lives on `flow` with `identity`. Its own flow passes, and so does its address from another
   * port, since NATs rebind: the caller moves the flow. Any other address proves itself.
   */
  authenticateInDialog(inbound: Inbound, flow: Flow, identity: Identity): Verdict {
    const { m, via, peer, j } = inbound;
    inbound.identity = identity;
    if (m.method === 'ACK' || m.method === 'CANCEL') return PASS;
    if (flow.via === via && flow.peer.equal(flow.j, peer, j)) return PASS;
    if (flow.peer.sameAddress(flow.j, peer, j)) return PASS;
    if (identity.kind === 'peer')
      return this.#m.domains.isPeerOf(identity.domain, via, peer, j) ? PASS : reply(403, 'wrong-source');
    if (identity.kind === 'trunk')
      return this.#m.trunks.isPeerOf(identity.trunk, via, peer, j, inbound.flow) ? PASS : reply(403, 'wrong-source');
    if (identity.kind === 'none') return reply(403, 'wrong-source');
    const domain = this.#m.domains.lookup(identity.domain);
    // An upstream's subscriber has no password here: it moves by registering from where it went.
    if (domain?.kind !== 'local') return this.#registeredAt(identity.aor, inbound) ? PASS : reply(403, 'wrong-source');
    return this.#prove(inbound, 'proxy', domain, user => user === identity.user);
  }

  /** RFC 3261 §10.3 steps 1 to 4. */
  #register(inbound: Inbound): Verdict {
    const target = targetOf(inbound);
    if (target === undefined) return PASS; // `decide` says what is wrong with it.
    const domain = this.#m.domains.lookup(target.host);
    if (domain === undefined) return reply(404, 'unknown-domain');
    if (domain.kind === 'local') return this.#prove(inbound, 'www', domain, undefined);
    const { now, via, peer, j } = inbound;
    const flow = inbound.flow ?? this.#m.registrar.flowOf(via, peer, j);
    return this.#m.registrar.admits(now, flow) ? PASS : this.#proveReturnPath(inbound, domain);
  }

  /**
   * Under pressure: a challenge of ours in the upstream's realm, which costs nothing to give. Who answers it receives
   * where he sends from, and goes on to the upstream without those credentials.
   */
  #proveReturnPath(inbound: Inbound, domain: UpstreamDomain): Verdict {
    const { now, m, peer, j } = inbound;
    const realm = this.#m.registrar.upstreamRealm(domain.name);
    if (realm === undefined) return reply(503, 'unproven-budget', RETRY);
    const digest = this.#m.digestOf(domain);
    const seen = digest.verify(m, 'www', realm, peer, j, () => undefined, inbound.strict);
    if (!seen.ok && seen.proven) {
      if (!this.#m.registrar.admitsProven(now)) return reply(503, 'unproven-budget', RETRY);
      inbound.echoed = true;
      return PASS;
    }
    return reply(401, 'unproven-budget', digest.challenge('www', realm, peer, j, !seen.ok && seen.stale));
  }

  /** An emergency call where the configuration lets everybody make one. */
  #urgent(inbound: Inbound): boolean {
    const { routing, domains } = this.#m;
    if (routing.o.emergency?.unauthenticated !== true || inbound.m.method !== 'INVITE') return false;
    const own = (host: string): boolean => domains.lookup(host) !== undefined || domains.isOwn(host);
    return routing.emergencyNumber(inbound.m.uri, targetOf(inbound), own) !== undefined;
  }

  /** Whoever starts a call or sends a message says in From who he is, and proves it. */
  #caller(inbound: Inbound): Verdict {
    const { m, via, peer, j } = inbound;
    const from = parseNameAddr(m.get(H.from));
    const claimed = from === undefined ? undefined : this.#m.domains.address(from.uri);
    if (claimed === undefined) return this.#unnamed(inbound, from?.uri ?? '');
    const flow = inbound.flow ?? this.#m.registrar.flowOf(via, peer, j);
    const registered = flow !== undefined && this.#m.registrar.owns(flow, claimed.aor);
    const { domain } = claimed;
    if (domain.kind === 'upstream') {
      // The upstream challenges the call itself; we only keep strangers from using it. An address alone proves nothing to
      // anybody else: others share it.
      const theirs = this.#m.domains.lookup(targetOf(inbound)?.host ?? '') === domain;
      if (registered || (theirs && this.#registeredAt(claimed.aor, inbound))) {
        inbound.identity = subscriber(claimed);
        return PASS;
      }
      return this.#onFlow(inbound, claimed.aor) ? PASS : reply(403, 'not-registered');
    }
    if (registered && this.#o.auth.trustRegisteredFlow) {
      inbound.identity = subscriber(claimed);
      return PASS;
    }
    return this.#prove(inbound, 'proxy', domain, user => this.#maySay(user, domain, claimed.aor));
  }

  #maySay(user: string, domain: LocalDomain, claimed: string): boolean {
    const { identity } = this.#m;
    return identity.from !== 'match' || identity.owns(`${user}@${domain.name}`, claimed);
  }

  /**
   * From names none of our domains: it is anonymous (RFC 3323 §4.1.1.3), a number or an address that is somebody's
   * alias, or the operator doesn't mind. Who it is, is asked where he prefers to be known, where he is registered, or
   * whom he calls.
   */
  #unnamed(inbound: Inbound, uri: string): Verdict {
    const { identity, domains } = this.#m;
    const { m } = inbound;
    const claimed = identity.claimOf(uri);
    const anonymous = claimed?.endsWith('@anonymous.invalid') === true;
    if (!anonymous && identity.from === 'match' && (claimed === undefined || !identity.isAlias(claimed)))
      return reply(403, 'unknown-domain');
    const said = anonymous ? undefined : claimed;
    const preferred = m.list(H.pPreferredIdentity).slice(0, 2);
    const domain = [
      ...preferred.map(v => domains.address(parseNameAddr(v)?.uri ?? '')?.domain),
      domains.lookup(targetOf(inbound)?.host ?? ''),
      ...domains.all,
    ].find(d => d?.kind === 'local');
    if (this.#onFlow(inbound, said)) return PASS;
    if (domain === undefined) return reply(403, 'not-registered');
    return this.#prove(inbound, 'proxy', domain, user => said === undefined || this.#maySay(user, domain, said));
  }

  /**
   * The one subscriber who has registered on this flow and may call himself so, where his flow is proof enough: with an
   * upstream, which challenges him itself, or where the operator says that it is.
   */
  #onFlow(inbound: Inbound, claimed: string | undefined): boolean {
    const { via, peer, j } = inbound;
    const { registrar, domains, identity } = this.#m;
    const flow = inbound.flow ?? registrar.flowOf(via, peer, j);
    if (flow === undefined) return false;
    const bindings = registrar.byFlow(flow);
    const aor = bindings[0]?.aor;
    if (aor === undefined || bindings.some(b => b.aor !== aor)) return false;
    const own = domains.address(`sip:${escapeUser(aor.slice(0, aor.lastIndexOf('@')))}@${bindings[0]?.domain ?? ''}`);
    if (own === undefined || (own.domain.kind === 'local' && !this.#o.auth.trustRegisteredFlow)) return false;
    if (claimed !== undefined && identity.from === 'match' && !identity.owns(aor, claimed)) return false;
    inbound.identity = subscriber(own);
    return true;
  }

  /** A phone of this AoR has registered from this address, on whatever port. */
  #registeredAt(aor: string, { peer, j }: Inbound): boolean {
    return this.#m.registrar.bindings.of(aor).some(b => b.flow.peer.sameAddress(b.flow.j, peer, j));
  }

  /** Digest against our own subscribers. `owns` decides whether the proven user may say what the request says. */
  #prove(
    inbound: Inbound,
    kind: 'www' | 'proxy',
    domain: LocalDomain,
    owns: ((user: string) => boolean) | undefined,
  ): Verdict {
    const { m, peer, j } = inbound;
    const verdict = this.#m
      .digestOf(domain)
      .verify(
        m,
        kind,
        domain.name,
        peer,
        j,
        user => this.#m.subscribers.get(user, domain.name)?.credentials,
        inbound.strict,
      );
    if (!verdict.ok) {
      if (verdict.reason === 'malformed-credentials') return reply(400, verdict.reason);
      return this.#challenge(inbound, kind, domain, verdict.reason, verdict.stale);
    }
    if (owns !== undefined && !owns(verdict.user)) return reply(403, 'not-owner');
    inbound.identity = {
      kind: 'subscriber',
      user: verdict.user,
      domain: domain.name,
      aor: `${verdict.user}@${domain.name}`,
    };
    return PASS;
  }

  #challenge(inbound: Inbound, kind: 'www' | 'proxy', domain: LocalDomain, reason: Reason, stale: boolean): Verdict {
    return reply(
      kind === 'www' ? 401 : 407,
      reason,
      this.#m.digestOf(domain).challenge(kind, domain.name, inbound.peer, inbound.j, stale),
    );
  }

  #allow(): string {
    const methods = [...this.#policies].filter(([, p]) => p !== 'deny').map(([name]) => name);
    return headerLine('Allow', ['ACK', 'BYE', 'CANCEL', ...methods].join(', '));
  }
}

const RETRY = headerLine('Retry-After', '5');
/** Outside a dialog they end or acknowledge nothing (RFC 3261 §15.1.2, RFC 3262 §3). */
const DIALOG_ONLY: ReadonlySet<string> = new Set(['BYE', 'PRACK']);

function subscriber(a: Addressed): Identity {
  return { kind: 'subscriber', user: a.user, domain: a.domain.name, aor: a.aor };
}
