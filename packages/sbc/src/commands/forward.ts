import { AdminClient } from './admin-client.js';
import type { Command, CommandContext } from './command.js';

const USAGE = `drawbridge forward USER@DOMAIN                                  what happens to calls to somebody
drawbridge forward USER@DOMAIN unconditional|busy|offline TARGET|off
drawbridge forward USER@DOMAIN no-answer TARGET|off [SECONDS]
drawbridge forward USER@DOMAIN dnd on|off
drawbridge forward USER@DOMAIN reset                            as configured again`;

interface Rules {
  unconditional?: string;
  busy?: string;
  noAnswer?: { to: string; seconds?: number };
  offline?: string;
  dnd: boolean;
}

/** Through the running border, which keeps it in its store. */
export const forward: Command = async c => {
  const [who, what, to, seconds] = c.words;
  if (who === undefined || !/^[^@]+@[^@]+$/.test(who)) return usage(c);
  const path = `/subscribers/${encodeURIComponent(who)}/forwarding`;
  const api = new AdminClient(c.config.admin);
  if (what === undefined) return show(c, who, await api.get<Rules>(path));
  if (what === 'reset') return show(c, who, await api.delete<Rules>(path));
  if (to === undefined) return usage(c);
  const rules = await api.get<Rules>(path);
  if (what === 'unconditional' || what === 'busy' || what === 'offline') {
    if (to === 'off') delete rules[what];
    else rules[what] = to;
  } else if (what === 'no-answer') {
    if (seconds !== undefined && !/^\d{1,3}$/.test(seconds)) return usage(c);
    if (to === 'off') delete rules.noAnswer;
    else rules.noAnswer = seconds === undefined ? { to } : { to, seconds: Number(seconds) };
  } else if (what === 'dnd' && (to === 'on' || to === 'off')) rules.dnd = to === 'on';
  else return usage(c);
  return show(c, who, await api.put<Rules>(path, rules));
};

function show(c: CommandContext, who: string, r: Rules): number {
  if (c.json) c.print(JSON.stringify(r));
  else {
    const lines = [
      r.unconditional === undefined ? '' : `every call goes to ${r.unconditional}`,
      r.dnd ? 'does not want to be disturbed' : '',
      r.busy === undefined ? '' : `busy: to ${r.busy}`,
      r.noAnswer === undefined ? '' : `no answer after ${r.noAnswer.seconds ?? 20} s: to ${r.noAnswer.to}`,
      r.offline === undefined ? '' : `offline: to ${r.offline}`,
    ].filter(line => line !== '');
    c.print(lines.length === 0 ? `${who} takes calls himself.` : [who, ...lines.map(l => `  ${l}`)].join('\n'));
  }
  return 0;
}

function usage(c: CommandContext): number {
  c.complain(USAGE);
  return 2;
}
