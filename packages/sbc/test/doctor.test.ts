import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import t from 'tap';
import { doctor, formatDoctor } from '../src/commands/doctor.js';

const relayPorts = [30_000, 39_999] as const;

t.test('a free port is ok, a taken one fails with a remedy', async t => {
  const udp = createSocket('udp4').bind(0, '127.0.0.1');
  await once(udp, 'listening');
  const tcp = createServer().listen(0, '127.0.0.1');
  await once(tcp, 'listening');
  t.teardown(() => {
    udp.close();
    tcp.close();
  });
  const takenUdp = { address: '127.0.0.1', port: udp.address().port };
  const takenTcp = { address: '127.0.0.1', port: (tcp.address() as AddressInfo).port };
  const free = { address: '127.0.0.1', port: 0 };
  const folder = tmpdir();

  const good = await doctor({ udp: [free], tcp: [free], relayPorts, folder });
  t.same(
    good.checks.filter(c => c.needed && !c.ok),
    [],
    'control',
  );
  t.equal(good.ready, true);

  const bad = await doctor({ udp: [takenUdp, free], tcp: [takenTcp, free], relayPorts, folder });
  t.equal(bad.ready, false);
  t.same(
    bad.checks.filter(c => c.needed && !c.ok).map(c => c.name),
    [`udp 127.0.0.1:${takenUdp.port}`, `tcp 127.0.0.1:${takenTcp.port}`],
  );
  for (const c of bad.checks) t.ok(c.ok || (c.remedy ?? '') !== '', `${c.name}: what isn't ok has a remedy`);
  const names = new Set(bad.checks.map(c => c.name));
  for (const name of ['node', 'disk space', 'clock', 'capabilities']) t.ok(names.has(name), name);
  const text = formatDoctor(bad);
  t.match(text, new RegExp(`FAIL {2}udp 127.0.0.1:${takenUdp.port}`));
  t.match(text, /→ stop the other program/);
  t.match(text, /The border cannot run here yet/);
  t.same(JSON.parse(JSON.stringify(bad)), bad, 'the report is JSON as it is');
});

t.test('an address of another machine and a folder to come', async t => {
  const report = await doctor({
    udp: [{ address: '192.0.2.1', port: 5060 }],
    tcp: [],
    relayPorts,
    folder: `${tmpdir()}/not/yet/there`,
  });
  const udp = report.checks.find(c => c.name === 'udp 192.0.2.1:5060');
  t.equal(udp?.ok, false);
  t.match(udp?.remedy, /correct bind/);
  t.match(report.checks.find(c => c.name === 'disk space')?.detail, /MiB free for .*not\/yet\/there/);
});

t.test('the last line says what it comes to', async t => {
  const ok = { name: 'a', ok: true, detail: 'fine', needed: true };
  const less = { name: 'bb', ok: false, detail: 'slow', remedy: 'buy', needed: false };
  t.equal(formatDoctor({ ready: true, checks: [ok] }), 'ok    a  fine\n\nThis machine has everything.\n');
  t.equal(
    formatDoctor({ ready: true, checks: [ok, less] }),
    'ok    a   fine\nless  bb  slow\n          → buy\n\nThe border runs here; 1 thing marked less would make it faster or complete.\n',
  );
});
