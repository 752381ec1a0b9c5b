import { parseUri, type SipUri, unescapeUri } from '@drawbridge/sip';

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
