import { readFile, stat } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import type { TlsMaterial } from '@drawbridge/sip';
import type { RealmTls } from '../transports/config.js';
import { expiryOf, expiryWarning } from '../transports/expiry.js';
import { StartError } from './start-error.js';

/** How often the files are looked at, ms. */
const LOOK_MS = 5000;

export interface CertificatesModules {
  wall(): number;
  info(sentence: string): void;
  warn(sentence: string): void;
}

/** The certificate of one realm: read at start, and again whenever its files change. A bad new one leaves the old in use. */
export class RealmCertificate {
  readonly realm: string;
  readonly tls: RealmTls;
  material: TlsMaterial;
  /** ms since 1970. */
  expiresAt: number;
  renewed = 0;
  refused = 0;
  readonly #m: CertificatesModules;
  readonly #users: ((material: TlsMaterial) => void)[] = [];
  #stamp: string;

  private constructor(realm: string, tls: RealmTls, read: Read, modules: CertificatesModules) {
    this.realm = realm;
    this.tls = tls;
    this.material = read.material;
    this.expiresAt = read.expiresAt;
    this.#stamp = read.stamp;
    this.#m = modules;
  }

  /** Rejects with `StartError` when the files can't be used. */
  static async open(realm: string, tls: RealmTls, modules: CertificatesModules): Promise<RealmCertificate> {
    const read = await readAll(tls).catch((error: unknown) => {
      throw new StartError(
        `Realm ${realm} has no usable certificate: ${said(error)}. Correct the files under its tls.`,
      );
    });
    return new RealmCertificate(realm, tls, read, modules);
  }

  /** Told of every new certificate. */
  use(user: (material: TlsMaterial) => void): void {
    this.#users.push(user);
  }

  /** Sentence about an end that is near, or past. */
  get warning(): string | undefined {
    return expiryWarning(this.realm, this.tls.certificate, this.expiresAt, this.#m.wall());
  }

  /** Looks whether a file has changed, and takes the new ones if they are good. Never rejects. */
  async look(): Promise<void> {
    try {
      const stamp = await stampOf(this.tls);
      if (stamp === this.#stamp) return;
      // A bad set is judged once, not every few seconds.
      this.#stamp = stamp;
      const read = await readAll(this.tls);
      if (read.expiresAt <= this.#m.wall() && this.expiresAt > read.expiresAt)
        throw new Error('it has expired already');
      for (const user of this.#users) user(read.material);
      this.material = read.material;
      this.expiresAt = read.expiresAt;
      this.#stamp = read.stamp;
      this.renewed++;
      this.#m.info(
        `Realm ${this.realm} has a new certificate, valid until ${new Date(this.expiresAt).toISOString().slice(0, 10)}`,
      );
    } catch (error) {
      this.refused++;
      this.#m.warn(
        `The new certificate of realm ${this.realm} can't be used and the old one stays: ${said(error)}. Correct ${this.tls.certificate} and ${this.tls.key}.`,
      );
    }
  }
}

/** The certificates of all realms that have one, watched until `close`. */
export class Certificates {
  readonly all: readonly RealmCertificate[];
  readonly #timer: NodeJS.Timeout;
  #looking = false;

  private constructor(all: readonly RealmCertificate[]) {
    this.all = all;
    this.#timer = setInterval(() => void this.look(), LOOK_MS);
    this.#timer.unref();
  }

  static async open(
    realms: 'auto' | Readonly<Record<string, { readonly tls?: RealmTls | undefined }>>,
    modules: CertificatesModules,
  ): Promise<Certificates> {
    const all: RealmCertificate[] = [];
    for (const [name, { tls }] of realms === 'auto' ? [] : Object.entries(realms))
      if (tls !== undefined) all.push(await RealmCertificate.open(name, tls, modules));
    return new Certificates(all);
  }

  of(realm: string): RealmCertificate | undefined {
    return this.all.find(c => c.realm === realm);
  }

  get warnings(): string[] {
    return this.all.flatMap(c => c.warning ?? []);
  }

  async look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    for (const c of this.all) await c.look();
    this.#looking = false;
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

interface Read {
  readonly material: TlsMaterial;
  readonly expiresAt: number;
  readonly stamp: string;
}

async function readAll(tls: RealmTls): Promise<Read> {
  const stamp = await stampOf(tls);
  const [certificate, key, ca] = await Promise.all([
    readFile(tls.certificate, 'utf8'),
    readFile(tls.key, 'utf8'),
    tls.ca === undefined ? undefined : readFile(tls.ca, 'utf8'),
  ]);
  const material = { certificate, key, ca };
  // Throws when the key belongs to another certificate, or one of them is none.
  createSecureContext({ cert: certificate, key, ...(ca === undefined ? {} : { ca }) });
  return { material, expiresAt: expiryOf(material), stamp };
}

/** Changes with every file that is written, replaced or moved into place. */
async function stampOf(tls: RealmTls): Promise<string> {
  const files = [tls.certificate, tls.key, ...(tls.ca === undefined ? [] : [tls.ca])];
  const seen = await Promise.all(files.map(f => stat(f)));
  return seen.map(s => `${s.ino} ${s.size} ${s.mtimeMs}`).join('; ');
}

function said(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
