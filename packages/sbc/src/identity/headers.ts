import {
  escapeUser,
  H,
  headerLine,
  isToken,
  type MessageView,
  parseNameAddr,
  parseUri,
  quote,
  splitList,
} from '@drawbridge/sip';
import { outerDisplay, outerParty, outerUri } from '../hide/party.js';
import type { Crossing, IdentityPolicy, Side } from './policy.js';
import { type Privacy, privacyOf } from './privacy.js';

const ANONYMOUS = 'sip:anonymous@anonymous.invalid';
/** RFC 3323 §4.1.1.3. */
const ANONYMOUS_PARTY = `"Anonymous" <${ANONYMOUS}>`;
/** Values of one header that go on; a chain of forwards is never longer. */
const MOST_VALUES = 20;

/** From and To for the other side: names and domains stay, hosts that are none of ours become the domain of who they stand for. */
export function outerParties(across: Crossing, m: MessageView): { readonly from: string; readonly to: string } {
  const { policy, to } = across;
  return {
    from: fromParty(across, m),
    to: outerParty(m.get(H.to), policy.hostFor(to.identity), ANONYMOUS),
  };
}

/** RFC 3323 §5: who asks for privacy as critical hears 500 when a part of it is none that we can give, and who would see him isn't trusted. */
export function privacyUnavailable(policy: IdentityPolicy, m: MessageView, targets: readonly Side[]): boolean {
  if (!m.has(H.privacy)) return false;
  const asked = privacyOf(m);
  return asked.critical && asked.unknown && targets.some(to => !policy.trusts(to));
}

/** Put right where the operator wants that, and not shown where privacy is asked for (RFC 3323 §5.3). */
function fromParty(across: Crossing, m: MessageView): string {
  const { policy, from, toTrusted } = across;
  const { identity } = from;
  const value = m.get(H.from);
  if (!toTrusted && m.has(H.privacy) && privacyOf(m).id) return ANONYMOUS_PARTY;
  if (policy.from === 'rewrite' && identity.kind === 'subscriber' && !isOwn(across, value, identity.aor))
    return `${outerDisplay(value)}<sip:${escapeUser(identity.user)}@${bracketed(identity.domain)}>`;
  return outerParty(value, policy.hostFor(identity, across.to.identity), ANONYMOUS);
}

function isOwn({ policy }: Crossing, value: string, aor: string): boolean {
  const claimed = policy.claimOf(parseNameAddr(value)?.uri ?? '');
  // Who says nothing of himself says nothing wrong.
  return claimed !== undefined && (claimed.endsWith('@anonymous.invalid') || policy.owns(aor, claimed));
}

/**
 * P-Asserted-Identity for a request of somebody whose password we asked for, toward who is trusted: the identity that he
 * prefers among his own (RFC 3325 §6: one of each scheme), else the one that he proved.
 */
export function asserted(across: Crossing, m: MessageView): string {
  const { policy, from, fromTrusted, toTrusted } = across;
  const { identity } = from;
  if (!toTrusted || fromTrusted || !m.isRequest || m.toTag !== '' || !policy.assertable(identity)) return '';
  let sip = '';
  let tel = '';
  if (m.has(H.pPreferredIdentity)) {
    for (const value of m.list(H.pPreferredIdentity).slice(0, MOST_VALUES)) {
      const claimed = policy.claimOf(parseNameAddr(value)?.uri ?? '');
      if (claimed === undefined || !policy.owns(identity.aor, claimed)) continue;
      const line = headerLine('P-Asserted-Identity', outerParty(value, policy.hostFor(identity), ANONYMOUS));
      if (claimed.startsWith('tel:')) tel ||= line;
      else sip ||= line;
    }
    if (sip !== '' || tel !== '') return sip + tel;
  }
  const value = m.get(H.from);
  const display = isOwn(across, value, identity.aor) && !value.includes('anonymous') ? outerDisplay(value) : '';
  return headerLine(
    'P-Asserted-Identity',
    `${display}<sip:${escapeUser(identity.user)}@${bracketed(identity.domain)}>`,
  );
}

