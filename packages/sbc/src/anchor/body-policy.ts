import type { Config } from '../config.js';
import type { Crossing } from '../identity/policy.js';

/** Beside SDP in a call's messages, whoever the two sides are. */
const OPEN: ReadonlySet<string> = new Set([
  'application/pidf+xml',
  'application/resource-lists+xml',
  'application/pkcs7-signature',
  'message/sipfrag',
]);
/** The signalling of a telephone network, between two sides that are both trusted. */
const TRUSTED: ReadonlySet<string> = new Set(['application/isup', 'application/qsig', 'application/x-q931']);

/** What a body may hold: asked by the type of each part. */
export interface BodyPolicy {
  permits(type: string, across: Crossing | undefined): boolean;
  /** S/MIME in a message that negotiates media passes as it is, media and all; otherwise it is refused. */
  readonly passesOpaque: boolean;
}

export const STRICT: BodyPolicy = { permits: type => OPEN.has(type), passesOpaque: false };

/** Before it is known who gets it: whether it can be read at all. */
export function forAnybody(policy: BodyPolicy): BodyPolicy {
  return { permits: () => true, passesOpaque: policy.passesOpaque };
}

export function bodyPolicy(config: Pick<Config, 'realms' | 'media'>): BodyPolicy {
  const { realms } = config;
  const extra = new Map<string, ReadonlySet<string>>(
    realms === 'auto'
      ? []
      : Object.entries(realms).map(([name, r]) => [name, new Set(r.bodies.map(b => b.toLowerCase()))]),
  );
  return {
    passesOpaque: config.media.opaqueBodies === 'pass',
    permits(type, across) {
      if (OPEN.has(type)) return true;
      if (across === undefined) return false;
      if (TRUSTED.has(type)) return across.fromTrusted && across.toTrusted;
      return [across.from, across.to].some(side => extra.get(side.listener.realm.name)?.has(type) === true);
    },
  };
}
