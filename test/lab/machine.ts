import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cpus } from 'node:os';

/** Runs a command to its end; a non-zero exit is thrown with what it wrote. */
export function run(command: string, args: readonly string[], input?: string): string {
  const r = spawnSync(command, args, { encoding: 'latin1', ...(input === undefined ? {} : { input }) });
  if (r.error !== undefined) throw r.error;
  if (r.status !== 0) throw new Error(`${command} ${args.join(' ')}: exit ${r.status}\n${r.stderr}${input ?? ''}`);
  return r.stdout;
}

/** The same where failure is an answer. */
export function succeeds(command: string, args: readonly string[]): boolean {
  const r = spawnSync(command, args, { stdio: 'ignore' });
  return r.status === 0;
}

/** What the laboratory and its peers need: command → Debian package. */
const PEERS: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  nsenter: 'util-linux',
  nft: 'nftables',
  conntrack: 'conntrack',
  tcpdump: 'tcpdump',
  baresip: 'baresip-core',
  linphonec: 'linphone-cli',
  chromium: 'chromium',
  openssl: 'openssl',
  promtool: 'prometheus',
  kamailio: 'kamailio',
  sipp: 'sip-tester',
  sipsak: 'sipsak',
};
const SEARCH = ['/usr/sbin', '/usr/bin', '/sbin', '/bin', '/usr/local/sbin', '/usr/local/bin'];

/**
 * Why the laboratory can't run here, as one plain line, or undefined when it can.
 * With CI=true a missing peer is a fault of the set-up and is thrown: a skipped suite must not pass for a green one.
 */
export function unable(): string | undefined {
  const missing = Object.keys(PEERS).filter(name => !SEARCH.some(dir => existsSync(`${dir}/${name}`)));
  let why: string | undefined;
  if (process.getuid?.() !== 0) why = 'the laboratory builds network namespaces and needs root';
  else if (missing.length > 0) why = `missing: apt install ${[...new Set(missing.map(m => PEERS[m]))].join(' ')}`;
  if (why === undefined) return undefined;
  if (process.env.CI === 'true') throw new Error(why);
  process.stderr.write(`\n*** SKIPPED, NOT TESTED: ${why} ***\n\n`);
  return why;
}

/**
 * Ten times the usual duration, stretched by how hard the machine is pressed: a deadline says "stuck", never "slow".
 * Pressure is the share of time in which some task waited for a CPU (Documentation/accounting/psi.rst).
 */
export function deadline(usualMs: number): number {
  return Math.max(1000, usualMs * 10 * (1 + 3 * pressure()));
}

function pressure(): number {
  try {
    const some = /some avg10=([\d.]+)/.exec(readFileSync('/proc/pressure/cpu', 'latin1'));
    if (some?.[1] !== undefined) return Number(some[1]) / 100;
  } catch {
    // kernels without PSI: the load says the same, more slowly
  }
  const load = Number(readFileSync('/proc/loadavg', 'latin1').split(' ')[0]);
  return Math.min(1, load / cpus().length / 4);
}

export class Late extends Error {}

/** Rejects with `Late` when `work` is not done within ten times its usual duration. */
export async function within<T>(usualMs: number, what: string, work: Promise<T>): Promise<T> {
  const limit = deadline(usualMs);
  let timer: NodeJS.Timeout | undefined;
  try {
    return await Promise.race([
      work,
      new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Late(`${what}: not within ${Math.round(limit)} ms`)), limit);
      }),
    ]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks again until the answer is defined: for peers that offer a question and no event. */
export async function eventually<T>(
  usualMs: number,
  what: string,
  ask: () => Promise<T | undefined> | T | undefined,
): Promise<T> {
  const limit = performance.now() + deadline(usualMs);
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > limit) throw new Late(`${what}: not in time`);
    await new Promise(resolve => setTimeout(resolve, 40));
  }
}
