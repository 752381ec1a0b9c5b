#!/usr/bin/env node
import { parseArgs } from 'node:util';
import type { Command } from './commands/command.js';
import { HELP } from './commands/help.js';
import { forTerminal } from './commands/table.js';
import { VERSION } from './version.js';

/** Loaded when asked for: `drawbridge calls` needs neither a socket nor a store. */
const COMMANDS: ReadonlyMap<string, () => Promise<Command>> = new Map([
  ['up', async () => (await import('./commands/up.js')).up],
  ['check', async () => (await import('./commands/check.js')).check],
  ['doctor', async () => (await import('./commands/doctor-command.js')).doctorCommand],
  ['calls', async () => (await import('./commands/calls.js')).calls],
  ['bindings', async () => (await import('./commands/bindings.js')).bindings],
  ['trunks', async () => (await import('./commands/trunks.js')).trunks],
  ['trace', async () => (await import('./commands/trace.js')).trace],
  ['subscribers', async () => (await import('./commands/subscribers.js')).subscribers],
  ['forward', async () => (await import('./commands/forward.js')).forward],
  ['drain', async () => (await import('./commands/drain.js')).drain],
]);

/** Errors whose message is a plain sentence for the person at the terminal. */
const PLAIN: ReadonlySet<string> = new Set(['StartError', 'StoreError', 'NotRunning', 'Refused']);

async function main(): Promise<number> {
  const asked = readArguments();
  if (typeof asked === 'string') {
    console.error(`${asked}\nTry: drawbridge help`);
    return 2;
  }
  const { values, positionals } = asked;
  const [name = 'up', ...words] = positionals;
  if (values.help === true || name === 'help') return say(HELP);
  if (values.version === true) return say(VERSION);
  const command = COMMANDS.get(name);
  if (command === undefined) {
    console.error(`There is no command "${name}".\nTry: drawbridge help`);
    return 2;
  }
  const json = values.json === true;
  const { readConfig } = await import('./commands/config-file.js');
  const loaded = readConfig(values.config, process.env.DRAWBRIDGE_CONFIG);
  if (!loaded.ok) {
    const problems = 'problems' in loaded ? loaded.problems : [];
    if (json)
      console.log(
        JSON.stringify({
          ok: false,
          source: loaded.source,
          problems: 'problems' in loaded ? problems : [{ message: loaded.unreadable }],
        }),
      );
    else console.error('problems' in loaded ? loaded.explained : loaded.unreadable);
    return 2;
  }
  return (await command())({
    config: loaded.config,
    source: loaded.source,
    words,
    json,
    password: values.password,
    print: text => console.log(forTerminal(text)),
    complain: text => console.error(forTerminal(text)),
  });
}

function readArguments() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        config: { type: 'string', short: 'c' },
        json: { type: 'boolean' },
        password: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean' },
      },
    });
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function say(text: string): number {
  console.log(text);
  return 0;
}

// `drawbridge calls | head` closes our output early: that is no fault.
process.stdout.on('error', () => process.exit(0));

main().then(
  code => {
    process.exitCode = code;
  },
  (error: unknown) => {
    console.error(error instanceof Error && PLAIN.has(error.name) ? error.message : error);
    process.exit(1);
  },
);
