import type { Endpoint } from '@drawbridge/core';
import type { SideId } from './command.js';

/** What control remembers of one side besides its two rows of the flow table. */
export class Side {
  readonly id: SideId;
  readonly tag: string;
  /** Index of the relay address. */
  readonly address: number;
  readonly port: number;
  readonly rtpRow: number;
  readonly rtcpRow: number;
  to: Side | undefined = undefined;
  /** Sides whose packets leave through this one. */
  readonly fedBy = new Set<Side>();
  mux: 'no' | 'offered' | 'yes' = 'no';
  rtp: Endpoint | null = null;
  rtcp: Endpoint | null = null;
  /** Flag bits that `set-remote` and `direction` own, merged at each write. */
  policyFlags = 0;
  opaque = false;
  speaks = true;
  hears = true;

  constructor(id: SideId, tag: string, address: number, port: number, rtpRow: number) {
    this.id = id;
    this.tag = tag;
    this.address = address;
    this.port = port;
    this.rtpRow = rtpRow;
    this.rtcpRow = rtpRow + 1;
  }
}
