import { H, headerId, headerName, isToken, safeValue } from '@drawbridge/sip';
import * as z from 'zod';

/**
 * Headers that are the border's own to write: a rule about one of them would break dialogs, routing or hiding, hence is
 * refused when the configuration is read.
 */
const OURS: ReadonlySet<number> = new Set([
  H.via,
  H.from,
  H.to,
  H.callId,
  H.cseq,
  H.contact,
  H.maxForwards,
  H.route,
  H.recordRoute,
  H.contentLength,
  H.contentType,
  H.contentEncoding,
  H.allow,
  H.supported,
  H.require,
  H.proxyRequire,
  H.unsupported,
  H.authorization,
  H.proxyAuthorization,
  H.wwwAuthenticate,
  H.proxyAuthenticate,
  H.authenticationInfo,
  H.proxyAuthenticationInfo,
  H.path,
  H.serviceRoute,
  H.sessionExpires,
  H.minSe,
  H.rack,
  H.rseq,
  H.replaces,
  H.join,
  H.targetDialog,
  H.referTo,
  H.event,
  H.subscriptionState,
  H.expires,
  H.minExpires,
  H.maxBreadth,
  H.flowTimer,
  H.privacy,
]);

/** Of these a rule may only say `remove`, or let them out (`pass`): who they may come from is a matter of trust. */
const SAID_BY_TRUST: ReadonlySet<number> = new Set([H.pPreferredIdentity]);

const name = z.string({ error: 'a header name' }).superRefine((text, ctx) => {
  if (!isToken(text) || text.length > 64)
    return ctx.addIssue({ code: 'custom', message: `expected a header name such as X-Account, found "${text}"` });
  const id = headerId(text);
  if (OURS.has(id))
    ctx.addIssue({
      code: 'custom',
      message: `${headerName(id)} is the border's own to write, no rule can change it: name another header, such as X-Account`,
    });
  else if (SAID_BY_TRUST.has(id))
    ctx.addIssue({
      code: 'custom',
      message: `${headerName(id)} never crosses: what it asks for becomes P-Asserted-Identity toward who is trusted`,
    });
});

const value = z
  .string({ error: 'a text' })
  .min(1)
  .max(512)
  .refine(text => safeValue(text) && !hasControl(text), { error: 'expected one line of text, without controls' });

function hasControl(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) < 32 || text.charCodeAt(i) > 255) return true;
  return false;
}

const rule = z.union(
  [z.strictObject({ pass: name }), z.strictObject({ remove: name }), z.strictObject({ set: name, value })],
  { error: 'expected a rule such as {pass: X-Account}, {remove: Subject} or {set: X-Trunk, value: "7"}' },
);

const rules = z.array(rule).max(64).default([]);

/** `realms.NAME.headers`: on top of the allow-list. `in`: of what comes from the realm; `out`: of what goes there. */
export const realmHeaders = z.strictObject({ in: rules, out: rules }).prefault({});

export type HeaderRule = z.infer<typeof rule>;

export const identityConfig = z
  .strictObject({
    /** What a subscriber may say in From: himself and his aliases, or whatever, which is then put right, or left. */
    from: z.enum(['match', 'rewrite', 'any']).default('match'),
    /** Realms whose subscribers are believed what they say of identity (a realm of PBXes). */
    trusted: z.array(z.string().min(1)).default([]),
    /** Upstream domains, trunks and realms that are not: all upstreams and trunks are trusted otherwise. */
    untrusted: z.array(z.string().min(1)).default([]),
    /** `alice@example.org: [sales, "+49301234567"]`: further users and numbers that are hers to use. */
    aliases: z
      .record(
        z.string().regex(/^[^@\s]{1,64}@[^@\s]{1,253}$/, { error: 'expected user@domain' }),
        z.array(z.union([z.string().min(1).max(320), z.number().int().transform(String)])).max(1000),
      )
      .default({}),
  })
  .prefault({});
