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

/** Seconds that each parser gets in one round, unless the caller says otherwise. */
const SECONDS = 2;
/** Of its share it gets so many at a time, in turn with the others, so that a machine that slows down does so for all. */
const SLICE_SECONDS = 0.2;

/** What one side did in a slice, or in all slices of a round. */
interface Share {
  readonly cpuUs: number;
  /** Per second of CPU: one core's worth, whoever else is running. */
  readonly perSecond: number;
  readonly done: number;
  readonly failed: number;
}

/**
 * Parsing alone: messages from Buffers to the fields a border asks every message for (bench.md, row `parse`).
 * Ours and each JavaScript parser in turn; the best of them makes the ratio.
 */
export async function parse(options: BenchOptions): Promise<BenchResult> {
  const work = parseWork(options.seed);
  const expected = checksum(work, referenceReader());
  const seconds = options.seconds > 0 ? options.seconds : SECONDS;
  const peers = await openPeers();
  const sides: Side[] = [
    { name: 'ours', read: ourReader(), shares: [] },
    ...peers.map((p): Side => ({ name: p.name, read: p.reader, shares: [] })),
  ];
  let refused = measure(sides, work, expected, seconds, options.onProgress);
  if (refused?.startsWith('unsteady') === true) {
    options.onProgress(`${refused}; measuring again`);
    refused = measure(sides, work, expected, seconds, options.onProgress);
  }
  const ours = rate(sides[0]?.shares ?? []);
  const of = (name: string): number => Math.round(rate(sides.find(s => s.name === name)?.shares ?? []));
  return {
    bench: 'parse',
    commit: commitOf(),
    ours: { messages_per_second: Math.round(ours) },
    peers: Object.fromEntries(peers.map(p => [p.name, { version: p.version, messages_per_second: of(p.name) }])),
    work: Object.fromEntries(
      sides.map(({ name, shares }) => [
        name,
        { done: sum(shares, s => s.done), failed: sum(shares, s => s.failed), retransmitted: 0 },
      ]),
    ),
    cpu_us: Object.fromEntries(sides.map(({ name, shares }) => [name, round3(median(shares.map(s => s.cpuUs)))])),
    spread: Object.fromEntries(sides.map(({ name, shares }) => [name, round3(spread(shares.map(s => s.cpuUs)))])),
    config: { messages: sha256(work.rotation.map(b => b.toString('latin1')).join('\0')) },
    ratios: refused === undefined ? { parse_vs_best_js: round3(ours / rate(best(sides).shares)) } : {},
    ...(refused === undefined ? {} : { refused }),
  };
}

interface Side {
  readonly name: string;
  readonly read: Reader;
  /** One per round. */
  readonly shares: Share[];
}

/** The fastest peer: the one that the ratio is made with. */
function best(sides: readonly Side[]): Side {
  return sides.slice(1).reduce((a, b) => (rate(b.shares) > rate(a.shares) ? b : a));
}

/** A B C … in slices, over and over; the first round is discarded. What makes the figures worthless, if anything does. */
function measure(
  sides: readonly Side[],
  work: ParseWork,
  expected: number,
  seconds: number,
  onProgress: (line: string) => void,
): string | undefined {
  for (const { shares } of sides) shares.length = 0;
  let from = machineTimes();
  for (let round = 0; round < PAIRS; round++) {
    const slices: Share[][] = sides.map(() => []);
    for (let spent = 0; spent < seconds; spent += SLICE_SECONDS)
      for (const [i, { read }] of sides.entries()) slices[i]?.push(share(work, read, expected, SLICE_SECONDS));
    const shares = slices.map(joined);
    const told = sides.map(({ name }, i) => `${name} ${Math.round(shares[i]?.perSecond ?? 0)}/s`).join(', ');
    onProgress(`parse: round ${round + 1}/${PAIRS}${round === 0 ? ' (warm-up)' : ''}: ${told}`);
    if (round === 0) from = machineTimes();
    else for (const [i, s] of shares.entries()) sides[i]?.shares.push(s);
  }
  for (const { name, shares } of sides) {
    const failed = sum(shares, s => s.failed);
    if (failed > 0) return `${name}: ${failed} messages read differently`;
  }
  const steal = stealSince(from);
  if (steal > MAX_STEAL) return `unsteady: steal ${round3(steal)}`;
  const compared = [...sides.slice(0, 1), best(sides)];
  const worst = Math.max(...compared.map(({ shares }) => spread(shares.map(s => s.cpuUs))));
  return worst > MAX_SPREAD ? `unsteady: spread ${round3(worst)}` : undefined;
}

function joined(slices: readonly Share[]): Share {
  const done = sum(slices, s => s.done);
  const cpu = sum(slices, s => s.cpuUs * s.done);
  return { cpuUs: cpu / done, perSecond: (done / cpu) * 1e6, done, failed: sum(slices, s => s.failed) };
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
