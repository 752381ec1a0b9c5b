import { readFileSync } from 'node:fs';
import { type ConfigProblem, formatProblems, loadConfig } from '@drawbridge/service';
import { type Config, configSchema, EMBEDDED_DEFAULT, freezeConfig } from '../config.js';

export type Loaded =
  | { readonly ok: true; readonly config: Config; readonly source: string }
  | {
      readonly ok: false;
      readonly problems: readonly ConfigProblem[];
      readonly explained: string;
      readonly source: string;
    }
  | { readonly ok: false; readonly unreadable: string; readonly source: string };

const HERE = 'drawbridge.yaml';

/** `-c FILE`, else DRAWBRIDGE_CONFIG, else drawbridge.yaml in the working folder when there is one, else the embedded default. */
export function readConfig(named: string | undefined, environment: string | undefined): Loaded {
  const wanted = named ?? (environment === '' ? undefined : environment);
  const source = wanted ?? HERE;
  let text: string;
  try {
    text = readFileSync(source, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (wanted === undefined && code === 'ENOENT') return parse(EMBEDDED_DEFAULT, 'the embedded default');
    const why =
      code === 'ENOENT'
        ? 'there is no such file'
        : code === 'EACCES'
          ? 'this user may not read it'
          : code === 'EISDIR'
            ? 'it is a folder'
            : String(error);
    return { ok: false, unreadable: `${source} can't be read: ${why}.`, source };
  }
  return parse(text, source);
}

function parse(text: string, source: string): Loaded {
  const loaded = loadConfig(configSchema, { text, file: source });
  return loaded.ok
    ? { ok: true, config: freezeConfig(loaded.value), source }
    : { ok: false, problems: loaded.problems, explained: formatProblems(loaded.problems), source };
}
