import { decimal } from '../message/chars.js';
import { H } from '../message/header-id.js';
import type { MessageView } from '../message/view.js';
import { type NameAddr, parseNameAddr } from './name-addr.js';

/** One Contact value (RFC 3261 §20.10; RFC 5626 §4.1). */
export interface Contact extends NameAddr {
  /** `Contact: *`; then everything else is empty. */
  readonly wildcard: boolean;
  /** 0 … 1; 1 when absent. */
  readonly q: number;
  /** Seconds of the `expires` parameter; undefined when absent. */
  readonly expires: number | undefined;
  /** `+sip.instance` with its `<>` taken off, '' when absent. */
  readonly instance: string;
  /** 0 when absent. */
  readonly regId: number;
}

const WILDCARD: Contact = {
  wildcard: true,
  display: '',
  uri: '',
  params: new Map(),
  q: 1,
  expires: undefined,
  instance: '',
  regId: 0,
};

/** One value; undefined when it is malformed, its `q` or `reg-id` included. */
export function parseContact(text: string): Contact | undefined {
  if (text === '*') return WILDCARD;
  const n = parseNameAddr(text);
  if (n === undefined) return undefined;
  const q = parseQ(n.params.get('q'));
  const regId = n.params.has('reg-id') ? parseWhole(n.params.get('reg-id') ?? '', 0x7fffffff) : 0;
  if (q < 0 || regId < 0 || (n.params.has('reg-id') && regId === 0)) return undefined;
  const expires = n.params.get('expires');
  const instance = n.params.get('+sip.instance') ?? '';
  return {
    wildcard: false,
    display: n.display,
    uri: n.uri,
    params: n.params,
    q,
    expires: expires === undefined ? undefined : parseExpires(expires),
    instance: instance.startsWith('<') && instance.endsWith('>') ? instance.slice(1, -1) : instance,
    regId,
  };
}

/** All Contact values of a message in order; undefined when one is malformed, or `*` is not alone. */
export function parseContacts(m: MessageView): Contact[] | undefined {
  const out: Contact[] = [];
  for (const value of m.list(H.contact)) {
    const c = parseContact(value);
    if (c === undefined) return undefined;
    out.push(c);
  }
  return out.length > 1 && out.some(c => c.wildcard) ? undefined : out;
}

/**
 * Delta-seconds. A malformed value counts as 3600 (RFC 3261 §10.2.1.1, §20.10), one past 2³²−1 as 2³²−1 (§20.19).
 */
export function parseExpires(text: string): number {
  const n = parseWhole(text, Number.MAX_SAFE_INTEGER);
  if (n >= 0) return Math.min(n, 0xffffffff);
  return /^\d+$/.test(text) ? 0xffffffff : 3600;
}

/** Decimal digits up to `max`; -1 for anything else. */
export function parseWhole(text: string, max: number): number {
  const t = text.trim();
  return decimal(t, 0, t.length, max);
}

/** qvalue: `0`, `0.5`, `1.000`, in thousandths at most; 1 when absent, -1 when malformed. */
export function parseQ(text: string | undefined): number {
  if (text === undefined) return 1;
  return /^(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?|\.\d{1,3})$/.test(text) ? Number(text) : -1;
}
