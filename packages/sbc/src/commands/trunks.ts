import { formatEndpoint } from '@drawbridge/core';
import type { TrunkFacts } from '../trunk/facts.js';
import { AdminClient } from './admin-client.js';
import type { Command } from './command.js';
import { table } from './table.js';

/** `trunks`: the configured peers for calls in and out, whether they live, and what is under way on them. */
export const trunks: Command = async c => {
  const list = await new AdminClient(c.config.admin).get<readonly TrunkFacts[]>('/trunks');
  if (c.json) c.print(JSON.stringify(list));
  else if (list.length === 0) c.print('No trunks are configured.');
  else
    c.print(
      table(
        ['TRUNK', 'STATE', 'REGISTERED', 'CALLS', 'IN', 'OUT', 'FAILED', 'FULL', 'HOPS'],
        list.map(t => [
          t.name,
          t.up ? 'up' : 'DOWN',
          t.registered === undefined ? '-' : t.registered ? 'yes' : 'NO',
          t.maxCalls === undefined ? String(t.calls) : `${t.calls}/${t.maxCalls}`,
          String(t.callsIn),
          String(t.callsOut),
          String(Object.values(t.failures).reduce((a, b) => a + b, 0)),
          String(t.full),
          t.hops.map(hop).join(', ') || 'none known yet',
        ]),
      ),
    );
  return 0;
};

function hop(h: TrunkFacts['hops'][number]): string {
  const rtt = h.rttMs === undefined ? '' : ` ${Math.round(h.rttMs)} ms`;
  return `${h.transport} ${formatEndpoint(h.endpoint)} ${h.up ? `up${rtt}` : 'DOWN'}`;
}
