import * as z from 'zod';

const names = z.array(
  z
    .string()
    .regex(/^[A-Za-z0-9_.+-]{1,64}(\/\d{4,6})?$/, { error: 'expected a codec such as PCMA, opus or L16/44100' }),
);

/**
 * `realms.NAME.codecs`: of offers and answers from and to the realm. `allow`: only these codecs; `deny`: never these;
 * `order`: first these, in offers toward the realm. DTMF, retransmission and comfort noise go with what they accompany
 * unless denied.
 */
export const realmCodecs = z
  .strictObject({ allow: names.optional(), deny: names.optional(), order: names.optional() })
  .superRefine((c, ctx) => {
    const denied = new Set(c.deny?.map(n => n.toLowerCase()));
    for (const [key, list] of [
      ['allow', c.allow],
      ['order', c.order],
    ] as const)
      for (const [i, n] of (list ?? []).entries())
        if (denied.has(n.toLowerCase()))
          ctx.addIssue({
            code: 'custom',
            path: [key, i],
            message: `expected no codec that is denied as well, found "${n}"`,
          });
  });

/** `realms.NAME.bodies`: further content types that cross from and to the realm, in calls and beside them. */
export const realmBodies = z
  .array(
    z.string().regex(/^[A-Za-z0-9!#$&^_.+-]{1,64}\/[A-Za-z0-9!#$&^_.+-]{1,64}$/, {
      error: 'expected a content type such as application/vnd.example+xml',
    }),
  )
  .max(64)
  .default([]);

/** S/MIME in messages that negotiate media: its media can't be anchored. */
export const opaqueBodies = z.enum(['refuse', 'pass']).default('refuse');
