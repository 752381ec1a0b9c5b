import { execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { commitOf, cpuMicros, round3, sha256 } from './measure.js';
import { pairedRow, totals, type Unit } from './paired.js';
import { type Daemon, peerVersion, Workshop } from './processes.js';
import type { BenchOptions, BenchResult } from './result.js';

const STREAMS = 1000;
const RATE = STREAMS * 50;
const SECONDS = 5;
/** Delay is measured under the load of the CPU figure, and where neither side has reason to gather. */
const QUIET_RATE = 5_000;
const DELAY_SECONDS = 3;
/** One core for whoever relays, the other for the far ends: on two cores nobody can have more. */
const RELAY_CORE = 1;
const LOAD_CORE = 0;
/** Lossless (bench.md): at most one packet in a million over 20 s, found by bisection with shorter probes. */
const LOSS = 1e-6;
const PROBE_SECONDS = 3;
const CONFIRM_SECONDS = 20;
const LOWEST = 40_000;
const HIGHEST = 480_000;
const RESOLUTION = 0.05;
const PARTS = join(import.meta.dirname, 'relay-parts.js');

/** The far ends sit behind a router, as phones do; `router` is its address on the relay's wire. */
const A = { far: '10.92.1.1', router: '10.91.1.1', relay: '10.91.1.254', prefix: '10.92.1.0/24' };
const B = { far: '10.92.2.1', router: '10.91.2.1', relay: '10.91.2.254', prefix: '10.92.2.0/24' };

interface Side {
  readonly daemon: Daemon;
  /** Where each stream is sent. */
  readonly ports: readonly number[];
}

/** 1000 RTP streams through our relay and through rtpengine, in turn, over the same wires. */
export async function relay(options: BenchOptions): Promise<BenchResult> {
  const version = peerVersion('rtpengine', ['--version'], /Version: (\S+)/);
  const flags = rtpengineFlags();
  const result = {
    bench: 'relay',
    commit: commitOf(),
    ours: {},
    peers: { rtpengine: { version: version ?? 'missing' } },
    work: {},
    cpu_us: {},
    spread: {},
    config: { ours: sha256('defaults'), rtpengine: sha256(flags.join(' ')) },
    ratios: {},
  } satisfies BenchResult;
  if (process.getuid?.() !== 0) return { ...result, refused: 'needs root: it builds network namespaces' };
  if (version === undefined) return { ...result, refused: 'rtpengine is missing: apt-get install rtpengine-daemon' };

  const shop = new Workshop();
  const wires = new Wires();
  const interrupted = (): void => {
    void shop.end().then(() => {
      wires.tearDown();
      process.exit(130);
    });
  };
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
  try {
    wires.build();
    const seconds = options.seconds > 0 ? options.seconds : SECONDS;
    const { side: ours, path, because } = await startOurs(shop, wires);
    const peer = await startPeer(shop, wires, flags);
    options.onProgress(`relay: ${STREAMS} streams set up on both sides; ours is on the path "${path}" (${because})`);

    const delays = async (rate: number): Promise<{ forwarded: Delays; ours: Delays; rtpengine: Delays }> => {
      const measured = {
        forwarded: await wires.delays(B.far, streamPorts(), rate),
        ours: await wires.delays(A.relay, ours.ports, rate),
        rtpengine: await wires.delays(A.relay, peer.ports, rate),
      };
      const each = Object.entries(measured).map(([who, d]) => `${who} ${d.p50}/${d.p99}`);
      options.onProgress(`relay: delay at ${rate / 1000} k/s, µs p50/p99: ${each.join(', ')}`);
      return measured;
    };
    // The first round warms everybody up.
    await delays(RATE);
    const loaded = await delays(RATE);
    const quiet = await delays(QUIET_RATE);

    const row = await pairedRow(
      'relay',
      () => turn(wires, ours, seconds),
      () => turn(wires, peer, seconds),
      options.onProgress,
    );
    const oursBest = await lossless(
      'ours',
      wires,
      ours,
      async () => (await startOurs(shop, wires)).side,
      options.onProgress,
    );
    const peerBest = await lossless('rtpengine', wires, peer, () => startPeer(shop, wires, flags), options.onProgress);
    const refused = row.refused ?? (peerBest.rate === 0 || oursBest.rate === 0 ? 'no lossless rate found' : undefined);
    return {
      ...result,
      ours: {
        path,
        streams: STREAMS,
        rate: RATE,
        delay_us: { loaded: loaded.ours, quiet: quiet.ours },
        lossless: oursBest.rate,
        lower_bound: oursBest.bound,
      },
      peers: {
        rtpengine: {
          version,
          threads: 1,
          delay_us: { loaded: loaded.rtpengine, quiet: quiet.rtpengine },
          lossless: peerBest.rate,
          lower_bound: peerBest.bound,
        },
      },
      /** The kernel's own forwarding between the same wires: what the method itself adds. */
      control: { forwarded_us: { loaded: loaded.forwarded, quiet: quiet.forwarded } },
      work: { ours: totals(row.ours), rtpengine: totals(row.peer) },
      cpu_us: { ours: row.cpuOurs, rtpengine: row.cpuPeer },
      spread: { ours: row.spreadOurs, rtpengine: row.spreadPeer },
      ...(refused === undefined
        ? {
            ratios: {
              batch_cpu_vs_rtpengine: row.ratio,
              batch_lossless_vs_rtpengine: round3(oursBest.rate / peerBest.rate),
            },
          }
        : { refused }),
    };
  } finally {
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted);
    await shop.end();
    wires.tearDown();
  }
}

