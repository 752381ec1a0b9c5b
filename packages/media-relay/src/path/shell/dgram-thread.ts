import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { Endpoints, familyOf } from '@drawbridge/core';
import type { DgramData } from './dgram.js';
import { Inside } from './inside.js';
import type { RowCommand } from './sockets.js';

const { addresses } = workerData as DgramData;
const inside = new Inside();
const { table, forwarder } = inside;
const sockets = new Map<number, Socket>();
const source = new Endpoints(1);
const port = parentPort as MessagePort;

function receive(row: number, message: Buffer, from: RemoteInfo): void {
  if (!source.set(0, from)) return;
  forwarder.startBatch();
  const out = forwarder.forward(row, message, 0, message.length, source, 0, inside.now());
  if (out >= 0) {
    const socket = sockets.get(out);
    if (socket === undefined || forwarder.to.family(0) !== familyOf(addresses[table.addressOf(out)] ?? ''))
      forwarder.sendFailed(out);
    else {
      socket.send(message, forwarder.to.port(0), forwarder.to.address(0), error => {
        if (error === null) forwarder.sent(out);
        else forwarder.sendFailed(out);
      });
    }
  }
  inside.endBatch(0);
}

function open(row: number): void {
  if (sockets.has(row)) return;
  const address = addresses[table.addressOf(row)] ?? '';
  const family = familyOf(address);
  const socket = createSocket({
    type: family === 4 ? 'udp4' : 'udp6',
    ipv6Only: family === 6,
    lookup: (host, _options, callback) => callback(null, host, family),
  });
  sockets.set(row, socket);
  socket.on('error', error => {
    sockets.delete(row);
    socket.close();
    inside.event({ kind: 'failed', row, detail: error.message });
    inside.endBatch(0);
  });
  socket.on('message', (message, from) => receive(row, message, from));
  socket.bind({ address, port: table.portOf(row), exclusive: true });
}

function close(row: number): void {
  sockets.get(row)?.close();
  sockets.delete(row);
}

port.on('message', (command: RowCommand & { readonly stop?: boolean }) => {
  if (command.open !== undefined) open(command.open);
  if (command.close !== undefined) close(command.close);
  if (command.stop !== true) return;
  for (const row of [...sockets.keys()]) close(row);
  port.close();
});
inside.ready();
