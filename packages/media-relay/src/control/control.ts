import { type Endpoint, Endpoints, type Mono, parseAddressWords, type Random } from '@drawbridge/core';
import {
  COUNT,
  FLAG,
  type FlowTable,
  HEADER_F64,
  type PathEvent,
  REFUSALS,
  type RefusedReason,
  type RelayAddress,
  ROW,
  ROW_F64_WINDOW_END,
  SEEN,
} from '../path/path.js';
import { PortPairs } from '../ports.js';
import { lostPackets } from '../rtp.js';
import type { LatchPolicy, RelayCommand, RelayReply, SideEvent, SideId, SideStats } from './command.js';
import { Side } from './side.js';

/** RTCP comes every few seconds, so its port must be silent for longer before it may move. */
const RTCP_HANDOVER_FACTOR = 10;
/** A stream that passes through more of our own port pairs than this is taken for a loop. */
const MOST_HAIRPINS = 4;

/**
 * The lower layer of relay control: owns the ports and writes the flow table. No system call in any command.
 */
export class RelayControl {
  readonly table: FlowTable;
  readonly addresses: readonly RelayAddress[];
  readonly #pairs: readonly PortPairs[];
  readonly #sides = new Map<SideId, Side>();
  readonly #byRow = new Map<number, Side>();
  #serial = 0;
  readonly #path: { opened(row: number): void; closed(row: number): void };
  readonly #onEvent: (event: SideEvent) => void;
  readonly #scratch = new Endpoints(1);

