/** Where lines go: one of the shells beside us. `done` once per line, with the error when it is lost. */
export interface LineSink {
  write(line: string, done: (error: Error | undefined) => void): void;
}

/** Lines waiting for one sink at most; more are counted and lost, since calls go on whatever the sink does. */
export const LEDGER_QUEUE = 10_000;

/** Call detail records on their way to one place, as JSON lines in the order in which the calls ended. */
export class Ledger {
  readonly name: LedgerKind;
  readonly #sink: LineSink;
  readonly #cap: number;
  readonly #onTrouble: (sentence: string) => void;
  #waiting = 0;
  #written = 0;
  #lost = 0;
  #failing = false;

  constructor(
    name: LedgerKind,
    o: { readonly cap?: number },
    m: { readonly sink: LineSink; onTrouble(sentence: string): void },
  ) {
    this.name = name;
    this.#sink = m.sink;
    this.#cap = o.cap ?? LEDGER_QUEUE;
    this.#onTrouble = m.onTrouble;
  }

  get written(): number {
    return this.#written;
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** Records that never got there. */
  get lost(): number {
    return this.#lost;
  }

  write(line: string): void {
    if (this.#waiting >= this.#cap) {
      this.#lost++;
      this.#trouble(`call records are lost: ${TOO_SLOW[this.name]}`);
      return;
    }
    this.#waiting++;
    this.#sink.write(line, error => {
      this.#waiting--;
      if (error === undefined) {
        this.#written++;
        this.#failing = false;
        return;
      }
      this.#lost++;
      this.#trouble(`call records can't be written (${error.message}): ${REMEDY[this.name]}`);
    });
  }

  /** One line per spell of trouble, not one per record. */
  #trouble(sentence: string): void {
    if (this.#failing) return;
    this.#failing = true;
    this.#onTrouble(sentence);
  }
}

export const LEDGERS = ['file', 'http', 'redis'] as const;
export type LedgerKind = (typeof LEDGERS)[number];

const TOO_SLOW: Readonly<Record<LedgerKind, string>> = {
  file: 'the disk is too slow',
  http: 'the server at cdr.http.url does not take them fast enough',
  redis: 'the server at cdr.redis.url does not take them fast enough',
};
const REMEDY: Readonly<Record<LedgerKind, string>> = {
  file: 'make room or correct cdr.file',
  http: 'look at the server behind cdr.http.url',
  redis: 'look at the server behind cdr.redis.url',
};
