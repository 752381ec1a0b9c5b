import { duration } from '@drawbridge/service';
import * as z from 'zod';

/** Header names and values go into an HTTP request as they are. */
const headerValue = z.string().regex(/^[\x20-\x7e]*$/, { error: 'expected printable ASCII' });

const provider = z.strictObject({
  url: z.url({
    protocol: /^https?$/,
    error: 'expected the URL of the push gateway, such as https://push.example.org/wake',
  }),
  headers: z.record(z.string().regex(/^[A-Za-z0-9-]{1,64}$/), headerValue).default({}),
  timeout: duration().prefault('5s'),
});

/** `push`: how phones that sleep are woken (RFC 8599). Names are those that phones give as `pn-provider`. */
export const pushSection = z
  .strictObject({
    providers: z
      .record(z.string().regex(/^[a-z0-9._-]{1,32}$/, { error: 'expected lower case' }), provider)
      .default({}),
    /** How long a call or message waits for the phone that it has woken. */
    wait: duration().prefault('20s'),
    /** Calls and messages that may wait at once, and pushes under way. */
    max: z.number({ error: 'a whole number' }).int().min(1).default(200),
  })
  .prefault({});

export type PushConfig = z.infer<typeof pushSection>;
