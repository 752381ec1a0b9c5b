/**
 * The processes of the relay benchmark, by their first argument; each runs in a namespace of its own:
 * `send` and `sink` are the far ends, `ours` is our relay with its sessions, `ng` gives rtpengine the same ones.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { Endpoints } from '@drawbridge/core';
import { isRejected, MediaRelay } from '@drawbridge/media-relay';
import { monotonicNow, systemRandom } from '@drawbridge/service';
import {
  HEADROOM,
  type Libc,
  loadLibc,
  openRawSocket,
  RawSender,
  SteeredReceiver,
  SteeredSocket,
} from 'node-dgram-raw';

/** 160 bytes of PCMU, as 20 ms at 8 kHz. */
const RTP_BYTES = 172;
const BATCH = 64;
/** At 50,000 packets a second a burst stays below ten packets. */
const NAP_US = 100;
const HISTOGRAM_US = 50_000;
/** A sink that nothing reaches, or that packets never leave alone, ends after this. */
const SINK_MS = 15_000;

async function libc(): Promise<Libc> {
  const loaded = await loadLibc();
  if (typeof loaded === 'string') throw new Error(loaded);
  return loaded;
}

/** Microseconds of the machine's monotonic clock, modulo 2^32: the same in every process. */
function micros(): number {
  return Number((process.hrtime.bigint() / 1000n) & 0xffff_ffffn);
}

/** Sends `count` packets at `rate` a second, round robin over the streams, and says how long that took. */
async function send(from: string, to: string, ports: readonly number[], rate: number, count: number): Promise<void> {
  const l = await libc();
  const stride = HEADROOM + 192;
  const slab = Buffer.from(new ArrayBuffer(BATCH * stride));
  const sender = new RawSender(l, { fd: openRawSocket(l, from), address: from, slab, batch: BATCH });
  const target = Endpoints.of(...ports.map(port => ({ address: to, port })));
  const start = performance.now();
  let sent = 0;
  let failed = 0;
  let latest = 0;
  const done = (_tag: number, ok: boolean): void => {
    if (!ok) failed++;
  };
  while (sent < count) {
    const elapsed = performance.now() - start;
    const due = Math.min(count, Math.floor((elapsed / 1000) * rate)) - sent;
    latest = Math.max(latest, due);
    if (due <= 0) {
      l.usleep(NAP_US);
      continue;
    }
    const n = Math.min(due, BATCH);
    const stamp = micros();
    for (let k = 0; k < n; k++) {
      const at = k * stride + HEADROOM;
      const stream = (sent + k) % ports.length;
      const seq = Math.floor((sent + k) / ports.length);
      slab[at] = 0x80;
      slab[at + 1] = 0;
      slab.writeUInt16BE(seq & 0xffff, at + 2);
      slab.writeUInt32BE((seq * 160) >>> 0, at + 4);
      slab.writeUInt32BE(0x1000 + stream, at + 8);
      slab.writeUInt32BE(stamp, at + 12);
      sender.queue(at, RTP_BYTES, 20_000 + 2 * stream, target, stream, 0);
    }
    sender.flush(done);
    sent += n;
  }
  const seconds = (performance.now() - start) / 1000;
  process.stdout.write(JSON.stringify({ sent, failed, rate: sent / seconds, latest }));
}

/** Receives until the packets stop, and tells the delays between stamp and receipt. */
async function sink(address: string): Promise<void> {
  const l = await libc();
  const ports: readonly [number, number] = [20_000, 21_999];
  const socket = SteeredSocket.open(l, { addresses: [address], firstPort: ports[0], lastPort: ports[1], idleMs: 100 });
  for (let port = ports[0]; port <= ports[1]; port++) socket.openPort(0, port);
  const receiver = new SteeredReceiver(l, socket.fd);
  const histogram = new Uint32Array(HISTOGRAM_US);
  process.stderr.write('ready\n');
  let received = 0;
  const end = performance.now() + SINK_MS;
  for (let idle = 0; idle < 10 && performance.now() < end; ) {
    const n = receiver.receive();
    if (n < 0) throw new Error(`receiving failed (errno ${-n})`);
    idle = n > 0 || received === 0 ? 0 : idle + 1;
    const now = micros();
    for (let i = 0; i < n; i++) {
      const delay = Math.min(HISTOGRAM_US - 1, (now - receiver.bytes.readUInt32BE(receiver.at[i]! + 12)) >>> 0);
      histogram[delay] = histogram[delay]! + 1;
    }
    received += n;
  }
  const percentile = (share: number): number => {
    let left = received * share;
    return histogram.findIndex(n => (left -= n) <= 0);
  };
  const drops = socket.drops() ?? 0;
  socket.close();
  process.stdout.write(JSON.stringify({ received, drops, p50: percentile(0.5), p99: percentile(0.99) }));
}

