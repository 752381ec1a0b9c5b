import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { productVersion, ROOT, startBorder } from './border.js';
import { kamailioFile, startKamailio } from './kamailio.js';
import { anonymousBytes, commitOf, round3, sha256 } from './measure.js';
import { measured, type PairedRow, pairedRow, totals, type Unit, unmeasured } from './paired.js';
import { type Daemon, peerVersion, Workshop } from './processes.js';
import type { BenchOptions, BenchResult } from './result.js';
import { type SippRun, sippLoad } from './sipp.js';
import { addSubscribers } from './subscribers.js';

const RATE = 1000;
const USERS = 6000;
const MEMORY_USERS = 100_000;
/** Bindings that are there before the count begins, so that what a process allocates once isn't in it. */
const MEMORY_WARM = 2000;
const SERVER_CORE = 0;
const LOAD_CORE = 1;
const SCENARIO = join(ROOT, 'bench/sipp/register.xml');
const KAMAILIO_CFG = kamailioFile('register.cfg');
/** Until the transactions of the last registrations have ended (RFC 3261 timer J, 32 s) and a quiet process has swept up. */
const SETTLE_MS = 70_000;

const yaml = (store: string): string => `
realms:
  loop: { bind: [127.0.0.1], sip: { udp: 5060, tcp: false } }
domains:
  sbc.example.com: { kind: local }
# SIPp 3.6 knows MD5 only; Kamailio's auth module is asked for the same.
auth: { algorithms: [MD5], qop: [auth] }
registrar: { maxExpires: 2h }
store: ${store}
`;
const MEMORY = yaml('{ kind: memory }');
const DURABLE = yaml('{ kind: lmdb, path: store }');

/**
 * REGISTER, 401, REGISTER, 200 on both registrars in turn, then memory per binding at 100 k (bench.md, row "register").
 * The bindings are made before the pairs, so what is counted there are registrations that renew one.
 */
export async function register(options: BenchOptions): Promise<BenchResult> {
  const kamailio = peerVersion('kamailio', ['-v'], /version: kamailio (\S+)/);
  const sipp = peerVersion('sipp', ['-v'], /SIPp v(\S+?)\.?\s/);
  const missing = [
    ['kamailio', kamailio],
    ['sip-tester', sipp],
  ]
    .filter(([, v]) => v === undefined)
    .map(([p]) => p);
  const base = {
    bench: 'register',
    commit: commitOf(),
    ours: { version: productVersion(), node: process.version },
    peers: {},
    work: {},
    cpu_us: {},
    spread: {},
    config: {},
    ratios: {},
  };
  if (missing.length > 0) return { ...base, refused: `missing Debian packages: ${missing.join(' ')}` };

  const memory = await measureRow('memory', MEMORY, options);
  const durable = await measureRow('durable', DURABLE, options);
  const footprint = await measureMemory(options);
  const refused = [memory.refused, durable.refused, footprint.refused].filter(r => r !== undefined);
  return {
    ...base,
    ours: {
      ...base.ours,
      bytes_per_binding: footprint.ours,
      durable_sync_policy: 'lmdb group commit before the 200 that creates a binding; a pure refresh answers at once',
    },
    peers: { kamailio: { version: kamailio ?? '', bytes_per_binding: footprint.peer }, sipp: { version: sipp ?? '' } },
    work: { ours: totals(memory.ours), kamailio: totals(memory.peer), ours_durable: totals(durable.ours) },
    cpu_us: {
      ours: memory.cpuOurs,
      kamailio: memory.cpuPeer,
      ours_durable: durable.cpuOurs,
      ours_durable_first: footprint.cpuOurs,
      kamailio_first: footprint.cpuPeer,
    },
    spread: { ours: memory.spreadOurs, kamailio: memory.spreadPeer, ours_durable: durable.spreadOurs },
    config: {
      ours: sha256(MEMORY),
      ours_durable: sha256(DURABLE),
      kamailio: sha256(readFileSync(KAMAILIO_CFG, 'utf8')),
    },
    // A row that is refused has no ratio; the others stand on their own.
    ratios: {
      ...(memory.refused === undefined ? { cpu_per_register_vs_kamailio: memory.ratio } : {}),
      ...(durable.refused === undefined ? { cpu_per_register_durable_vs_kamailio_in_memory: durable.ratio } : {}),
    },
    ...(refused.length > 0 ? { refused: refused.join('; ') } : {}),
  };
}

