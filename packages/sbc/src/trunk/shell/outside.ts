import { readFile } from 'node:fs/promises';
import type { Config } from '../../config.js';
import { type PrefixTable, readTariffs, type Tariff } from '../../route/prefix-table.js';
import { StartError } from '../../shell/start-error.js';
import type { TrunkSecrets } from '../trunk.js';
import type { TrunkParts } from '../trunks.js';

interface SecretKeys {
  readonly passwordFile?: string | undefined;
  readonly passwordEnv?: string | undefined;
}

/** Secrets and tables that the configuration names by file or environment. What isn't there ends the start with a sentence. */
export async function readTrunkParts(config: Config): Promise<TrunkParts> {
  const secrets = new Map<string, TrunkSecrets>();
  for (const [name, t] of Object.entries(config.trunks)) {
    const register = await secretOf(t.register, `trunks.${name}.register`);
    const auth = await secretOf(t.auth, `trunks.${name}.auth`);
    secrets.set(name, { ...(register === undefined ? {} : { register }), ...(auth === undefined ? {} : { auth }) });
  }
  const trunks = new Set(Object.keys(config.trunks));
  const prefixes = new Map<string, PrefixTable<Tariff>>();
  for (const [name, p] of Object.entries(config.prefixes)) {
    if (!('file' in p)) continue;
    const read = readTariffs(await text(p.file, `prefixes.${name}.file`), trunks);
    if (read.problems.length > 0) throw new StartError(`${p.file}: ${read.problems.join('; ')}`);
    prefixes.set(name, read.table);
  }
  return { secrets, prefixes };
}

async function secretOf(keys: SecretKeys | undefined, where: string): Promise<string | undefined> {
  if (keys?.passwordFile !== undefined) {
    const line = (await text(keys.passwordFile, `${where}.passwordFile`)).split(/\r?\n/, 1)[0] ?? '';
    if (line === '') throw new StartError(`${where}.passwordFile: the first line of ${keys.passwordFile} is empty.`);
    return line;
  }
  if (keys?.passwordEnv === undefined) return undefined;
  const value = process.env[keys.passwordEnv];
  if (value === undefined || value === '')
    throw new StartError(`${where}.passwordEnv: the environment variable ${keys.passwordEnv} is not set.`);
  return value;
}

async function text(path: string, where: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new StartError(
      `${where}: ${path} can't be read (${error instanceof Error ? error.message : String(error)}).`,
    );
  }
}
