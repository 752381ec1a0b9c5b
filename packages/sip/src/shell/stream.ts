import type { Socket } from 'node:net';
import type { Endpoint, FlowId } from '@drawbridge/core';
import { Framer, type FramingLimits } from '../flow/framer.js';

/** One TCP connection of a listener. */
export class Stream {
  readonly via: FlowId;
  readonly socket: Socket;
  readonly peer: Endpoint;
  readonly dialled: boolean;
  readonly framer: Framer;
  open: boolean;
  /** Sends until it opens. */
  pending: string[] = [];
  corked = false;
  /** No more is read: it closes once what was written has gone. */
  ending = false;
  /** ms; 0 = not. When dialling began, the unfinished message began, the peer stopped reading, or closing began. */
  waitingSince: number;
  stuckSince = 0;
  lastComplete: number;

  constructor(via: FlowId, socket: Socket, peer: Endpoint, dialled: boolean, limits: FramingLimits, now: number) {
    this.via = via;
    this.socket = socket;
    this.peer = peer;
    this.dialled = dialled;
    this.open = !dialled;
    this.framer = new Framer(limits);
    this.waitingSince = dialled ? now : 0;
    this.lastComplete = now;
  }
}
