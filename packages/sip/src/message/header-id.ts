import { isToken } from './chars.js';
import { LOWER, word, wordOf } from './octets.js';

/** Small number of a header this product knows by name; 0 = other. */
export type HeaderId = number;

/** Canonical name → compact form (RFC 3261 §7.3.3 and the registry), '' where there is none. Order gives the id, from 1. */
const KNOWN = [
  ['via', 'Via', 'v'],
  ['from', 'From', 'f'],
  ['to', 'To', 't'],
  ['callId', 'Call-ID', 'i'],
  ['cseq', 'CSeq', ''],
  ['contact', 'Contact', 'm'],
  ['maxForwards', 'Max-Forwards', ''],
  ['route', 'Route', ''],
  ['recordRoute', 'Record-Route', ''],
  ['contentLength', 'Content-Length', 'l'],
  ['contentType', 'Content-Type', 'c'],
  ['userAgent', 'User-Agent', ''],
  ['server', 'Server', ''],
  ['allow', 'Allow', ''],
  ['supported', 'Supported', 'k'],
  ['require', 'Require', ''],
  ['proxyRequire', 'Proxy-Require', ''],
  ['unsupported', 'Unsupported', ''],
  ['authorization', 'Authorization', ''],
  ['proxyAuthorization', 'Proxy-Authorization', ''],
  ['wwwAuthenticate', 'WWW-Authenticate', ''],
  ['proxyAuthenticate', 'Proxy-Authenticate', ''],
  ['authenticationInfo', 'Authentication-Info', ''],
  ['proxyAuthenticationInfo', 'Proxy-Authentication-Info', ''],
  ['expires', 'Expires', ''],
  ['minExpires', 'Min-Expires', ''],
  ['path', 'Path', ''],
  ['serviceRoute', 'Service-Route', ''],
  ['pAssertedIdentity', 'P-Asserted-Identity', ''],
  ['pPreferredIdentity', 'P-Preferred-Identity', ''],
  ['privacy', 'Privacy', ''],
  ['sessionExpires', 'Session-Expires', 'x'],
  ['minSe', 'Min-SE', ''],
  ['referTo', 'Refer-To', 'r'],
  ['referredBy', 'Referred-By', 'b'],
  ['referSub', 'Refer-Sub', ''],
  ['replaces', 'Replaces', ''],
  ['event', 'Event', 'o'],
  ['subscriptionState', 'Subscription-State', ''],
  ['allowEvents', 'Allow-Events', 'u'],
  ['rack', 'RAck', ''],
  ['rseq', 'RSeq', ''],
  ['reason', 'Reason', ''],
  ['warning', 'Warning', ''],
  ['retryAfter', 'Retry-After', ''],
  ['subject', 'Subject', 's'],
  ['date', 'Date', ''],
  ['accept', 'Accept', ''],
  ['acceptEncoding', 'Accept-Encoding', ''],
  ['acceptLanguage', 'Accept-Language', ''],
  ['contentEncoding', 'Content-Encoding', 'e'],
  ['contentLanguage', 'Content-Language', ''],
  ['contentDisposition', 'Content-Disposition', ''],
  ['contentId', 'Content-ID', ''],
  ['mimeVersion', 'MIME-Version', ''],
  ['alertInfo', 'Alert-Info', ''],
  ['callInfo', 'Call-Info', ''],
  ['organization', 'Organization', ''],
  ['priority', 'Priority', ''],
  ['timestamp', 'Timestamp', ''],
  ['inReplyTo', 'In-Reply-To', ''],
  ['replyTo', 'Reply-To', ''],
  ['errorInfo', 'Error-Info', ''],
  ['sipEtag', 'SIP-ETag', ''],
  ['sipIfMatch', 'SIP-If-Match', ''],
  ['diversion', 'Diversion', ''],
  ['historyInfo', 'History-Info', ''],
  ['remotePartyId', 'Remote-Party-ID', ''],
  ['identity', 'Identity', 'y'],
  ['identityInfo', 'Identity-Info', 'n'],
  ['join', 'Join', ''],
  ['targetDialog', 'Target-Dialog', ''],
  ['flowTimer', 'Flow-Timer', ''],
  ['maxBreadth', 'Max-Breadth', ''],
  ['geolocation', 'Geolocation', ''],
  ['userToUser', 'User-to-User', ''],
  ['resourcePriority', 'Resource-Priority', ''],
  ['acceptResourcePriority', 'Accept-Resource-Priority', ''],
  ['infoPackage', 'Info-Package', ''],
  ['recvInfo', 'Recv-Info', ''],
  ['answerMode', 'Answer-Mode', ''],
  ['acceptContact', 'Accept-Contact', 'a'],
  ['rejectContact', 'Reject-Contact', 'j'],
  ['requestDisposition', 'Request-Disposition', 'd'],
  ['pAssociatedUri', 'P-Associated-URI', ''],
  ['pCalledPartyId', 'P-Called-Party-ID', ''],
  ['pAccessNetworkInfo', 'P-Access-Network-Info', ''],
  ['pChargingVector', 'P-Charging-Vector', ''],
  ['pEarlyMedia', 'P-Early-Media', ''],
  ['suppressIfMatch', 'Suppress-If-Match', ''],
  ['sessionId', 'Session-ID', ''],
  ['geolocationRouting', 'Geolocation-Routing', ''],
  ['geolocationError', 'Geolocation-Error', ''],
] as const;

