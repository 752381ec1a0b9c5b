import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { productVersion, ROOT, startBorder } from './border.js';
import { anonymousBytes, commitOf, cpuMicros, round3, sha256 } from './measure.js';
import { type PairedRow, pairedRow, totals, type Unit } from './paired.js';
import { type Daemon, peerVersion, udpBound, Workshop } from './processes.js';
import type { BenchOptions, BenchResult } from './result.js';
import { sippLoad } from './sipp.js';
import { addSubscribers } from './subscribers.js';

// Below what the slower side carries without a retransmission: SIPp takes the second 401 of a repeated REGISTER for a failure.
const RATE = 1000;
const USERS = 6000;
const MEMORY_USERS = 100_000;
const SERVER_CORE = 0;
const LOAD_CORE = 1;
const SCENARIO = join(ROOT, 'bench/sipp/register.xml');
const KAMAILIO_CFG = join(ROOT, 'bench/kamailio/register.cfg');

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

/** REGISTER, 401, REGISTER, 200 on both registrars in turn, then memory per binding at 100 k (bench.md, row "register"). */
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
    cpu_us: { ours: memory.cpuOurs, kamailio: memory.cpuPeer, ours_durable: durable.cpuOurs },
    spread: { ours: memory.spreadOurs, kamailio: memory.spreadPeer, ours_durable: durable.spreadOurs },
    config: {
      ours: sha256(MEMORY),
      ours_durable: sha256(DURABLE),
      kamailio: sha256(readFileSync(KAMAILIO_CFG, 'utf8')),
    },
    ratios:
      refused.length > 0
        ? {}
        : { cpu_per_register_vs_kamailio: memory.ratio, cpu_per_register_durable_vs_kamailio_in_memory: durable.ratio },
    ...(refused.length > 0 ? { refused: refused.join('; ') } : {}),
  };
}

async function measureRow(name: string, config: string, options: BenchOptions): Promise<PairedRow> {
  const shop = new Workshop();
  try {
    const { border, kamailio } = await startBoth(shop, name, config, USERS, options);
    let serial = 0;
    const load = async (target: string, of: Daemon): Promise<Unit> => {
      const before = cpuMicros(of.pids);
      const run = await sippLoad(shop, {
        name: `reg-${serial++}`,
        scenario: SCENARIO,
        target,
        local: { address: '127.0.0.3', port: 5061 },
        rate: RATE,
        count: USERS,
        core: LOAD_CORE,
        authUri: 'sbc.example.com',
        fields: shop.file('users.csv'),
      });
      return {
        cpuUs: (cpuMicros(of.pids) - before) / Math.max(1, run.done),
        done: run.done,
        failed: run.failed,
        retransmitted: run.retransmitted,
      };
    };
    return await pairedRow(
      `register/${name}`,
      () => load('127.0.0.1:5060', border),
      () => load('127.0.0.1:5070', kamailio),
      options.onProgress,
    );
  } catch (error) {
    return {
      ours: [],
      peer: [],
      cpuOurs: 0,
      cpuPeer: 0,
      spreadOurs: 0,
      spreadPeer: 0,
      ratio: 0,
      refused: `${name}: ${error instanceof Error ? error.message : String(error)}`,
    };
  } finally {
    await shop.end();
  }
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
  const kamailio = shop.start(
    [
      'kamailio',
      '-DD',
      '-E',
      '-f',
      KAMAILIO_CFG,
      '-A',
      'CHILDREN=1',
      '-m',
      '2048',
      '-M',
      '16',
      '-b',
      '4194304',
      '-x',
      'fm',
      '-X',
      'fm',
      '-Y',
      shop.folder,
    ],
    { core: SERVER_CORE, log: 'kamailio.log' },
  );
  await kamailio.until('Kamailio', () => udpBound('127.0.0.1', 5070));
  return { border, kamailio };
}

/** (anonymous resident + files, with 100 k bindings − the same with none) ÷ bindings. */
async function measureMemory(options: BenchOptions): Promise<{ ours: number; peer: number; refused?: string }> {
  const shop = new Workshop();
  try {
    const { border, kamailio } = await startBoth(shop, 'footprint', DURABLE, MEMORY_USERS, options);
    const size = (d: Daemon): number => anonymousBytes(d.pids);
    const files = (): number =>
      statSync(shop.file('store'), { throwIfNoEntry: false }) === undefined ? 0 : folderBytes(shop.file('store'));
    const results: number[] = [];
    for (const [target, of, withFiles] of [
      ['127.0.0.1:5060', border, true],
      ['127.0.0.1:5070', kamailio, false],
    ] as const) {
      const warm = await sippLoad(shop, {
        name: `warm-${target.slice(-4)}`,
        scenario: SCENARIO,
        target,
        local: { address: '127.0.0.3', port: 5061 },
        rate: RATE,
        count: 2000,
        core: LOAD_CORE,
        authUri: 'sbc.example.com',
        fields: shop.file('users.csv'),
      });
      const before = size(of) + (withFiles ? files() : 0);
      const run = await sippLoad(shop, {
        name: `mem-${target.slice(-4)}`,
        scenario: SCENARIO,
        target,
        local: { address: '127.0.0.3', port: 5061 },
        rate: RATE,
        count: MEMORY_USERS,
        core: LOAD_CORE,
        authUri: 'sbc.example.com',
        fields: shop.file('users.csv'),
      });
      if (run.failed + warm.failed > 0)
        return { ours: 0, peer: 0, refused: `memory: ${run.failed} registrations failed at ${target}` };
      // What the collector has not yet given back is not part of a binding; it settles within a few seconds of quiet.
      await new Promise(r => setTimeout(r, 10_000));
      const after = size(of) + (withFiles ? files() : 0);
      results.push(round3((after - before) / (MEMORY_USERS - 2000)));
      options.onProgress(`register/memory: ${target}: ${results.at(-1)} bytes per binding`);
    }
    return { ours: results[0] ?? 0, peer: results[1] ?? 0 };
  } catch (error) {
    return { ours: 0, peer: 0, refused: `memory: ${error instanceof Error ? error.message : String(error)}` };
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
