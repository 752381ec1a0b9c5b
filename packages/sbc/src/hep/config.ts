import * as z from 'zod';

/** A copy of every SIP message, and of RTCP reports, to a HEP collector (Homer and its kind). */
export const hepConfig = z
  .strictObject({
    to: z.string().regex(/^(udp|tcp):(\[[0-9A-Fa-f:.]+\]|[0-9.]+):\d{1,5}$/, {
      error: 'expected a collector such as udp:10.0.0.9:9060 or tcp:[2001:db8::9]:9060',
    }),
    captureId: z.number().int().min(1).max(0xffffffff).default(1),
    password: z.string().max(64).default(''),
    rtcp: z.boolean().default(true),
  })
  .optional();
