import { H, HEADER_IDS, type HeaderId, headerName } from '@drawbridge/sip';

/**
 * What may cross the border (checklist 60): a header that isn't here is ours to write or doesn't exist on the other
 * side. Nothing here names a host, a Call-ID or a tag. `as is` lines go out byte for byte; the rest is rewritten by
 * `hide` or carried only where the comment says.
 */
const AS_IS: readonly HeaderId[] = [
  H.priority,
  H.date,
  H.accept,
  H.acceptEncoding,
  H.acceptLanguage,
  H.contentLanguage,
  H.contentDisposition,
  H.contentEncoding,
  H.mimeVersion,
  H.allowEvents,
  H.subscriptionState,
  H.referSub,
  H.expires,
  H.minExpires,
  H.retryAfter,
  H.sipEtag,
  H.sipIfMatch,
  H.suppressIfMatch,
  H.infoPackage,
  H.recvInfo,
  H.answerMode,
  H.requestDisposition,
  H.userToUser,
  H.unsupported,
  H.geolocation,
  H.geolocationRouting,
  H.geolocationError,
  H.contentId,
];

/** As is, but not where the caller asked for `Privacy: user` (RFC 3323 §5.3) and the other side isn't trusted. */
const PERSONAL: readonly HeaderId[] = [H.subject, H.organization];

/** Byte for byte between two sides that are both trusted; nowhere else. */
const BETWEEN_TRUSTED: readonly HeaderId[] = [
  H.identity,
  H.identityInfo,
  H.pAccessNetworkInfo,
  H.pChargingVector,
  H.pEarlyMedia,
  H.resourcePriority,
  H.acceptResourcePriority,
];

/** Between two sides that are both trusted, hosts mapped. */
const IDENTITY: readonly HeaderId[] = [H.pAssertedIdentity, H.diversion, H.historyInfo];

/** Of the caller's own credentials and the upstream's own challenges: between a subscriber and his upstream domain only. */
const CREDENTIALS: readonly HeaderId[] = [H.authorization, H.proxyAuthorization];
const CHALLENGES: readonly HeaderId[] = [
  H.wwwAuthenticate,
  H.proxyAuthenticate,
  H.authenticationInfo,
  H.proxyAuthenticationInfo,
];

const PASS_AS_IS = 1;
const PASS_CREDENTIAL = 2;
const PASS_CHALLENGE = 4;
const REWRITE_SUPPORTED = 8;
const REWRITE_REASON = 16;
const PASS_PERSONAL = 32;
const PASS_TRUSTED = 64;
const MAP_IDENTITY = 65;
const REWRITE_WARNING = 66;
const REWRITE_PRIVACY = 67;
const REWRITE_REQUIRE = 68;
const REWRITE_SESSION_ID = 69;
const REWRITE_EVENT = 70;

/** One byte per header id: how it crosses. */
export const CROSSING = new Uint8Array(HEADER_IDS);
for (const h of AS_IS) CROSSING[h] = PASS_AS_IS;
for (const h of CREDENTIALS) CROSSING[h] = PASS_CREDENTIAL;
for (const h of CHALLENGES) CROSSING[h] = PASS_CHALLENGE;
CROSSING[H.supported] = REWRITE_SUPPORTED;
CROSSING[H.reason] = REWRITE_REASON;
for (const h of PERSONAL) CROSSING[h] = PASS_PERSONAL;
for (const h of BETWEEN_TRUSTED) CROSSING[h] = PASS_TRUSTED;
for (const h of IDENTITY) CROSSING[h] = MAP_IDENTITY;
CROSSING[H.warning] = REWRITE_WARNING;
CROSSING[H.privacy] = REWRITE_PRIVACY;
CROSSING[H.require] = REWRITE_REQUIRE;
CROSSING[H.sessionId] = REWRITE_SESSION_ID;
CROSSING[H.event] = REWRITE_EVENT;

export const CROSS = {
  asIs: PASS_AS_IS,
  credential: PASS_CREDENTIAL,
  challenge: PASS_CHALLENGE,
  supported: REWRITE_SUPPORTED,
  reason: REWRITE_REASON,
  personal: PASS_PERSONAL,
  trusted: PASS_TRUSTED,
  identity: MAP_IDENTITY,
  warning: REWRITE_WARNING,
  privacy: REWRITE_PRIVACY,
  require: REWRITE_REQUIRE,
  sessionId: REWRITE_SESSION_ID,
  event: REWRITE_EVENT,
} as const;

/** Option tags that we relay faithfully between legs. `100rel` and `timer` are each leg's own affair, and written by us. */
export const OPTION_TAGS: ReadonlySet<string> = new Set([
  'norefersub',
  'replaces',
  'eventlist',
  'tdialog',
  'histinfo-lbyr',
  'precondition',
]);

/** Of Require: what only the other end can do. */
export const REQUIRE_TAGS: ReadonlySet<string> = new Set(['precondition']);

/** Of Require in a 421: what the other end must bring along as well. */
export const DEMANDED_TAGS: ReadonlySet<string> = new Set(['precondition', '100rel']);

/** Bodies that may cross, per method, besides SDP (which `anchor` rewrites). */
const BODIES: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  [
    'INFO',
    new Set([
      'application/dtmf-relay',
      'application/dtmf',
      'application/media_control+xml',
      'application/vnd.nortelnetworks.digits',
    ]),
  ],
  [
    'MESSAGE',
    new Set([
      'text/plain',
      'text/html',
      'message/cpim',
      'application/im-iscomposing+xml',
      'message/imdn+xml',
      'application/json',
    ]),
  ],
  [
    'NOTIFY',
    new Set([
      'application/simple-message-summary',
      'application/pidf+xml',
      'message/sipfrag',
      'application/watcherinfo+xml',
      'text/plain',
    ]),
  ],
  ['PUBLISH', new Set(['application/pidf+xml'])],
  ['SUBSCRIBE', new Set(['application/resource-lists+xml', 'application/simple-filter+xml'])],
]);

export function bodyCrosses(method: string, contentType: string): boolean {
  return BODIES.get(method)?.has(contentType) === true;
}

/** For the documentation and the tests: every header that can cross between anybody, by name. */
export function crossingNames(): string[] {
  return namesOf(how => how !== 0 && how !== CROSS.trusted && how !== CROSS.identity && how !== CROSS.warning);
}

/** And those that cross from or to who is trusted, alone. */
export function trustedNames(): string[] {
  return namesOf(how => how === CROSS.trusted || how === CROSS.identity);
}

function namesOf(which: (how: number) => boolean): string[] {
  return [...CROSSING.entries()].filter(([, how]) => which(how)).map(([h]) => headerName(h));
}
