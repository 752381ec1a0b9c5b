import { H, MessageView } from '@drawbridge/sip';
import {
  commitOf,
  MAX_SPREAD,
  MAX_STEAL,
  machineTimes,
  median,
  PAIRS,
  round3,
  sha256,
  spread,
  stealSince,
} from './measure.js';
import { mark, REJECTED } from './parse-mark.js';
import { type ParseWork, parseWork } from './parse-messages.js';
import { openPeers, type Reader } from './parse-peers.js';
import type { BenchOptions, BenchResult } from './result.js';

/** Seconds that each side gets in one pair, unless the caller says otherwise. */
const SECONDS = 2;

/** What one side did in its share of a pair. */
interface Share {
  readonly cpuUs: number;
  /** Per second of CPU: one core's worth, whoever else is running. */
  readonly perSecond: number;
  readonly done: number;
  readonly failed: number;
}

/**
 * Parsing alone: messages from Buffers to the fields a border asks every message for (bench.md, row `parse`).
 * Ours against each JavaScript parser in turn; the best of them makes the ratio.
 */
export async function parse(options: BenchOptions): Promise<BenchResult> {
  const work = parseWork(options.seed);
  const expected = checksum(work, referenceReader());
  const seconds = options.seconds > 0 ? options.seconds : SECONDS;
  const peers = await openPeers();
  const shares = new Map<string, Share[]>();
  const refused: string[] = [];
  const oursShares: Share[] = [];
  for (const peer of peers) {
    const done = measurePeer(peer.name, peer.reader, work, expected, seconds, options.onProgress);
    shares.set(peer.name, done.theirs);
    oursShares.push(...done.ours);
    if (done.refused !== undefined) refused.push(done.refused);
  }
  const ours = rate(oursShares);
  const best = Math.max(...[...shares.values()].map(rate));
  const sides: [string, Share[]][] = [['ours', oursShares], ...shares];
  return {
    bench: 'parse',
    commit: commitOf(),
    ours: { messages_per_second: Math.round(ours) },
    peers: Object.fromEntries(
      peers.map(p => [p.name, { version: p.version, messages_per_second: Math.round(rate(shares.get(p.name) ?? [])) }]),
    ),
    work: Object.fromEntries(
      sides.map(([name, list]) => [
        name,
        { done: sum(list, s => s.done), failed: sum(list, s => s.failed), retransmitted: 0 },
      ]),
    ),
    cpu_us: Object.fromEntries(sides.map(([name, list]) => [name, round3(median(list.map(s => s.cpuUs)))])),
    spread: Object.fromEntries(sides.map(([name, list]) => [name, round3(spread(list.map(s => s.cpuUs)))])),
    config: { messages: sha256(work.rotation.map(b => b.toString('latin1')).join('\0')) },
    ratios: refused.length > 0 ? {} : { parse_vs_best_js: round3(ours / best) },
    ...(refused.length > 0 ? { refused: refused.join('; ') } : {}),
  };
}

interface Pairs {
  readonly ours: Share[];
  readonly theirs: Share[];
  readonly refused?: string;
}

/** A B A B …, the first pair discarded; once more when the machine was unsteady. */
function measurePeer(
  name: string,
  theirs: Reader,
  work: ParseWork,
  expected: number,
  seconds: number,
  onProgress: (line: string) => void,
): Pairs {
  let last: Pairs = onePass(name, theirs, work, expected, seconds, onProgress);
  if (last.refused?.startsWith('unsteady') === true) {
    onProgress(`${last.refused}; measuring again`);
    last = onePass(name, theirs, work, expected, seconds, onProgress);
  }
  return last;
}

function onePass(
  name: string,
  theirs: Reader,
  work: ParseWork,
  expected: number,
  seconds: number,
  onProgress: (line: string) => void,
): Pairs {
  const from = machineTimes();
  const pairs: { ours: Share[]; theirs: Share[] } = { ours: [], theirs: [] };
  const ours = ourReader();
  for (let pair = 0; pair < PAIRS; pair++) {
    const a = share(work, ours, expected, seconds);
    const b = share(work, theirs, expected, seconds);
    onProgress(
      `parse: pair ${pair + 1}/${PAIRS}${pair === 0 ? ' (warm-up)' : ''}: ours ${Math.round(a.perSecond)}/s, ${name} ${Math.round(b.perSecond)}/s`,
    );
    if (pair === 0) continue;
    pairs.ours.push(a);
    pairs.theirs.push(b);
  }
  const failed = sum([...pairs.ours, ...pairs.theirs], s => s.failed);
  if (failed > 0) return { ...pairs, refused: `${name}: ${failed} messages read differently` };
  const steal = stealSince(from);
  if (steal > MAX_STEAL) return { ...pairs, refused: `unsteady: ${name}: steal ${round3(steal)}` };
  const worst = Math.max(spread(pairs.ours.map(s => s.cpuUs)), spread(pairs.theirs.map(s => s.cpuUs)));
  return worst > MAX_SPREAD ? { ...pairs, refused: `unsteady: ${name}: spread ${round3(worst)}` } : pairs;
}

