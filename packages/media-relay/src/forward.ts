import { ENDPOINT_WORDS, Endpoints, type Mono } from '@drawbridge/core';
import {
  COPY,
  COUNT,
  FLAG,
  type FlowTable,
  HEADER,
  HEADER_F64,
  JOURNAL,
  LATCHED,
  type PathEvent,
  REFUSALS,
  ROW,
  ROW_F64_WINDOW_END,
  SEEN,
  sameWords,
} from './path/path.js';
import { isReport } from './rtcp.js';
import { classify, noteRtp, PACKET } from './rtp.js';

/** How often a reader looks again while control is in the middle of a row. */
const SPINS = 1000;

/** RTCP reports that control hears of: endpoints send one in five seconds, whoever sends more is only forwarded. */
const REPORT_EVERY_MS = 1000;
const LONGEST_REPORT = 1024;

const SLOTS = [COUNT.wrongSource, COUNT.notRtp, COUNT.noTarget, COUNT.held, COUNT.sendFailed] as const;
const WRONG_SOURCE = 0;
const NOT_RTP = 1;
const NO_TARGET = 2;
const HELD = 3;
const SEND_FAILED = 4;

/**
 * What happens to one datagram, the same on every data path: is it media, does it come from where media may come
 * from, where does it leave. Allocates nothing but events, of which there is at most one per row, reason and epoch.
 *
 * The source rule (docs/decisions/020-latching.md):
 * 1. the latched source, and no other while it talks;
 * 2. nothing latched yet: the exact endpoint of SDP at any time; its address, or the signalling source's prefix, inside the window;
 * 3. a window opened anew by an offer or answer lets an eligible source replace the old latch once;
 * 4. `handover`: the latched address — or, with nothing latched, exactly the address of SDP or of the signalling —
 *    may come from another port once the row has been silent for `handoverMs`.
 * A source that is one of our own relay ports must be the exact endpoint of SDP.
 */
export class Forwarder {
  /** Destination of the datagram that `forward` let through. */
  readonly to = new Endpoints(1);
  /** Meaningless; `warm` leaves it so that its reads are not optimised away. */
  warmed = 0;
  readonly table: FlowTable;
  readonly #onEvent: (event: PathEvent) => void;
  readonly #words: Uint32Array;
  readonly #atomics: Int32Array;
  readonly #f64: Float64Array;
  #generation: number;
  /** Commits of control that the copies know of. */
  #commits: number;

  constructor(table: FlowTable, onEvent: (event: PathEvent) => void) {
    this.table = table;
    this.#onEvent = onEvent;
    this.#words = table.words;
    this.#atomics = table.atomics;
    this.#f64 = table.f64;
    this.#commits = table.commits();
    this.#generation = this.#nextGeneration();
  }

  /**
   * Call it before each batch, once its datagrams are there: what control wrote until now holds for all of them.
   */
  startBatch(): void {
    const commits = this.table.commits();
    const from = this.#commits;
    if (commits === from) return;
    this.#commits = commits;
    if (((commits - from) | 0) < JOURNAL) {
      for (let n = from; n !== commits; n = (n + 1) | 0) {
        this.#words[this.table.at(this.table.committed(n)) + COPY.generation] = 0;
      }
      // Entries are whole only where control has not come around since, nor is about to: it writes an entry before it counts it.
      if (((this.table.commits() - from) | 0) < JOURNAL) return;
    }
    this.#generation = this.#nextGeneration();
  }

  /**
   * Touches what `forward` will read of these rows (-1: none) and of those they lead to. Changes nothing: one by one
   * each datagram would wait for memory, here the processor waits for many at once.
   */
  warm(rows: Int32Array, count: number): void {
    const w = this.#words;
    let sum = 0;
    for (let i = 0; i < count; i++) {
      const row = rows[i]!;
      if (row < 0) continue;
      const base = this.table.at(row);
      sum ^= w[base + COPY.generation]! ^ w[base + COUNT.packets * 2]!;
    }
    for (let i = 0; i < count; i++) {
      const row = rows[i]!;
      if (row < 0) continue;
      const out = w[this.table.at(row) + COPY.peer]! - 1;
      if (out < 0) continue;
      const base = this.table.at(out);
      sum ^= w[base + COPY.generation]! ^ w[base + COUNT.packets * 2]!;
    }
    this.warmed = sum;
  }

