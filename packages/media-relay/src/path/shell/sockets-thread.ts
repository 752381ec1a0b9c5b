import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { familyOf } from '@drawbridge/core';
import { PortSockets } from 'node-dgram-raw';
import { Gathering } from '../gathering.js';
import { Inside, libcInside } from './inside.js';
import type { RowCommand, SocketsData } from './sockets.js';

const IDLE_MS = 500;

const libc = await libcInside();
const { wake, descriptors, addresses } = workerData as SocketsData;
const families = addresses.map(familyOf);
const inside = new Inside();
const { table, forwarder } = inside;
const sockets = new PortSockets(libc, wake);
const gathering = new Gathering(inside.now());
const port = parentPort as MessagePort;

function open(row: number): void {
  if (descriptors[row] !== 0) return;
  const address = addresses[table.addressOf(row)] ?? '';
  try {
    descriptors[row] = sockets.open(row, address, table.portOf(row)).fd + 1;
  } catch (error) {
    inside.event({ kind: 'failed', row, detail: error instanceof Error ? error.message : String(error) });
  }
}

function close(row: number): void {
  const descriptor = descriptors[row]!;
  if (descriptor === 0) return;
  descriptors[row] = 0;
  sockets.close(descriptor - 1);
}

function commands(): void {
  for (let m = receiveMessageOnPort(port); m !== undefined; m = receiveMessageOnPort(port)) {
    const command = m.message as RowCommand;
    if (command.open !== undefined) open(command.open);
    if (command.close !== undefined) close(command.close);
  }
}

let received = 0;
/** The batch that waits to leave: all through the port of `leaving`. */
let leaving = -1;
let queued = 0;

const done = (_position: number, sent: boolean): void => {
  if (sent) forwarder.sent(leaving);
  else forwarder.sendFailed(leaving);
};

function leave(): void {
  if (queued > 0) sockets.send(descriptors[leaving]! - 1, families[table.addressOf(leaving)] ?? 4, queued, done);
  queued = 0;
}

function ready(row: number): void {
  const descriptor = descriptors[row]!;
  if (descriptor === 0) return;
  const now = inside.now();
  const count = sockets.receive(descriptor - 1, families[table.addressOf(row)] ?? 4);
  forwarder.startBatch();
  for (let i = 0; i < count; i++) {
    const at = sockets.at[i]!;
    const len = sockets.len[i]!;
    const out = forwarder.forward(row, sockets.bytes, at, len, sockets.peer, i, now);
    if (out < 0) continue;
    if (out !== leaving) {
      leave();
      leaving = out;
    }
    if (descriptors[out] === 0 || !sockets.place(queued, families[table.addressOf(out)] ?? 4, at, len, forwarder.to, 0))
      forwarder.sendFailed(out);
    else queued++;
  }
  leave();
  received += count;
}

for (let row = 0; row < descriptors.length; row++) if (descriptors[row]! > 0) sockets.adopt(row, descriptors[row]! - 1);
inside.ready();
while (!inside.stopped) {
  received = 0;
  if (sockets.wait(IDLE_MS, ready)) commands();
  inside.endBatch(sockets.truncated);
  const wait = gathering.note(received, inside.now());
  if (wait > 0) libc.usleep(wait);
}
sockets.end();
