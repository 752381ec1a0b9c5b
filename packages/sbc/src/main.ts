#!/usr/bin/env node
import { parseArgs } from 'node:util';
import { formatProblems } from '@drawbridge/service';
import { NotRunning, Refused } from './commands/admin-client.js';
import { bindings } from './commands/bindings.js';
import { calls } from './commands/calls.js';
import { check } from './commands/check.js';
import type { Command } from './commands/command.js';
import { readConfig } from './commands/config-file.js';
import { doctorCommand } from './commands/doctor-command.js';
import { drain } from './commands/drain.js';
import { HELP } from './commands/help.js';
import { subscribers } from './commands/subscribers.js';
import { trace } from './commands/trace.js';
import { up } from './commands/up.js';
import { StartError } from './shell/listeners.js';
import { StoreError } from './store/store.js';
import { VERSION } from './version.js';

const COMMANDS: ReadonlyMap<string, Command> = new Map([
  ['up', up],
  ['check', check],
  ['doctor', doctorCommand],
  ['calls', calls],
  ['bindings', bindings],
  ['trace', trace],
  ['subscribers', subscribers],
  ['drain', drain],
]);

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
  const loaded = readConfig(values.config, process.env.DRAWBRIDGE_CONFIG);
  if (!loaded.ok) {
    const problems = 'problems' in loaded ? loaded.problems : [];
    if (json) console.log(JSON.stringify({ ok: false, source: loaded.source, problems: 'problems' in loaded ? problems : [{ message: loaded.unreadable }] }));
    else console.error('problems' in loaded ? formatProblems(problems) : loaded.unreadable);
    return 2;
  }
  return command({
    config: loaded.config,
    source: loaded.source,
    words,
    json,
    password: values.password,
    print: text => console.log(text),
    complain: text => console.error(text),
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
    const plain = error instanceof StartError || error instanceof StoreError || error instanceof NotRunning || error instanceof Refused;
    console.error(plain ? error.message : error);
    process.exit(1);
  },
);
