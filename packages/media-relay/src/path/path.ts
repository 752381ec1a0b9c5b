import {
  ENDPOINT_WORDS,
  type Endpoint,
  type Endpoints,
  type Family,
  formatAddressWords,
  type Mono,
  parseAddressWords,
} from '@drawbridge/core';

export type PathKind = 'steered' | 'sockets' | 'dgram';

/** One address the relay owns ports on. Its position in the list is its index in the flow table. */
export interface RelayAddress {
  readonly realm: string;
  /** Canonical address the ports live on; never unspecified, since the raw sender needs a source. */
  readonly bind: string;
  /** What SDP carries; `bind` unless the machine sits behind a 1:1 NAT. */
  readonly advertise: string;
  readonly family: Family;
}

/** What a data path tells control; at most one `latched` and one `refused` per row, reason and latch epoch. */
export type PathEvent =
  | { readonly kind: 'latched'; readonly row: number; readonly epoch: number; readonly moved: boolean }
  | {
      readonly kind: 'refused';
      readonly row: number;
      readonly epoch: number;
      readonly reason: RefusedReason;
      readonly from: Endpoint;
    }
  /** A report of the far end's (RTCP SR or RR), copied; at most one a second and row. `at`: when it went through. */
  | {
      readonly kind: 'rtcp';
      readonly row: number;
      readonly epoch: number;
      readonly at: Mono;
      readonly bytes: Uint8Array;
    }
  /** A socket for the row could not be opened, or the kernel refuses to send: media stays away, the call lives. */
  | { readonly kind: 'failed'; readonly row: number; readonly detail: string }
  /** The thread died and another took over: flows go on, what arrived meanwhile may be lost. */
  | { readonly kind: 'restarted'; readonly detail: string }
  /** The whole path stopped (thread died): every flow on it is dark until the process restarts. */
  | { readonly kind: 'stopped'; readonly detail: string };

export const REFUSALS = [
  'media-wrong-source',
  'media-not-rtp',
  'media-no-target',
  'media-held',
  'media-send-failed',
] as const;
export type RefusedReason = (typeof REFUSALS)[number];

/**
 * Carries datagrams between the ports of the flow table, in a thread of its own.
 *
 * Control writes rows and calls `opened`/`closed` once per row; neither may block or make a system call on
 * the steered path. A path that needs a socket per port opens it in its thread after `opened` and may keep it
 * for the next owner of the row.
 */
export interface DataPath {
  /** Per relay address, in the order of `DataPathOptions.addresses`: what carries it and why not something better. */
  readonly paths: readonly { readonly kind: PathKind; readonly because: string }[];
  opened(row: number): void;
  closed(row: number): void;
  /** Stops the thread and closes every socket; resolves when both are gone. */
  close(): Promise<void>;
}

export interface DataPathOptions {
  readonly addresses: readonly RelayAddress[];
  readonly table: FlowTable;
  readonly path: 'auto' | PathKind;
  /** Called on the control thread; must not throw. */
  readonly onEvent: (event: PathEvent) => void;
  readonly log?: (line: string) => void;
}

export type OpenDataPath = (options: DataPathOptions) => Promise<DataPath>;

/*
 * The flow table: one SharedArrayBuffer, a header and one row per {relay address, port}.
 *
 * row = index of the address * number of ports + (port - first port)
 *
 * The first 32 words of a row belong to control and are read by the path's thread under a sequence lock
 * (`SEQUENCE`: odd while control writes). The rest belongs to the path's thread; control reads it, and clears
 * it while the row is not VALID. `EPOCH` only ever grows, so a latch of an earlier owner of the row can't
 * be taken for a latch of this one.
 *
 * Behind the rows lies a journal: which rows control committed last. The thread follows it once per batch and
 * keeps what it needs of control's words in a line of its own (`COPY`), so that a packet costs no atomic read and
 * two cache lines in each of its rows: most of what a packet costs here is waiting for memory.
 */

export const HEADER_WORDS = 256;
/** Commits that the journal remembers; a power of two. */
export const JOURNAL = 1024;
/** Four words per relay address from here on: what the table's ports are bound to. */
export const HEADER_ADDRESSES = 64;
export const MAX_ADDRESSES = (HEADER_WORDS - HEADER_ADDRESSES) / 4;
/** Six cache lines: two of control's, two the thread seldom touches, two it touches with every packet. */
export const ROW_WORDS = 96;

/** Header words. */
export const HEADER = {
  magic: 0,
  version: 1,
  addresses: 2,
  firstPort: 3,
  ports: 4,
  /** Commits since the start, modulo 2^32. */
  commits: 5,
  /** The thread's: a COPY of another generation is void. */
  generation: 6,
} as const;
/** Header Float64 slots (index into `f64`). `clockOffset`: CLOCK_MONOTONIC ms (process.hrtime) minus control's `now()`. */
export const HEADER_F64 = {
  clockOffset: 4,
  /** Datagrams to a port nobody holds. */
  noFlow: 5,
  /** Datagrams longer than the path's slot: dropped. */
  truncated: 6,
  received: 7,
  sent: 8,
  sendErrors: 9,
  batches: 10,
  /** Refused packets of all rows, one slot per reason in the order of REFUSALS. */
  refused: 16,
} as const;

