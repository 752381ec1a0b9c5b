import { spawn } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const node = process.execPath;

/** What ends a command: a plain sentence for the person at the terminal, empty when everything is said already. */
export class Failure extends Error {
  constructor(sentence, code = 1, output = '') {
    super(sentence);
    this.code = code;
    /** What the program wrote, where it was kept back. */
    this.output = output;
  }
}

/**
 * Runs a program in the repository's root and waits for it. Signals that this process gets go on to it.
 * `quiet` keeps its output back and shows it when it fails, unless `show` is false; `otherwise` is the sentence for then.
 */
export async function run(file, args, { quiet = false, show = true, otherwise = '', env = {}, accept = [0] } = {}) {
  const child = spawn(file, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: quiet ? ['ignore', 'pipe', 'pipe'] : 'inherit',
  });
  const kept = [];
  child.stdout?.on('data', chunk => kept.push(chunk));
  child.stderr?.on('data', chunk => kept.push(chunk));
  const stop = passSignals(child);
  const { code, signal, error } = await new Promise(resolve => {
    child.once('error', e => resolve({ code: 127, error: e }));
    child.once('close', (c, s) => resolve({ code: c, signal: s }));
  });
  stop();
  if (error !== undefined) throw new Failure(otherwise || `Can't run ${file}: ${error.message}`, 127);
  const status = code ?? 128 + (signal === 'SIGINT' ? 2 : 15);
  if (!accept.includes(status)) {
    const output = Buffer.concat(kept);
    if (show) process.stderr.write(output);
    throw new Failure(otherwise, status, output.toString());
  }
  return { code: status, output: Buffer.concat(kept).toString() };
}

/** On a terminal Ctrl-C reaches the whole group by itself; passed on as well, it would look like a second one. */
function passSignals(child) {
  const pass = signal => {
    if (signal === 'SIGINT' && process.stdin.isTTY) return;
    child.kill(signal);
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const s of signals) process.on(s, pass);
  return () => {
    for (const s of signals) process.off(s, pass);
  };
}

/** One progress line with the seconds it took. */
export async function step(what, work) {
  const start = performance.now();
  process.stderr.write(`${what} …\n`);
  const result = await work();
  const seconds = (performance.now() - start) / 1000;
  process.stderr.write(`${what}: done in ${seconds.toFixed(1)} s\n`);
  return result;
}
