import type { ClientUser } from '@drawbridge/sip';

/** For requests whose outcome changes nothing any more: a BYE of a call that is over. */
export const SILENT: ClientUser = { onResponse() {}, onTimeout() {}, onTransportError() {} };
