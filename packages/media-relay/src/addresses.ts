import { canonicalAddress, familyOf } from '@drawbridge/core';
import { type MediaRelayOptions, RelayOptionsError } from './api.js';
import { MAX_ADDRESSES, type RelayAddress } from './path/path.js';

/** Every address once, canonical; throws for what no data path could use. */
export function relayAddresses(options: MediaRelayOptions): RelayAddress[] {
  const [first, last] = options.ports;
  if (!Number.isInteger(first) || !Number.isInteger(last) || first < 1024 || last > 65535 || last <= first) {
    throw new RelayOptionsError(
      'bad-ports',
      `Relay ports ${first}-${last}: give two ports between 1024 and 65535, the second higher.`,
    );
  }
  const list: RelayAddress[] = [];
  for (const realm of options.realms) {
    for (const a of realm.addresses) {
      const bind = canonicalAddress(a.bind);
      const advertise = canonicalAddress(a.advertise ?? a.bind);
      if (bind === undefined || advertise === undefined)
        throw new RelayOptionsError(
          'bad-address',
          `Realm ${realm.name}: ${bind === undefined ? a.bind : a.advertise} is not an IP address.`,
        );
      if (bind === '0.0.0.0' || bind === '::')
        throw new RelayOptionsError(
          'bad-address',
          `Realm ${realm.name}: media needs an address of its own; ${bind} means all of them.`,
        );
      if (list.some(x => x.bind === bind))
        throw new RelayOptionsError(
          'bad-address',
          `Realm ${realm.name}: ${bind} carries media for another realm already.`,
        );
      list.push({ realm: realm.name, bind, advertise, family: familyOf(bind) });
    }
  }
  if (list.length === 0) throw new RelayOptionsError('no-address', 'No realm has an address for media.');
  if (list.length > MAX_ADDRESSES)
    throw new RelayOptionsError('bad-address', `At most ${MAX_ADDRESSES} addresses can carry media.`);
  return list;
}
