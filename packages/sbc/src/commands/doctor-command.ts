import { dirname } from 'node:path';
import type { Endpoint } from '@drawbridge/core';
import type { StatusFacts } from '../admin/facts.js';
import { planRealms } from '../plan-realms.js';
import { lookAtMachine } from '../shell/machine.js';
import { AdminClient } from './admin-client.js';
import type { Command } from './command.js';
import { type Check, doctor, formatDoctor } from './doctor.js';

/** Where the running border reaches its upstream domains. */
function hopChecks(d: StatusFacts['domains'][number]): Check[] {
  return (d.next ?? []).map(p => {
    const hops = p.hops.map(h => `${h.transport} ${h.place}${h.down ? ' (down)' : ''}`).join(', ');
    const again = p.againInMs === undefined ? '' : `, asked again in ${Math.ceil(p.againInMs / 1000)} s`;
    return {
      name: `next hop of ${d.name}`,
      ok: p.why === '' && p.hops.length > 0 && p.hops.some(h => !h.down),
      detail: `${p.uri} → ${hops === '' ? 'nowhere' : hops}${again}${p.why === '' ? '' : ` (${p.why})`}`,
      remedy: 'mend its DNS or the name servers under dns.servers, or write the address under domains',
      needed: false,
    };
  });
}

/** What this machine can do for this configuration. Beside a running border its own ports aren't tried: it has them. */
export const doctorCommand: Command = async c => {
  const running = await new AdminClient(c.config.admin).get<StatusFacts>('/status').catch(() => undefined);
  const planned = planRealms(c.config, await lookAtMachine()).realms.flatMap(r => r.listeners);
  const of = (udp: boolean): Endpoint[] =>
    running === undefined ? planned.filter(l => (l.transport === 'udp') === udp).map(l => l.bind) : [];
  const report = await doctor({
    udp: of(true),
    tcp: of(false),
    relayPorts: c.config.media.ports,
    folder: dirname(c.config.store.path),
    certificates: Object.entries(c.config.realms === 'auto' ? {} : c.config.realms).flatMap(([realm, { tls }]) =>
      tls === undefined ? [] : [{ realm, paths: tls }],
    ),
    extra: running?.domains.flatMap(hopChecks) ?? [],
  });
  if (c.json) c.print(JSON.stringify({ ...report, running: running !== undefined }));
  else
    c.print(
      `${running === undefined ? '' : `A border runs here (process ${running.pid}): its SIP ports are not tried.\n\n`}${formatDoctor(report).trimEnd()}`,
    );
  return report.ready ? 0 : 1;
};
