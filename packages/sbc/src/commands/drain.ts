import type { StatusFacts } from '../admin/facts.js';
import { AdminClient } from './admin-client.js';
import type { Command } from './command.js';

export const drain: Command = async c => {
  const api = new AdminClient(c.config.admin);
  await api.post('/drain');
  const { calls } = await api.get<StatusFacts>('/status');
  c.print(
    c.json
      ? JSON.stringify({ draining: true, calls })
      : `No new calls are taken; ${calls} under way. End the process when there are none left.`,
  );
  return 0;
};
