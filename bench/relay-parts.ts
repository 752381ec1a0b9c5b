/**
 * The processes of the relay benchmark, by their first argument; each runs in a namespace of its own: `send` is the
 * far end that talks, `tap` looks at both wires of the relay, `ours` is our relay with its sessions, `ng` gives
 * rtpengine the same ones.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { isRejected, MediaRelay } from '@drawbridge/media-relay';
import { monotonicNow, systemRandom } from '@drawbridge/service';
import { CONTROL_LENGTH, HEADER_BYTES, HEADER_WORDS, LENGTH, type Libc, loadLibc, MessageVector } from 'node-dgram-raw';

/** 160 bytes of PCMU, as 20 ms at 8 kHz. */
const RTP_BYTES = 172;
const ETHERNET = 14;
/** Offsets in a frame without VLAN tag and IP options, and its length. */
const AT = { ip: ETHERNET, udp: ETHERNET + 20, rtp: ETHERNET + 28, end: ETHERNET + 28 + RTP_BYTES } as const;
const FRAME = 256;
const SSRC = 0x1000;
const BATCH = 64;
/** At 50,000 packets a second a burst stays below ten packets. */
const NAP_US = 100;
/** A pacing generator that is later than this lets its schedule slip instead of sending a burst. */
const LATE_MS = 1;

const AF_PACKET = 17;
const SOCK_RAW_NONBLOCK = 3 | 0x800;
const ETH_P_IP = 0x0800;
const ETH_P_ALL = 3;
const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SO_TIMESTAMPNS = 35;
const MSG_DONTWAIT = 0x40;

async function libc(): Promise<Libc> {
  const loaded = await loadLibc();
  if (typeof loaded === 'string') throw new Error(loaded);
  return loaded;
}

function memory(bytes: number): Buffer {
  return Buffer.from(new ArrayBuffer(bytes));
}

/** A packet socket on one interface. It receives nothing when `receive` is 0, else that kind of frame. */
function packetSocket(l: Libc, device: string, receive: number): number {
  const fd = l.socket(AF_PACKET, SOCK_RAW_NONBLOCK, 0);
  const address = memory(20);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(receive, 2);
  address.writeInt32LE(Number(readFileSync(`/sys/class/net/${device}/ifindex`, 'latin1')), 4);
  if (fd < 0 || l.bind(fd, address, 20) < 0) throw new Error(`no packet socket on ${device} (errno ${l.errno()})`);
  return fd;
}

function option(l: Libc, fd: number, name: number, value: number): void {
  const v = memory(4);
  v.writeInt32LE(value, 0);
  if (l.setsockopt(fd, SOL_SOCKET, name, v, 4) < 0) throw new Error(`setsockopt ${name}: errno ${l.errno()}`);
}

interface Load {
  readonly device: string;
  /** Source and destination hardware addresses, as hex digits. */
  readonly macs: readonly [string, string];
  readonly from: string;
  readonly to: string;
  /** Destination port of each stream. */
  readonly ports: readonly number[];
  readonly rate: number;
  readonly count: number;
  /** Even gaps matter more than the rate: what is late stays late. */
  readonly even: boolean;
}

function ones(sum: number): number {
  let s = sum;
  while (s > 0xffff) s = (s & 0xffff) + (s >>> 16);
  return s;
}

/** The frame of one stream with sequence number and timestamp 0; returns the UDP sum so far. */
function buildFrame(frame: Buffer, load: Load, stream: number): number {
  frame.write(load.macs[1] + load.macs[0], 0, 'hex');
  frame.writeUInt16BE(ETH_P_IP, 12);
  frame[AT.ip] = 0x45;
  frame.writeUInt16BE(28 + RTP_BYTES, AT.ip + 2);
  frame[AT.ip + 8] = 64;
  frame[AT.ip + 9] = 17;
  frame.set(load.from.split('.').map(Number), AT.ip + 12);
  frame.set(load.to.split('.').map(Number), AT.ip + 16);
  frame.writeUInt16BE(20_000 + 2 * stream, AT.udp);
  frame.writeUInt16BE(load.ports[stream] ?? 0, AT.udp + 2);
  frame.writeUInt16BE(8 + RTP_BYTES, AT.udp + 4);
  frame[AT.rtp] = 0x80;
  frame.writeUInt32BE(SSRC + stream, AT.rtp + 8);
  let header = 0;
  for (let k = AT.ip; k < AT.udp; k += 2) header += frame.readUInt16BE(k);
  frame.writeUInt16BE(0xffff - ones(header), AT.ip + 10);
  let sum = 17 + 8 + RTP_BYTES;
  for (let k = AT.ip + 12; k < AT.end; k += 2) sum += frame.readUInt16BE(k);
  return ones(sum);
}

/**
 * Sends `count` packets at `rate` a second, round robin over the streams, and says how long that took. Frames leave
 * by a packet socket: nobody measures this side, and one core must send more than the relay can take on the other.
 */
