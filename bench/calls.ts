import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { productVersion, ROOT, startBorder } from './border.js';
import { kamailioFile, startKamailio } from './kamailio.js';
import { commitOf, sha256 } from './measure.js';
import { measured, type PairedRow, pairedRow, totals, type Unit, unmeasured } from './paired.js';
import { type Daemon, peerVersion, udpBound, Workshop } from './processes.js';
import { registerOnce } from './registrant.js';
import type { BenchOptions, BenchResult } from './result.js';
import { sippAnswerer, sippLoad } from './sipp.js';

const PROXY_CORE = 0;
const LOAD_CORE = 1;
const UAS = { address: '127.0.0.2', port: 5080 };
const UAC = { address: '127.0.0.3', port: 5061 };
const scenario = (name: string): string => join(ROOT, 'bench/sipp', name);

interface Row {
  readonly name: string;
  /** What its ratio is called. */
  readonly ratio: string;
  readonly uac: string;
  readonly yaml: string;
  readonly kamailioFlags: readonly string[];
  readonly rtpengine: boolean;
  readonly registerCallee: boolean;
  readonly children: number;
  /** Calls per second, and in all: what both sides carry without a loss on one core. */
  readonly rate: number;
  readonly calls: number;
  readonly authUri?: string;
}

const COMMON = `
realms:
  loop: { bind: [127.0.0.1], sip: { udp: 5060, tcp: false } }
store: { kind: memory }
media: { ports: [30000, 49999]SITES }
`;
const TRUNKS = `
domains:
  sbc.example.com: { kind: upstream, realm: loop, next: ["sip:127.0.0.2:5080;transport=udp"] }
  example.com: { kind: upstream, realm: loop, next: ["sip:127.0.0.3:5061;transport=udp"] }
`;
// SIPp 3.6 knows MD5 only; Kamailio's auth module is asked for the same.
const SUBSCRIBERS = `
domains:
  sbc.example.com: { kind: local }
auth: { algorithms: [MD5], qop: [auth] }
calls: { perSubscriber: 100000 }
`;
const UNANCHORED = COMMON.replace('SITES', ', sites: { bench: ["127.0.0.0/8"] }');
const ANCHORED = COMMON.replace('SITES', '');

const ROWS: readonly Row[] = [
  {
    name: 'plain',
    ratio: 'cpu_per_call_vs_kamailio',
    uac: 'call-uac.xml',
    yaml: UNANCHORED + TRUNKS,
    kamailioFlags: [],
    rtpengine: false,
    registerCallee: false,
    children: 1,
    rate: 800,
    calls: 6000,
  },
  {
    name: 'digest',
    ratio: 'cpu_per_call_digest_vs_kamailio',
    uac: 'call-uac-auth.xml',
    yaml: UNANCHORED + SUBSCRIBERS,
    kamailioFlags: ['-A', 'WITH_AUTH'],
    rtpengine: false,
    registerCallee: true,
    children: 1,
    rate: 500,
    calls: 4000,
    authUri: '+442071838750@sbc.example.com;user=phone',
  },
  {
    name: 'anchored',
    ratio: 'cpu_per_call_with_media_vs_kamailio_rtpengine',
    uac: 'call-uac.xml',
    yaml: ANCHORED + TRUNKS,
    kamailioFlags: ['-A', 'WITH_RTPE'],
    rtpengine: true,
    registerCallee: false,
    children: 4,
    rate: 100,
    calls: 1000,
  },
];

