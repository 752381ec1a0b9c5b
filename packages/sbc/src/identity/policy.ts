import { parseUri, unescapeUri } from '@drawbridge/sip';
import type { Config } from '../config.js';
import { canonicalHost, type Domains } from '../domains.js';
import type { Identity } from '../inbound.js';
import type { Realm, RealmListener } from '../realms.js';
import type { HeaderRule } from './config.js';
import { HeaderRules } from './rules.js';

/** One side of what crosses: a leg, or a target. */
export interface Side {
  readonly identity: Identity;
  readonly listener: RealmListener;
}

/** From one side to the other, with what counts between the two. */
export interface Crossing {
  readonly policy: IdentityPolicy;
  readonly from: Side;
  readonly to: Side;
  readonly fromTrusted: boolean;
  readonly toTrusted: boolean;
  readonly rules: HeaderRules | undefined;
}

type IdentityConfig = Pick<Config, 'identity' | 'realms'>;

const REALM_CAP = 1024;
/** RFC 3323 §4.1.1.3. */
const ANONYMOUS_HOST = 'anonymous.invalid';

/**
 * Whom the border believes what he says of identity, and to whom it tells (RFC 3325's Spec(T)): upstreams and trunks,
 * which an operator configured, unless he says otherwise; subscribers not. Trust hangs on the proven source alone
 * (`Identity`), never on what a message says.
 */
export class IdentityPolicy {
  readonly from: Config['identity']['from'];
  readonly #domains: Domains;
  readonly #trusted: ReadonlySet<string>;
  readonly #untrusted: ReadonlySet<string>;
  /** AoR → what else is his. */
  readonly #aliases = new Map<string, ReadonlySet<string>>();
  readonly #everyAlias = new Set<string>();
  readonly #rules: Readonly<
    Record<string, { readonly in: readonly HeaderRule[]; readonly out: readonly HeaderRule[] }>
  >;
  /** Whether any realm has a rule. */
  readonly #ruled: boolean;
  /** By both realms' indexes. */
  readonly #pairs = new Map<number, HeaderRules | undefined>();

  constructor(config: IdentityConfig, domains: Domains) {
    const { identity, realms } = config;
    this.from = identity.from;
    this.#domains = domains;
    this.#trusted = new Set(identity.trusted);
    this.#untrusted = new Set(identity.untrusted.map(name => domains.lookup(name)?.name ?? name));
    for (const [aor, names] of Object.entries(identity.aliases)) this.#alias(aor, names);
    this.#rules =
      realms === 'auto' ? {} : Object.fromEntries(Object.entries(realms).map(([name, r]) => [name, r.headers]));
    this.#ruled = Object.values(this.#rules).some(r => r.in.length + r.out.length > 0);
  }

  trusts({ identity, listener }: Side): boolean {
    if (identity.kind === 'none' || this.#untrusted.has(listener.realm.name)) return false;
    return identity.kind === 'subscriber'
      ? this.#trusted.has(listener.realm.name)
      : !this.#untrusted.has(identity.kind === 'trunk' ? identity.trunk : identity.domain);
  }

  crossing(from: Side, to: Side): Crossing {
    return {
      policy: this,
      from,
      to,
      fromTrusted: this.trusts(from),
      toTrusted: this.trusts(to),
      rules: this.#between(from.listener.realm, to.listener.realm),
    };
  }

  /** Whether a name is a subscriber's own: his AoR or an alias; `user@domain` or `tel:number`. */
  owns(aor: string, claimed: string): boolean {
    return aor === claimed || this.#aliases.get(aor)?.has(claimed) === true;
  }

  /** Whether it is anybody's alias. */
  isAlias(claimed: string): boolean {
    return this.#everyAlias.has(claimed);
  }

  /** The name that a URI claims, in the spelling of `owns`; undefined when it names nobody. */
  claimOf(uri: string): string | undefined {
    const u = parseUri(uri);
    if (u?.user === undefined) return undefined;
    if (u.scheme === 'tel') return `tel:${u.user.replaceAll(/[-.()]/g, '').toLowerCase()}`;
    return `${unescapeUri(u.user)}@${this.#domains.lookup(u.host)?.name ?? canonicalHost(u.host)}`;
  }

  /** We vouch for whom we have asked for his password, not for an upstream's own subscribers. */
  assertable(identity: Identity): identity is Extract<Identity, { kind: 'subscriber' }> {
    return identity.kind === 'subscriber' && this.#domains.lookup(identity.domain)?.kind === 'local';
  }

  /**
   * The host of a URI of somebody as the other side may see it: our domains stay, others become the domain of who said it.
   * Whoever calls through a trunk has none: he is called back at the domain of whom he called, `toward`.
   */
  hostFor(of: Identity, toward?: Identity): (host: string) => string {
    const stands = of.kind === 'trunk' ? toward : of;
    const stranger = stands !== undefined && 'domain' in stands ? stands.domain : ANONYMOUS_HOST;
    return host =>
      this.#domains.lookup(host)?.name ?? (host.toLowerCase() === ANONYMOUS_HOST ? ANONYMOUS_HOST : stranger);
  }

  #between(from: Realm, to: Realm): HeaderRules | undefined {
    if (!this.#ruled) return undefined;
    const key = from.index * REALM_CAP + to.index;
    if (!this.#pairs.has(key)) {
      const rules = [...(this.#rules[from.name]?.in ?? []), ...(this.#rules[to.name]?.out ?? [])];
      this.#pairs.set(key, rules.length === 0 ? undefined : new HeaderRules(rules));
    }
    return this.#pairs.get(key);
  }

  #alias(aor: string, names: readonly string[]): void {
    const at = aor.lastIndexOf('@');
    const host = aor.slice(at + 1);
    const domain = this.#domains.lookup(host)?.name ?? canonicalHost(host);
    const all = names.flatMap(name => {
      if (name.includes('@')) return this.claimOf(name.startsWith('sip') ? name : `sip:${name}`) ?? [];
      return /^\+?[0-9]+$/.test(name) ? [`${name}@${domain}`, `tel:${name}`] : [`${name}@${domain}`];
    });
    this.#aliases.set(`${aor.slice(0, at)}@${domain}`, new Set(all));
    for (const one of all) this.#everyAlias.add(one);
  }
}
