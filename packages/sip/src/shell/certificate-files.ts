import { X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import type { TlsMaterial } from './stream-options.js';

/** Where a certificate lies, as PEM. */
export interface CertificatePaths {
  readonly certificate: string;
  readonly key: string;
  readonly ca?: string | undefined;
}

export interface CertificateModules {
  /** ms since 1970. */
  wall(): number;
  onRenewed(): void;
  /** The new files can't be used, and the old ones stay. */
  onRefused(error: Error): void;
}

interface Read {
  readonly material: TlsMaterial;
  readonly expiresAt: number;
  readonly stamp: string;
}

/** A certificate that is read again whenever its files change. A bad new one leaves the old in use. */
export class CertificateFiles {
  readonly paths: CertificatePaths;
  /** How many new ones were taken, and how many refused. */
  renewed = 0;
  refused = 0;
  readonly #m: CertificateModules;
  readonly #users: ((material: TlsMaterial) => void)[] = [];
  #now: Read;
  /** Of the last set that was judged, good or bad: a bad one is told once. */
  #judged: string;

  private constructor(paths: CertificatePaths, read: Read, modules: CertificateModules) {
    this.paths = paths;
    this.#now = read;
    this.#judged = read.stamp;
    this.#m = modules;
  }

  /** Rejects when the files can't be read, or don't belong together. */
  static async open(paths: CertificatePaths, modules: CertificateModules): Promise<CertificateFiles> {
    return new CertificateFiles(paths, await read(paths), modules);
  }

  get material(): TlsMaterial {
    return this.#now.material;
  }

  /** End of validity, ms since 1970. */
  get expiresAt(): number {
    return this.#now.expiresAt;
  }

  /** Told of every new certificate before it counts as taken; may throw. */
  use(user: (material: TlsMaterial) => void): void {
    this.#users.push(user);
  }

  /** Looks whether a file has changed, and takes the new ones if they are good. Never rejects. */
  async look(): Promise<void> {
    try {
      const stamp = await stampOf(this.paths);
      if (stamp === this.#judged) return;
      this.#judged = stamp;
      const next = await read(this.paths);
      if (next.expiresAt <= this.#m.wall() && next.expiresAt < this.#now.expiresAt)
        throw new Error('it has expired already');
      for (const user of this.#users) user(next.material);
      this.#now = next;
      this.#judged = next.stamp;
      this.renewed++;
      this.#m.onRenewed();
    } catch (error) {
      const what = error instanceof Error ? error : new Error(String(error));
      // A file that is gone has no stamp: it is told when it goes, not at every look.
      if (isMissing(what)) {
        if (this.#judged === what.message) return;
        this.#judged = what.message;
      }
      this.refused++;
      this.#m.onRefused(what);
    }
  }
}

async function read(paths: CertificatePaths): Promise<Read> {
  const stamp = await stampOf(paths);
  const [certificate, key, ca] = await Promise.all([
    readFile(paths.certificate, 'utf8'),
    readFile(paths.key, 'utf8'),
    paths.ca === undefined ? undefined : readFile(paths.ca, 'utf8'),
  ]);
  // Throws when the key belongs to another certificate, or one of them is none.
  createSecureContext({ cert: certificate, key, ...(ca === undefined ? {} : { ca }) });
  return {
    material: { certificate, key, ca },
    expiresAt: Date.parse(new X509Certificate(certificate).validTo),
    stamp,
  };
}

/** Changes with every file that is written, replaced or moved into place. */
async function stampOf({ certificate, key, ca }: CertificatePaths): Promise<string> {
  const seen = await Promise.all([certificate, key, ...(ca === undefined ? [] : [ca])].map(f => stat(f)));
  return seen.map(s => `${s.ino} ${s.size} ${s.mtimeMs}`).join('; ');
}

function isMissing(error: Error): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}
