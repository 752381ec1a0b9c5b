import { familyOf, type Reason } from '@drawbridge/core';
import { sendsBeforeLatch } from './anchor/target.js';
import type { Applied, Leg, LegStream } from './leg.js';
import type { RelayHub } from './relay.js';

/** What legs agreed on, said to the lower layer. */
export class Wiring {
  readonly #hub: RelayHub;

  constructor(hub: RelayHub) {
    this.#hub = hub;
  }

  /**
   * The far end of a stream is as described. Its latch window opens anew when asked, when the signalling comes from
   * another address, or when it starts to speak again.
   */
  apply(leg: Leg, s: LegStream, a: Applied, reopen: boolean): void {
    if (s.side === undefined) return;
    const { description: d } = a;
    const before = s.current;
    const speaks = d.direction === 'sendrecv' || d.direction === 'sendonly';
    const hears = d.direction === 'sendrecv' || d.direction === 'recvonly';
    const spoke =
      before !== undefined &&
      (before.description.direction === 'sendrecv' || before.description.direction === 'sendonly');
    const { latch } = this.#hub;
    const sameFamily = familyOf(a.seenFrom) === this.#hub.addresses[leg.address]?.family;
    this.#hub.apply({
      do: 'set-remote',
      side: s.side.id,
      rtp: d.rtp ?? before?.description.rtp ?? null,
      rtcp: d.rtcp ?? before?.description.rtcp ?? null,
      mux: a.mux ? 'yes' : 'no',
      opaque: d.opaque,
      clockRate: d.clockRate,
      policy: {
        seenFrom: sameFamily ? a.seenFrom : null,
        prefixBits: a.seenFrom.includes(':') ? latch.prefix6 : latch.prefix4,
        windowMs: latch.windowMs,
        handover: latch.handover,
        handoverMs: latch.handoverMs,
        sendBeforeLatch:
          d.rtp !== null &&
          (this.#hub.ownerOf(d.rtp) !== undefined ||
            sendsBeforeLatch(this.#hub.sendMode(leg.realm), d.rtp.address, a.seenFrom)),
      },
      reopen: reopen || before?.seenFrom !== a.seenFrom || (speaks && !spoke),
    });
    this.#hub.apply({ do: 'direction', side: s.side.id, speaks, hears });
    s.current =
      d.rtp === null && before !== undefined
        ? { ...a, description: { ...d, rtp: before.description.rtp, rtcp: before.description.rtcp } }
        : a;
  }

  /** Connects two legs stream by stream, and disconnects whoever either was talking to. A reason when it would loop. */
  connect(a: Leg, b: Leg): Reason | undefined {
    if ((a.selected !== undefined && a.selected !== b) || (b.selected !== undefined && b.selected !== a))
      return undefined;
    for (const [leg, other] of [
      [a, b],
      [b, a],
    ] as const) {
      if (leg.peer !== undefined && leg.peer !== other) {
        this.#disconnect(leg.peer);
        leg.peer.peer = undefined;
      }
      leg.peer = other;
    }
    for (let i = 0; i < Math.max(a.streams.length, b.streams.length); i++) {
      const x = a.stream(i);
      const y = b.stream(i);
      if (x.current === undefined || y.current === undefined || x.side === undefined || y.side === undefined) {
        this.#unplug(x);
        this.#unplug(y);
        continue;
      }
      for (const [side, to] of [
        [x.side.id, y.side.id],
        [y.side.id, x.side.id],
      ] as const) {
        const reply = this.#hub.apply({ do: 'connect', side, to });
        if (!reply.ok) return reply.reason;
      }
    }
    return undefined;
  }

  #disconnect(leg: Leg): void {
    for (const s of leg.streams) this.#unplug(s);
  }
  #unplug(s: LegStream): void {
    if (s.side !== undefined) this.#hub.apply({ do: 'connect', side: s.side.id, to: null });
  }

  /** Its ports go to rest. */
  release(s: LegStream): void {
    if (s.side === undefined) return;
    this.#hub.apply({ do: 'release', side: s.side.id });
    s.side = undefined;
    s.current = undefined;
    s.agreed = undefined;
  }
}
