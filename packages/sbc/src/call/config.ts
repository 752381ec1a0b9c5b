import { duration } from '@drawbridge/service';
import * as z from 'zod';

/** Keys of `calls` about dialogs. Durations in milliseconds. */
export const dialogKeys = {
  /** Early dialogs that a caller sees when several callees ring: each callee's own, or one at a time. */
  earlyDialogs: z.enum(['all', 'single']).default('all'),
  /** RFC 4028, on each leg by itself. `false`: none is asked for, and none is granted. */
  sessionTimer: z
    .union([
      z.literal(false),
      z
        .strictObject({
          expires: duration(undefined, { min: '90s', max: '24h' }).prefault('30m'),
          minSe: duration(undefined, { min: '90s', max: '24h' }).prefault('90s'),
        })
        .refine(t => t.minSe <= t.expires, { error: 'expected minSe at most expires' }),
    ])
    .prefault({}),
  /** Subscriptions at once of one subscriber, across the border. */
  subscriptionsPerSubscriber: z.number({ error: 'a whole number' }).int().min(1).default(200),
  /** RFC 7989: pass identifiers of sessions on, or make them for ends that have none as well. */
  sessionId: z.enum(['pass', 'generate']).default('pass'),
};
