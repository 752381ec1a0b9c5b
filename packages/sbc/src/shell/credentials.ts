import { chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import * as z from 'zod';

/** What the demo subscribers type into their phones. */
export interface Credential {
  readonly user: string;
  readonly domain: string;
  readonly password: string;
}

const file = z.array(z.object({ user: z.string().min(1), domain: z.string().min(1), password: z.string().min(1) }));

/** What an earlier start wrote; empty when there is nothing that can be read. */
export async function readCredentials(path: string): Promise<Credential[]> {
  try {
    const parsed = file.safeParse(JSON.parse(await readFile(path, 'utf8')));
    return parsed.success ? parsed.data : [];
  } catch {
    return [];
  }
}

/** Whole or not at all, and for the owner's eyes only. */
export async function writeCredentials(path: string, list: readonly Credential[]): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const part = `${path}.part`;
  await writeFile(part, `${JSON.stringify(list, null, 2)}\n`, { mode: 0o600 });
  await chmod(part, 0o600);
  await rename(part, path);
}
