import { CertificateFiles } from '@drawbridge/sip';
import type { RealmTls } from '../transports/config.js';
import { expiryWarning } from '../transports/expiry.js';
import { StartError } from './start-error.js';

/** How often the files are looked at, ms. */
const LOOK_MS = 5000;

export interface CertificatesModules {
  /** ms since 1970. */
  wall(): number;
  info(sentence: string): void;
  warn(sentence: string): void;
}

export interface RealmCertificate {
  readonly realm: string;
  readonly tls: RealmTls;
  readonly files: CertificateFiles;
}

/** The certificates of all realms that have one, watched until `close`. */
export class Certificates {
  readonly all: readonly RealmCertificate[];
  readonly #wall: () => number;
  readonly #timer: NodeJS.Timeout;

  private constructor(all: readonly RealmCertificate[], wall: () => number) {
    this.all = all;
    this.#wall = wall;
    this.#timer = setInterval(() => {
      for (const c of all) void c.files.look();
    }, LOOK_MS);
    this.#timer.unref();
  }

  /** Rejects with `StartError` when a realm's files can't be used. */
  static async open(
    realms: 'auto' | Readonly<Record<string, { readonly tls?: RealmTls | undefined }>>,
    { wall, info, warn }: CertificatesModules,
  ): Promise<Certificates> {
    const all: RealmCertificate[] = [];
    for (const [realm, { tls }] of realms === 'auto' ? [] : Object.entries(realms)) {
      if (tls === undefined) continue;
      const files = await CertificateFiles.open(tls, {
        wall,
        onRenewed: () => info(`Realm ${realm} has a new certificate, valid until ${day(files.expiresAt)}`),
        onRefused: error =>
          warn(
            `The new certificate of realm ${realm} can't be used and the old one stays: ${error.message}. Correct ${tls.certificate} and ${tls.key}.`,
          ),
      }).catch((error: unknown) => {
        const why = error instanceof Error ? error.message : String(error);
        throw new StartError(
          `Realm ${realm} has no usable certificate: ${why}. Correct ${tls.certificate} and ${tls.key}.`,
        );
      });
      all.push({ realm, tls, files });
    }
    return new Certificates(all, wall);
  }

  of(realm: string): RealmCertificate | undefined {
    return this.all.find(c => c.realm === realm);
  }

  /** Sentences about certificates at their end. */
  get warnings(): string[] {
    return this.all.flatMap(c => expiryWarning(c.realm, c.tls.certificate, c.files.expiresAt, this.#wall()) ?? []);
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

function day(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}
