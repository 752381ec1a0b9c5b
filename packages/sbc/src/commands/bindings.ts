import { formatEndpoint } from '@drawbridge/core';
import type { BindingFacts } from '../admin/facts.js';
import { AdminClient } from './admin-client.js';
import type { Command } from './command.js';
import { clock, table } from './table.js';

/** `bindings`, or `bindings WORD` for those whose AoR holds the word. */
export const bindings: Command = async c => {
  const all = await new AdminClient(c.config.admin).get<readonly BindingFacts[]>('/bindings');
  const word = c.words[0] ?? '';
  const list = all.filter(b => b.aor.includes(word));
  if (c.json) c.print(JSON.stringify(list));
  else if (list.length === 0) c.print('No registrations.');
  else {
    c.print(
      table(
        ['AOR', 'FROM', 'OVER', 'REALM', 'CONTACT', 'EXPIRES', 'KEEPALIVE', 'ALG', 'PHONE'],
        list.map(b => [
          b.aor,
          formatEndpoint(b.peer),
          b.transport,
          b.realm,
          b.contact,
          clock(b.expiresInS * 1000),
          keepalive(b),
          b.alg.length === 0 ? '-' : b.alg.map(f => f.kind).join(', '),
          b.userAgent,
        ]),
      ),
    );
    for (const b of list) for (const f of b.alg) c.print(`${b.aor}: ${f.kind} (${f.evidence}). ${f.advice}`);
  }
  return 0;
};

function keepalive({ keepalive: k }: BindingFacts): string {
  if (k === undefined) return '-';
  const lost = k.lostS === undefined ? '' : `, lost at ${k.lostS} s`;
  return `${k.how} ${k.intervalS} s${k.searching ? ` (searching: held ${k.heldS} s${lost})` : ''}`;
}
