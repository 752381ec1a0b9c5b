import type { Endpoints, Random, Via } from '@drawbridge/core';
import { type Flow, isSecure, namesHost } from '@drawbridge/sip';
import type { Keeper } from '../decide/plan.js';
import type { Identity } from '../inbound.js';
import { HopList } from '../locate/hop-list.js';
import type { Realms } from '../realms.js';
import type { PrefixTable, Tariff } from '../route/prefix-table.js';
import type { TrunksConfig } from './config.js';
import { Trunk, type TrunkModules, type TrunkSecrets, TrunkUse } from './trunk.js';

/** What the outside adds to the configuration of the trunks, by name. */
export interface TrunkParts {
  /** Prefix tables that were read from files. */
  readonly prefixes: ReadonlyMap<string, PrefixTable<Tariff>>;
  /** Those that don't stand in the configuration itself. */
  readonly secrets: ReadonlyMap<string, TrunkSecrets>;
}

export const NO_TRUNK_PARTS: TrunkParts = { prefixes: new Map(), secrets: new Map() };

export interface TrunksModules {
  readonly realms: Realms;
  readonly random: Random;
  readonly onChange: TrunkModules['onChange'];
}

/** The configured trunks, by name and by who sends. */
export class Trunks {
  readonly all: readonly Trunk[];
  readonly #byName = new Map<string, Trunk>();
  readonly #realms: Realms;

  constructor(config: TrunksConfig, parts: TrunkParts, modules: TrunksModules) {
    this.#realms = modules.realms;
    const { realms, random } = modules;
    this.all = Object.entries(config).map(
      ([name, o]) =>
        new Trunk(name, o, {
          hops: new HopList(
            { name, uris: o.next, realm: o.realm === undefined ? undefined : realms.byName(o.realm) },
            { realms, random },
          ),
          secrets: { register: o.register?.password, auth: o.auth?.password, ...parts.secrets.get(name) },
          random: modules.random,
          onChange: modules.onChange,
        }),
    );
    for (const t of this.all) this.#byName.set(t.name, t);
  }

  get(name: string): Trunk | undefined {
    return this.#byName.get(name);
  }

  /** Counts a call that came from a trunk, and looks after our requests toward its caller. */
  keeperOf(identity: Identity): Keeper | undefined {
    if (identity.kind !== 'trunk') return undefined;
    const trunk = this.#byName.get(identity.trunk);
    if (trunk === undefined) return undefined;
    trunk.calls.in++;
    return new TrunkUse(trunk);
  }

  /** Registrations of ours that hold. */
  get registeredCount(): number {
    return this.all.filter(t => t.registered === true).length;
  }

  /** Next hops whose names the DNS has to resolve. */
  get hopLists(): readonly HopList[] {
    return this.all.map(t => t.hops);
  }

  /**
   * Whose trunk a source is: its address and transport, asked in the realm where the trunk lives, never what the message
   * says. Where no networks are configured a datagram must come from a port of `next` too.
   */
  peer(via: Via, peer: Endpoints, j: number, flow?: Flow): Trunk | undefined {
    for (const t of this.all) if (this.#sends(t, via, peer, j, false, flow)) return t;
    return undefined;
  }

  /** Whether an address belongs to one given trunk, from any port: for requests inside its dialogs. */
  isPeerOf(name: string, via: Via, peer: Endpoints, j: number, flow?: Flow): boolean {
    const t = this.#byName.get(name);
    return t !== undefined && this.#sends(t, via, peer, j, true, flow);
  }

  #sends(t: Trunk, via: Via, peer: Endpoints, j: number, anyPort: boolean, flow: Flow | undefined): boolean {
    const { realm, transport } = this.#realms.listener(via);
    const home = t.hops.realm;
    if (home !== undefined && home !== realm) return false;
    const { certificate } = t.o;
    if (certificate !== undefined) {
      // A name that was proven says who it is; networks, where there are any, must fit as well (RFC 5922 §7).
      if (!isSecure(transport) || flow === undefined || !namesHost(flow.certificateNames, certificate)) return false;
      return t.networks === undefined || t.networks.has(peer, j);
    }
    if (t.networks !== undefined) return t.networks.has(peer, j);
    return t.hops.all.some(
      h =>
        h.listener.realm === realm &&
        (transport === 'udp' && !anyPort ? h.packed.equal(0, peer, j) : h.packed.sameAddress(0, peer, j)),
    );
  }
}
