import { createSocket } from 'node:dgram';

/** What the test tells the socket inside, and what it tells back. */
export type Order =
  | { readonly kind: 'send'; readonly to: string; readonly port: number; readonly payload: string }
  /** RTP from one SSRC, round robin over the ports, `perSecond` packets altogether. */
  | {
      readonly kind: 'spray';
      readonly to: string;
      readonly first: number;
      readonly last: number;
      readonly ssrc: number;
      readonly perSecond: number;
    }
  | { readonly kind: 'quiet' };
export type Report =
  | { readonly kind: 'ready' }
  | { readonly kind: 'sent' }
  | { readonly kind: 'got'; readonly from: string; readonly port: number; readonly payload: string }
  | { readonly kind: 'sprayed'; readonly packets: number };

// Runs inside a namespace with an IPC channel; ends with its parent.
const [address, port] = process.argv.slice(2);
const socket = createSocket(address?.includes(':') === true ? 'udp6' : 'udp4');
const tell = (report: Report): void => {
  process.send?.(report);
};
let spraying: NodeJS.Timeout | undefined;
let sprayed = 0;

socket.on('error', error => process.stderr.write(`${error}\n`));
socket.on('message', (payload, from) =>
  tell({ kind: 'got', from: from.address, port: from.port, payload: payload.toString('latin1') }),
);
socket.bind(Number(port), address, () => tell({ kind: 'ready' }));

process.on('message', (order: Order) => {
  if (order.kind === 'send')
    socket.send(Buffer.from(order.payload, 'latin1'), order.port, order.to, () => tell({ kind: 'sent' }));
  else if (order.kind === 'spray') spray(order);
  else {
    clearInterval(spraying);
    tell({ kind: 'sprayed', packets: sprayed });
  }
});
process.once('disconnect', () => process.exit(0));

function spray(order: Extract<Order, { kind: 'spray' }>): void {
  const packet = Buffer.alloc(172, 0xd5);
  packet[0] = 0x80;
  packet[1] = 8;
  packet.writeUInt32BE(order.ssrc, 8);
  let to = order.first;
  const tick = 10;
  spraying = setInterval(() => {
    for (let n = 0; n < (order.perSecond * tick) / 1000; n++) {
      packet.writeUInt16BE(sprayed & 0xffff, 2);
      packet.writeUInt32BE((sprayed * 160) >>> 0, 4);
      socket.send(Buffer.from(packet), to, order.to);
      sprayed++;
      to = to >= order.last ? order.first : to + 1;
    }
  }, tick);
}
