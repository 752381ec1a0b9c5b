import { mkdtempSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import t from 'tap';
import { CertificateFiles, openStreamListener } from '../src/index.js';
import { authority, type Issued } from './certificates.js';

t.test('new files are taken by the listener that runs; bad ones leave the old in use and are told once', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'certificates-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const paths = { certificate: join(folder, 'a.pem'), key: join(folder, 'a.key') };
  let serial = 0;
  const put = (path: string, text: string): void => {
    const next = join(folder, `next-${serial++}`);
    writeFileSync(next, text);
    renameSync(next, path);
  };
  const install = (i: Issued): void => {
    put(paths.certificate, i.certificate);
    put(paths.key, i.key);
  };
  const ca = await authority();
  const [first, second, expired] = await Promise.all([
    ca.issue({ names: [['dns', 'border.example']] }),
    ca.issue({ names: [['dns', 'border.example']] }),
    ca.issue({ names: [['dns', 'border.example']], forMs: -1000 }),
  ]);
  const wall = (): number => Date.now();
  const refusals: string[] = [];
  const modules = { wall, onRenewed() {}, onRefused: (e: Error) => void refusals.push(e.message) };
  await t.rejects(CertificateFiles.open(paths, modules), 'no files, no certificate');
  install(first);
  const files = await CertificateFiles.open(paths, modules);
  t.ok(Math.abs(files.expiresAt - Date.now() - 86_400_000) < 60_000);
  const listener = await openStreamListener({
    address: '127.0.0.1',
    port: 0,
    transport: 'tls',
    tls: { material: files.material },
  });
  t.teardown(() => listener.close());
  files.use(m => listener.renew(m));
  listener.start(0, { batch() {}, flow() {} });
  const served = (): Promise<Buffer | undefined> =>
    new Promise((resolve, reject) => {
      const { address: host, port } = listener.local;
      const c = connect({ host, port, ca: ca.certificate, servername: 'border.example' }, () => {
        resolve(c.getPeerX509Certificate()?.raw);
        c.destroy();
      });
      c.once('error', reject);
    });
  const of = (i: Issued): Buffer => Buffer.from(i.der);
  t.same(await served(), of(first));
  await files.look();
  t.same([files.renewed, files.refused], [0, 0], 'nothing has changed');

  put(paths.certificate, second.certificate);
  await files.look();
  await files.look();
  t.same([files.renewed, files.refused], [0, 1], 'half of a new pair: refused, once');
  t.same(await served(), of(first));
  put(paths.key, second.key);
  await files.look();
  t.same([files.renewed, files.refused], [1, 1], 'the other half came');
  t.same(await served(), of(second));

  for (const bad of ['', 'rubbish', second.certificate.slice(0, 200)]) {
    put(paths.certificate, bad);
    await files.look();
    t.same(await served(), of(second));
  }
  install(expired);
  await files.look();
  t.match(refusals.at(-1), /expired/);
  unlinkSync(paths.key);
  await files.look();
  await files.look();
  t.same([files.renewed, files.refused], [1, 6]);
  t.equal(refusals.length, 6);
  t.same(await served(), of(second));
  install(first);
  await files.look();
  t.same(await served(), of(first), 'and back to good ones');
});