function sdp(address: string, port: number): string {
  return `v=0\r\no=- 1 1 IN IP4 ${address}\r\ns=-\r\nc=IN IP4 ${address}\r\nt=0 0\r\nm=audio ${port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n`;
}

function portOf(text: string): number {
  return Number(/^m=audio (\d+) /m.exec(text)?.[1]);
}

/** Our relay with one session per stream; writes the ports of the sending side to `file` and stays. */
async function ours(
  file: string,
  realmA: string,
  realmB: string,
  from: string,
  to: string,
  streams: number,
): Promise<void> {
  const relay = await MediaRelay.open(
    {
      realms: [
        { name: 'a', addresses: [{ bind: realmA }] },
        { name: 'b', addresses: [{ bind: realmB }] },
      ],
      ports: [40_000, 49_999],
    },
    { now: monotonicNow, random: systemRandom, onEvent: () => {} },
  );
  const ports: number[] = [];
  for (let i = 0; i < streams; i++) {
    const session = relay.session({ id: `s${i}` });
    session.leg('a', { realm: 'a', local: realmA });
    session.leg('b', { realm: 'b', local: realmB });
    const offered = session.offer({ from: 'a', to: 'b', sdp: sdp(from, 20_000 + 2 * i), seenFrom: from });
    if (isRejected(offered)) throw new Error(`${offered.rejected}: ${offered.detail}`);
    const answered = session.answer({ from: 'b', to: 'a', sdp: sdp(to, 20_000 + 2 * i), seenFrom: to, final: true });
    if (isRejected(answered)) throw new Error(`${answered.rejected}: ${answered.detail}`);
    ports.push(portOf(answered));
  }
  writeFileSync(file, JSON.stringify({ ports, path: relay.paths[0]?.path, because: relay.paths[0]?.because }));
  process.once('SIGTERM', () => {
    process.stdout.write(`${JSON.stringify(relay.stats())}\n`);
    void relay.close().then(() => process.exit(0));
  });
}

/** The same sessions in rtpengine, over its control protocol with JSON bodies. */
async function ng(from: string, to: string, streams: number): Promise<void> {
  const socket = createSocket('udp4');
  socket.connect(2223, '127.0.0.1');
  await once(socket, 'connect');
  let cookie = 0;
  const ask = async (command: Readonly<Record<string, unknown>>): Promise<string> => {
    const id = `c${++cookie}`;
    socket.send(`${id} ${JSON.stringify(command)}`);
    const [reply] = (await once(socket, 'message')) as [Buffer];
    const text = reply.toString('latin1');
    const said = JSON.parse(text.slice(text.indexOf(' ') + 1)) as { result: string; sdp?: string };
    if (said.result !== 'ok' || said.sdp === undefined) throw new Error(`rtpengine: ${text}`);
    return said.sdp;
  };
  const ports: number[] = [];
  for (let i = 0; i < streams; i++) {
    const call = { 'call-id': `c${i}`, 'from-tag': 'a', replace: ['origin', 'session-connection'] };
    await ask({ ...call, command: 'offer', direction: ['a', 'b'], sdp: sdp(from, 20_000 + 2 * i) });
    ports.push(portOf(await ask({ ...call, command: 'answer', 'to-tag': 'b', sdp: sdp(to, 20_000 + 2 * i) })));
  }
  socket.close();
  process.stdout.write(JSON.stringify(ports));
}

const [role, ...args] = process.argv.slice(2);
const text = (i: number): string => args[i] ?? '';
if (role === 'send') await send(text(0), text(1), JSON.parse(text(2)) as number[], Number(text(3)), Number(text(4)));
else if (role === 'sink') await sink(text(0));
else if (role === 'ours') await ours(text(0), text(1), text(2), text(3), text(4), Number(text(5)));
else if (role === 'ng') await ng(text(0), text(1), Number(text(2)));
else throw new Error(`no such part: ${role}`);