  /** Never 0, and never one that a thread before this one has used: its copies are still there. */
  #nextGeneration(): number {
    const next = (this.#words[HEADER.generation]! + 1) >>> 0 || 1;
    this.#words[HEADER.generation] = next;
    return next;
  }

  /**
   * One datagram that arrived at the port of `row`. Returns the row whose port it leaves from, its destination in
   * `to`; -1 when it was dropped (and counted).
   */
  forward(row: number, bytes: Uint8Array, at: number, len: number, source: Endpoints, j: number, now: Mono): number {
    const w = this.#words;
    const f = this.#f64;
    const base = this.table.at(row);
    const counts = this.table.atF64(row);
    f[HEADER_F64.received] = f[HEADER_F64.received]! + 1;
    if (w[base + COPY.generation] !== this.#generation) this.#read(row);
    const flags = w[base + COPY.flags]!;
    if ((flags & FLAG.valid) === 0) return this.#noFlow();

    const what = flags & FLAG.opaque ? PACKET.opaque : classify(bytes, at, len, (flags & FLAG.mux) !== 0);
    if (
      what === PACKET.invalid ||
      (flags & FLAG.rtcp ? what !== PACKET.rtcp : what === PACKET.rtcp && (flags & FLAG.mux) === 0)
    ) {
      return this.#refuse(row, NOT_RTP, w[base + COPY.epoch]!, source, j);
    }

    if ((flags & LATCHED) === 0 || !sameEndpoint(w, base + COPY.to, source.words, j * ENDPOINT_WORDS)) {
      // Rare, and it changes who may speak: by what control says now.
      this.#read(row);
      if ((w[base + COPY.flags]! & FLAG.valid) === 0) return this.#noFlow();
      if (!this.#mayLatch(base, counts, source, j, now))
        return this.#refuse(row, WRONG_SOURCE, w[base + COPY.epoch]!, source, j);
      this.#latch(row, base, source, j);
    }

    f[counts + COUNT.packets] = f[counts + COUNT.packets]! + 1;
    f[counts + COUNT.bytes] = f[counts + COUNT.bytes]! + len;
    f[counts + COUNT.lastPacket] = now;
    if (what === PACKET.rtcp) this.#rtcp(row, bytes, at, len, now);
    else {
      if (what === PACKET.rtp) noteRtp(this.table, row, bytes, at, now, w[base + COPY.clockRate]!);
      f[counts + COUNT.lastRtp] = now;
      if (flags & FLAG.heldIn) return this.#refuse(row, HELD, w[base + COPY.epoch]!, source, j);
    }

    const out = w[base + (what === PACKET.rtcp ? COPY.peerRtcp : COPY.peer)]! - 1;
    if (out < 0) return this.#refuse(row, NO_TARGET, w[base + COPY.epoch]!, source, j);
    const found = this.#target(out, what !== PACKET.rtcp);
    if (found !== -1) return this.#refuse(row, found, w[base + COPY.epoch]!, source, j);
    return out;
  }

  #rtcp(row: number, bytes: Uint8Array, at: number, len: number, now: Mono): void {
    const f = this.#f64;
    const counts = this.table.atF64(row);
    f[counts + COUNT.rtcpPackets] = f[counts + COUNT.rtcpPackets]! + 1;
    const last = f[counts + COUNT.lastReport]!;
    if (len > LONGEST_REPORT || !isReport(bytes, at) || (last > 0 && now - last < REPORT_EVERY_MS)) return;
    f[counts + COUNT.lastReport] = now;
    const epoch = this.#words[this.table.at(row) + COPY.epoch]!;
    this.#onEvent({ kind: 'rtcp', row, epoch, at: now, bytes: Uint8Array.prototype.slice.call(bytes, at, at + len) });
  }

  /** The datagram left through `outRow`. */
  sent(outRow: number): void {
    const slot = this.table.atF64(outRow) + COUNT.sent;
    this.#f64[slot] = this.#f64[slot]! + 1;
    this.#f64[HEADER_F64.sent] = this.#f64[HEADER_F64.sent]! + 1;
  }

  /** The kernel would not take it: counted, and the call goes on. */
  sendFailed(outRow: number): void {
    this.#f64[HEADER_F64.sendErrors] = this.#f64[HEADER_F64.sendErrors]! + 1;
    this.#refuse(outRow, SEND_FAILED, this.#words[this.table.at(outRow) + ROW.epoch]!, this.to, 0);
  }

  /** Fills `to` with where `out` sends; -1, or why it can't. */
  #target(out: number, media: boolean): number {
    const w = this.#words;
    const to = this.to.words;
    const base = this.table.at(out);
    if (w[base + COPY.generation] !== this.#generation) this.#read(out);
    const flags = w[base + COPY.flags]!;
    for (let k = 0; k < ENDPOINT_WORDS; k++) to[k] = w[base + COPY.to + k]!;
    if ((flags & FLAG.valid) === 0 || to[4] === 0) return NO_TARGET;
    return media && flags & FLAG.heldOut ? HELD : -1;
  }

  /** Brings the copy of a row up to date. */
  #read(row: number): void {
    const w = this.#words;
    const base = this.table.at(row);
    for (let spin = 0, sequence = this.#stable(base); ; spin++) {
      const flags = w[base + ROW.flags]!;
      const latchEpoch = w[base + SEEN.latchEpoch]!;
      const latched = latchEpoch !== 0 && latchEpoch >= w[base + ROW.latchFloor]!;
      const far = latched ? SEEN.latched : ROW.remote;
      w[base + COPY.flags] = latched ? flags | LATCHED : flags;
      w[base + COPY.peer] = w[base + ROW.peer]!;
      w[base + COPY.peerRtcp] = w[base + ROW.peerRtcp]!;
      w[base + COPY.epoch] = w[base + ROW.epoch]!;
      w[base + COPY.clockRate] = w[base + ROW.clockRate]!;
      for (let k = 0; k < ENDPOINT_WORDS; k++) w[base + COPY.to + k] = w[base + far + k]!;
      if (!latched && (flags & FLAG.sendToRemote) === 0) w[base + COPY.to + 4] = 0;
      const after = Atomics.load(this.#atomics, base + ROW.sequence);
      if (after === sequence || spin > SPINS) break;
      sequence = this.#stable(base);
    }
    w[base + COPY.generation] = this.#generation;
  }

  #noFlow(): number {
    this.#f64[HEADER_F64.noFlow] = this.#f64[HEADER_F64.noFlow]! + 1;
    return -1;
  }

