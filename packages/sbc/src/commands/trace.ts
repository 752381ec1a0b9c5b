import type { CallFacts, TraceMessage } from '../admin/facts.js';
import { AdminClient } from './admin-client.js';
import type { Command } from './command.js';
import { ladder } from './ladder.js';

/** `trace CALL [full]`: both legs as a ladder; `full` adds the messages themselves. */
export const trace: Command = async c => {
  const api = new AdminClient(c.config.admin);
  const [id, how] = c.words;
  if (id === undefined) {
    const list = await api.get<readonly CallFacts[]>('/calls');
    c.complain(
      `Which call? drawbridge trace CALL${list.length === 0 ? '' : `, one of: ${list.map(k => k.id).join(' ')}`}`,
    );
    return 2;
  }
  const messages = await api.get<readonly TraceMessage[]>(`/calls/${encodeURIComponent(id)}/trace`);
  c.print(c.json ? JSON.stringify(messages) : ladder(messages, how === 'full'));
  return 0;
};
