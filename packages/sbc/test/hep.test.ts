import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import t from 'tap';
import { encodeHep, HEP_SIP } from '../src/hep/encode.js';
import { HepMirror, taps } from '../src/hep/mirror.js';
import { openCollector } from '../src/hep/shell/collector.js';
import { ACCESS_UDP, BorderWorld, talking } from './harness.js';

/** Chunks by type. */
function chunks(packet: Buffer): Map<number, Buffer> {
  const out = new Map<number, Buffer>();
  if (packet.toString('latin1', 0, 4) !== 'HEP3' || packet.readUInt16BE(4) !== packet.length) throw new Error('no HEP');
  for (let at = 6; at < packet.length; at += packet.readUInt16BE(at + 4)) {
    if (packet.readUInt16BE(at) !== 0 || out.has(packet.readUInt16BE(at + 2))) throw new Error('a bad chunk');
    out.set(packet.readUInt16BE(at + 2), packet.subarray(at + 6, at + packet.readUInt16BE(at + 4)));
  }
  return out;
}

const MESSAGE = {
  protocol: 17,
  from: { address: '192.0.2.1', port: 5060 },
  to: { address: '198.51.100.7', port: 5080 },
  wall: 1_700_000_000_123,
  type: HEP_SIP,
  captureId: 2001,
  password: 'pw',
  correlation: 'abc',
  payload: Buffer.from('SIP'),
} as const;

t.test('the bytes of a packet', async t => {
  t.equal(
    encodeHep(MESSAGE).toString('hex'),
    [
      '48455033 0077', // HEP3, 119 bytes
      '0000 0001 0007 02', // IPv4
      '0000 0002 0007 11', // UDP
      '0000 0003 000a c0000201',
      '0000 0004 000a c6336407',
      '0000 0007 0008 13c4',
      '0000 0008 0008 13d8',
      '0000 0009 000a 6553f100', // seconds
      '0000 000a 000a 0001e078', // 123000 µs
      '0000 000b 0007 01', // SIP
      '0000 000c 000a 000007d1',
      '0000 000e 0008 7077',
      '0000 0011 0009 616263',
      '0000 000f 0009 534950',
    ]
      .join('')
      .replaceAll(' ', ''),
  );
  const v6 = chunks(
    encodeHep({ ...MESSAGE, from: { address: '2001:db8::1', port: 1 }, password: '', correlation: '' }),
  );
  t.strictSame([...v6.keys()], [1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 15]);
  t.equal(v6.get(1)?.toString('hex'), '0a');
  t.equal(v6.get(5)?.toString('hex'), '20010db8000000000000000000000001');
  t.equal(v6.get(6)?.toString('hex'), '00000000000000000000ffffc6336407', 'an IPv4 address among IPv6 ones');
});