function streamPorts(): number[] {
  return Array.from({ length: STREAMS }, (_, i) => 20_000 + 2 * i);
}

function rtpengineFlags(): string[] {
  // One thread: it has one core, and more would only take turns on it.
  return [
    ...[
      '--foreground',
      '--log-stderr',
      '--log-level=2',
      '--table=-1',
      `--interface=a/${A.relay}`,
      `--interface=b/${B.relay}`,
    ],
    ...[
      '--listen-ng=127.0.0.1:2223',
      '--port-min=30000',
      '--port-max=39999',
      '--timeout=3600',
      '--delete-delay=0',
      '--num-threads=1',
    ],
  ];
}

async function startOurs(shop: Workshop, wires: Wires): Promise<{ side: Side; path: string; because: string }> {
  const file = shop.file('ours.json');
  rmSync(file, { force: true });
  const command = [process.execPath, PARTS, 'ours', file, A.relay, B.relay, A.far, B.far, String(STREAMS)];
  const daemon = shop.start(wires.inside('r', command), { core: RELAY_CORE, log: 'ours.log' });
  await daemon.until('our relay', () => existsSync(file) && readFileSync(file, 'utf8').endsWith('}'));
  const said = JSON.parse(readFileSync(file, 'utf8')) as { ports: number[]; path: string; because: string };
  return { side: { daemon, ports: said.ports }, path: said.path, because: said.because };
}

async function startPeer(shop: Workshop, wires: Wires, flags: readonly string[]): Promise<Side> {
  const daemon = shop.start(wires.inside('r', ['rtpengine', ...flags]), { core: RELAY_CORE, log: 'rtpengine.log' });
  let ports: number[] | undefined;
  await daemon.until('rtpengine', () => {
    try {
      const [command = '', ...rest] = wires.inside('r', [process.execPath, PARTS, 'ng', A.far, B.far, String(STREAMS)]);
      ports = JSON.parse(
        execFileSync(command, rest, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], timeout: 10_000 }),
      ) as number[];
      return true;
    } catch {
      return false;
    }
  });
  return { daemon, ports: ports ?? [] };
}