async function send(load: Load): Promise<void> {
  const l = await libc();
  const streams = load.ports.length;
  const slab = memory(streams * FRAME);
  const vector = new MessageVector(l, streams, slab, { nameBytes: 0 });
  const sums = Array.from({ length: streams }, (_, i) => {
    vector.place(i, i * FRAME, AT.end);
    return buildFrame(slab.subarray(i * FRAME, (i + 1) * FRAME), load, i);
  });
  const fd = packetSocket(l, load.device, 0);
  option(l, fd, SO_SNDBUFFORCE, 16 << 20);
  let start = performance.now();
  const began = start;
  let sent = 0;
  let failed = 0;
  let latest = 0;
  let stream = 0;
  let seq = 0;
  while (sent < load.count) {
    const elapsed = performance.now() - start;
    const due = Math.min(load.count, Math.floor((elapsed / 1000) * load.rate)) - sent;
    latest = Math.max(latest, due);
    if (due <= 0) {
      l.usleep(NAP_US);
      continue;
    }
    const late = (due / load.rate) * 1000 - LATE_MS;
    if (load.even && late > 0) {
      start += late;
      continue;
    }
    const n = Math.min(due, BATCH, streams - stream);
    const timestamp = (seq * 160) >>> 0;
    const extra = (seq & 0xffff) + (timestamp >>> 16) + (timestamp & 0xffff);
    for (let k = 0; k < n; k++) {
      const at = (stream + k) * FRAME;
      slab.writeUInt16BE(seq & 0xffff, at + AT.rtp + 2);
      slab.writeUInt32BE(timestamp, at + AT.rtp + 4);
      slab.writeUInt16BE(0xffff - ones(sums[stream + k]! + extra) || 0xffff, at + AT.udp + 6);
    }
    for (let head = 0; head < n; ) {
      const took = l.sendmmsg(fd, vector.headers.subarray((stream + head) * HEADER_BYTES), n - head, MSG_DONTWAIT);
      if (took <= 0) failed++;
      head += Math.max(1, took);
    }
    sent += n;
    stream += n;
    if (stream === streams) {
      stream = 0;
      seq++;
    }
  }
  const seconds = (performance.now() - began) / 1000;
  process.stdout.write(JSON.stringify({ sent, failed, rate: sent / seconds, latest }));
}

/** RTP seen on one interface, each with the kernel's own timestamp. */
class Wire {
  readonly #l: Libc;
  readonly #fd: number;
  readonly #slab = memory(256 * FRAME);
  readonly #vector: MessageVector;

  constructor(l: Libc, device: string) {
    this.#l = l;
    this.#fd = packetSocket(l, device, ETH_P_ALL);
    option(l, this.#fd, SO_RCVBUFFORCE, 64 << 20);
    option(l, this.#fd, SO_TIMESTAMPNS, 1);
    this.#vector = new MessageVector(l, 256, this.#slab, { nameBytes: 0, controlBytes: 64 });
    for (let i = 0; i < 256; i++) this.#vector.place(i, i * FRAME, FRAME);
  }

  /** Calls back with stream, sequence number and time (µs) of everything that waits. */
  drain(seen: (stream: number, seq: number, us: number) => void): void {
    const { head, headers, control, controlWords } = this.#vector;
    for (;;) {
      const got = this.#l.recvmmsg(this.#fd, headers, 256, MSG_DONTWAIT, null);
      for (let i = 0; i < got; i++) {
        head[i * HEADER_WORDS + CONTROL_LENGTH] = 64;
        const at = i * FRAME;
        if (head[i * HEADER_WORDS + LENGTH] !== AT.end || this.#slab[at + AT.rtp] !== 0x80) continue;
        const c = i * controlWords + 4;
        const us = control[c]! * 1e6 + control[c + 2]! / 1e3;
        seen(this.#slab.readUInt32BE(at + AT.rtp + 8) - SSRC, this.#slab.readUInt16BE(at + AT.rtp + 2), us);
      }
      if (got < 256) return;
    }
  }
}

/** Sequence numbers that may be under way at once. */
const WINDOW = 1024;

/**
 * How long packets stay between two interfaces, from their arrival on one to their departure on the other, by the
 * kernel's timestamps: no generator, no sink and no scheduling of either is part of it. Ends when nothing more comes.
 */
async function tap(from: string, to: string, streams: number): Promise<void> {
  const l = await libc();
  const arriving = new Wire(l, from);
  const leaving = new Wire(l, to);
  const since = new Float64Array(streams * WINDOW);
  const slot = (stream: number, seq: number): number => stream * WINDOW + (seq & (WINDOW - 1));
  const delays: number[] = [];
  let left: number[] = [];
  let unmatched = 0;
  process.stderr.write('ready\n');
  const end = performance.now() + 30_000;
  for (let idle = 0; idle < 500 && performance.now() < end; l.usleep(1000)) {
    // First who left: all of them have arrived before, and are found when the other wire has been read.
    left = [];
    leaving.drain((stream, seq, us) => left.push(slot(stream, seq), us));
    arriving.drain((stream, seq, us) => {
      since[slot(stream, seq)] = us;
    });
    for (let i = 0; i < left.length; i += 2) {
      const at = since[left[i]!] ?? 0;
      if (at === 0) unmatched++;
      else delays.push(left[i + 1]! - at);
      since[left[i]!] = 0;
    }
    idle = left.length > 0 || delays.length === 0 ? 0 : idle + 1;
  }
  delays.sort((a, b) => a - b);
  const share = (p: number): number => Math.round((delays[Math.floor(delays.length * p)] ?? Number.NaN) * 10) / 10;
  process.stdout.write(JSON.stringify({ seen: delays.length, unmatched, p50: share(0.5), p99: share(0.99) }));
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
if (role === 'send') await send(JSON.parse(text(0)) as Load);
else if (role === 'tap') await tap(text(0), text(1), Number(text(2)));
else if (role === 'ours') await ours(text(0), text(1), text(2), text(3), text(4), Number(text(5)));
else if (role === 'ng') await ng(text(0), text(1), Number(text(2)));
else throw new Error(`no such part: ${role}`);
