import { duration } from '@drawbridge/service';
import * as z from 'zod';

/** Where call detail records go; several places at once are possible. */
export const cdrConfig = z.strictObject({
  file: z.union([z.string().min(1), z.literal(false)]).default('var/cdr.jsonl'),
  /** POST of JSON lines (application/x-ndjson), many records in one; 2xx takes them. */
  http: z
    .strictObject({
      url: z.url({ protocol: /^https?$/, error: 'expected a URL such as https://billing.example/cdr' }),
      headers: z.record(z.string().regex(/^[A-Za-z0-9-]{1,64}$/), z.string().regex(/^[\x20-\x7e]*$/)).default({}),
      timeout: duration().prefault('5s'),
      /** Tried again that long before a record counts as lost. */
      retryFor: duration().prefault('10m'),
    })
    .optional(),
  /** XADD to a stream, one entry per record, its JSON in the field `record`. */
  redis: z
    .strictObject({
      url: z.url({ protocol: /^rediss?$/, error: 'expected a URL such as redis://127.0.0.1:6379' }),
      stream: z.string().min(1).max(200).default('drawbridge:cdr'),
      /** About so many entries stay in the stream. */
      maxLength: z.number().int().min(1).default(1_000_000),
      retryFor: duration().prefault('10m'),
    })
    .optional(),
});
