import type { Config } from '../config.js';

/** What a command gets and where it talks; tests give their own. */
export interface CommandContext {
  readonly config: Config;
  /** Where the configuration came from, for people. */
  readonly source: string;
  /** Words after the command. */
  readonly words: readonly string[];
  readonly json: boolean;
  readonly password: string | undefined;
  /** Standard output; a line feed is added. */
  print(text: string): void;
  /** Standard error. */
  complain(text: string): void;
}

/** Gives the exit status: 0 done, 1 failed, 2 asked wrongly. */
export type Command = (c: CommandContext) => Promise<number>;
