import { H, headerLine, type MessageView, parseContacts, parseUri, type SipUri, unescapeUri } from '@drawbridge/sip';

/** How a sleeping phone is woken (RFC 8599 §4.1): parameters of its Contact URI. */
export interface PushAddress {
  readonly provider: string;
  /** Names the app on that device to its provider. */
  readonly prid: string;
  readonly param: string;
}

const MAX_PROVIDER = 32;

/** Whether a contact URI can be woken: it names a provider and itself there. Cheap enough for every binding that dies. */
export function hasPush(contact: string): boolean {
  return contact.includes(';pn-p') && pushOf(parseUri(contact)) !== undefined;
}

export function pushOf(uri: SipUri | undefined): PushAddress | undefined {
  if (uri === undefined) return undefined;
  const provider = uri.params.get('pn-provider');
  const prid = uri.params.get('pn-prid');
  if (provider === undefined || prid === undefined || provider === '' || prid === '') return undefined;
  if (provider.length > MAX_PROVIDER) return undefined;
  return {
    provider: provider.toLowerCase(),
    prid: unescapeUri(prid),
    param: unescapeUri(uri.params.get('pn-param') ?? ''),
  };
}

/** The same app on the same device, wherever it registers from. */
export function samePush(a: string, b: string): boolean {
  if (!a.includes(';pn-p') || !b.includes(';pn-p')) return false;
  const [one, other] = [pushOf(parseUri(a)), pushOf(parseUri(b))];
  return one !== undefined && one.prid === other?.prid && one.provider === other.provider && one.param === other.param;
}

/**
 * What a REGISTER that speaks of push is told (RFC 8599 §5): headers of its 200, '' when it doesn't, undefined when it
 * names a provider that we can't ask. A provider without a name asks which there are.
 */
export function pushLines(m: MessageView, providers: readonly string[]): string | undefined {
  if (!m.get(H.contact).includes(';pn-p') && !m.list(H.contact).some(c => c.includes(';pn-p'))) return '';
  let lines = '';
  for (const c of parseContacts(m) ?? []) {
    const named = parseUri(c.uri)?.params.get('pn-provider')?.toLowerCase();
    if (named === undefined || c.expires === 0) continue;
    if (named !== '' && !providers.includes(named)) return undefined;
    const wakes = c.params.has('+sip.pnsreg') ? `;+sip.pnsreg="${REFRESH_BEFORE_S}"` : '';
    for (const p of named === '' ? providers : [named])
      lines += headerLine('Feature-Caps', `*;+sip.pns="${p}"${wakes}`);
  }
  return lines;
}

/** RFC 8599 §4.1.5: who wakes by himself refreshes so long before the end. Above 120 s, as it demands. */
const REFRESH_BEFORE_S = 121;
