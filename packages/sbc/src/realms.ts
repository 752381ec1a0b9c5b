import {
  bracketed,
  canonicalAddress,
  ENDPOINT_WORDS,
  type Endpoint,
  type Endpoints,
  type Family,
  familyOf,
  listenerOf,
  parseAddressWords,
  type Via,
} from '@drawbridge/core';
import type { Transport } from '@drawbridge/sip';

export type { Transport };

/** One side of the border: where it listens, what it says of itself, and whom it serves there. */
export interface Realm {
  readonly name: string;
  readonly index: number;
  readonly listeners: readonly RealmListener[];
  readonly networks: readonly string[];
}

/** One socket of a realm. Its place in `Realms.listeners` is its `via`. */
export interface RealmListener {
  readonly via: Via;
  readonly realm: Realm;
  readonly transport: Transport;
  readonly family: Family;
  readonly bind: Endpoint;
  /** What goes into Via, Contact and SDP: `bind` unless the realm advertises something else. */
  readonly advertise: Endpoint;
  /** `host:port` of `advertise`, IPv6 in brackets. */
  readonly sentBy: string;
  /** What a `sip:` URI of ours says about the transport, `;transport=tls`; '' for UDP. */
  readonly uriTransport: string;
}

/** What the composition root knows of one opened socket. */
export interface OpenedListener {
  readonly realm: string;
  readonly transport: Transport;
  readonly bind: Endpoint;
  readonly advertise: Endpoint;
}

interface Network {
  readonly words: Uint32Array;
  readonly length: number;
  readonly realm: Realm;
}

/** Realms over the sockets that opened, in the order in which the driver got them. */
export class Realms {
  readonly listeners: readonly RealmListener[];
  readonly all: readonly Realm[];
  readonly #byName = new Map<string, Realm>();
  /** Longest prefix first; realms in the order of the configuration among equals. */
  readonly #networks: readonly Network[];
  readonly #own = new Set<string>();
  readonly #ownHosts = new Set<string>();

  constructor(
    realms: readonly { readonly name: string; readonly networks: readonly string[] }[],
    opened: readonly OpenedListener[],
  ) {
    const lists = realms.map((): RealmListener[] => []);
    this.all = realms.map((r, index) => ({ name: r.name, index, networks: r.networks, listeners: lists[index] ?? [] }));
    for (const realm of this.all) this.#byName.set(realm.name, realm);
    this.listeners = opened.map((o, via) => {
      const realm = this.#byName.get(o.realm);
      if (realm === undefined) throw new TypeError(`no realm ${o.realm}`);
      const listener: RealmListener = {
        via,
        realm,
        transport: o.transport,
        family: familyOf(o.bind.address),
        bind: o.bind,
        advertise: o.advertise,
        sentBy: `${bracketed(o.advertise.address)}:${o.advertise.port}`,
        uriTransport: URI_TRANSPORT[o.transport],
      };
      lists[realm.index]?.push(listener);
      for (const e of [o.bind, o.advertise]) {
        this.#own.add(`${e.address} ${e.port}`);
        this.#ownHosts.add(e.address);
      }
      return listener;
    });
    this.#networks = this.all
      .flatMap(realm => realm.networks.map(text => network(text, realm)))
      .sort((a, b) => b.length - a.length);
  }

  /** The listener of a message: itself, or the one that accepted or dialled its stream. */
  listener(via: Via): RealmListener {
    const found = this.listeners[listenerOf(via)];
    if (found === undefined) throw new RangeError(`no listener ${listenerOf(via)}`);
    return found;
  }

  of(via: Via): Realm {
    return this.listener(via).realm;
  }

  byName(name: string): Realm | undefined {
    return this.#byName.get(name);
  }

  /** Whether the realm that received a message serves its source; the realm's own most specific network decides. */
  accepts(via: Via, peer: Endpoints, j: number): boolean {
    const realm = this.of(via);
    return this.#networks.some(n => n.realm === realm && within(n, peer.words, j * ENDPOINT_WORDS));
  }

  /** The listener to send from: the most specific network over all realms (or in `realm`), then family and transport. */
  towards(peer: Endpoints, j: number, transport: Transport, realm?: Realm): RealmListener | undefined {
    const family = peer.family(j);
    for (const n of this.#networks) {
      if (realm !== undefined && n.realm !== realm) continue;
      if (!within(n, peer.words, j * ENDPOINT_WORDS)) continue;
      const found = this.sibling(n.realm, family, transport);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** The socket of a realm for one family and transport. */
  sibling(realm: Realm, family: Family, transport: Transport): RealmListener | undefined {
    return realm.listeners.find(l => l.family === family && l.transport === transport);
  }

  /** The listener a stored flow came through, when it still exists. */
  find(realm: string, transport: Transport, address: string): RealmListener | undefined {
    return this.#byName.get(realm)?.listeners.find(l => l.transport === transport && l.bind.address === address);
  }

  /** Whether a host (and port) names this border. */
  isOwn(host: string, port?: number): boolean {
    const address = canonicalAddress(host);
    if (address === undefined) return false;
    return port === undefined ? this.#ownHosts.has(address) : this.#own.has(`${address} ${port}`);
  }
}

/** RFC 3261 §19.1.1; both WebSockets are `ws` there (RFC 7118 §5.2.1). */
const URI_TRANSPORT: Readonly<Record<Transport, string>> = {
  udp: '',
  tcp: ';transport=tcp',
  tls: ';transport=tls',
  ws: ';transport=ws',
  wss: ';transport=ws',
};

function network(text: string, realm: Realm): Network {
  const slash = text.indexOf('/');
  const words = new Uint32Array(4);
  if (!parseAddressWords(slash < 0 ? text : text.slice(0, slash), words, 0))
    throw new TypeError(`not a network: ${text}`);
  const v4 = words[0] === 0 && words[1] === 0 && words[2] === 0xffff;
  const given = slash < 0 ? (v4 ? 32 : 128) : Number(text.slice(slash + 1));
  return { words, length: v4 ? given + 96 : given, realm };
}

/** IPv4 sources lie in ::ffff:0:0/96, which only prefixes of at least that length may claim. */
function within(n: Network, words: Uint32Array, at: number): boolean {
  const v4 = words[at] === 0 && words[at + 1] === 0 && words[at + 2] === 0xffff;
  if (v4 !== (n.words[0] === 0 && n.words[1] === 0 && n.words[2] === 0xffff && n.length >= 96)) return false;
  let left = n.length;
  for (let k = 0; k < 4 && left > 0; k++, left -= 32) {
    const mask = left >= 32 ? 0xffffffff : (0xffffffff << (32 - left)) >>> 0;
    if (((n.words[k]! ^ words[at + k]!) & mask) !== 0) return false;
  }
  return true;
}
