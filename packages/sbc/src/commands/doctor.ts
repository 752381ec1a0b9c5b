import { existsSync, readFileSync, statfsSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Endpoint, formatEndpoint } from '@drawbridge/core';
import { CertificateFiles, type CertificatePaths } from '@drawbridge/sip';
import { openUdp, type Probe, probe, SocketError } from 'node-dgram-raw';
import { expiryWarning } from '../transports/expiry.js';

export interface DoctorOptions {
  /** Where SIP will listen; each is tried. */
  readonly udp: readonly Endpoint[];
  readonly tcp: readonly Endpoint[];
  /** Both inclusive. */
  readonly relayPorts: readonly [number, number];
  /** Folder of the store and the CDRs. */
  readonly folder: string;
  /** What a running border says of itself. */
  readonly extra?: readonly Check[];
  /** Of the realms that have one. */
  readonly certificates?: readonly { readonly realm: string; readonly paths: CertificatePaths }[];
}

export interface DoctorReport {
  /** Nothing stands in the way of a working border; what is not ok beyond that costs speed or a feature. */
  readonly ready: boolean;
  readonly checks: readonly Check[];
}

export interface Check extends Probe {
  /** Without it the border can't do its work at all. */
  readonly needed: boolean;
}

/** What this machine can do for a border, and how to get the rest. Changes nothing. */
export async function doctor(o: DoctorOptions): Promise<DoctorReport> {
  const checks: Check[] = [
    nodeVersion(),
    ...(await Promise.all(o.udp.map(freeUdp))),
    ...(await Promise.all(o.tcp.map(freeTcp))),
    ...(await Promise.all((o.certificates ?? []).map(certificate))),
    diskSpace(o.folder),
    clock(),
    capabilities(),
    ...(await probe({ relayPorts: o.relayPorts })).probes.map(p => ({ ...p, needed: false })),
    ...(o.extra ?? []),
  ];
  return { ready: checks.every(c => c.ok || !c.needed), checks };
}

/** One line per check, its remedy beneath; the last line says what it comes to. */
export function formatDoctor(report: DoctorReport): string {
  const width = Math.max(...report.checks.map(c => c.name.length));
  const lines = report.checks.flatMap(c => {
    const mark = c.ok ? 'ok  ' : c.needed ? 'FAIL' : 'less';
    const line = `${mark}  ${c.name.padEnd(width)}  ${c.detail}`;
    return c.ok || c.remedy === undefined ? [line] : [line, `      ${' '.repeat(width)}  → ${c.remedy}`];
  });
  const less = report.checks.filter(c => !c.ok && !c.needed).length;
  const sum = !report.ready
    ? 'The border cannot run here yet: mend what says FAIL.'
    : less === 0
      ? 'This machine has everything.'
      : `The border runs here; ${less} thing${less === 1 ? '' : 's'} marked less would make it faster or complete.`;
  return `${[...lines, '', sum].join('\n')}\n`;
}

function nodeVersion(): Check {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const ok = major > 20 || (major === 20 && minor >= 20);
  return check('node', ok, `Node ${process.versions.node}`, 'install Node 20.20 or newer', true);
}

async function freeUdp(at: Endpoint): Promise<Check> {
  const name = `udp ${formatEndpoint(at)}`;
  try {
    await (await openUdp({ address: at.address, port: at.port, mode: 'dgram' })).close();
    return check(name, true, 'free', '', true);
  } catch (error) {
    return check(name, false, (error as Error).message, remedyOf(error), true);
  }
}

function freeTcp(at: Endpoint): Promise<Check> {
  const name = `tcp ${formatEndpoint(at)}`;
  return new Promise(done => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      done(
        check(
          name,
          false,
          error.code === 'EADDRINUSE' ? 'another program listens there' : error.message,
          remedyOf(error),
          true,
        ),
      );
    });
    server.listen({ host: at.address, port: at.port, exclusive: true }, () => {
      server.close(() => done(check(name, true, 'free', '', true)));
    });
  });
}

