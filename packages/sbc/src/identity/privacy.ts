import { H, headerLine, type MessageView } from '@drawbridge/sip';

/** What a message asks for (RFC 3323 §4.2, RFC 3325 §9.3, RFC 7044 §7.2.2), and what is left to ask once we have done our part. */
export interface Privacy {
  /** The identity is not shown to who isn't trusted: `id`, or `user`, which asks for more. */
  readonly id: boolean;
  /** Nor what else tells about the user: Subject, Organization. */
  readonly user: boolean;
  /** Asked for none: what was asserted is shown even to who isn't trusted. */
  readonly none: boolean;
  /** Must be met or the call refused. */
  readonly critical: boolean;
  /** Something that isn't ours to do. */
  readonly unknown: boolean;
  /** The Privacy line toward who isn't trusted, '' when everything is done. */
  readonly left: string;
}

const SILENT: Privacy = { id: false, user: false, none: false, critical: false, unknown: false, left: '' };
/** A B2BUA that anchors media does these for everybody. */
const DONE_ANYWAY: ReadonlySet<string> = new Set(['header', 'session', 'history']);
const MOST_VALUES = 16;

export function privacyOf(m: MessageView): Privacy {
  if (!m.has(H.privacy)) return SILENT;
  const asked = new Set<string>();
  for (const value of m.list(H.privacy))
    for (const one of value.split(';', MOST_VALUES)) if (asked.size < MOST_VALUES) asked.add(one.trim().toLowerCase());
  const unknown = [...asked].filter(
    a => a !== '' && !DONE_ANYWAY.has(a) && a !== 'id' && a !== 'user' && a !== 'none' && a !== 'critical',
  );
  const user = asked.has('user');
  const none = asked.has('none');
  const critical = asked.has('critical');
  const left = none ? ['none'] : unknown.length > 0 && critical ? [...unknown, 'critical'] : unknown;
  return {
    id: user || asked.has('id'),
    user,
    none: none && !user && !asked.has('id'),
    critical,
    unknown: unknown.length > 0,
    left: left.length === 0 ? '' : headerLine('Privacy', left.join(';')),
  };
}
