import { formatEndpoint } from '@drawbridge/core';
import type { CallFacts } from '../admin/facts.js';
import { AdminClient } from './admin-client.js';
import type { Command, CommandContext } from './command.js';
import { clock, table } from './table.js';

/** `calls`, `calls CALL`, `calls end CALL`. */
export const calls: Command = async c => {
  const api = new AdminClient(c.config.admin);
  const [first, second] = c.words;
  if (first === 'end') {
    if (second === undefined) {
      c.complain('Which call? drawbridge calls end CALL');
      return 2;
    }
    await api.delete(`/calls/${encodeURIComponent(second)}`);
    c.print(c.json ? JSON.stringify({ ended: second }) : `${second} is being ended.`);
    return 0;
  }
  if (first !== undefined) {
    const call = await api.get<CallFacts>(`/calls/${encodeURIComponent(first)}`);
    if (c.json) c.print(JSON.stringify(call));
    else printOne(c, call);
    return 0;
  }
  const list = await api.get<readonly CallFacts[]>('/calls');
  if (c.json) c.print(JSON.stringify(list));
  else if (list.length === 0) c.print('No calls.');
  else
    c.print(
      table(
        ['CALL', 'STATE', 'FOR', 'FROM', 'TO', 'LEGS'],
        list.map(k => [k.id, k.state, age(k), k.from, k.to, String(k.legs.length)]),
      ),
    );
  return 0;
};

function age(k: CallFacts): string {
  return clock(Date.now() - (k.answeredAt ?? k.startedAt));
}

function printOne(c: CommandContext, k: CallFacts): void {
  c.print(`${k.id}  ${k.state} for ${age(k)}\n${k.from} → ${k.to}\n`);
  c.print(
    table(
      ['LEG', 'REALM', 'OVER', 'PEER', 'STATE'],
      k.legs.map(l => [
        l.leg,
        l.realm,
        l.transport,
        formatEndpoint(l.peer),
        `${l.state}${l.reason === undefined ? '' : ` (${l.reason})`}`,
      ]),
    ),
  );
  if (k.media.length === 0) return;
  c.print('');
  c.print(
    table(
      ['LEG', 'MEDIA', 'OUR PORT', 'SDP SAYS', 'COMES FROM', 'PATH', 'PACKETS', 'LOST'],
      k.media.map(m => [
        m.leg,
        m.kind,
        formatEndpoint(m.local),
        m.remote === undefined ? '-' : formatEndpoint(m.remote),
        m.latched === undefined ? 'nothing yet' : formatEndpoint(m.latched),
        m.path,
        String(m.counters.packets),
        String(m.counters.lost),
      ]),
    ),
  );
}
