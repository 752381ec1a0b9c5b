import './reflect.js';
import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

/** Certificates made while a test runs; none is kept. */
export interface Issued {
  readonly certificate: string;
  readonly key: string;
  readonly der: Uint8Array;
}

export interface Authority extends Issued {
  issue(o: Wanted): Promise<Issued>;
}

export interface Wanted {
  readonly cn?: string;
  /** subjectAltName; absent: the certificate has none. */
  readonly names?: readonly (readonly ['dns' | 'url' | 'ip', string])[];
  /** Valid for so long from now, ms; default a day. */
  readonly forMs?: number;
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY = 86_400_000;
let serial = 1;

export async function authority(name = 'Test Authority'): Promise<Authority> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: String(serial++),
    name: `CN=${name}`,
    notBefore: new Date(Date.now() - DAY),
    notAfter: new Date(Date.now() + 2 * DAY),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
  });
  return {
    ...(await issued(root, keys.privateKey)),
    async issue(o) {
      const own = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
      const certificate = await x509.X509CertificateGenerator.create({
        serialNumber: String(serial++),
        subject: [{ CN: [o.cn ?? 'border'] }],
        issuer: root.subject,
        notBefore: new Date(Date.now() - DAY),
        notAfter: new Date(Date.now() + (o.forMs ?? DAY)),
        signingAlgorithm: ALGORITHM,
        publicKey: own.publicKey,
        signingKey: keys.privateKey,
        extensions:
          o.names === undefined
            ? []
            : [new x509.SubjectAlternativeNameExtension(o.names.map(([type, value]) => ({ type, value })))],
      });
      return issued(certificate, own.privateKey);
    },
  };
}

async function issued(certificate: x509.X509Certificate, key: webcrypto.CryptoKey): Promise<Issued> {
  const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', key);
  return {
    certificate: certificate.toString('pem'),
    key: x509.PemConverter.encode(pkcs8, 'PRIVATE KEY'),
    der: new Uint8Array(certificate.rawData),
  };
}
