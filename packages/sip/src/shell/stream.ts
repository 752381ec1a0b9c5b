import type { Socket } from 'node:net';
import type { Endpoint, FlowId } from '@drawbridge/core';
import type { WebSocket } from 'ws';
import { Framer, type FramingLimits } from '../flow/framer.js';

const NOBODY: readonly string[] = [];

/** One connection of a listener. */
export class Stream {
  readonly via: FlowId;
  readonly peer: Endpoint;
  readonly dialled: boolean;
  readonly framer: Framer;
  readonly since: number;
  /** The outermost layer: the connection itself, and from the end of its handshake on the TLS over it. */
  socket: Socket;
  /** Set once it is open, on a WebSocket. */
  ws: WebSocket | undefined = undefined;
  /** SIP may flow: TLS and WebSocket have been agreed on. */
  open = false;
  /** Sends until it opens. */
  pending: string[] = [];
  /** Somebody has vouched for whoever is there; a dialled stream needs nobody. */
  vouched: boolean;
  certificateNames: readonly string[] = NOBODY;
  corked = false;
  /** No more is read: it closes once what was written has gone. */
  ending = false;
  gone = false;
  /** ms; 0 = not. When opening began, the unfinished message began, the peer stopped reading, or closing began. */
  waitingSince: number;
  stuckSince = 0;
  lastComplete: number;

  constructor(via: FlowId, socket: Socket, peer: Endpoint, dialled: boolean, limits: FramingLimits, now: number) {
    this.via = via;
    this.socket = socket;
    this.peer = peer;
    this.dialled = dialled;
    this.vouched = dialled;
    this.framer = new Framer(limits);
    this.since = now;
    this.waitingSince = now;
    this.lastComplete = now;
  }
}
