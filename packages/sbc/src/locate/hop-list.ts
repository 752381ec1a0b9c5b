import { type Endpoint, Endpoints, formatEndpoint, type Mono, type Random } from '@drawbridge/core';
import {
  drawByWeight,
  type Flow,
  type Located,
  type LocateOptions,
  locate,
  parseUri,
  type SipUri,
  type Tier,
} from '@drawbridge/sip';
import type { Realm, RealmListener, Realms, Transport } from '../realms.js';

/** Where requests to a configured peer go: an address, and the socket of ours that reaches it. */
export interface NextHop {
  readonly endpoint: Endpoint;
  readonly packed: Endpoints;
  readonly transport: Transport;
  readonly listener: RealmListener;
  /** Host of the configured URI: what a certificate there must name (RFC 5922 §4). */
  readonly host: string;
}

/** How long a hop that failed comes after all others, ms. */
const DOWN_MS = 30_000;
/** Most addresses that one list uses. */
const MOST_HOPS = 64;

export interface HopListOptions {
  /** The configured name of whom this reaches: in log lines and metrics. */
  readonly name: string;
  /** `sip:` and `sips:` URIs, most preferred first, as the schema let them through. */
  readonly uris: readonly string[];
  /** Only sockets of this realm; undefined: the realm whose network has the address. */
  readonly realm?: Realm | undefined;
}

export interface HopListModules {
  readonly realms: Realms;
  readonly random: Random;
}

interface Choice {
  readonly weight: number;
  readonly hops: readonly NextHop[];
}

/** One configured URI and what is known of where it leads. */
class Place {
  readonly text: string;
  readonly uri: SipUri | undefined;
  located: Located | undefined = undefined;
  tiers: readonly (readonly Choice[])[] = [];
  /** Addresses that no socket of ours reaches. */
  unreachable: readonly string[] = [];

  constructor(text: string) {
    this.text = text;
    this.uri = parseUri(text);
  }

  get hops(): readonly NextHop[] {
    return this.tiers.flatMap(t => t.flatMap(c => c.hops));
  }
}

/** What is known of one configured URI, for people. */
export interface PlaceFacts {
  readonly uri: string;
  readonly hops: readonly {
    readonly transport: Transport;
    /** Address and port. */
    readonly place: string;
    /** It has failed lately and comes last. */
    readonly down: boolean;
  }[];
  /** ms until it is asked again; undefined for what needs no DNS. */
  readonly againInMs?: number | undefined;
  /** The last good answer serves, since nobody gives a newer one. */
  readonly stale: boolean;
  /** Why there is none, or not all: plain sentences. */
  readonly why: string;
}

/**
 * The next hops of one configured peer in the order of RFC 3263 and RFC 2782, kept resolved in the background by a `Locator`:
 * whoever sends asks `current` and never waits. A list of literal addresses is complete at once and needs no locator.
 */
export class HopList {
  readonly name: string;
  readonly realm: Realm | undefined;
  readonly #places: readonly Place[];
  readonly #m: HopListModules;
  readonly #down = new Map<string, Mono>();
  #all: readonly NextHop[] = [];
  /** The order, where no draw decides it. */
  #fixed: readonly NextHop[] | undefined = [];

