import { duration } from '@drawbridge/service';
import { parseNameServer } from '@drawbridge/sip';
import * as z from 'zod';

/**
 * `sip:pbx.example.net`: with neither port nor transport the domain itself says how and where (NAPTR, SRV); `sip:10.0.0.5:5060`,
 * `sip:pbx.example.net;transport=tcp`, `sips:pbx.example.net`.
 */
export const nextHopUri = z
  .string()
  .regex(/^sips?:(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?(;transport=(udp|tcp|tls))?$/, {
    error: 'expected a next hop such as sip:pbx.example.net or sip:10.0.0.5:5060;transport=udp',
  });

const server = z.string().refine(text => parseNameServer(text) !== undefined, {
  error: 'expected the address of a name server such as 10.0.0.53 or [2001:db8::53]:53',
});

/** `servers`: instead of those of /etc/resolv.conf. `timeout`: for one question, all tries together. */
export const dnsSection = z
  .strictObject({
    servers: z.array(server).min(1).max(8).optional(),
    timeout: duration().prefault('5s'),
  })
  .prefault({});
