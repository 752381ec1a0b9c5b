import type { Mono, Random, Reason } from '@drawbridge/core';
import type { SipUri } from '@drawbridge/sip';
import type { Target } from '../decide/plan.js';
import type { Wanted } from '../decide/wanted.js';
import type { Identity } from '../inbound.js';
import type { Shard } from '../shard.js';
import { trunkTarget } from '../trunk/targets.js';
import { type Trunk, TrunkUse } from '../trunk/trunk.js';
import type { Trunks } from '../trunk/trunks.js';
import type { PlaceConfig, RouteConfig, RoutingConfig } from './config.js';
import { type Dialled, dialledIn } from './dialled.js';
import { enumStep } from './enum.js';
import { matchesAny, withinTime } from './pattern.js';
import { PrefixTable, type Tariff, tariffPrefix } from './prefix-table.js';
import { Search, type Step } from './search.js';
import { inOrder } from './strategy.js';

/** Who asks for what, of the tables. */
export interface Asked {
  readonly now: Mono;
  readonly identity: Identity;
  /** `user@domain` of a subscriber, otherwise what From says. */
  readonly caller: string;
  readonly dialled: Dialled;
  /** The host is one of ours, or there is none (tel). */
  readonly ours: boolean;
  readonly wanted: Wanted;
}

/** Whoever is at an address of our own domains; a reason when nobody is. */
export type Locate = (address: string) => readonly Target[] | Reason;

export interface RoutingModules {
  readonly trunks: Trunks;
  readonly random: Random;
  /** ms since 1970. */
  wall(): number;
  /** Prefix tables that were read from files. */
  readonly files: ReadonlyMap<string, PrefixTable<Tariff>>;
}

/** Places one after the other, a refusal, or just one address of ours. */
export type Routed = Search | { readonly reject: number } | { readonly address: string };

/** Routes, groups and tables of the configuration: a number and its caller → places to try, in order. */
export class Routing {
  readonly o: RoutingConfig;
  /** Emergency calls under way. */
  readonly emergencies = { active: 0 };
  readonly #m: RoutingModules;
  readonly #tables = new Map<string, PrefixTable<Tariff>>();
  readonly #dids = new Map<string, { readonly whole: Map<string, string>; readonly heads: PrefixTable<string> }>();
  readonly #turns = new Map<string, number>();

  constructor(config: RoutingConfig, modules: RoutingModules) {
    this.o = config;
    this.#m = modules;
    for (const [name, p] of Object.entries(config.prefixes)) {
      const table = 'table' in p ? new PrefixTable<Tariff>() : (modules.files.get(name) ?? new PrefixTable<Tariff>());
      if ('table' in p) for (const e of p.table) table.add(tariffPrefix(e.prefix), { trunk: e.trunk, cost: e.cost });
      this.#tables.set(name, table);
    }
    for (const t of modules.trunks.all) {
      const whole = new Map<string, string>();
      const heads = new PrefixTable<string>();
      for (const [number, to] of Object.entries(t.o.dids)) {
        if (number.endsWith('*')) heads.add(number.slice(0, -1), to);
        else whole.set(number, to);
      }
      this.#dids.set(t.name, { whole, heads });
    }
  }

  /** Whether there is any route. */
  get any(): boolean {
    return this.o.routes.length > 0;
  }