type Key = (typeof KNOWN)[number][0];

/** Ids of the headers known by name. */
export const H = Object.freeze(Object.fromEntries(KNOWN.map(([key], i) => [key, i + 1]))) as Readonly<
  Record<Key, HeaderId>
>;

/** One more than the largest id. */
export const HEADER_IDS = KNOWN.length + 1;

const NAMES: readonly string[] = ['', ...KNOWN.map(k => k[1])];

/** The registered spelling; '' for 0. */
export function headerName(h: HeaderId): string {
  return NAMES[h] ?? '';
}

/**
 * All spellings in a hash table over their first four bytes, their last four and their length, so that a name is found
 * by one comparison of whole words once its colon is known. Columns of a slot:
 */
const FIRST = 0;
const LAST = 1;
/** Length, and the id from the eighth bit on; 0 in an empty slot. */
const SHAPE = 2;
/** The words between, for names of more than eight. */
const BETWEEN = 3;
const SLOT = 8;
const SLOTS = 512;
const MAX_NAME = 27;
const table = new Int32Array(SLOTS * SLOT);
const ids = new Map<string, HeaderId>();

function slotOf(first: number, last: number, length: number): number {
  return (Math.imul(first, 0x9e3779b1) + Math.imul(last, 0x85ebca6b) + Math.imul(length, 0xc2b2ae35)) >>> 23;
}

for (let i = 0; i < KNOWN.length; i++) {
  const [, name, compact] = KNOWN[i] as (typeof KNOWN)[number];
  learn(name.toLowerCase(), i + 1);
  if (compact !== '') learn(compact, i + 1);
}

function learn(spelling: string, id: HeaderId): void {
  const length = spelling.length;
  if (length > MAX_NAME) throw new TypeError(`no room for a header name of ${length}`);
  ids.set(spelling, id);
  const first = wordOf(spelling.slice(0, 4).padEnd(4, '\0'));
  const last = length < 4 ? first : wordOf(spelling.slice(-4));
  let slot = slotOf(first, last, length);
  while (table[slot * SLOT + SHAPE] !== 0) slot = (slot + 1) % SLOTS;
  const at = slot * SLOT;
  table[at + FIRST] = first;
  table[at + LAST] = last;
  table[at + SHAPE] = (id << 8) | length;
  for (let k = 4; k + 4 < length; k += 4) table[at + BETWEEN + k / 4 - 1] = wordOf(spelling.slice(k, k + 4));
}

/**
 * Id of the name in the loaded octets `[from .. to)`, long or compact, in any case; 0 for others. There must be no control
 * in it.
 */
export function nameId(from: number, to: number): HeaderId {
  const length = to - from;
  if (length < 1 || length > MAX_NAME) return 0;
  let first = word(from) | LOWER;
  if (length < 4) first &= (1 << (length << 3)) - 1;
  const last = length < 4 ? first : word(to - 4) | LOWER;
  let at = slotOf(first, last, length) * SLOT;
  for (;;) {
    const shape = table[at + SHAPE]!;
    if (shape === 0) return 0;
    if (table[at + FIRST] === first && table[at + LAST] === last && (shape & 255) === length) {
      if (length <= 8 || sameBetween(from, length, at)) return shape >> 8;
    }
    at = (at + SLOT) % (SLOTS * SLOT);
  }
}

function sameBetween(from: number, length: number, at: number): boolean {
  for (let k = 4; k + 4 < length; k += 4)
    if (table[at + BETWEEN + (k >> 2) - 1] !== (word(from + k) | LOWER)) return false;
  return true;
}

/** Id of a name, long or compact, in any case; 0 for others. */
export function headerId(name: string): HeaderId {
  return isToken(name) ? (ids.get(name.toLowerCase()) ?? 0) : 0;
}
