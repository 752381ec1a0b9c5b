/** Small number of a header this product knows by name; 0 = other. */
export type HeaderId = number;

/** Canonical name → compact form (RFC 3261 §7.3.3 and the registry), '' where there is none. Order gives the id, from 1. */
const KNOWN = [
  ['via', 'Via', 'v'], ['from', 'From', 'f'], ['to', 'To', 't'], ['callId', 'Call-ID', 'i'], ['cseq', 'CSeq', ''],
  ['contact', 'Contact', 'm'], ['maxForwards', 'Max-Forwards', ''], ['route', 'Route', ''],
  ['recordRoute', 'Record-Route', ''], ['contentLength', 'Content-Length', 'l'], ['contentType', 'Content-Type', 'c'],
  ['userAgent', 'User-Agent', ''], ['server', 'Server', ''], ['allow', 'Allow', ''], ['supported', 'Supported', 'k'],
  ['require', 'Require', ''], ['proxyRequire', 'Proxy-Require', ''], ['unsupported', 'Unsupported', ''],
  ['authorization', 'Authorization', ''], ['proxyAuthorization', 'Proxy-Authorization', ''],
  ['wwwAuthenticate', 'WWW-Authenticate', ''], ['proxyAuthenticate', 'Proxy-Authenticate', ''],
  ['authenticationInfo', 'Authentication-Info', ''], ['proxyAuthenticationInfo', 'Proxy-Authentication-Info', ''],
  ['expires', 'Expires', ''], ['minExpires', 'Min-Expires', ''], ['path', 'Path', ''],
  ['serviceRoute', 'Service-Route', ''], ['pAssertedIdentity', 'P-Asserted-Identity', ''],
  ['pPreferredIdentity', 'P-Preferred-Identity', ''], ['privacy', 'Privacy', ''],
  ['sessionExpires', 'Session-Expires', 'x'], ['minSe', 'Min-SE', ''], ['referTo', 'Refer-To', 'r'],
  ['referredBy', 'Referred-By', 'b'], ['referSub', 'Refer-Sub', ''], ['replaces', 'Replaces', ''],
  ['event', 'Event', 'o'], ['subscriptionState', 'Subscription-State', ''], ['allowEvents', 'Allow-Events', 'u'],
  ['rack', 'RAck', ''], ['rseq', 'RSeq', ''], ['reason', 'Reason', ''], ['warning', 'Warning', ''],
  ['retryAfter', 'Retry-After', ''], ['subject', 'Subject', 's'], ['date', 'Date', ''], ['accept', 'Accept', ''],
  ['acceptEncoding', 'Accept-Encoding', ''], ['acceptLanguage', 'Accept-Language', ''],
  ['contentEncoding', 'Content-Encoding', 'e'], ['contentLanguage', 'Content-Language', ''],
  ['contentDisposition', 'Content-Disposition', ''], ['contentId', 'Content-ID', ''],
  ['mimeVersion', 'MIME-Version', ''], ['alertInfo', 'Alert-Info', ''], ['callInfo', 'Call-Info', ''],
  ['organization', 'Organization', ''], ['priority', 'Priority', ''], ['timestamp', 'Timestamp', ''],
  ['inReplyTo', 'In-Reply-To', ''], ['replyTo', 'Reply-To', ''], ['errorInfo', 'Error-Info', ''],
  ['sipEtag', 'SIP-ETag', ''], ['sipIfMatch', 'SIP-If-Match', ''], ['diversion', 'Diversion', ''],
  ['historyInfo', 'History-Info', ''], ['remotePartyId', 'Remote-Party-ID', ''], ['identity', 'Identity', 'y'],
  ['identityInfo', 'Identity-Info', 'n'], ['join', 'Join', ''], ['targetDialog', 'Target-Dialog', ''],
  ['flowTimer', 'Flow-Timer', ''], ['maxBreadth', 'Max-Breadth', ''], ['geolocation', 'Geolocation', ''],
  ['userToUser', 'User-to-User', ''], ['resourcePriority', 'Resource-Priority', ''],
  ['acceptResourcePriority', 'Accept-Resource-Priority', ''], ['infoPackage', 'Info-Package', ''],
  ['recvInfo', 'Recv-Info', ''], ['answerMode', 'Answer-Mode', ''], ['acceptContact', 'Accept-Contact', 'a'],
  ['rejectContact', 'Reject-Contact', 'j'], ['requestDisposition', 'Request-Disposition', 'd'],
  ['pAssociatedUri', 'P-Associated-URI', ''], ['pCalledPartyId', 'P-Called-Party-ID', ''],
  ['pAccessNetworkInfo', 'P-Access-Network-Info', ''], ['pChargingVector', 'P-Charging-Vector', ''],
  ['pEarlyMedia', 'P-Early-Media', ''], ['suppressIfMatch', 'Suppress-If-Match', ''],
] as const;

type Key = (typeof KNOWN)[number][0];

/** Ids of the headers known by name. */
export const H = Object.freeze(Object.fromEntries(KNOWN.map(([key], i) => [key, i + 1]))) as Readonly<Record<Key, HeaderId>>;

/** One more than the largest id. */
export const HEADER_IDS = KNOWN.length + 1;

const NAMES: readonly string[] = ['', ...KNOWN.map(k => k[1])];

/** The registered spelling; '' for 0. */
export function headerName(h: HeaderId): string {
  return NAMES[h] ?? '';
}

/** Spellings by (first letter, length), so that a lookup compares one or two candidates. */
const BUCKETS = new Array<{ readonly lower: string; readonly id: HeaderId }[] | undefined>(128 * 32).fill(undefined);
for (let i = 0; i < KNOWN.length; i++) {
  const [, name, compact] = KNOWN[i] as (typeof KNOWN)[number];
  for (const spelling of compact === '' ? [name] : [name, compact]) {
    const lower = spelling.toLowerCase();
    const slot = (lower.charCodeAt(0) << 5) | lower.length;
    const bucket = BUCKETS[slot] ?? [];
    bucket.push({ lower, id: i + 1 });
    BUCKETS[slot] = bucket;
  }
}

/** Id of the name at `s[at .. at + length)`, long or compact, in any case. */
export function headerIdAt(s: string, at: number, length: number): HeaderId {
  if (length > 31) return 0;
  const bucket = BUCKETS[((s.charCodeAt(at) | 0x20) & 127) << 5 | length];
  if (bucket === undefined) return 0;
  for (let k = 0; k < bucket.length; k++) {
    const entry = bucket[k] as { readonly lower: string; readonly id: HeaderId };
    if (sameName(s, at, entry.lower)) return entry.id;
  }
  return 0;
}

export function headerId(name: string): HeaderId {
  return headerIdAt(name, 0, name.length);
}

/** Case-insensitive for letters; `lower` is already in lower case and as long as the name. */
function sameName(s: string, at: number, lower: string): boolean {
  for (let i = 0; i < lower.length; i++) {
    const c = s.charCodeAt(at + i);
    if (c !== lower.charCodeAt(i) && (c | 0x20) !== lower.charCodeAt(i)) return false;
    if (c < 64 && c !== lower.charCodeAt(i)) return false;
  }
  return true;
}