/** Words of a row that control writes. Endpoint columns are ENDPOINT_WORDS long (core `Endpoints` layout). */
export const ROW = {
  sequence: 0,
  flags: 1,
  kind: 2,
  /** Row + 1 through which an RTP packet received here leaves; 0 = nowhere yet. */
  peer: 3,
  /** Row + 1 through which an RTCP packet received here leaves. */
  peerRtcp: 4,
  epoch: 5,
  /** Where SDP says the far end receives; port 0 = unknown. */
  remote: 6,
  /** Address of the signalling source (4 words) and how many leading bits of it must match; 0 bits = none. */
  seen: 11,
  seenBits: 15,
  /** Hz of the RTP clock, for jitter. */
  clockRate: 16,
  /** Silence of the latched source, in ms, after which the same address may move to another port. */
  handoverMs: 17,
  /** A latch of an epoch before this one is void: SDP named another endpoint since. */
  latchFloor: 18,
} as const;
/** Float64 slot of a row, relative to the row's first f64. Latching to anything but the exact remote ends here. */
export const ROW_F64_WINDOW_END = 10;

/** Words of a row that the path's thread writes. */
export const SEEN = {
  /** Epoch the latch below belongs to; 0 = none. Cleared first, written last. */
  latchEpoch: 32,
  latched: 33,
  /** First sequence number, unsigned (RFC 3550 App. A.1). */
  baseSeq: 38,
  /** Epoch for which `reported` bits hold. */
  reportedEpoch: 39,
  reported: 40,
  ssrcChanges: 41,
  ssrc: 76,
  /** Extended highest sequence number, unsigned. */
  highestSeq: 77,
  /** RTP timestamp of the last packet, for jitter. */
  timestamp: 78,
  /** 1 once ssrc, highestSeq and baseSeq mean something. */
  rtpStarted: 79,
} as const;
/** Words of the thread's copy of what control wrote, as it was when the batch began; nobody else reads them. */
export const COPY = {
  generation: 64,
  flags: 65,
  peer: 66,
  peerRtcp: 67,
  epoch: 68,
  clockRate: 69,
  /** The far end: the latched source, else where SDP says it is if that may be used; port 0 = unknown. */
  to: 70,
} as const;
/** Float64 slots of the path's thread, relative to the row's first f64. */
export const COUNT = {
  wrongSource: 21,
  notRtp: 22,
  noTarget: 23,
  held: 24,
  sendFailed: 25,
  /** Packets of earlier SSRCs that were found missing. */
  lostBefore: 26,
  rtcpPackets: 27,
  /** Control-clock ms of the last RTCP report that control was told of. */
  lastReport: 28,
  packets: 40,
  bytes: 41,
  /** RTP packets received since `baseSeq`: lost = highestSeq - baseSeq + 1 - rtpReceived. */
  rtpReceived: 42,
  /** Interarrival jitter in ms (RFC 3550 §6.4.1). */
  jitter: 43,
  /** Control-clock ms of the last accepted packet, and of the last accepted RTP packet. */
  lastPacket: 44,
  lastRtp: 45,
  /** Datagrams sent out of this row's port. */
  sent: 46,
} as const;

export const FLAG = {
  valid: 1,
  /** The row is an RTCP port: only RTCP is accepted. */
  rtcp: 2,
  /** RTP and RTCP share the port (RFC 5761). */
  mux: 4,
  /** RTP that arrives is dropped: the far end said it would not send. */
  heldIn: 8,
  /** RTP is not sent to the far end: it said it would not receive. */
  heldOut: 16,
  /** A source other than the exact remote endpoint may be latched (inside the window). */
  latch: 32,
  /** The latched address may move to another port after `handoverMs` of silence. */
  handover: 64,
  /** Before anything is latched, packets go to the remote endpoint of SDP. */
  sendToRemote: 128,
  /** Not RTP (T.38 UDPTL, other): any datagram counts as valid media. */
  opaque: 256,
} as const;
/** In the thread's copy of the flags alone: `COPY.to` is the latched source. */
export const LATCHED = 1 << 16;

const MAGIC = 0x44724231;
const VERSION = 2;

/** Both threads' view of the shared memory. */
export class FlowTable {
  readonly buffer: SharedArrayBuffer;
  readonly words: Uint32Array;
  readonly f64: Float64Array;
  /** The same memory as `words`, for Atomics on the sequence. */
  readonly atomics: Int32Array;
  readonly addresses: number;
  readonly firstPort: number;
  readonly ports: number;
  readonly rows: number;
  readonly #journal: number;

