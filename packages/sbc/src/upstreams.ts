import { canonicalAddress, type Random } from '@drawbridge/core';
import type { Config } from './config.js';
import type { Domain } from './domains.js';
import { HopList } from './locate/hop-list.js';
import type { Realms } from './realms.js';

/** Configured domains over the sockets that opened. Where an upstream's host names lead is found out afterwards. */
export function makeDomains(config: NonNullable<Config['domains']>, realms: Realms, random: Random): Domain[] {
  return Object.entries(config).map(([written, d]): Domain => {
    const name = canonicalAddress(written) ?? written.toLowerCase();
    if (d.kind === 'local')
      return { kind: 'local', name, ...(d.algorithms === undefined ? {} : { algorithms: d.algorithms }) };
    const realm = d.realm === undefined ? undefined : realms.byName(d.realm);
    return { kind: 'upstream', name, next: new HopList({ name, uris: d.next, realm }, { realms, random }) };
  });
}
