import { createHmac } from 'node:crypto';
import { type Mono, own, type Tx } from '@drawbridge/core';
import {
  buildRequest,
  type ClientTransaction,
  type ClientUser,
  type Flow,
  type FlowTokens,
  H,
  hasToken,
  headerLine,
  type MessageView,
  parseAuth,
  parseContacts,
  parseExpires,
  parseNameAddr,
  parseUri,
  type ServerTransaction,
  safeValue,
} from '@drawbridge/sip';
import type { UpstreamDomain } from '../domains.js';
import type { Inbound } from '../inbound.js';
import type { NextHop } from '../locate/hop-list.js';
import type { StoreWrite } from '../store/store.js';
import { type Binding, NO_PATH } from './binding.js';
import type { Bindings } from './bindings.js';
import { Budget } from './budget.js';
import { type Leases, userOf } from './lease.js';
import type { RegistrarModules, RegistrarOptions } from './registrar.js';
import {
  contactLines,
  isRefusal,
  type Refusal,
  readRegister,
  sameContact,
  type Wanted,
  type WantedContact,
} from './request.js';
import { ownServiceRoute, serviceRouteOf } from './service-route.js';
import { bare, carried, copy, ourContact, stale } from './upstream-text.js';

/** 24 characters of base64url: 144 bits. */
const DERIVED_CHARS = 24;
/** All hops together answer within this, so that the phone hears before its own 64·T1 is over. */
const ANSWER_WITHIN_MS = 28_000;
/** Of the hops that share this time; more would get too little of it. */
const MOST_TRIES = 4;
/** What the phone needs to answer a challenge, on top. */
const HOLD_MS = 4000;
/** Answers that say that the upstream is not there, rather than what it thinks of the phone. */
const FAILURES: ReadonlySet<number> = new Set([408, 503, 504]);
/** Sources with a proven return path get so much more than those without. */
const PROVEN_FACTOR = 10;

/**
 * REGISTERs to domains that we front. The upstream authenticates and decides; we put ourselves in as the contact
 * and keep what its 200 confirms. The Request-URI and the credentials pass unchanged, so that the digest holds
 * end to end.
 */
export class UpstreamRegistrar {
  readonly #o: RegistrarOptions;
  readonly #m: RegistrarModules;
  readonly #bindings: Bindings;
  readonly #tokens: FlowTokens;
  /** Upstreams whose replies have said `Supported: path`. */
  readonly #pathTo = new Set<string>();
  readonly #budget: Budget;
  readonly #provenBudget: Budget;
  /** Digest realm of each upstream domain, as its own challenges name it. */
  readonly #realms = new Map<string, string>();
  readonly #leases: Leases;
  #pending = 0;

  constructor(
    options: RegistrarOptions,
    modules: RegistrarModules,
    bindings: Bindings,
    leases: Leases,
    tokens: FlowTokens,
  ) {
    this.#tokens = tokens;
    this.#o = options;
    this.#m = modules;
    this.#bindings = bindings;
    this.#leases = leases;
    this.#budget = new Budget(options.registrar.unprovenRate);
    this.#provenBudget = new Budget(options.registrar.unprovenRate * PROVEN_FACTOR);
  }

