import { type Endpoint, Endpoints, formatEndpoint, type Mono, parseEndpoint, seededRandom } from '@drawbridge/core';
import {
  FlowTable,
  Forwarder,
  type MediaRelayOptions,
  type RelayEvent,
  RelayHub,
  relayAddresses,
} from '../src/index.js';

export interface Sent {
  readonly from: string;
  readonly to: string;
  readonly bytes: Uint8Array;
}

/** A relay without sockets or clock: the real control, anchoring and forwarder over a data path made of arrays. */
export class VirtualRelay {
  now: Mono = 1000;
  readonly hub: RelayHub;
  readonly table: FlowTable;
  readonly forwarder: Forwarder;
  readonly events: RelayEvent[] = [];
  readonly sent: Sent[] = [];
  readonly opened = new Set<number>();
  readonly #source = new Endpoints(1);

  constructor(options: Partial<MediaRelayOptions> = {}, seed = 1) {
    const all: MediaRelayOptions = {
      realms: [
        { name: 'access', addresses: [{ bind: '203.0.113.10' }, { bind: '2001:db8::10' }] },
        { name: 'core', addresses: [{ bind: '10.0.0.1' }] },
      ],
      ports: [30000, 30099],
      ...options,
    };
    const addresses = relayAddresses(all);
    this.table = FlowTable.create(
      addresses.map(a => a.bind),
      all.ports[0],
      all.ports[1],
    );
    this.hub = new RelayHub(all, addresses, this.table, {
      now: () => this.now,
      random: seededRandom(seed),
      onEvent: e => this.events.push(e),
      path: {
        paths: addresses.map(() => ({ kind: 'dgram', because: 'virtual' })),
        opened: row => this.opened.add(row),
        closed: row => this.opened.delete(row),
      },
    });
    this.forwarder = new Forwarder(this.table, e => this.hub.pathEvent(e));
  }

  /** One datagram from `from` to one of our ports; what leaves lands in `sent`, and in our own ports when it goes there. */
  arrive(from: string, to: string, bytes: Uint8Array): Sent | undefined {
    this.#source.set(0, endpoint(from));
    const at = new Endpoints(1);
    at.set(0, endpoint(to));
    const row = this.table.ownRow(at, 0);
    if (row < 0) throw new Error(`${to} is not ours`);
    this.forwarder.startBatch();
    const out = this.forwarder.forward(row, bytes, 0, bytes.length, this.#source, 0, this.now);
    if (out < 0) return undefined;
    this.forwarder.sent(out);
    const address = this.hub.addresses[this.table.addressOf(out)]?.bind ?? '';
    const sent = {
      from: formatEndpoint({ address, port: this.table.portOf(out) }),
      to: formatEndpoint(this.forwarder.to.get(0)),
      bytes,
    };
    this.sent.push(sent);
    if (this.table.ownRow(this.forwarder.to, 0) >= 0) return this.arrive(sent.from, sent.to, bytes);
    return sent;
  }

  /** Virtual time passes; timers fire on the way. */
  pass(ms: number): void {
    const until = this.now + ms;
    while (this.hub.pollTimeout() <= until) {
      this.now = Math.max(this.now, this.hub.pollTimeout());
      this.hub.handleTimeout(this.now);
    }
    this.now = until;
  }
}

export function endpoint(text: string): Endpoint {
  const e = parseEndpoint(text);
  if (e === undefined) throw new Error(text);
  return e;
}

let sequence = 0;
export function rtp(
  o: { ssrc?: number; seq?: number; timestamp?: number; type?: number; length?: number } = {},
): Uint8Array {
  const b = Buffer.alloc(o.length ?? 172);
  b[0] = 0x80;
  b[1] = o.type ?? 0;
  b.writeUInt16BE((o.seq ?? sequence++) & 0xffff, 2);
  b.writeUInt32BE((o.timestamp ?? sequence * 160) >>> 0, 4);
  b.writeUInt32BE(o.ssrc ?? 0x11111111, 8);
  return b;
}

/** A receiver report without blocks. */
export function rtcp(type = 201): Uint8Array {
  const b = Buffer.alloc(8);
  b[0] = 0x80;
  b[1] = type;
  b.writeUInt16BE(1, 2);
  b.writeUInt32BE(0x22222222, 4);
  return b;
}

export interface Described {
  readonly at: string;
  readonly port: number;
  readonly version?: number;
  readonly lines?: readonly string[];
}

/** One audio stream as a softphone writes it. */
export function audio(o: Described): string {
  const family = o.at.includes(':') ? 'IP6' : 'IP4';
  return [
    'v=0',
    `o=phone 77 ${o.version ?? 1} IN ${family} ${o.at}`,
    's=call',
    `c=IN ${family} ${o.at}`,
    't=0 0',
    `m=audio ${o.port} RTP/AVP 0 101`,
    'a=rtpmap:0 PCMU/8000',
    ...(o.lines ?? []),
    '',
  ].join('\r\n');
}

/** Port of the n-th m-line. */
export function portOf(sdp: string, n = 0): number {
  return Number(
    sdp
      .split('\r\n')
      .filter(l => l.startsWith('m='))
      [n]?.split(' ')[1],
  );
}
