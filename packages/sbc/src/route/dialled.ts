import { type SipUri, unescapeUri } from '@drawbridge/sip';
import { type Numbering, plainDigits, toE164 } from './number.js';

/** What somebody asks for: his URI, and the number in it. */
export interface Dialled {
  readonly uri: SipUri;
  /** Without visual separators where it is a number; as it is otherwise. */
  readonly user: string;
  /** `+` and digits, when it is a whole number. */
  readonly e164: string | undefined;
}

/** RFC 3261 §19.1.6: parameters of a tel URI may stand in the user part of a SIP URI. */
export function dialledIn(uri: SipUri, n: Numbering): Dialled {
  const whole = unescapeUri(uri.user ?? '');
  const semi = whole.indexOf(';');
  const number = semi < 0 ? whole : whole.slice(0, semi);
  const context = uri.params.get('phone-context') ?? (semi < 0 ? undefined : contextIn(whole.slice(semi + 1)));
  return { uri, user: plainDigits(number) ?? number, e164: toE164(number, n, context) };
}

function contextIn(params: string): string | undefined {
  for (const p of params.split(';')) if (p.toLowerCase().startsWith('phone-context=')) return p.slice(14);
  return undefined;
}
