import { duration } from '@drawbridge/service';
import * as z from 'zod';

const seconds = (fallback: string) => duration().prefault(fallback);

/** Keys of `registrar` that keep REGISTERs away from upstreams. Durations come out in milliseconds. */
export const scaleSchema = {
  /** Asked of an upstream, however often its phones register here. `false`: every REGISTER goes to it. */
  upstreamExpires: z.union([z.literal(false), duration()]).prefault('1h'),
  /** Granted to phones of upstream domains; those that can be woken by a push keep what they ask for. */
  downstreamExpires: z.strictObject({ udp: seconds('60s'), stream: seconds('10m') }).prefault({}),
  /** How long registrations outlive what the upstream granted while it can't be reached. */
  grace: seconds('15m'),
  /** Refreshes per second that go to upstreams before they are urgent. */
  upstreamRate: z.number({ error: 'a whole number' }).int().min(1).default(200),
};
