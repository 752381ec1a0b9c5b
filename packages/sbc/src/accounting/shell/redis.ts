import { Redis } from 'ioredis';

/** A command without an answer for this long has failed. */
const ANSWER_MS = 5000;
const LONGEST_PAUSE_MS = 10_000;

/** A stream of a Redis or Valkey server. It need not be there at the start, and may come and go. */
export class RedisStream {
  readonly #redis: Redis;
  readonly #stream: string;
  readonly #maxLength: number;

  constructor(o: { readonly url: string; readonly stream: string; readonly maxLength: number }) {
    this.#stream = o.stream;
    this.#maxLength = o.maxLength;
    this.#redis = new Redis(o.url, {
      lazyConnect: true,
      // Whoever waits holds the lines and tries again: here nothing queues.
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      commandTimeout: ANSWER_MS,
      connectTimeout: ANSWER_MS,
      retryStrategy: times => Math.min(times * 500, LONGEST_PAUSE_MS),
    });
    // Every failure comes back through the command that met it.
    this.#redis.on('error', () => {});
  }

  async send(lines: readonly string[]): Promise<void> {
    if (this.#redis.status === 'wait' || this.#redis.status === 'end') await this.#redis.connect();
    const pipeline = this.#redis.pipeline();
    for (const line of lines)
      pipeline.xadd(this.#stream, 'MAXLEN', '~', this.#maxLength, '*', 'record', line.trimEnd());
    const results = await pipeline.exec();
    const failed = results?.find(([error]) => error !== null)?.[0];
    if (results === null || failed) throw failed ?? new Error('the pipeline was given up');
  }

  close(): void {
    this.#redis.disconnect();
  }
}
