import type { z } from 'zod';

export interface ConfigSource {
  readonly text: string;
  /** Name for the complaints; nothing is read from it. */
  readonly file: string;
}

/** One thing wrong with a configuration, in words for the person who wrote it. */
export interface ConfigProblem {
  readonly file: string;
  /** 1-based. */
  readonly line: number;
  readonly column: number;
  /** `realms.access.sip.udp`; empty for the document itself. */
  readonly path: string;
  /** What is there and what was expected, without file, line and path. */
  readonly message: string;
  /** The nearest right key or value, when there is one near enough. */
  readonly nearest?: string;
}

export type ConfigResult<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problems: readonly ConfigProblem[] };

export function loadConfig<S extends z.ZodType>(schema: S, source: ConfigSource): ConfigResult<z.output<S>> {
  void source;
  return { ok: true, value: schema.parse({}) };
}

export function formatProblems(problems: readonly ConfigProblem[]): string {
  return problems.map(p => `${p.file}:${p.line}: ${p.path}: ${p.message}`).join('\n');
}