/** The paced load once through one side. */
async function turn(wires: Wires, side: Side, seconds: number): Promise<Unit> {
  const count = RATE * seconds;
  const before = wires.delivered();
  const cpu = cpuMicros(side.daemon.pids);
  await wires.send(A.relay, side.ports, RATE, count);
  await wires.settled();
  const used = cpuMicros(side.daemon.pids) - cpu;
  // A stray ARP or neighbour packet may be counted too, never one less.
  const done = Math.min(count, wires.delivered() - before);
  return { cpuUs: used / count, done, failed: count - done, retransmitted: 0 };
}

interface Lossless {
  readonly rate: number;
  /** The generator could hardly send more: the true figure may be higher. */
  readonly bound: boolean;
}

/** Whoever lost packets starts anew before the next probe: a relay that collapsed under one rate says nothing about a lower one. */
async function lossless(
  name: string,
  wires: Wires,
  first: Side,
  start: () => Promise<Side>,
  onProgress: (line: string) => void,
): Promise<Lossless> {
  let side = first;
  let most = 0;
  const passes = async (rate: number, seconds: number): Promise<boolean> => {
    const count = Math.round(rate * seconds);
    const before = wires.delivered();
    const sent = await wires.send(A.relay, side.ports, rate, count);
    await wires.settled();
    const lost = Math.max(0, count - (wires.delivered() - before));
    most = Math.max(most, sent.rate);
    const reached = sent.rate > rate * 0.98;
    const behind = reached ? '' : `, generator reached ${Math.round(sent.rate / 1000)} k/s`;
    onProgress(`relay: ${name} at ${Math.round(rate / 1000)} k/s for ${seconds} s: ${lost} of ${count} lost${behind}`);
    if (lost > count * LOSS) {
      await side.daemon.stop();
      side = await start();
    }
    return lost <= count * LOSS && reached;
  };
  let low = LOWEST;
  let high = HIGHEST;
  while (high / low > 1 + RESOLUTION) {
    const middle = Math.sqrt(low * high);
    if (await passes(middle, PROBE_SECONDS)) low = middle;
    else high = middle;
  }
  for (let tries = 0; tries < 6; tries++, low *= 1 - RESOLUTION) {
    if (await passes(low, CONFIRM_SECONDS)) return { rate: Math.round(low), bound: most < low * 1.2 };
  }
  return { rate: 0, bound: false };
}

interface Sent {
  readonly sent: number;
  readonly rate: number;
}

interface Delays {
  readonly seen: number;
  readonly unmatched: number;
  readonly p50: number;
  readonly p99: number;
}

/** Hardware addresses, as hex digits: of a, of the relay towards a and b, and of nobody. */
const MACS = { a: '020000000101', ra: '0200000001fe', rb: '0200000002fe', b: '020000000201', nobody: '020000000299' };

/**
 * a (sends) — r (relays) — b (receives), by two veth pairs with fixed neighbours. On such a pair the sender's core
 * also does the receiver's work. So that the relays aren't charged for what a far end does with a packet, theirs is
 * addressed to nobody's hardware address: b's interface counts it and lets go of it, as a switch port would.
 */
class Wires {
  readonly #name = (which: string): string => `dbrelay${process.pid}${which}`;

