import type { Command } from './command.js';

/** Gets here only with a configuration that is right: `main` has listed its problems otherwise. */
export const check: Command = async c => {
  const domains = Object.entries(c.config.domains ?? {});
  const realms = c.config.realms === 'auto' ? ['the addresses of this machine'] : Object.keys(c.config.realms);
  if (c.json) c.print(JSON.stringify({ ok: true, source: c.source, problems: [] }));
  else
    c.print(
      `${c.source} is right: ${realms.length === 1 ? 'realm' : 'realms'} ${realms.join(', ')}; ${domains.length === 0 ? 'a demo domain' : domains.map(([name, d]) => `${name} (${d.kind})`).join(', ')}.`,
    );
  return 0;
};