  /** Forwarded REGISTERs of sources that no upstream has vouched for share one rate and one number under way. */
  admits(now: Mono, flow: Flow | undefined): boolean {
    if (flow !== undefined && this.#bindings.byFlow(flow).length > 0) return true;
    if (flow?.proven === true) return this.admitsProven(now);
    return this.#pending < this.#o.registrar.unprovenPending && this.#budget.take(now);
  }

  /** The budget of those who have shown that they receive where they send from: floods with forged sources can't touch it. */
  admitsProven(now: Mono): boolean {
    return this.#pending < this.#o.registrar.unprovenPending * PROVEN_FACTOR && this.#provenBudget.take(now);
  }

  /** Undefined until the upstream has challenged somebody. */
  realmOf(domain: string): string | undefined {
    return this.#realms.get(domain);
  }

  /** `push`: lines of the 200. */
  register(inbound: Inbound, domain: UpstreamDomain, st: ServerTransaction, push: string): void {
    const { now, m, tx } = inbound;
    const refuse = (r: Refusal): void => {
      st.reply(
        now,
        r.status,
        r.headers === undefined ? { reason: r.reason } : { headers: r.headers, reason: r.reason },
        tx,
      );
    };
    const to = parseNameAddr(m.get(H.to));
    const target = to === undefined ? undefined : this.#m.domains.address(to.uri);
    if (to === undefined || target === undefined || target.domain !== domain)
      return refuse({ status: 404, reason: 'not-found' });
    const wanted = readRegister(m, undefined);
    if (isRefusal(wanted)) return refuse(wanted);
    if (wanted.contacts.length > this.#o.registrar.maxContacts)
      return refuse({ status: 403, reason: 'too-many-contacts' });
    if (m.maxForwards === 0) return refuse({ status: 483, reason: 'too-many-hops' });

    const known = this.#bindings.of(target.aor);
    const refreshed =
      known.length === 0 || inbound.echoed === true ? undefined : this.#leases.refreshed(m, st.flow, known, wanted);
    if (refreshed !== undefined) {
      const by = this.#leases.answers(now, target.aor, domain.name, refreshed);
      if (by !== undefined) return this.#refresh(now, st, wanted.cseq, wanted.contacts, refreshed, by, push, tx);
      this.#hold(now, refreshed);
    }
    const aor = own(target.aor);
    const contacts = wanted.contacts.map((c): Mapped => {
      const binding = known.find(b => sameContact(b, c));
      return {
        wanted: {
          contact: own(c.contact),
          seconds: c.seconds,
          explicit: c.explicit,
          q: c.q,
          instance: own(c.instance),
          regId: c.regId,
          params: own(c.params),
        },
        opaque:
          binding?.opaque ?? this.#derive(`contact ${aor} ${c.regId > 0 ? `${c.instance} ${c.regId}` : c.contact}`),
      };
    });
    // Our own challenge was answered: the upstream must not see credentials for a nonce that it never made.
    const echoed = inbound.echoed === true;
    if (echoed) st.flow.proven = true;
    this.#pending++;
    this.#leases.sent(aor);
    new Relayed(
      this,
      {
        st,
        domain,
        aor,
        wanted: {
          callId: own(wanted.callId),
          cseq: wanted.cseq,
          wildcard: wanted.wildcard,
          contacts: [],
          userAgent: own(wanted.userAgent),
        },
        contacts,
        uri: own(m.uri),
        from: own(
          `<${bare(this.#ours(parseNameAddr(m.get(H.from))?.uri), to.uri)}>;tag=${this.#derive(`from ${m.fromTag} ${m.callId}`)}`,
        ),
        to: own(`<${bare(to.uri, to.uri)}>`),
        // One Call-ID of ours for each of theirs, rising with the same CSeq: the upstream's own rule of order holds.
        callId: this.#derive(`call-id ${aor} ${m.callId}`),
        maxForwards: m.maxForwards < 0 ? 70 : m.maxForwards - 1,
        carried: carried(m, !echoed, wanted.wildcard || !this.#leases.on),
        echoed,
        user: echoed ? '' : userOf(m),
        refreshed,
        push,
      },
      now,
    ).next(now, tx);
  }

  /** Who registers, when he names a domain of ours; any other host is a place on the phone's side. */
  #ours(uri: string | undefined): string | undefined {
    return uri === undefined || this.#m.domains.address(uri) === undefined ? undefined : uri;
  }

  /** @internal */
  send(now: Mono, r: RelayedParts, hop: NextHop, user: Relayed, tx: Tx): boolean {
    const flow = this.#m.flows.dialled(now, hop.listener.via, hop.endpoint, hop.host);
    if (flow === undefined) return false;
    const branch = this.#m.transactions.newBranch();
    let headers = '';
    if (r.wanted.wildcard) headers += headerLine('Contact', '*');
    for (const c of r.contacts) {
      const q = c.wanted.q === 1 ? '' : `;q=${c.wanted.q}`;
      const seconds = this.#leases.asked(r.domain.name, c.wanted.seconds);
      const expires = c.wanted.explicit || this.#leases.on ? `;expires=${seconds}` : '';
      headers += headerLine('Contact', `<${ourContact(c.opaque, hop)}>${q}${expires}`);
    }
    if (r.contacts.length > 0 && this.#pathTo.has(r.domain.name)) {
      const token = this.#tokens.mint(r.st.flow);
      headers += headerLine('Supported', 'path') + headerLine('Path', `<${ourContact(token, hop)};lr;ob>`);
    }
    const text = buildRequest({
      method: 'REGISTER',
      uri: r.uri,
      via: { transport: hop.transport, sentBy: hop.listener.sentBy, branch },
      maxForwards: r.maxForwards,
      from: r.from,
      to: r.to,
      callId: r.callId,
      cseq: r.wanted.cseq,
      headers: headers + r.carried,
    });
    const timeoutMs = Math.floor(ANSWER_WITHIN_MS / user.tries);
    return (
      this.#m.transactions.request(now, { method: 'REGISTER', text, branch, flow, user, timeoutMs }, tx) !== undefined
    );
  }

  /** @internal The upstream's final answer, put back into the phone's terms. */
  answered(now: Mono, r: RelayedParts, m: MessageView, tx: Tx): void {
    this.#pending--;
    const failed = FAILURES.has(m.status);
    this.#leases.came(now, r.aor, r.domain.name, failed);
    if (failed && this.#bridged(now, r, tx)) return;
    if (hasToken(m.list(H.supported), 'path')) this.#pathTo.add(r.domain.name);
    if (m.status >= 200 && m.status < 300) return this.#accepted(now, r, m, tx);
    let headers = '';
    if (m.status === 401 || m.status === 407) {
      this.#learnRealm(r.domain.name, m);
      const mark = r.echoed ? stale : undefined;
      if (r.user !== '' && !/\bstale[ \t]*=[ \t]*"?true/i.test(m.get(H.wwwAuthenticate))) this.#refused(now, r, false);
      headers =
        copy(m, H.wwwAuthenticate, 'WWW-Authenticate', mark) + copy(m, H.proxyAuthenticate, 'Proxy-Authenticate', mark);
    }
    if (m.status === 403) this.#refused(now, r, true);
    if (m.status === 423) {
      headers = copy(m, H.minExpires, 'Min-Expires');
      this.#leases.tooBrief(r.domain.name, parseExpires(m.get(H.minExpires)) ?? 0);
    }
    if (m.status === 500 || m.status === 503) headers = copy(m, H.retryAfter, 'Retry-After');
    // RFC 3261 §16.7 step 6: the upstream's 503 says nothing about us.
    const status = m.status === 503 ? 500 : m.status;
    r.st.reply(
      now,
      status,
      { headers, reason: m.status === 401 || m.status === 407 ? 'challenge' : 'peer-rejected' },
      tx,
    );
  }

  /** @internal No hop answered, or none was known. */
  unanswered(now: Mono, r: RelayedParts, tried: boolean, tx: Tx): void {
    this.#pending--;
    this.#leases.came(now, r.aor, r.domain.name, true);
    if (this.#bridged(now, r, tx)) return;
    const headers = headerLine('Retry-After', '10');
    r.st.reply(now, tried ? 504 : 503, { headers, reason: tried ? 'next-hop-down' : 'unresolvable' }, tx);
  }

  #learnRealm(domain: string, m: MessageView): void {
    const realm = parseAuth(m.get(H.wwwAuthenticate))?.params.get('realm');
    if (realm !== undefined && realm.length <= 128 && safeValue(realm)) this.#realms.set(domain, own(realm));
  }

  #accepted(now: Mono, r: RelayedParts, m: MessageView, tx: Tx): void {
    const flow = r.st.flow;
    flow.proven = true;
    const listed = new Map<string, number>();
    const header = m.has(H.expires) ? parseExpires(m.get(H.expires)) : undefined;
    for (const c of parseContacts(m) ?? []) {
      const user = parseUri(c.uri)?.user;
      if (user !== undefined) listed.set(user, c.expires ?? header ?? -1);
    }
    const serviceRoute = serviceRouteOf(m);
    const batch: StoreWrite[] = [];
    let refreshOnly = true;
    const remove = (b: Binding | undefined): void => {
      if (b === undefined) return;
      refreshOnly = false;
      this.#bindings.remove(now, b, 'removed', batch);
    };
    if (r.wanted.wildcard) for (const b of [...this.#bindings.of(r.aor)]) remove(b);
    for (const { wanted: c, opaque } of r.contacts) {
      const known = this.#bindings.byOpaque(opaque);
      // A younger REGISTER of the same phone has been answered meanwhile.
      if (known !== undefined && known.callId === r.wanted.callId && known.cseq > r.wanted.cseq) continue;
      const said = listed.get(opaque);
      const seconds = said === -1 ? c.seconds : (said ?? 0);
      if (seconds <= 0 || c.seconds === 0) {
        remove(known);
        continue;
      }
      // The stream closed while the upstream thought.
      if (!flow.alive) continue;
      const granted = Math.min(seconds, 86_400 * 7);
      if (known === undefined && this.#bindings.size >= this.#o.registrar.maxBindings) {
        this.#m.counts.add('binding-limit');
        continue;
      }
      const fields = {
        aor: r.aor,
        domain: r.domain.name,
        kind: 'upstream' as const,
        opaque,
        contact: c.contact,
        params: c.params,
        flow,
        expires: now + this.#leases.told(c, flow, c.seconds, granted * 1000) * 1000,
        registered: now,
        q: c.q,
        callId: r.wanted.callId,
        cseq: r.wanted.cseq,
        instance: c.instance,
        regId: c.regId,
        path: NO_PATH,
        userAgent: r.wanted.userAgent,
        serviceRoute,
        lease: this.#leases.granted(now, granted, r.user),
      };
      if (known !== undefined) this.#leases.settled(now, known);
      if (known === undefined) {
        refreshOnly = false;
        this.#bindings.add(now, fields, batch);
      } else if (this.#bindings.refresh(now, known, fields, batch)) refreshOnly = false;
    }
    const own = this.#bindings.of(r.aor).filter(b => listed.has(b.opaque));
    const headers = contactLines(now, own) + ownServiceRoute(this.#m.realms.listener(flow.via), own) + r.push;
    if (refreshOnly) {
      if (batch.length > 0) this.#m.journal.put(batch);
      r.st.reply(now, 200, { headers }, tx);
      return;
    }
    const asked = this.#m.journal.commit(now, batch, (at, ok, later) => {
      if (!ok) this.#m.counts.add('store-failed');
      r.st.reply(at, 200, { headers }, later ?? this.#m.transactions.tx);
    });
    if (asked) return;
    // The upstream has bound it already, so it stands; only its copy on disk is late.
    this.#m.counts.add('ask-limit');
    this.#m.journal.put(batch);
    r.st.reply(now, 200, { headers }, tx);
  }

  /** A refresh that its upstream needn't hear of, or can't. */
  #refresh(
    now: Mono,
    st: ServerTransaction,
    cseq: number,
    asked: readonly { readonly seconds: number }[],
    bindings: readonly Binding[],
    by: 'lease' | 'grace',
    push: string,
    tx: Tx,
  ): void {
    const batch: StoreWrite[] = [];
    for (const [i, b] of bindings.entries()) {
      if (b.lease === undefined) continue;
      const end = by === 'lease' && b.lease.until > now ? b.lease.until : this.#leases.end(b);
      const seconds = this.#leases.told(b, b.flow, asked[i]?.seconds ?? 0, end - now);
      b.cseq = cseq;
      b.expires = now + seconds * 1000;
      if (by === 'grace') this.#leases.bridge(now, b);
      this.#bindings.refresh(now, b, b, batch);
    }
    if (by === 'grace') this.#leases.counts.bridged++;
    else this.#leases.counts.local++;
    this.#m.journal.put(batch);
    const route = ownServiceRoute(this.#m.realms.listener(st.flow.via), bindings);
    st.reply(now, 200, { headers: contactLines(now, this.#bindings.of(bindings[0]?.aor ?? '')) + route + push }, tx);
  }

  /** A phone refreshes in time; that the upstream thinks for long must not cost it its binding. */
  #hold(now: Mono, bindings: readonly Binding[]): void {
    for (const b of bindings) {
      const until = Math.min(now + ANSWER_WITHIN_MS + HOLD_MS, this.#leases.end(b));
      if (b.expires >= until) continue;
      b.expires = until;
      this.#m.wheel.arm(b, until);
    }
  }

  /** Whether the phone has its 200 although the upstream failed. */
  #bridged(now: Mono, r: RelayedParts, tx: Tx): boolean {
    const kept = r.refreshed ?? [];
    const bridges = (b: Binding): boolean =>
      this.#bindings.byOpaque(b.opaque) === b && b.flow === r.st.flow && b.flow.alive && this.#leases.end(b) > now;
    if (kept.length === 0 || !kept.every(bridges)) return false;
    this.#refresh(
      now,
      r.st,
      Math.max(r.wanted.cseq, ...kept.map(b => b.cseq)),
      r.contacts.map(c => c.wanted),
      kept,
      'grace',
      r.push,
      tx,
    );
    return true;
  }

  /** The upstream says no to a phone that it knew: with its last word the binding ends. */
  #refused(now: Mono, r: RelayedParts, final: boolean): void {
    const kept = (r.refreshed ?? []).filter(b => this.#bindings.byOpaque(b.opaque) === b);
    if (kept.length === 0 || (!final && !this.#leases.refused(kept))) return;
    const batch: StoreWrite[] = [];
    for (const b of kept) this.#bindings.remove(now, b, 'removed', batch);
    this.#m.journal.put(batch);
  }

  /** The same input gives the same name after a restart, so that an upstream never collects second contacts; nobody else can make it. */
  #derive(input: string): string {
    return createHmac('sha256', this.#o.secret).update(input, 'latin1').digest('base64url').slice(0, DERIVED_CHARS);
  }
}

interface Mapped {
  readonly wanted: Omit<WantedContact, 'uri'>;
  readonly opaque: string;
}

/** All that one relayed REGISTER keeps while the upstream thinks. Strings are owned. */
interface RelayedParts {
  readonly st: ServerTransaction;
  readonly domain: UpstreamDomain;
  readonly aor: string;
  /** Without its contacts, which stand beside it. */
  readonly wanted: Wanted;
  readonly contacts: readonly Mapped[];
  readonly uri: string;
  readonly from: string;
  readonly to: string;
  readonly callId: string;
  readonly maxForwards: number;
  readonly carried: string;
  readonly echoed: boolean;
  /** Digest user name, '' without credentials. */
  readonly user: string;
  /** The bindings that it leaves as they are, when it does. */
  readonly refreshed: readonly Binding[] | undefined;
  /** Further lines of the 200. */
  readonly push: string;
}

/** One REGISTER on its way over the next hops of its domain, in order (RFC 3263 §4.3). */
class Relayed implements ClientUser {
  readonly #registrar: UpstreamRegistrar;
  readonly #r: RelayedParts;
  readonly #hops: readonly NextHop[];
  #tried = 0;

  constructor(registrar: UpstreamRegistrar, parts: RelayedParts, now: Mono) {
    this.#registrar = registrar;
    this.#r = parts;
    this.#hops = parts.domain.next.current(now).slice(0, MOST_TRIES);
  }

  /** How many hops share the time there is. */
  get tries(): number {
    return this.#hops.length;
  }

  next(now: Mono, tx: Tx): void {
    for (;;) {
      const hop = this.#hops[this.#tried++];
      if (hop === undefined) return this.#registrar.unanswered(now, this.#r, this.#hops.length > 0, tx);
      if (this.#registrar.send(now, this.#r, hop, this, tx)) return;
    }
  }

  onResponse(now: Mono, ct: ClientTransaction, m: MessageView, tx: Tx): void {
    if (m.status < 200) return;
    if (m.status === 503 && this.#tried < this.#hops.length) return this.#elsewhere(now, ct, tx);
    this.#registrar.answered(now, this.#r, m, tx);
  }

  onTimeout(now: Mono, ct: ClientTransaction, tx: Tx): void {
    this.#elsewhere(now, ct, tx);
  }

  onTransportError(now: Mono, ct: ClientTransaction, tx: Tx): void {
    this.#elsewhere(now, ct, tx);
  }

  #elsewhere(now: Mono, ct: ClientTransaction, tx: Tx): void {
    this.#r.domain.next.failed(now, ct.flow);
    this.next(now, tx);
  }
}
