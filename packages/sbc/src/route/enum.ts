import { type Mono, Waiting } from '@drawbridge/core';
import { type DnsQuestion, type DnsRecord, parseUri } from '@drawbridge/sip';
import { locate } from '../decide/locate.js';
import type { Target } from '../decide/plan.js';
import type { Wanted } from '../decide/wanted.js';
import type { Shard } from '../shard.js';
import type { RoutingConfig } from './config.js';
import { substituted } from './naptr.js';
import type { LateStep } from './search.js';

/** Records of one answer that are looked at. */
const MOST_RECORDS = 16;

type Source = RoutingConfig['enum'][string];

/**
 * RFC 6116: the DNS names SIP addresses of a number. Only an address that we would route for this caller anyway is used,
 * one of our domains or a number that a trunk takes: the DNS doesn't make us anybody's relay.
 */
export function enumStep(shard: Shard, source: Source, e164: string, wanted: Wanted): LateStep {
  const question: DnsQuestion = { name: enumName(e164, source.zone), type: 'NAPTR' };
  return {
    begin(now, found) {
      const wait = new Wait(at => found(at, [], shard.m.transactions.tx));
      const known = shard.m.locator.lookup(now, question, (at, answer, tx) => {
        if (wait.over) return;
        wait.over = true;
        shard.m.wheel.cancel(wait);
        found(at, targetsOf(shard, answer.records, e164, wanted), tx);
      });
      if (known !== undefined) return targetsOf(shard, known.records, e164, wanted);
      shard.m.wheel.arm(wait, now + source.timeout);
      return undefined;
    },
  };
}

/** A call waits no longer for the DNS than its zone may take. */
class Wait extends Waiting {
  over = false;
  readonly #late: (now: Mono) => void;

  constructor(late: (now: Mono) => void) {
    super();
    this.#late = late;
  }

  override onDue(now: Mono): void {
    this.over = true;
    this.#late(now);
  }
}

/** §3.2: the digits in reverse, a dot between each. */
export function enumName(e164: string, zone: string): string {
  return `${[...e164.slice(1)].reverse().join('.')}.${zone.toLowerCase()}`;
}

/** §3.4: by order, then preference; terminal rules of service E2U+sip only. The first that can be routed counts. */
function targetsOf(shard: Shard, records: readonly DnsRecord[], e164: string, wanted: Wanted): readonly Target[] {
  const rules = records
    .filter(r => r.type === 'NAPTR')
    .filter(r => r.flags.toLowerCase() === 'u' && isSip(r.services))
    .sort((a, b) => a.order - b.order || a.preference - b.preference)
    .slice(0, MOST_RECORDS);
  for (const rule of rules) {
    const text = substituted(rule.regexp, e164);
    const uri = text === undefined ? undefined : parseUri(text);
    if (text === undefined || uri === undefined || (uri.scheme !== 'sip' && uri.scheme !== 'tel')) continue;
    const at = locate(shard, wanted.to(text, uri));
    if (at.do === 'forward' && at.targets.length > 0) return at.targets;
  }
  return [];
}

/** `E2U+sip`, alone or among others: `E2U+pres+sip`, `E2U+sip:main`. */
function isSip(services: string): boolean {
  const [first, ...rest] = services.toLowerCase().split('+');
  return first === 'e2u' && rest.some(s => s === 'sip' || s.startsWith('sip:'));
}
