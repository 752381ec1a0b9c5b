import { CLASS, skipToken, TOKEN } from './chars.js';

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
 * All spellings as a trie: row of 32 per node, indexed by the low five bits of a letter, or 0 for `-`.
 * One pass over a name checks it, finds its end and its id.
 */
const ROW = 32;
/** One node per letter at most, and the root. */
const NODES = 1 + KNOWN.reduce((n, [, name, compact]) => n + name.length + compact.length, 0);
const NEXT = new Uint16Array(ROW * NODES);
const ACCEPT = new Uint8Array(NODES);
/** Byte → column + 1 of a row; 0 for what stands in no known name. */
const COLUMN = new Uint8Array(256);
for (let c = 97; c <= 122; c++) {
  COLUMN[c] = (c & 31) + 1;
  COLUMN[c - 32] = (c & 31) + 1;
}
COLUMN[45] = 1;

let nodes = 1;
for (let i = 0; i < KNOWN.length; i++) {
  const [, name, compact] = KNOWN[i] as (typeof KNOWN)[number];
  learn(name, i + 1);
  if (compact !== '') learn(compact, i + 1);
}

function learn(spelling: string, id: HeaderId): void {
  let node = 0;
  for (let i = 0; i < spelling.length; i++) {
    const cell = node * ROW + COLUMN[spelling.charCodeAt(i)]! - 1;
    if (NEXT[cell] === 0) NEXT[cell] = nodes++;
    node = NEXT[cell]!;
  }
  ACCEPT[node] = id;
}

/** Ids fit in the low byte of what `scanHeaderName` returns. */
export const NAME_END = 256;

/**
 * Reads the field name at `s[at]`. Returns `end * NAME_END + id`: `end` is where token characters stop (`at` when there
 * is no name at all), `id` 0 for a name that isn't known.
 */
export function scanHeaderName(s: string, at: number): number {
  let node = 0;
  let i = at;
  for (;;) {
    const column = COLUMN[s.charCodeAt(i)]!;
    if (column > 0) {
      node = NEXT[node * ROW + column - 1]!;
      if (node === 0) break;
      i++;
      continue;
    }
    if (i > at && (CLASS[s.charCodeAt(i) & 255]! & TOKEN) === 0) return i * NAME_END + ACCEPT[node]!;
    break;
  }
  return skipToken(s, i, s.length) * NAME_END;
}

/** Id of a name, long or compact, in any case; 0 for others. */
export function headerId(name: string): HeaderId {
  const found = scanHeaderName(name, 0);
  return Math.trunc(found / NAME_END) === name.length ? found % NAME_END : 0;
}
