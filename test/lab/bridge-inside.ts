import { connect, createServer } from 'node:net';

// Runs inside a namespace; ends with its parent (stdin closes). First line of a connection: `host port`.
const path = process.argv[2];
if (path === undefined) throw new Error('usage: bridge-inside PATH');

const server = createServer(inbound => {
  inbound.on('error', () => inbound.destroy());
  inbound.once('readable', () => {
    const head: Buffer | null = inbound.read();
    if (head === null) return;
    const end = head.indexOf(10);
    const [host, port] = head.subarray(0, end).toString('latin1').split(' ');
    const outbound = connect(Number(port), host ?? '');
    outbound.on('error', () => inbound.destroy());
    outbound.write(head.subarray(end + 1));
    inbound.pipe(outbound).pipe(inbound);
    inbound.once('close', () => outbound.destroy());
    outbound.once('close', () => inbound.destroy());
  });
});
server.listen(path);
process.stdin.resume();
process.stdin.once('end', () => process.exit(0));
