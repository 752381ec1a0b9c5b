import { setTimeout as sleep } from 'node:timers/promises';
import type * as z from 'zod';
import { BatchSink } from '../batch.js';
import type { cdrConfig } from '../config.js';
import { Ledger } from '../ledger.js';
import { LineFile } from './file.js';
import { postLines } from './http.js';

const BATCH = { most: 500, gatherMs: 200, pauseMs: 500, longestPauseMs: 30_000 } as const;
const modules = { now: () => performance.now(), sleep: (ms: number) => sleep(ms) };

/** The places that the configuration names. One that can't be opened is left out with a warning: the border goes on. */
export async function openLedgers(
  cdr: Readonly<z.infer<typeof cdrConfig>>,
  warn: (sentence: string) => void,
  closing: (() => Promise<void>)[],
): Promise<readonly Ledger[]> {
  const ledgers: Ledger[] = [];
  const add = (kind: Ledger['name'], sink: ConstructorParameters<typeof Ledger>[2]['sink']): void =>
    void ledgers.push(new Ledger(kind, {}, { sink, onTrouble: warn }));
  if (cdr.file !== false) {
    try {
      const sink = await LineFile.open(cdr.file);
      closing.push(() => sink.close());
      add('file', sink);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      warn(`No call records are written: ${cdr.file} can't be opened (${why}). Correct cdr.file, or make room.`);
    }
  }
  if (cdr.http !== undefined) {
    const to = cdr.http;
    const sink = new BatchSink({ ...BATCH, retryForMs: to.retryFor }, { ...modules, send: l => postLines(to, l) });
    closing.push(() => sink.close());
    add('http', sink);
  }
  if (cdr.redis !== undefined) {
    // Loaded when it is asked for: with ioredis in the process every call costs a quarter more, used or not.
    const { RedisStream } = await import('./redis.js');
    const stream = new RedisStream(cdr.redis);
    const sink = new BatchSink({ ...BATCH, retryForMs: cdr.redis.retryFor }, { ...modules, send: l => stream.send(l) });
    closing.push(async () => {
      await sink.close();
      stream.close();
    });
    add('redis', sink);
  }
  return ledgers;
}
