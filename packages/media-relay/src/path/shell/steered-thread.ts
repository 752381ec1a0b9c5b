import { workerData } from 'node:worker_threads';
import { RawSender, SteeredReceiver } from 'node-dgram-raw';
import { Gathering } from '../gathering.js';
import { Inside, libcInside } from './inside.js';
import type { SteeredData } from './steered.js';

/** Datagrams per system call. */
const BATCH = 256;

const libc = await libcInside();
const { receive, senders: sockets } = workerData as SteeredData;
const inside = new Inside();
const { table, forwarder } = inside;
const receiver = new SteeredReceiver(libc, receive, BATCH);
const senders = sockets.map(
  s => new RawSender(libc, { fd: s.fd, address: s.address, slab: receiver.bytes, batch: BATCH }),
);
const rows = new Int32Array(BATCH);
const gathering = new Gathering(inside.now());

const done = (row: number, sent: boolean): void => {
  if (sent) forwarder.sent(row);
  else forwarder.sendFailed(row);
};

/** One batch: where did it arrive, may it pass, where does it leave; then all of it leaves at once. */
function turn(count: number): void {
  const now = inside.now();
  const { local, peer, bytes } = receiver;
  forwarder.startBatch();
  for (let i = 0; i < count; i++) rows[i] = table.ownRow(local, i);
  forwarder.warm(rows, count);
  for (let i = 0; i < count; i++) {
    const row = rows[i]!;
    if (row < 0) continue;
    const at = receiver.at[i]!;
    const len = receiver.len[i]!;
    const out = forwarder.forward(row, bytes, at, len, peer, i, now);
    if (out < 0) continue;
    const sender = senders[table.addressOf(out)];
    if (sender === undefined || !sender.queue(at, len, table.portOf(out), forwarder.to, 0, out))
      forwarder.sendFailed(out);
  }
  for (const sender of senders) sender.flush(done);
  inside.endBatch(receiver.truncated);
}

inside.ready();
while (!inside.stopped) {
  const count = receiver.receive();
  if (count < 0) throw new Error(`the receiving socket failed (errno ${-count})`);
  if (count > 0) turn(count);
  const wait = gathering.note(count, inside.now());
  if (wait > 0 && count < BATCH) libc.usleep(wait);
}
