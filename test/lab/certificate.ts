import { join } from 'node:path';
import { run } from './machine.js';

/** A certificate for these names and addresses (`DNS:local.test`, `IP:203.0.113.10`) in `folder`, made now and by itself. */
export function certificate(
  folder: string,
  names: readonly string[],
): { readonly certificate: string; readonly key: string } {
  const at = { certificate: join(folder, 'certificate.pem'), key: join(folder, 'key.pem') };
  run('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
    ...['-subj', '/CN=border', '-addext', `subjectAltName=${names.join(',')}`],
    ...['-keyout', at.key, '-out', at.certificate],
  ]);
  return at;
}