async function measureRow(name: string, config: string, options: BenchOptions): Promise<PairedRow> {
  const shop = new Workshop();
  try {
    const { border, kamailio } = await startBoth(shop, name, config, USERS, options);
    const side = (target: string, of: Daemon) => (): Promise<Unit> =>
      measured([of], () => registrations(shop, target, USERS));
    const ours = side('127.0.0.1:5060', border);
    const peer = side('127.0.0.1:5070', kamailio);
    options.onProgress(`register/${name}: every user registers for the first time`);
    await ours();
    await peer();
    return await pairedRow(`register/${name}`, ours, peer, options.onProgress);
  } catch (error) {
    return unmeasured(name, error);
  } finally {
    await shop.end();
  }
}

let serial = 0;

/** Each of the first `count` users once: REGISTER, 401, REGISTER, 200, with a Call-ID of its own. */
function registrations(shop: Workshop, target: string, count: number): Promise<SippRun> {
  return sippLoad(shop, {
    name: `reg-${serial++}`,
    scenario: SCENARIO,
    target,
    // One port per target: both may be loaded at once.
    local: { address: '127.0.0.3', port: Number(target.split(':')[1]) + 1 },
    rate: RATE,
    count,
    core: LOAD_CORE,
    authUri: 'sbc.example.com',
    fields: shop.file('users.csv'),
  });
}

async function startBoth(
  shop: Workshop,
  name: string,
  config: string,
  users: number,
  options: BenchOptions,
): Promise<{ border: Daemon; kamailio: Daemon }> {
  options.onProgress(`register/${name}: starting the border and Kamailio, creating ${users} subscribers`);
  const lines = Array.from({ length: users }, (_, i) => `u${i};[authentication username=u${i} password=secret]\n`);
  writeFileSync(shop.file('users.csv'), `SEQUENTIAL\n${lines.join('')}`);
  const border = await startBorder(shop, name, config, SERVER_CORE);
  await addSubscribers(
    Array.from({ length: users }, (_, i) => ({ user: `u${i}`, domain: 'sbc.example.com', password: 'secret' })),
  );
  const kamailio = await startKamailio(shop, { cfg: 'register.cfg', core: SERVER_CORE, children: 1 });
  return { border, kamailio };
}

interface Footprint {
  readonly ours: number;
  readonly peer: number;
  /** CPU µs of a first registration, which makes a binding; ours with its store on disk. */
  readonly cpuOurs: number;
  readonly cpuPeer: number;
  readonly refused?: string;
}

/** (anonymous resident + files, with 100 k bindings − the same with few) ÷ bindings. */
async function measureMemory(options: BenchOptions): Promise<Footprint> {
  const shop = new Workshop();
  const none: Footprint = { ours: 0, peer: 0, cpuOurs: 0, cpuPeer: 0 };
  try {
    const { border, kamailio } = await startBoth(shop, 'footprint', DURABLE, MEMORY_USERS, options);
    const store = shop.file('store');
    const measure = async (target: string, of: Daemon, size: () => number): Promise<{ bytes: number; unit: Unit }> => {
      const warm = await registrations(shop, target, MEMORY_WARM);
      const before = size();
      const unit = await measured([of], () => registrations(shop, target, MEMORY_USERS));
      if (unit.failed + warm.failed > 0) throw new Error(`${unit.failed} registrations failed at ${target}`);
      await new Promise(r => setTimeout(r, SETTLE_MS));
      const bytes = round3((size() - before) / (MEMORY_USERS - MEMORY_WARM));
      options.onProgress(
        `register/memory: ${target}: ${bytes} bytes per binding, ${unit.cpuUs.toFixed(1)} µs to make it`,
      );
      return { bytes, unit };
    };
    options.onProgress(`register/memory: ${MEMORY_USERS} registrations on each, then ${SETTLE_MS / 1000} s of quiet`);
    const [ours, peer] = await Promise.all([
      measure('127.0.0.1:5060', border, () => anonymousBytes(border.pids) + folderBytes(store)),
      measure('127.0.0.1:5070', kamailio, () => anonymousBytes(kamailio.pids)),
    ]);
    return { ours: ours.bytes, peer: peer.bytes, cpuOurs: round3(ours.unit.cpuUs), cpuPeer: round3(peer.unit.cpuUs) };
  } catch (error) {
    return { ...none, refused: `memory: ${error instanceof Error ? error.message : String(error)}` };
  } finally {
    await shop.end();
  }
}

function folderBytes(path: string): number {
  const s = statSync(path);
  if (!s.isDirectory()) return s.blocks * 512;
  let sum = 0;
  for (const name of readdirSync(path)) sum += folderBytes(join(path, name));
  return sum;
}
