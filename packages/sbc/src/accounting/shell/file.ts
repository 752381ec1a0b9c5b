import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { LineSink } from '../ledger.js';

/** Lines of this long share one write: what a crash of the machine could lose anyway. */
const GATHER_MS = 20;

/** Appends lines to a file: gathered for a moment, and while a write is under way, so that the disk sees few large ones. */
export class LineFile implements LineSink {
  readonly #file: FileHandle;
  #lines: string[] = [];
  #done: ((error: Error | undefined) => void)[] = [];
  #busy: Promise<void> | undefined;
  /** The last write failed, and may have left the beginning of a line. */
  #torn = false;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Rejects with the system's error when the file can't be opened for appending. */
  static async open(path: string): Promise<LineFile> {
    await mkdir(dirname(path), { recursive: true });
    return new LineFile(await open(path, 'a', 0o640));
  }

  write(line: string, done: (error: Error | undefined) => void): void {
    this.#lines.push(line);
    this.#done.push(done);
    this.#busy ??= this.#pump();
  }

  async #pump(): Promise<void> {
    while (this.#lines.length > 0) {
      await new Promise(resolve => setTimeout(resolve, GATHER_MS));
      const text = (this.#torn ? '\n' : '') + this.#lines.join('');
      const done = this.#done;
      this.#lines = [];
      this.#done = [];
      let failure: Error | undefined;
      try {
        await this.#file.appendFile(text);
        this.#torn = false;
      } catch (error) {
        this.#torn = true;
        failure = error instanceof Error ? error : new Error(String(error));
      }
      for (const d of done) d(failure);
    }
    this.#busy = undefined;
  }

  async close(): Promise<void> {
    await this.#busy;
    await this.#file.close();
  }
}