  constructor(
    options: {
      addresses: readonly RelayAddress[];
      ports: readonly [number, number];
      quarantineMs: number;
      table: FlowTable;
    },
    modules: {
      random: Random;
      path: { opened(row: number): void; closed(row: number): void };
      onEvent(event: SideEvent): void;
    },
  ) {
    this.addresses = options.addresses;
    this.table = options.table;
    const [firstPort, lastPort] = options.ports;
    this.#pairs = options.addresses.map(
      () => new PortPairs({ firstPort, lastPort, quarantineMs: options.quarantineMs }, modules),
    );
    this.#path = modules.path;
    this.#onEvent = modules.onEvent;
  }

  apply(now: Mono, c: RelayCommand): RelayReply {
    if (c.do === 'allocate') return this.#allocate(now, c.address, c.tag);
    const side = this.#sides.get(c.side);
    if (side === undefined) return { ok: false, reason: 'media-no-flow' };
    switch (c.do) {
      case 'set-remote':
        this.#setRemote(now, side, c);
        return { ok: true };
      case 'connect': {
        const to = c.to === null ? undefined : this.#sides.get(c.to);
        if (c.to !== null && to === undefined) return { ok: false, reason: 'media-no-flow' };
        this.#connect(side, to);
        if (to !== undefined && this.#loops(side)) {
          this.#connect(side, undefined);
          return { ok: false, reason: 'media-loop' };
        }
        return { ok: true };
      }
      case 'direction':
        side.speaks = c.speaks;
        side.hears = c.hears;
        this.#writeFlags(side);
        return { ok: true };
      case 'release':
        this.#release(now, side);
        return { ok: true };
      case 'stats':
        return { ok: true, stats: this.#stats(side) };
    }
  }

  /** A path's event in terms of sides; stale ones (row released or reused since) come to nothing. */
  pathEvent(e: Exclude<PathEvent, { kind: 'stopped' | 'restarted' }>): void {
    const side = this.#byRow.get(e.row);
    if (side === undefined) return;
    const component = e.row === side.rtpRow ? 'rtp' : 'rtcp';
    if (e.kind === 'failed') {
      this.#onEvent({ kind: 'failed', side: side.id, tag: side.tag, detail: e.detail });
      return;
    }
    if (e.epoch !== this.table.words[this.table.at(e.row) + ROW.epoch]) return;
    if (e.kind === 'refused') {
      this.#onEvent({ kind: 'refused', side: side.id, tag: side.tag, component, reason: e.reason, from: e.from });
      return;
    }
    const from = this.table.latched(e.row);
    if (from === undefined) return;
    if (e.kind === 'rtcp')
      this.#onEvent({ kind: 'rtcp', side: side.id, tag: side.tag, at: e.at, from, bytes: e.bytes });
    else this.#onEvent({ kind: 'latched', side: side.id, tag: side.tag, component, from, moved: e.moved });
  }

  /** The register of own addresses: ours and held (its tag), ours and not held (''), or not ours (undefined). */
  ownerOf(e: Endpoint): string | undefined {
    const translated = this.#bound(e);
    if (!this.#scratch.set(0, translated)) return undefined;
    const row = this.table.ownRow(this.#scratch, 0);
    return row < 0 ? undefined : (this.#byRow.get(row)?.tag ?? '');
  }

  get counts(): { inUse: number; resting: number; total: number } {
    const sum = (f: (p: PortPairs) => number): number => this.#pairs.reduce((n, p) => n + f(p), 0);
    return { inUse: sum(p => p.inUse), resting: sum(p => p.resting), total: sum(p => p.total) };
  }

  /** Packets refused since the start, by reason. */
  refusedPackets(): [RefusedReason, number][] {
    return REFUSALS.map((reason, i) => [reason, this.table.f64[HEADER_F64.refused + i]!]);
  }

  header(slot: keyof typeof HEADER_F64): number {
    return this.table.f64[HEADER_F64[slot]]!;
  }

  #allocate(now: Mono, address: number, tag: string): RelayReply {
    const port = this.#pairs[address]?.take(now) ?? -1;
    if (port < 0) return { ok: false, reason: 'ports-exhausted' };
    const side = new Side(++this.#serial, tag, address, port, this.table.row(address, port));
    this.#sides.set(side.id, side);
    for (const row of [side.rtpRow, side.rtcpRow]) {
      this.#byRow.set(row, side);
      const at = this.table.begin(row);
      this.table.clear(row);
      const w = this.table.words;
      const epoch = (w[at + ROW.epoch]! + 1) >>> 0;
      w.fill(0, at + ROW.flags, at + SEEN.latchEpoch);
      w[at + ROW.epoch] = epoch;
      w[at + ROW.latchFloor] = epoch;
      this.table.commit(row);
    }
    this.#writeFlags(side);
    this.#path.opened(side.rtpRow);
    this.#path.opened(side.rtcpRow);
    return { ok: true, side: side.id, local: { address: this.addresses[address]?.advertise ?? '', port } };
  }

  #setRemote(now: Mono, side: Side, c: Extract<RelayCommand, { do: 'set-remote' }>): void {
    const rtp = c.rtp === null ? null : this.#bound(c.rtp);
    const rtcp = c.rtcp === null ? null : this.#bound(c.rtcp);
    const rewire = side.mux !== c.mux;
    side.mux = c.mux;
    side.opaque = c.opaque;
    side.policyFlags =
      (c.policy.handover ? FLAG.handover : 0) |
      (c.policy.windowMs > 0 ? FLAG.latch : 0) |
      (c.policy.sendBeforeLatch ? FLAG.sendToRemote : 0);
    this.#writeRemote(now, side.rtpRow, rtp, !same(side.rtp, rtp), c.reopen, c.policy, c.clockRate, 1);
    this.#writeRemote(now, side.rtcpRow, rtcp, !same(side.rtcp, rtcp), c.reopen, c.policy, 0, RTCP_HANDOVER_FACTOR);
    side.rtp = rtp;
    side.rtcp = rtcp;
    this.#writeFlags(side);
    if (rewire) {
      this.#connect(side, side.to);
      for (const from of side.fedBy) this.#connect(from, side);
    }
  }

  #writeRemote(
    now: Mono,
    row: number,
    remote: Endpoint | null,
    changed: boolean,
    reopen: boolean,
    policy: LatchPolicy,
    clockRate: number,
    slower: number,
  ): void {
    const w = this.table.words;
    const at = this.table.begin(row);
    this.table.setEndpoint(row, ROW.remote, remote ?? undefined);
    w.fill(0, at + ROW.seen, at + ROW.seenBits + 1);
    if (policy.seenFrom !== null && parseAddressWords(policy.seenFrom, w, at + ROW.seen)) {
      w[at + ROW.seenBits] = policy.prefixBits + (policy.seenFrom.includes(':') ? 0 : 96);
    }
    w[at + ROW.clockRate] = clockRate;
    w[at + ROW.handoverMs] = policy.handoverMs * slower;
    if (changed || reopen) {
      const epoch = (w[at + ROW.epoch]! + 1) >>> 0;
      w[at + ROW.epoch] = epoch;
      if (changed) w[at + ROW.latchFloor] = epoch;
      this.table.f64[this.table.atF64(row) + ROW_F64_WINDOW_END] = now + policy.windowMs;
    }
    this.table.commit(row);
  }

  #writeFlags(side: Side): void {
    const shared = FLAG.valid | side.policyFlags;
    this.#setWord(
      side.rtpRow,
      ROW.flags,
      shared |
        (side.mux === 'no' ? 0 : FLAG.mux) |
        (side.opaque ? FLAG.opaque : 0) |
        (side.speaks ? 0 : FLAG.heldIn) |
        (side.hears ? 0 : FLAG.heldOut),
    );
    this.#setWord(side.rtcpRow, ROW.flags, shared | FLAG.rtcp);
  }

  #connect(side: Side, to: Side | undefined): void {
    if (side.to !== to) {
      side.to?.fedBy.delete(side);
      to?.fedBy.add(side);
      side.to = to;
    }
    const rtp = to === undefined ? 0 : to.rtpRow + 1;
    const rtcp = to === undefined ? 0 : (to.mux === 'yes' ? to.rtpRow : to.rtcpRow) + 1;
    this.#setWord(side.rtpRow, ROW.peer, rtp);
    this.#setWord(side.rtpRow, ROW.peerRtcp, rtcp);
    this.#setWord(side.rtcpRow, ROW.peerRtcp, rtcp);
  }

  /** Would what arrives at `side` come back to it through our own ports? */
  #loops(side: Side): boolean {
    let at: Side | undefined = side;
    for (let hops = 0; hops <= MOST_HAIRPINS; hops++) {
      const target: Endpoint | null = at.to?.rtp ?? null;
      if (target === null || !this.#scratch.set(0, target)) return false;
      at = this.#byRow.get(this.table.ownRow(this.#scratch, 0));
      if (at === undefined) return false;
      if (at === side) return true;
    }
    return true;
  }

  #release(now: Mono, side: Side): void {
    this.#connect(side, undefined);
    for (const from of [...side.fedBy]) this.#connect(from, undefined);
    for (const row of [side.rtpRow, side.rtcpRow]) {
      this.#setWord(row, ROW.flags, 0);
      this.#byRow.delete(row);
      this.#path.closed(row);
    }
    this.#sides.delete(side.id);
    this.#pairs[side.address]?.release(now, side.port);
  }

  #stats(side: Side): SideStats {
    const { table } = this;
    const both = (slot: number): number => table.count(side.rtpRow, slot) + table.count(side.rtcpRow, slot);
    const started = table.words[table.at(side.rtpRow) + SEEN.rtpStarted] === 1;
    return {
      packets: both(COUNT.packets),
      bytes: both(COUNT.bytes),
      sent: both(COUNT.sent),
      rtcp: both(COUNT.rtcpPackets),
      lost: lostPackets(table, side.rtpRow),
      jitterMs: table.count(side.rtpRow, COUNT.jitter),
      ssrc: started ? table.words[table.at(side.rtpRow) + SEEN.ssrc]! : null,
      wrongSource: both(COUNT.wrongSource),
      notRtp: both(COUNT.notRtp),
      noTarget: both(COUNT.noTarget),
      held: both(COUNT.held),
      sendFailed: both(COUNT.sendFailed),
      lastRtp: table.count(side.rtpRow, COUNT.lastRtp),
      latched: table.latched(side.rtpRow) ?? null,
      latchedRtcp: side.mux === 'yes' ? null : (table.latched(side.rtcpRow) ?? null),
    };
  }

  /** Behind a 1:1 NAT our own advertised address can't be reached from here; what it is bound to can. */
  #bound(e: Endpoint): Endpoint {
    const own = this.addresses.find(a => a.advertise === e.address);
    return own === undefined ? e : { address: own.bind, port: e.port };
  }

  #setWord(row: number, column: number, value: number): void {
    const at = this.table.begin(row);
    this.table.words[at + column] = value;
    this.table.commit(row);
  }
}

function same(a: Endpoint | null, b: Endpoint | null): boolean {
  return a === b || (a !== null && b !== null && a.address === b.address && a.port === b.port);
}