/** One header line that says who somebody is or whom a call was for, as the other side may see it; '' when it may not. */
export function identityLine(across: Crossing, m: MessageView, i: number, privacy: Privacy | undefined): string {
  if (!across.fromTrusted) return '';
  const id = m.id(i);
  if (!across.toTrusted && !(id === H.pAssertedIdentity && privacy?.none === true)) return '';
  return mappedLine(across, m, i);
}

/** The same whoever is to see it: hosts mapped, parameters by their own allow-list. */
export function mappedLine(across: Crossing, m: MessageView, i: number): string {
  const hostFor = across.policy.hostFor(across.from.identity, across.to.identity);
  let out = '';
  const values = splitList(m.value(i));
  for (let k = 0; k < Math.min(values.length, MOST_VALUES); k++) {
    const value = values[k] as string;
    switch (m.id(i)) {
      case H.pAssertedIdentity:
        out += headerLine('P-Asserted-Identity', outerParty(value, hostFor, ANONYMOUS));
        break;
      case H.diversion:
        out += mapped('Diversion', value, hostFor, DIVERSION);
        break;
      default:
        out += mapped('History-Info', value, hostFor, HISTORY);
    }
  }
  return out;
}

/** RFC 5806 §4; RFC 7044 §5. */
const DIVERSION: ReadonlySet<string> = new Set(['reason', 'counter', 'limit', 'privacy', 'screen']);
const HISTORY: ReadonlySet<string> = new Set(['index', 'rc', 'mp', 'np']);

function mapped(name: string, value: string, hostFor: (host: string) => string, allowed: ReadonlySet<string>): string {
  const party = parseNameAddr(value);
  const uri = party === undefined ? undefined : parseUri(party.uri);
  if (party === undefined || uri === undefined) return '';
  let line = `${outerDisplay(value)}<${outerUri(uri, hostFor)}${name === 'History-Info' ? entryHeaders(uri.headers) : ''}>`;
  for (const [key, v] of party.params)
    if (allowed.has(key)) line += v === '' ? `;${key}` : `;${key}=${isToken(v) ? v : quote(v)}`;
  return headerLine(name, line);
}

/** Privacy and the cause of an entry (RFC 7044 §5); whatever else rides in the URI stays behind. */
function entryHeaders(headers: string): string {
  const kept: string[] = [];
  for (const one of headers.split('&', 16)) {
    const privacy = /^privacy=(history|none)$/i.exec(one)?.[1];
    if (privacy !== undefined) kept.push(`Privacy=${privacy.toLowerCase()}`);
    const reason = /^reason=([A-Za-z0-9._-]{1,32})(?:%3B|;)cause(?:%3D|=)(\d{1,3})(?!\d)/i.exec(one);
    if (reason !== null) kept.push(`Reason=${reason[1]}%3Bcause%3D${reason[2]}`);
  }
  return kept.length === 0 ? '' : `?${kept.join('&')}`;
}

/** RFC 3261 §20.43: the code says enough; host and text are the far side's. */
const WARNINGS: Readonly<Record<string, string>> = {
  '300': 'Incompatible network protocol',
  '301': 'Incompatible network address formats',
  '302': 'Incompatible transport protocol',
  '303': 'Incompatible bandwidth units',
  '304': 'Media type not available',
  '305': 'Incompatible media format',
  '306': 'Attribute not understood',
  '307': 'Session description parameter not understood',
  '330': 'Multicast not available',
  '331': 'Unicast not available',
  '370': 'Insufficient bandwidth',
};

export function warningLine(across: Crossing, m: MessageView, i: number): string {
  let out = '';
  for (const value of splitList(m.value(i)).slice(0, MOST_VALUES)) {
    const code = /^3\d\d(?= )/.exec(value)?.[0];
    if (code === undefined) continue;
    out += headerLine('Warning', `${code} ${across.to.listener.sentBy} "${WARNINGS[code] ?? 'Miscellaneous warning'}"`);
  }
  return out;
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