  #mayLatch(base: number, counts: number, source: Endpoints, j: number, now: Mono): boolean {
    for (let spin = 0, sequence = this.#stable(base); ; spin++) {
      const allowed = this.#eligible(base, counts, source, j, now);
      const after = Atomics.load(this.#atomics, base + ROW.sequence);
      if (after === sequence || spin > SPINS) return allowed;
      sequence = this.#stable(base);
    }
  }

  #eligible(base: number, counts: number, source: Endpoints, j: number, now: Mono): boolean {
    const w = this.#words;
    const s = source.words;
    const at = j * ENDPOINT_WORDS;
    const flags = w[base + ROW.flags]!;
    const latchEpoch = w[base + SEEN.latchEpoch]!;
    const known = latchEpoch !== 0 && latchEpoch >= w[base + ROW.latchFloor]!;
    const exact = w[base + ROW.remote + 4] !== 0 && sameWords(w, base + ROW.remote, s, at, ENDPOINT_WORDS);
    const own = this.table.ownRow(source, j);
    if (own >= 0 && !exact) return false;
    const fresh = !known || latchEpoch < w[base + ROW.epoch]!;
    if (!known && exact) return true;
    const atRemote = w[base + ROW.remote + 4] !== 0 && sameWords(w, base + ROW.remote, s, at, 4);
    const seenBits = w[base + ROW.seenBits]!;
    if (fresh && flags & FLAG.latch && now < this.#f64[counts + ROW_F64_WINDOW_END]!) {
      if (atRemote || (seenBits > 0 && withinBits(w, base + ROW.seen, s, at, seenBits))) return true;
    }
    if ((flags & FLAG.handover) === 0) return false;
    if (!known) return atRemote || (seenBits > 0 && sameWords(w, base + ROW.seen, s, at, 4));
    return (
      sameWords(w, base + SEEN.latched, s, at, 4) &&
      now - this.#f64[counts + COUNT.lastPacket]! >= w[base + ROW.handoverMs]!
    );
  }

  #latch(row: number, base: number, source: Endpoints, j: number): void {
    const w = this.#words;
    const at = j * ENDPOINT_WORDS;
    const epoch = w[base + COPY.epoch]!;
    const moved = w[base + SEEN.latchEpoch] !== 0;
    Atomics.store(this.#atomics, base + SEEN.latchEpoch, 0);
    for (let k = 0; k < ENDPOINT_WORDS; k++) w[base + SEEN.latched + k] = source.words[at + k]!;
    Atomics.store(this.#atomics, base + SEEN.latchEpoch, epoch);
    w[base + COPY.generation] = 0;
    this.#onEvent({ kind: 'latched', row, epoch, moved });
  }

  #refuse(row: number, which: number, epoch: number, source: Endpoints, j: number): number {
    const w = this.#words;
    const base = this.table.at(row);
    const slot = this.table.atF64(row) + SLOTS[which]!;
    this.#f64[slot] = this.#f64[slot]! + 1;
    const total = HEADER_F64.refused + which;
    this.#f64[total] = this.#f64[total]! + 1;
    if (w[base + SEEN.reportedEpoch] !== epoch) {
      w[base + SEEN.reportedEpoch] = epoch;
      w[base + SEEN.reported] = 0;
    }
    const bit = 1 << which;
    if ((w[base + SEEN.reported]! & bit) === 0) {
      w[base + SEEN.reported] = w[base + SEEN.reported]! | bit;
      this.#onEvent({ kind: 'refused', row, epoch, reason: REFUSALS[which]!, from: source.get(j) });
    }
    return -1;
  }

  /** The sequence word once it is even: control writes a row in less than a microsecond. */
  #stable(base: number): number {
    let s = Atomics.load(this.#atomics, base + ROW.sequence);
    for (let spin = 0; (s & 1) !== 0 && spin < SPINS; spin++) s = Atomics.load(this.#atomics, base + ROW.sequence);
    return s;
  }
}

function sameEndpoint(a: Uint32Array, p: number, b: Uint32Array, q: number): boolean {
  return (
    a[p + 4] === b[q + 4] && a[p + 3] === b[q + 3] && a[p + 2] === b[q + 2] && a[p + 1] === b[q + 1] && a[p] === b[q]
  );
}

/** The first `bits` bits agree. */
function withinBits(a: Uint32Array, p: number, b: Uint32Array, q: number, bits: number): boolean {
  for (let k = 0, left = bits; k < 4 && left > 0; k++, left -= 32) {
    const mask = left >= 32 ? 0xffffffff : (0xffffffff << (32 - left)) >>> 0;
    if (((a[p + k]! ^ b[q + k]!) & mask) !== 0) return false;
  }
  return true;
}
