import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { type Probe, probe } from '../src/index.js';

const self = fileURLToPath(new URL('../src/index.js', import.meta.url));

t.test('names every capability once, with a remedy wherever one is missing', async t => {
  const { probes } = await probe();
  t.same(
    probes.map(p => p.name),
    [
      'koffi',
      'recvmmsg',
      'bpf load',
      'sk_lookup',
      'raw socket',
      'IPv6',
      'bpffs',
      'memlock',
      'rlimit nofile',
      'ip_local_reserved_ports',
      'rmem_max',
    ],
  );
  for (const p of probes) {
    t.ok(p.detail.length > 0, p.name);
    t.equal(p.remedy === undefined, p.ok, p.name);
  }
});

t.test('the relay ports are compared with the ephemeral range', async t => {
  const find = async (relayPorts: [number, number]): Promise<Probe | undefined> =>
    (await probe({ relayPorts })).probes.find(p => p.name === 'ip_local_reserved_ports');
  t.match(await find([1000, 1999]), { ok: true, detail: /lie outside the ephemeral range/ });
  const [low = 0] = execFileSync('cat', ['/proc/sys/net/ipv4/ip_local_port_range'], { encoding: 'latin1' })
    .trim()
    .split(/\s+/)
    .map(Number);
  t.match(await find([low, low + 9]), {
    ok: false,
    detail: `10 of the relay's ports ${low}–${low + 9}`,
    remedy: new RegExp(`ip_local_reserved_ports=.*${low}-${low + 9}`),
  });
});

t.test(
  'without privileges it says what is missing instead of failing',
  { skip: process.getuid?.() === 0 ? false : 'needs root, to give it up' },
  t => {
    const script = `import(${JSON.stringify(self)}).then(m => m.probe()).then(r => console.log(JSON.stringify(r)))`;
    // All capabilities gone, files still readable: that is what a plain service account lacks.
    const out = spawnSync(
      'setpriv',
      ['--bounding-set=-all', '--inh-caps=-all', '--ambient-caps=-all', process.execPath, '-e', script],
      { encoding: 'utf8' },
    );
    t.equal(out.stderr, '');
    const { probes } = JSON.parse(out.stdout) as { probes: Probe[] };
    const of = (name: string): Probe | undefined => probes.find(p => p.name === name);
    t.match(of('recvmmsg'), { ok: true }, 'control: batches need no privilege');
    t.match(of('raw socket'), {
      ok: false,
      detail: 'Opening a raw socket: needs CAP_NET_RAW or root (EPERM).',
      remedy: 'run as root, or give the process CAP_NET_RAW',
    });
    t.match(of('sk_lookup'), { ok: false, detail: /needs CAP_BPF and CAP_NET_ADMIN \(or root\)/ });
    t.match(of('bpf load'), { ok: false });
    t.end();
  },
);