/** SIPp calls through the border and through Kamailio, in turn: CPU per call (bench.md, row "calls"). */
export async function calls(options: BenchOptions): Promise<BenchResult> {
  const kamailio = peerVersion('kamailio', ['-v'], /version: kamailio (\S+)/);
  const sipp = peerVersion('sipp', ['-v'], /SIPp v(\S+?)\.?\s/);
  const rtpengine = peerVersion('rtpengine', ['--version'], /Version: (\S+)/);
  const missing = [
    ['kamailio', kamailio],
    ['sip-tester', sipp],
    ['rtpengine-daemon', rtpengine],
  ]
    .filter(([, v]) => v === undefined)
    .map(([p]) => p);
  const base = {
    bench: 'calls',
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

  const rows: [Row, PairedRow][] = [];
  for (const row of ROWS) rows.push([row, await measureRow(row, options)]);
  const refused = rows.map(([, r]) => r.refused).filter(r => r !== undefined);
  const each = <T>(pick: (r: PairedRow, row: Row) => T, side: string): Record<string, T> =>
    Object.fromEntries(rows.map(([row, r]) => [`${side}_${row.name}`, pick(r, row)]));
  return {
    ...base,
    peers: {
      kamailio: { version: kamailio ?? '' },
      rtpengine: { version: rtpengine ?? '' },
      sipp: { version: sipp ?? '' },
    },
    work: { ...each(r => totals(r.ours), 'ours'), ...each(r => totals(r.peer), 'kamailio') },
    cpu_us: { ...each(r => r.cpuOurs, 'ours'), ...each(r => r.cpuPeer, 'kamailio') },
    spread: { ...each(r => r.spreadOurs, 'ours'), ...each(r => r.spreadPeer, 'kamailio') },
    config: {
      ...each((_, row) => sha256(row.yaml), 'ours'),
      kamailio: sha256(readFileSync(kamailioFile('calls.cfg'), 'utf8')),
    },
    // A row that is refused has no ratio; the others stand on their own.
    ratios: Object.fromEntries(rows.filter(([, r]) => r.refused === undefined).map(([row, r]) => [row.ratio, r.ratio])),
    ...(refused.length > 0 ? { refused: refused.join('; ') } : {}),
  };
}

async function measureRow(row: Row, options: BenchOptions): Promise<PairedRow> {
  const shop = new Workshop();
  try {
    options.onProgress(
      `calls/${row.name}: starting the border, Kamailio${row.rtpengine ? ', rtpengine' : ''} and SIPp`,
    );
    const border = await startBorder(shop, row.name, row.yaml, PROXY_CORE);
    if (row.registerCallee) await enrol();
    const kamailio = await startKamailio(shop, {
      cfg: 'calls.cfg',
      core: PROXY_CORE,
      children: row.children,
      flags: row.kamailioFlags,
    });
    const peerPids: Daemon[] = [kamailio];
    if (row.rtpengine) {
      const engine = shop.start(
        [
          'rtpengine',
          '--foreground',
          '--log-stderr',
          '--log-level=2',
          '--table=-1',
          '--interface=127.0.0.1',
          '--listen-ng=127.0.0.1:2223',
          '--port-min=50000',
          '--port-max=60000',
          '--timeout=600',
          '--delete-delay=0',
        ],
        { core: PROXY_CORE, log: 'rtpengine.log' },
      );
      await engine.until('rtpengine', () => udpBound('127.0.0.1', 2223));
      peerPids.push(engine);
    }
    const answerer = sippAnswerer(shop, { scenario: scenario('call-uas.xml'), ...UAS, core: LOAD_CORE });
    await answerer.until('SIPp answering', () => udpBound(UAS.address, UAS.port));
    let serial = 0;
    const load = (target: string, of: readonly Daemon[]): Promise<Unit> =>
      measured(of, () =>
        sippLoad(shop, {
          name: `uac-${serial++}`,
          scenario: scenario(row.uac),
          target,
          local: UAC,
          rate: row.rate,
          count: row.calls,
          authUri: row.authUri,
          core: LOAD_CORE,
        }),
      );
    return await pairedRow(
      `calls/${row.name}`,
      () => load('127.0.0.1:5060', [border]),
      () => load('127.0.0.1:5070', peerPids),
      options.onProgress,
    );
  } catch (error) {
    return unmeasured(row.name, error);
  } finally {
    await shop.end();
  }
}

/** The digest row's caller and callee: two subscribers, the callee registered from the port SIPp will answer on. */
async function enrol(): Promise<void> {
  const { addSubscribers } = await import('./subscribers.js');
  await addSubscribers([
    { user: 'alice', domain: 'sbc.example.com', password: 'secret' },
    { user: '+442071838750', domain: 'sbc.example.com', password: 'secret' },
  ]);
  await registerOnce({
    user: '+442071838750',
    domain: 'sbc.example.com',
    password: 'secret',
    from: UAS,
    to: { address: '127.0.0.1', port: 5060 },
  });
}