  inside(which: 'a' | 'r' | 'b', command: readonly string[]): string[] {
    return ['ip', 'netns', 'exec', this.#name(which), ...command];
  }

  build(): void {
    this.tearDown();
    const [a, r, b] = ['a', 'r', 'b'].map(this.#name) as [string, string, string];
    for (const n of [a, r, b]) {
      ip('netns', 'add', n);
      ip('-n', n, 'link', 'set', 'lo', 'up');
    }
    const pair = (far: string, dev: string, peer: string, net: typeof A, macs: readonly [string, string, string]) => {
      const ends = macs.map(mac => mac.match(/../g)?.join(':') ?? '') as [string, string, string];
      ip(
        'link',
        'add',
        dev,
        'netns',
        far,
        'address',
        ends[0],
        'type',
        'veth',
        'peer',
        'name',
        peer,
        'netns',
        r,
        'address',
        ends[1],
      );
      ip('-n', far, 'addr', 'add', `${net.router}/24`, 'dev', dev);
      ip('-n', far, 'addr', 'add', `${net.far}/32`, 'dev', 'lo');
      ip('-n', r, 'addr', 'add', `${net.relay}/24`, 'dev', peer);
      ip('-n', far, 'link', 'set', dev, 'up');
      ip('-n', r, 'link', 'set', peer, 'up');
      ip('-n', far, 'route', 'add', 'default', 'via', net.relay);
      ip('-n', far, 'neigh', 'replace', net.relay, 'lladdr', ends[1], 'dev', dev, 'nud', 'permanent');
      ip('-n', r, 'route', 'add', net.prefix, 'via', net.router);
      ip('-n', r, 'neigh', 'replace', net.router, 'lladdr', ends[2], 'dev', peer, 'nud', 'permanent');
    };
    pair(a, 'vA', 'vRa', A, [MACS.a, MACS.ra, MACS.a]);
    pair(b, 'vB', 'vRb', B, [MACS.b, MACS.rb, MACS.nobody]);
    execFileSync('ip', ['netns', 'exec', r, 'sysctl', '-qw', 'net.ipv4.ip_forward=1']);
  }

  delivered(): number {
    const out = execFileSync('ip', ['-n', this.#name('b'), '-j', '-s', 'link', 'show', 'vB'], { encoding: 'utf8' });
    const [link] = JSON.parse(out) as { stats64: { rx: { packets: number } } }[];
    return link?.stats64.rx.packets ?? 0;
  }

  /** Waits until nothing more arrives. */
  async settled(): Promise<void> {
    for (let last = -1, now = this.delivered(); now !== last; now = this.delivered()) {
      last = now;
      await new Promise(resolve => setTimeout(resolve, 150));
    }
  }

  async send(to: string, ports: readonly number[], rate: number, count: number, even = false): Promise<Sent> {
    const load = { device: 'vA', macs: [MACS.a, MACS.ra], from: A.far, to, ports, rate, count, even };
    const command = [process.execPath, PARTS, 'send', JSON.stringify(load)];
    return JSON.parse(await run(['taskset', '-c', String(LOAD_CORE), ...this.inside('a', command)])) as Sent;
  }

  /** How long packets stay in r, by the timestamps of its two wires. */
  async delays(to: string, ports: readonly number[], rate: number): Promise<Delays> {
    const tap = [process.execPath, PARTS, 'tap', 'vRa', 'vRb', String(STREAMS)];
    const [command = '', ...rest] = ['taskset', '-c', String(LOAD_CORE), ...this.inside('r', tap)];
    const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString('latin1');
    });
    const closed = new Promise<void>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', code => (code === 0 ? resolve() : reject(new Error(`the tap ended with ${code}`))));
    });
    await Promise.race([new Promise(resolve => child.stderr.once('data', resolve)), closed]);
    try {
      await this.send(to, ports, rate, rate * DELAY_SECONDS, true);
      const late = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await closed;
      clearTimeout(late);
    } finally {
      if (child.exitCode === null) child.kill('SIGKILL');
    }
    return JSON.parse(out) as Delays;
  }

  tearDown(): void {
    for (const n of ['a', 'r', 'b'].map(this.#name)) {
      try {
        execFileSync('ip', ['netns', 'del', n], { stdio: 'ignore' });
      } catch {
        // It wasn't there.
      }
    }
  }
}

function ip(...args: readonly string[]): void {
  execFileSync('ip', args);
}

function run(command: readonly string[]): Promise<string> {
  const [file = '', ...args] = command;
  return new Promise((resolve, reject) => {
    execFile(file, args, { maxBuffer: 1 << 20 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${error.message}\n${stderr}`));
    });
  });
}