  constructor(options: HopListOptions, modules: HopListModules) {
    this.name = options.name;
    this.realm = options.realm;
    this.#m = modules;
    this.#places = options.uris.map(text => new Place(text));
    const nothing = (): undefined => undefined;
    this.#places.forEach((p, i) => {
      if (p.uri === undefined) return;
      const now = locate(p.uri, this.options, nothing);
      if (now.missing.length === 0) this.update(i, now);
    });
  }

  /** Every hop that is known, in the order of the configuration. */
  get all(): readonly NextHop[] {
    return this.#all;
  }

  /** What our sockets toward there can do. */
  get options(): LocateOptions {
    const listeners = this.realm?.listeners ?? this.#m.realms.listeners;
    const transports = TRANSPORTS.filter(t => listeners.some(l => l.transport === t));
    const families = ([4, 6] as const).filter(f => listeners.some(l => l.family === f));
    return { transports, families };
  }

  /** URIs that need the DNS, by their place in the configuration. */
  get named(): readonly { readonly place: number; readonly uri: SipUri; readonly text: string }[] {
    return this.#places.flatMap((p, place) =>
      p.uri === undefined || p.located?.until === Number.POSITIVE_INFINITY ? [] : [{ place, uri: p.uri, text: p.text }],
    );
  }

  /** In the order in which to try them: priorities, weights drawn anew, those that failed lately last. Empty: nowhere to go. */
  current(now: Mono): readonly NextHop[] {
    const order = this.#fixed ?? this.#draw();
    if (this.#down.size === 0) return order;
    for (const [key, until] of this.#down) if (until <= now) this.#down.delete(key);
    if (this.#down.size === 0 || order.length < 2) return order;
    const failed = (n: NextHop): boolean => this.#down.has(keyOf(n.transport, n.endpoint));
    return [...order.filter(n => !failed(n)), ...order.filter(failed)];
  }

  /** A hop was silent, unreachable or said 503: it comes last for a while. Who isn't in the list is ignored. */
  failed(now: Mono, hop: NextHop | Flow): void {
    const known = this.find(hop);
    if (known !== undefined) this.#down.set(keyOf(known.transport, known.endpoint), now + DOWN_MS);
  }

  isDown(now: Mono, hop: NextHop | Flow): boolean {
    if (this.#down.size === 0) return false;
    const known = this.find(hop);
    return known !== undefined && (this.#down.get(keyOf(known.transport, known.endpoint)) ?? 0) > now;
  }

  /** The hop that a flow leads to. */
  find(hop: NextHop | Flow): NextHop | undefined {
    if ('packed' in hop) return this.#all.find(n => n.transport === hop.transport && n.packed.equal(0, hop.packed, 0));
    return this.#all.find(n => n.transport === hop.transport && n.packed.equal(0, hop.peer, hop.j));
  }

  /** What is known now of the URI at a place. True: the addresses have changed. */
  update(place: number, located: Located): boolean {
    const p = this.#places[place];
    if (p === undefined) return false;
    const before = this.#all;
    const unreachable = new Set<string>();
    p.located = located;
    p.tiers = located.tiers.map(t => this.#reachable(p, t, unreachable)).filter(t => t.length > 0);
    p.unreachable = [...unreachable];
    this.#all = this.#places.flatMap(x => x.hops).slice(0, MOST_HOPS);
    const drawn = this.#places.some(x => x.tiers.some(t => t.length > 1));
    this.#fixed = drawn ? undefined : this.#all;
    if (before.length === this.#all.length && before.every((n, i) => same(n, this.#all[i]))) return false;
    for (const key of this.#down.keys())
      if (!this.#all.some(n => keyOf(n.transport, n.endpoint) === key)) this.#down.delete(key);
    return true;
  }

  facts(now: Mono): PlaceFacts[] {
    return this.#places.map(p => {
      const { located } = p;
      const until = located?.until;
      return {
        uri: p.text,
        hops: p.hops.map(n => ({
          transport: n.transport,
          place: formatEndpoint(n.endpoint),
          down: this.isDown(now, n),
        })),
        againInMs: until === undefined || until === Number.POSITIVE_INFINITY ? undefined : Math.max(0, until - now),
        stale: located?.stale === true,
        why: whyOf(p),
      };
    });
  }

  #reachable(p: Place, tier: Tier, unreachable: Set<string>): Choice[] {
    const choices: Choice[] = [];
    for (const server of tier) {
      const hops: NextHop[] = [];
      for (const c of server.candidates) {
        const endpoint = { address: c.address, port: c.port };
        const packed = Endpoints.of(endpoint);
        const transport = c.transport as Transport;
        const listener = this.#m.realms.towards(packed, 0, transport, this.realm);
        if (listener === undefined) unreachable.add(`${c.transport} ${c.address}`);
        else hops.push({ endpoint, packed, transport, listener, host: p.uri?.host ?? '' });
      }
      if (hops.length > 0) choices.push({ weight: server.weight, hops });
    }
    return choices;
  }

  #draw(): readonly NextHop[] {
    const order: NextHop[] = [];
    for (const p of this.#places)
      for (const tier of p.tiers) for (const c of drawByWeight(tier, this.#m.random)) order.push(...c.hops);
    return order.length > MOST_HOPS ? order.slice(0, MOST_HOPS) : order;
  }
}

/** Our own order of preference where a domain states none. */
const TRANSPORTS: readonly Transport[] = ['udp', 'tcp', 'tls'];

function keyOf(transport: Transport, e: Endpoint): string {
  return `${transport} ${formatEndpoint(e)}`;
}

function same(a: NextHop, b: NextHop | undefined): boolean {
  return b !== undefined && a.transport === b.transport && a.listener === b.listener && a.packed.equal(0, b.packed, 0);
}

function whyOf(p: Place): string {
  const sentences: string[] = [];
  if (p.uri === undefined) sentences.push('this is no SIP URI');
  else if (p.located === undefined) sentences.push('the DNS has not answered yet');
  else if (p.located.why !== '' && (p.located.stale || p.tiers.length === 0)) sentences.push(p.located.why);
  for (const u of p.unreachable) sentences.push(`no realm has ${u} in its networks with such a socket`);
  return sentences.join('; ');
}