/** At least one whole block of the rotation, then on until the time is up; every block's checksum is compared. */
function share(work: ParseWork, read: Reader, expected: number, seconds: number): Share {
  const blocks = BLOCKS;
  const size = work.rotation.length / blocks;
  const wanted = blockSums(work);
  const cpu = process.cpuUsage();
  const start = performance.now();
  let done = 0;
  let failed = 0;
  for (let block = 0; performance.now() - start < seconds * 1000; block = (block + 1) % blocks) {
    let got = 0;
    for (let i = block * size; i < (block + 1) * size; i++) got += read(work.rotation[i] as Buffer);
    if (got !== wanted[block]) failed += size;
    done += size;
  }
  const used = process.cpuUsage(cpu);
  if (sum(wanted, w => w) !== expected) throw new Error('the reference changed its mind');
  return { cpuUs: (used.user + used.system) / done, perSecond: (done / (used.user + used.system)) * 1e6, done, failed };
}

const BLOCKS = 64;
const sums = new WeakMap<ParseWork, number[]>();

/** The reference's checksum of each block, made once, outside the timing. */
function blockSums(work: ParseWork): number[] {
  let known = sums.get(work);
  if (known === undefined) {
    const read = referenceReader();
    const size = work.rotation.length / BLOCKS;
    known = Array.from({ length: BLOCKS }, (_, k) => sum(work.rotation.slice(k * size, (k + 1) * size), read));
    sums.set(work, known);
  }
  return known;
}

function checksum(work: ParseWork, read: Reader): number {
  return sum(work.rotation, read);
}

function sum<T>(list: readonly T[], of: (item: T) => number): number {
  let total = 0;
  for (const item of list) total += of(item);
  return total;
}

function rate(shares: readonly Share[]): number {
  return median(shares.map(s => s.perSecond));
}

export function ourReader(): Reader {
  const m = new MessageView();
  return bytes => {
    if (m.parse(bytes.toString('latin1')) !== undefined) return REJECTED;
    return (
      (m.isRequest ? mark(m.method) + mark(m.uri) : m.status) +
      mark(m.branch) +
      mark(m.sentBy) +
      mark(m.fromTag) +
      mark(m.toTag) +
      mark(m.callId) +
      m.cseq +
      (m.has(H.contact) ? mark(m.contactUri) : 0) +
      m.contentLength
    );
  };
}

/** Plain and slow, written on its own: regular expressions over unfolded text. */
export function referenceReader(): Reader {
  return bytes => {
    const text = bytes.toString('latin1');
    const end = text.indexOf('\r\n\r\n');
    const lines = text
      .slice(0, end)
      .replace(/\r\n[ \t]+/g, ' ')
      .split('\r\n');
    const value = (long: string, compact: string): string =>
      lines
        .slice(1)
        .find(l => new RegExp(`^(?:${long}|${compact})\\s*:`, 'i').test(l))
        ?.replace(/^[^:]*:\s*/, '') ?? '';
    const request = /^([A-Z]+) (\S+) SIP\/2\.0$/.exec(lines[0] ?? '');
    const response = /^SIP\/2\.0 (\d{3}) /.exec(lines[0] ?? '');
    if (request === null && response === null) return REJECTED;
    const tag = (v: string): string => /;\s*tag=([^;\s]+)/.exec(v)?.[1] ?? '';
    const via = /^SIP\/2\.0\/\w+ ([^;\s]+)/.exec(value('Via', 'v'));
    const contact = /<([^>]*)>/.exec(value('Contact', 'm'))?.[1];
    return (
      (request === null ? Number(response?.[1]) : mark(request[1] ?? '') + mark(request[2] ?? '')) +
      mark(/;\s*branch=([^;\s]+)/.exec(value('Via', 'v'))?.[1] ?? '') +
      mark(via?.[1] ?? '') +
      mark(tag(value('From', 'f'))) +
      mark(tag(value('To', 't'))) +
      mark(value('Call-ID', 'i')) +
      Number.parseInt(value('CSeq', 'cseq'), 10) +
      (contact === undefined ? 0 : mark(contact)) +
      Number(value('Content-Length', 'l'))
    );
  };
}