/** Whether a realm's certificate can be used, and for how long yet. */
async function certificate({ realm, paths }: NonNullable<DoctorOptions['certificates']>[number]): Promise<Check> {
  const name = `certificate of ${realm}`;
  try {
    const nothing = (): void => {};
    const files = await CertificateFiles.open(paths, { wall: Date.now, onRenewed: nothing, onRefused: nothing });
    const warning = expiryWarning(realm, paths.certificate, files.expiresAt, Date.now());
    const until = `valid until ${new Date(files.expiresAt).toISOString().slice(0, 10)}`;
    return check(name, warning === undefined, until, warning ?? '');
  } catch (error) {
    return check(name, false, (error as Error).message, `correct ${paths.certificate} and ${paths.key}`, true);
  }
}

function remedyOf(error: unknown): string {
  const { code } = error as { code?: string };
  const reason = error instanceof SocketError ? error.reason : code;
  switch (reason) {
    case 'address-in-use':
    case 'EADDRINUSE':
      return 'stop the other program (ss -lnp shows it), or give the realm another port under sip';
    case 'address-not-available':
    case 'EADDRNOTAVAIL':
      return 'correct bind in the realm: ip address lists what this machine has';
    case 'permission':
    case 'EACCES':
      return 'take a port above 1023, or give the process CAP_NET_BIND_SERVICE';
    default:
      return 'correct bind and sip in the realm';
  }
}

/** Below this the store and the CDRs fill what is left within days. */
const SPACE_WANTED = 1 << 30;
/** Below this they can't even start. */
const SPACE_NEEDED = 64 << 20;

function diskSpace(folder: string): Check {
  let there = resolve(folder);
  while (!existsSync(there) && dirname(there) !== there) there = dirname(there);
  const { bavail, bsize } = statfsSync(there);
  const free = bavail * bsize;
  const detail = `${(free / (1 << 20)).toFixed(0)} MiB free for ${folder}`;
  return check(
    'disk space',
    free >= SPACE_WANTED,
    detail,
    'free some space, or move store.path and cdr.file',
    free < SPACE_NEEDED,
  );
}

/** A clock before this program's own files is wrong; nonces, CDRs and certificates then are too. */
function clock(): Check {
  const made = statSync(fileURLToPath(import.meta.url)).mtimeMs;
  const now = Date.now();
  if (now < made - 86_400_000) {
    return check(
      'clock',
      false,
      `it says ${new Date(now).toISOString()}, older than this program`,
      'set the clock (timedatectl set-ntp true)',
    );
  }
  const synchronised =
    existsSync('/run/systemd/timesync/synchronized') ||
    existsSync('/run/chrony') ||
    existsSync('/var/lib/ntp/ntp.drift');
  return check(
    'clock',
    true,
    synchronised ? 'synchronised' : 'plausible; no time service seen, call times are as good as this clock',
  );
}

/** Bits of capabilities(7) that the faster paths need. */
const CAPABILITIES = [
  ['CAP_NET_ADMIN', 12, 'media through one steered socket'],
  ['CAP_NET_RAW', 13, 'the raw sender of media'],
  ['CAP_SYS_RESOURCE', 24, 'more descriptors and locked memory than the limits give'],
  ['CAP_BPF', 39, 'loading programs for steering'],
] as const;

function capabilities(): Check {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status())?.[1];
  if (effective === undefined)
    return check(
      'capabilities',
      false,
      'this system has none (not Linux)',
      'run the border on Linux for its fast paths',
    );
  const bits = BigInt(`0x${effective}`);
  const missing = CAPABILITIES.filter(([, bit]) => (bits & (1n << BigInt(bit))) === 0n);
  if (missing.length === 0) return check('capabilities', true, CAPABILITIES.map(([name]) => name).join(' '));
  return check(
    'capabilities',
    false,
    `without ${missing.map(([name, , use]) => `${name} (${use})`).join(', ')}`,
    `AmbientCapabilities=${missing.map(([name]) => name).join(' ')} in the unit file, or run as root`,
  );
}

function status(): string {
  try {
    return readFileSync('/proc/self/status', 'latin1');
  } catch {
    return '';
  }
}

function check(name: string, ok: boolean, detail: string, remedy = '', needed = false): Check {
  return ok || remedy === '' ? { name, ok, detail, needed } : { name, ok, detail, remedy, needed };
}