  /** Throws TypeError when the buffer is not a flow table of this version. */
  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.words = new Uint32Array(buffer);
    this.f64 = new Float64Array(buffer);
    this.atomics = new Int32Array(buffer);
    if (this.words[HEADER.magic] !== MAGIC || this.words[HEADER.version] !== VERSION)
      throw new TypeError('not a flow table of this version');
    this.addresses = this.words[HEADER.addresses]!;
    this.firstPort = this.words[HEADER.firstPort]!;
    this.ports = this.words[HEADER.ports]!;
    this.rows = this.addresses * this.ports;
    this.#journal = HEADER_WORDS + this.rows * ROW_WORDS;
  }

  /**
   * `addresses`: what the ports are bound to, at most MAX_ADDRESSES; `lastPort` inclusive. Memory of rows never
   * used stays untouched. Throws TypeError for an address that is none, RangeError for too many.
   */
  static create(addresses: readonly string[], firstPort: number, lastPort: number): FlowTable {
    if (addresses.length > MAX_ADDRESSES) throw new RangeError(`at most ${MAX_ADDRESSES} relay addresses`);
    const ports = lastPort - firstPort + 1;
    const buffer = new SharedArrayBuffer((HEADER_WORDS + addresses.length * ports * ROW_WORDS + JOURNAL) * 4);
    const words = new Uint32Array(buffer);
    words[HEADER.magic] = MAGIC;
    words[HEADER.version] = VERSION;
    words[HEADER.addresses] = addresses.length;
    addresses.forEach((address, i) => {
      if (!parseAddressWords(address, words, HEADER_ADDRESSES + i * 4))
        throw new TypeError(`not an address: ${address}`);
    });
    words[HEADER.firstPort] = firstPort;
    words[HEADER.ports] = ports;
    return new FlowTable(buffer);
  }

  row(address: number, port: number): number {
    return address * this.ports + (port - this.firstPort);
  }
  portOf(row: number): number {
    return this.firstPort + (row % this.ports);
  }
  addressOf(row: number): number {
    return Math.trunc(row / this.ports);
  }
  /** Row of an endpoint whose address and port are ours; -1 when they are not. */
  ownRow(e: Endpoints, i: number): number {
    const w = e.words;
    const own = this.words;
    const at = i * ENDPOINT_WORDS;
    const port = w[at + 4]! - this.firstPort;
    if (port < 0 || port >= this.ports) return -1;
    const last = w[at + 3]!;
    for (let n = 0, a = HEADER_ADDRESSES; n < this.addresses; n++, a += 4) {
      if (own[a + 3] === last && sameWords(own, a, w, at, 3)) return n * this.ports + port;
    }
    return -1;
  }
  /** First word of a row in `words`. */
  at(row: number): number {
    return HEADER_WORDS + row * ROW_WORDS;
  }
  /** First slot of a row in `f64`. */
  atF64(row: number): number {
    return (HEADER_WORDS + row * ROW_WORDS) >> 1;
  }

  /** Control only: opens the row for writing; pair with `commit`. */
  begin(row: number): number {
    const at = this.at(row);
    Atomics.add(this.atomics, at + ROW.sequence, 1);
    return at;
  }
  commit(row: number): void {
    Atomics.add(this.atomics, this.at(row) + ROW.sequence, 1);
    const n = this.commits();
    this.words[this.#journal + (n & (JOURNAL - 1))] = row;
    Atomics.store(this.atomics, HEADER.commits, n + 1);
  }

  /** How many rows were committed so far, modulo 2^32 (signed). */
  commits(): number {
    return Atomics.load(this.atomics, HEADER.commits);
  }
  /** The row of commit number `n`, one of the last JOURNAL ones. */
  committed(n: number): number {
    return this.words[this.#journal + (n & (JOURNAL - 1))]!;
  }

  /** Clears the thread's part of a row; only while the row is not VALID. */
  clear(row: number): void {
    const at = this.at(row);
    this.words.fill(0, at + SEEN.latchEpoch, at + ROW_WORDS);
  }

  count(row: number, slot: number): number {
    return this.f64[this.atF64(row) + slot]!;
  }

  /** The source that is latched; undefined when none is, or when SDP named another endpoint since. */
  latched(row: number): Endpoint | undefined {
    const at = this.at(row);
    const before = Atomics.load(this.atomics, at + SEEN.latchEpoch) >>> 0;
    if (before === 0 || before < this.words[at + ROW.latchFloor]!) return undefined;
    const address = formatAddressWords(this.words, at + SEEN.latched);
    const port = this.words[at + SEEN.latched + 4]!;
    return Atomics.load(this.atomics, at + SEEN.latchEpoch) >>> 0 === before ? { address, port } : undefined;
  }

  setEndpoint(row: number, column: number, e: Endpoint | undefined): void {
    const at = this.at(row) + column;
    this.words.fill(0, at, at + ENDPOINT_WORDS);
    if (e === undefined || !parseAddressWords(e.address, this.words, at)) return;
    this.words[at + 4] = e.port;
  }
}

export function sameWords(a: Uint32Array, p: number, b: Uint32Array, q: number, n: number): boolean {
  for (let k = 0; k < n; k++) if (a[p + k] !== b[q + k]) return false;
  return true;
}
