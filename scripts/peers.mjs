import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { Failure, run } from './process.mjs';

/** What the system tests run beside us: the program, and the Debian package that brings it. */
const PEERS = [
  ['baresip', 'baresip-core'],
  ['chromium', 'chromium'],
  ['conntrack', 'conntrack'],
  ['ip', 'iproute2'],
  ['kamailio', 'kamailio'],
  ['linphonec', 'linphone-cli'],
  ['nft', 'nftables'],
  ['openssl', 'openssl'],
  ['promtool', 'prometheus'],
  ['sipp', 'sip-tester'],
  ['sipsak', 'sipsak'],
  ['tcpdump', 'tcpdump'],
];

const POLICY = '/usr/sbin/policy-rc.d';
const POLICY_BEFORE = '/usr/sbin/policy-rc.d.before-drawbridge';

/** Whether the system tests can run; installs what is missing where that is possible. */
export async function preparePeers({ ci }) {
  if (process.platform !== 'linux') return refuse(ci, 'The system tests need Linux (network namespaces).');
  const missing = absent();
  const line = `apt-get install --no-install-recommends ${missing.join(' ')}`;
  if (process.getuid?.() !== 0) {
    const packages = missing.length === 0 ? '' : ` and these packages: sudo ${line}`;
    return refuse(ci, `The system tests need root (network namespaces)${packages}`);
  }
  if (missing.length === 0) return true;
  if (!found('apt-get'))
    return refuse(
      ci,
      `The system tests need these Debian packages, and there is no apt-get here: ${missing.join(' ')}`,
    );
  console.error(`installing Debian packages for the system tests, their services stay stopped: ${missing.join(' ')}`);
  try {
    await withoutServices(async () => {
      const env = { DEBIAN_FRONTEND: 'noninteractive' };
      try {
        await run('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...missing], {
          quiet: true,
          env,
          accept: [0, 100],
        });
      } finally {
        // The package lists may be older than the archive.
        if (absent().length > 0) {
          await run('apt-get', ['update', '-q'], { quiet: true, env });
          await run('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...missing], { quiet: true, env });
        }
      }
    });
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
  }
  const still = absent();
  return still.length === 0 || refuse(ci, `Could not install ${still.join(' ')}; by hand: ${line}`);
}

/** With CI=true a missing peer is a failure, elsewhere a loud gap. */
function refuse(ci, sentence) {
  if (ci) throw new Failure(sentence);
  console.error(`\n*** SYSTEM TESTS SKIPPED. ${sentence}\n`);
  return false;
}

function absent() {
  return PEERS.filter(([program]) => !found(program)).map(([, name]) => name);
}

function found(program) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.some(folder => folder !== '' && existsSync(join(folder, program)));
}

/** dpkg asks this file whether it may start a service; 101 is no. The one that stood there comes back. */
async function withoutServices(work) {
  // Left over by a run that was killed: the file beside it is the one that belongs here.
  const killed = existsSync(POLICY_BEFORE);
  const had = killed || existsSync(POLICY);
  if (had && !killed) renameSync(POLICY, POLICY_BEFORE);
  writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  const restore = () => {
    rmSync(POLICY, { force: true });
    if (had) renameSync(POLICY_BEFORE, POLICY);
  };
  process.once('exit', restore);
  try {
    await work();
  } finally {
    process.off('exit', restore);
    restore();
  }
}
