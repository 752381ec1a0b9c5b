import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Daemon, Workshop } from './processes.js';

/** Root of the repository, seen from bench/dist. */
export const ROOT = join(import.meta.dirname, '..', '..');

const ADMIN_PORT = 18080;
export const ADMIN = `http://127.0.0.1:${ADMIN_PORT}`;

/** Starts the product as an operator would, with a configuration file, and waits until it says it is ready. */
export async function startBorder(shop: Workshop, name: string, yaml: string, core: number): Promise<Daemon> {
  const file = shop.file(`${name}.yaml`);
  writeFileSync(file, `${yaml.trim()}\nadmin: { listen: "127.0.0.1:${ADMIN_PORT}" }\n`);
  const border = shop.start([process.execPath, join(ROOT, 'packages/sbc/dist/src/main.js'), 'up', '-c', file], {
    core,
    cwd: shop.folder,
    log: `${name}.log`,
  });
  await border.until('the border', async () => {
    try {
      return (await fetch(`${ADMIN}/readyz`)).ok;
    } catch {
      return false;
    }
  });
  return border;
}

export function productVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed ? String(parsed.version) : 'unknown';
}
