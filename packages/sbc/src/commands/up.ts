import { bracketed, formatEndpoint } from '@drawbridge/core';
import { createLogger, onStopSignal } from '@drawbridge/service';
import type { ListenerFacts, StatusFacts } from '../admin/facts.js';
import { compose, type Running } from '../compose.js';
import type { Command, CommandContext } from './command.js';
import { table } from './table.js';

/** Between the drain's deadline and the end of the process: BYEs, the store's last commit. */
const GRACE_MS = 10_000;

/** Runs until a signal. The first one drains, the second ends at once. */
export const up: Command = async c => {
  const { level, personal } = c.config.log;
  const log = createLogger({ level, personal });
  const began = performance.now();
  const running = await compose(c.config, { log, progress: line => (c.json ? undefined : c.print(`  ${line} …`)) });
  process.on('uncaughtException', error => {
    log.fatal({ error }, 'the border ends because of a fault of its own');
    process.exit(1);
  });
  const withinMs = c.config.calls.drainWithin;
  // Before anything is said: whoever reads that it is up may tell it to stop.
  onStopSignal(
    async signal => {
      const { calls } = running.status();
      if (!c.json)
        c.print(
          calls === 0
            ? `${signal}: ending.`
            : `${signal}: no new calls; ending when the ${calls} under way have ended (once more: at once).`,
        );
      await running.stop(withinMs);
    },
    { withinMs: withinMs + GRACE_MS },
  );

  const status = running.status();
  if (c.json) c.print(JSON.stringify({ ...status, admin: running.adminUrl, demo: running.demo }));
  else c.print(welcome(running, status, c, Math.round(performance.now() - began)));
  await new Promise<void>(() => {});
  return 0;
};

function welcome(running: Running, status: StatusFacts, c: CommandContext, ms: number): string {
  const [low, high] = c.config.media.ports;
  const rows = placesOf(status.listeners).map(l => {
    const media = status.media.find(m => m.realm === l.realm && m.address === l.address);
    return [
      l.realm,
      l.sip,
      l.advertised,
      media === undefined ? '-' : `${bracketed(l.address)} ports ${low}-${high}`,
      media?.path ?? '-',
    ];
  });
  const out = [
    '',
    `Drawbridge ${status.version} is up (${ms} ms, ${c.source}).`,
    '',
    table(['REALM', 'SIP', 'KNOWN AS', 'MEDIA', 'PATH'], rows),
    '',
    `Domains   ${status.domains.map(d => `${d.name} (${d.kind})`).join(', ')}`,
    `Store     ${status.store}, ${status.subscribers} subscribers, ${status.bindings} registrations`,
    `Admin     ${running.adminUrl ?? 'not there'}${running.adminUrl === undefined ? '' : '  (/metrics /healthz /readyz /api/v1)'}`,
  ];
  for (const w of status.warnings) out.push(`Warning   ${w}`);
  const [first, second] = running.demo;
  if (first !== undefined && second !== undefined) {
    const port = status.listeners.find(l => l.advertise.address === first.domain)?.advertise.port ?? 5060;
    out.push(
      '',
      'Two phones to try it with:',
      '',
      table(
        ['USER', 'PASSWORD', 'DOMAIN'],
        running.demo.map(d => [d.user, d.password, d.domain]),
      ),
      '',
      `In a softphone: new SIP account, user ${first.user}, domain (server, registrar) ${first.domain}${port === 5060 ? '' : `:${port}`}, the password`,
      `above, transport UDP or TCP. The same with ${second.user} on another. Then call sip:${second.user}@${bracketed(first.domain)}.`,
    );
  }
  out.push('', 'Ctrl-C ends it. `drawbridge help` lists what else there is to ask.', '');
  return out.join('\n');
}

/** One row per address: UDP and TCP on one port are one thing to a reader. */
function placesOf(
  listeners: readonly ListenerFacts[],
): { realm: string; address: string; sip: string; advertised: string }[] {
  const rows: { realm: string; address: string; port: number; sip: string; advertised: string }[] = [];
  for (const l of listeners) {
    const same = rows.find(r => r.realm === l.realm && r.address === l.bind.address && r.port === l.bind.port);
    if (same !== undefined) same.sip = `${same.sip.split(' ')[0]}+${l.transport} ${formatEndpoint(l.bind)}`;
    else {
      rows.push({
        realm: l.realm,
        address: l.bind.address,
        port: l.bind.port,
        sip: `${l.transport} ${formatEndpoint(l.bind)}`,
        advertised: l.advertise.address === l.bind.address ? 'itself' : l.advertise.address,
      });
    }
  }
  return rows;
}