  /** Where a trunk's number goes: the whole number first, then its longest beginning. */
  did(trunk: Trunk, dialled: Dialled): string | undefined {
    const dids = this.#dids.get(trunk.name);
    if (dids === undefined) return undefined;
    for (const text of [dialled.e164, dialled.user]) {
      const found = text === undefined ? undefined : (dids.whole.get(text) ?? dids.heads.longest(text)?.[0]);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** The first route that matches. */
  route(shard: Shard, asked: Asked, locate: Locate, withEnum = true): Routed | undefined {
    for (const r of this.o.routes) {
      if (!this.#matches(r, asked)) continue;
      const number = rewritten(asked.dialled.e164 ?? asked.dialled.user, r.rewrite);
      return this.#search(shard, r.to, asked, number, locate, withEnum);
    }
    return undefined;
  }

  /** To one trunk, for a DID that leads to another trunk. */
  toTrunk(shard: Shard, name: string, asked: Asked): Search {
    return new Search(this.#trunkSteps(shard, [name], asked, asked.dialled.e164 ?? asked.dialled.user));
  }

  /** RFC 5031 and the numbers of the configuration: what is tried in order, whatever else is full. Undefined: no emergency. */
  emergency(shard: Shard, caller: { readonly caller: string } | undefined, number: string): Search | undefined {
    const { emergency } = this.o;
    if (emergency === undefined) return undefined;
    const steps = emergency.trunks.flatMap((name): Step[] => {
      const trunk = this.#m.trunks.get(name);
      if (trunk === undefined) return [];
      return [
        {
          targets: (now, search) => {
            const use = new TrunkUse(trunk, caller?.caller, this.emergencies);
            search.uses(use);
            const to = trunkTarget(shard, now, use, number, this.o.numbering, { anyway: true, more: search.hasMore });
            if (to !== undefined) trunk.calls.out++;
            else search.refused = 'next-hop-down';
            return to === undefined ? undefined : [to];
          },
        },
      ];
    });
    return new Search(steps);
  }

  /** The number to call for `urn:service:sos` and what is under it (RFC 5031 §4.2), or for one of the numbers at a host of ours. */
  emergencyNumber(text: string, uri: SipUri | undefined, ours: (host: string) => boolean): string | undefined {
    const numbers = this.o.emergency?.numbers;
    if (numbers === undefined) return undefined;
    if (uri === undefined) return /^urn:service:sos(?:\.|$)/i.test(text) ? numbers[0] : undefined;
    if (uri.scheme !== 'tel' && !ours(uri.host)) return undefined;
    const { user } = dialledIn(uri, this.o.numbering);
    return numbers.includes(user) ? user : undefined;
  }

  #matches(r: RouteConfig, { identity, caller, dialled, ours }: Asked): boolean {
    const { when } = r;
    // From trunk to trunk only where a route says so: nobody shall find a way through by accident.
    if (identity.kind === 'trunk' ? when.trunk?.includes(identity.trunk) !== true : when.trunk !== undefined)
      return false;
    if (when.domain === undefined ? !ours : !matchesAny(when.domain, dialled.uri.host)) return false;
    if (!matchesAny(when.to, dialled.e164, dialled.user)) return false;
    if (when.from !== undefined && !matchesAny(when.from, caller, userOf(caller))) return false;
    return withinTime(when.time, this.#m.wall());
  }

  #search(
    shard: Shard,
    places: readonly PlaceConfig[],
    asked: Asked,
    number: string,
    locate: Locate,
    withEnum: boolean,
  ): Routed {
    const steps: Step[] = [];
    let zone: string | undefined;
    for (const p of places) {
      if ('reject' in p) {
        if (steps.length === 0 && zone === undefined) return { reject: p.reject };
        continue;
      }
      if ('trunk' in p) steps.push(...this.#trunkSteps(shard, [p.trunk], asked, number));
      else if ('group' in p) steps.push(...this.#trunkSteps(shard, this.#group(p.group, asked), asked, number));
      else if ('prefixes' in p)
        steps.push(...this.#trunkSteps(shard, this.#cheapest(p.prefixes, number), asked, number));
      else if ('enum' in p) zone = p.enum;
      else {
        const address = 'address' in p ? p.address : `${number}@${p.domain}`;
        if (places.length === 1) return { address };
        steps.push(localStep(address, locate));
      }
    }
    const source = zone === undefined || !withEnum ? undefined : this.o.enum[zone];
    const late =
      source === undefined || asked.dialled.e164 === undefined
        ? undefined
        : enumStep(shard, source, asked.dialled.e164, asked.wanted);
    return new Search(steps, late);
  }

  #group(name: string, asked: Asked): string[] {
    const g = this.o.groups[name];
    if (g === undefined) return [];
    const turn = this.#turns.get(name) ?? 0;
    this.#turns.set(name, (turn + 1) % 0x4000_0000);
    const members = g.trunks.map(t => this.#m.trunks.get(t)).filter(t => t !== undefined);
    const key = g.by === 'caller' ? asked.caller : (asked.dialled.e164 ?? asked.dialled.user);
    return inOrder(members, g.strategy, { random: this.#m.random, turn, key }).map(t => t.name);
  }

  /** Longest match, then the least cost; among equals the order of the table. */
  #cheapest(name: string, number: string): string[] {
    const found = this.#tables.get(name)?.longest(number) ?? [];
    const names = [...found].sort((a, b) => a.cost - b.cost).map(f => f.trunk);
    return [...new Set(names)];
  }

  #trunkSteps(shard: Shard, names: readonly string[], asked: Asked, number: string): Step[] {
    return names.flatMap((name): Step[] => {
      const trunk = this.#m.trunks.get(name);
      if (trunk === undefined || (asked.identity.kind === 'trunk' && asked.identity.trunk === name)) return [];
      return [
        {
          targets: (now, search) => {
            const full = trunk.refuses(now, asked.caller);
            if (full !== undefined) {
              search.refused = full;
              return undefined;
            }
            const use = new TrunkUse(trunk, asked.caller);
            search.uses(use);
            const to = trunkTarget(shard, now, use, number, this.o.numbering, { anyway: false, more: search.hasMore });
            if (to === undefined) {
              search.refused = 'next-hop-down';
              return undefined;
            }
            trunk.take(now);
            trunk.calls.out++;
            return [to];
          },
        },
      ];
    });
  }
}

function localStep(address: string, locate: Locate): Step {
  return {
    targets: (_now, search) => {
      const found = locate(address);
      if (typeof found !== 'string') return found;
      search.refused = found;
      return undefined;
    },
  };
}

function rewritten(number: string, rewrite: RouteConfig['rewrite']): string {
  return rewrite === undefined ? number : rewrite.prepend + number.slice(rewrite.strip);
}

function userOf(caller: string): string {
  const at = caller.lastIndexOf('@');
  return at < 0 ? caller : caller.slice(0, at);
}