t.test('every message of a call once, joined by the caller’s Call-ID, digest responses masked', async t => {
  const packets: Buffer[] = [];
  const world = new BorderWorld({
    taps: (own, modules) =>
      taps([
        own,
        new HepMirror(
          { captureId: 1, password: '' },
          { ...modules, wall: () => 1_700_000_000_000, send: packet => packets.push(packet) > 0 },
        ),
      ]),
  });
  const alice = world.phone('alice', { at: '198.51.100.1:40000', inner: '10.1.0.2:5060' });
  const bob = world.phone('bob', { at: '198.51.100.2:40000', inner: '10.2.0.2:5060' });
  alice.register();
  bob.register();
  t.ok(
    world.wires.some(w => /response="[0-9a-f]{32}"/.test(w.text)),
    'control: responses are on the wire',
  );
  const before = packets.length;
  t.equal(before, world.wires.length);
  talking(world, { caller: alice, callee: bob });
  const all = packets.map(chunks);
  t.equal(all.length, world.wires.length, 'no gap, nothing twice');
  t.strictSame(
    all.map(c => c.get(15)?.toString('latin1').split('\r\n')[0]),
    world.wires.map(w => w.text.split('\r\n')[0]),
  );
  t.notMatch(all.map(c => c.get(15)?.toString('latin1')).join(), /response="[0-9a-f]/);
  const invites = all.filter(c => c.get(15)?.toString('latin1').startsWith('INVITE'));
  const callIdOf = (c: Map<number, Buffer>): string =>
    /Call-ID: (\S+)/.exec(c.get(15)?.toString('latin1') ?? '')?.[1] ?? '';
  const [first] = invites;
  const toBob = invites.at(-1);
  if (first === undefined || toBob === undefined) throw new Error('no INVITE');
  t.not(callIdOf(first), callIdOf(toBob), 'two legs');
  t.equal(toBob.get(17)?.toString(), callIdOf(first));
  t.equal(first.get(17), undefined);
  t.equal(first.get(3)?.toString('hex'), 'c6336401', 'from the phone');
  t.equal(first.get(4)?.toString('hex'), 'cb00710a', 'to us');
  t.equal(first.get(7)?.readUInt16BE(), 40000);
});

t.test('reports are JSON, correlated to the call; what is too long is counted', async t => {
  const packets: Buffer[] = [];
  const world = new BorderWorld();
  const mirror = new HepMirror(
    { captureId: 1, password: '' },
    { realms: world.realms, callerOf: () => undefined, wall: () => 0, send: packet => packets.push(packet) > 0 },
  );
  const block = { ssrc: 7, fractionLost: 3, lost: 2, highestSeq: 9, jitter: 4, lastSr: 5, sinceSr: 6 };
  mirror.reports('call-1', MESSAGE.from, MESSAGE.to, [{ ssrc: 1, sender: undefined, blocks: [block] }]);
  const [report] = packets.map(chunks);
  t.equal(report?.get(11)?.toString('hex'), '05');
  t.equal(report?.get(17)?.toString(), 'call-1');
  t.match(JSON.parse(report?.get(15)?.toString() ?? ''), { type: 201, report_blocks: [{ packets_lost: 2, lsr: 5 }] });
  const { Endpoints } = await import('@drawbridge/core');
  mirror.message(0, 'in', ACCESS_UDP, Endpoints.of(MESSAGE.from), 0, `MESSAGE ${'x'.repeat(66_000)}`);
  mirror.message(0, 'in', ACCESS_UDP, Endpoints.of(MESSAGE.from), 0, 'MESSAGE sip:x SIP/2.0\r\n\r\n');
  t.strictSame(mirror.counters, { sent: 2, lost: 0, tooLong: 1 });
});

t.test('collectors: over UDP, and over TCP that comes back', async t => {
  const udp = createSocket('udp4');
  udp.bind(0, '127.0.0.1');
  await once(udp, 'listening');
  const overUdp = openCollector(`udp:127.0.0.1:${udp.address().port}`);
  const heard = once(udp, 'message');
  while (!overUdp.send(encodeHep(MESSAGE))) await new Promise(resolve => setImmediate(resolve));
  t.strictSame((await heard)[0], encodeHep(MESSAGE));
  overUdp.close();
  udp.close();

  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const overTcp = openCollector(`tcp:127.0.0.1:${(server.address() as AddressInfo).port}`);
  const [one] = (await once(server, 'connection')) as [Socket];
  const first = once(one, 'data');
  t.ok(overTcp.send(encodeHep(MESSAGE)));
  t.strictSame((await first)[0], encodeHep(MESSAGE));
  const again = once(server, 'connection');
  one.destroy();
  const [two] = (await again) as [Socket];
  const second = once(two, 'data');
  while (!overTcp.send(encodeHep(MESSAGE))) await new Promise(resolve => setImmediate(resolve));
  t.strictSame((await second)[0], encodeHep(MESSAGE));
  overTcp.close();
  two.destroy();
  server.close();
  t.notOk(overTcp.send(encodeHep(MESSAGE)), 'closed');
});
