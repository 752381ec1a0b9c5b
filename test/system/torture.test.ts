import { createSocket, type Socket } from 'node:dgram';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { Loopback } from '../lab/loopback.js';
import { within } from '../lab/machine.js';

const CORPUS = fileURLToPath(new URL('../../../packages/sip/test/corpus/', import.meta.url));
/** ms of the border's CPU time between a message and the answer to the OPTIONS that follows it. */
const CPU_MS = 50;

/** Statuses that the border sends for each message, in order; none: it is dropped. */
const RFC4475: Readonly<Record<string, readonly number[]>> = {
  badaspec: [400],
  badbranch: [403],
  baddate: [407],
  baddn: [400],
  badinv01: [400],
  badvers: [505],
  bcast: [],
  bext01: [420],
  bigcode: [],
  clerr: [400],
  cparam01: [401],
  cparam02: [401],
  dblreq: [401],
  esc01: [407],
  esc02: [405],
  escnull: [401],
  escruri: [407],
  insuf: [],
  intmeth: [],
  inv2543: [403],
  invut: [407],
  longreq: [407],
  ltgtruri: [400],
  lwsdisp: [403],
  lwsruri: [400],
  lwsstart: [400],
  mcl01: [400],
  mismatch01: [400],
  mismatch02: [400],
  mpart01: [407],
  multi01: [400],
  ncl: [400],
  noreason: [],
  novelsc: [416],
  quotbal: [400],
  regaut01: [401],
  regbadct: [401],
  regescrt: [401],
  scalar02: [400],
  scalarlg: [],
  sdp01: [407],
  semiuri: [403],
  test: [],
  transports: [403],
  trws: [400],
  unkscm: [416],
  unksm2: [401],
  unreason: [],
  wsinv: [481],
  zeromf: [483],
};
const RFC5118: Readonly<Record<string, readonly number[]>> = {
  'ipv4-mapped-ipv6': [403],
  'ipv6-bad': [400],
  'ipv6-bug-abnf-3-colons': [400],
  'ipv6-correct-abnf-2-colons': [403],
  'ipv6-good': [401],
  'ipv6-in-sdp': [407],
  'mult-ip-in-header': [481],
  'mult-ip-in-sdp': [407],
  'port-ambiguous': [404],
  'port-unambiguous': [401],
  'via-received-param-no-delim': [481],
  'via-received-param-with-delim': [481],
};

let probes = 0;

function options(port: number, transport: string): { id: string; text: string } {
  const id = `probe-${++probes}`;
  return {
    id,
    text: [
      'OPTIONS sip:127.0.0.1 SIP/2.0',
      `Via: SIP/2.0/${transport} 127.0.0.1:${port};branch=z9hG4bK-${id};rport`,
      'Max-Forwards: 70',
      `From: <sip:probe@127.0.0.1>;tag=${id}`,
      'To: <sip:127.0.0.1>',
      `Call-ID: ${id}`,
      'CSeq: 1 OPTIONS',
      'Content-Length: 0',
      '',
      '',
    ].join('\r\n'),
  };
}

/** Sends one message and then an OPTIONS; statuses of everything that comes before the answer to that. */
async function statusesAfter(socket: Socket, to: number, message: Buffer): Promise<number[]> {
  const { id, text } = options(socket.address().port, 'UDP');
  const seen: number[] = [];
  const answered = new Promise<void>(resolve => {
    const hear = (bytes: Buffer): void => {
      const heard = bytes.toString('latin1');
      if (heard.includes(`Call-ID: ${id}\r\n`)) {
        socket.off('message', hear);
        if (!heard.startsWith('SIP/2.0 200 ')) throw new Error(heard);
        resolve();
      } else seen.push(Number(heard.slice(8, 11)));
    };
    socket.on('message', hear);
  });
  socket.send(message, to, '127.0.0.1');
  socket.send(text, to, '127.0.0.1');
  await within(500, `the answer to the OPTIONS after ${message.toString('latin1', 0, 40)}`, answered);
  return seen;
}

t.test('the corpora, one by one, into a border that runs', async t => {
  const border = await Loopback.start([
    'domains: { example.com: { kind: local }, example.net: { kind: local }, example.org: { kind: local }, "2001:db8::10": { kind: local } }',
  ]);
  t.teardown(() => border.stop());
  const socket = createSocket('udp4');
  t.teardown(() => socket.close());
  await new Promise<void>(resolve => socket.bind(0, '127.0.0.1', resolve));
  for (let n = 0; n < 300; n++) await statusesAfter(socket, border.udp, Buffer.from('\r\n\r\n'));
  let worst = 0;
  for (const [name, table] of [
    ['rfc4475', RFC4475],
    ['rfc5118', RFC5118],
  ] as const) {
    const files = readdirSync(join(CORPUS, name))
      .filter(f => f.endsWith('.dat'))
      .sort();
    const seen: Record<string, number[]> = {};
    for (const file of files) {
      const before = border.cpu();
      seen[file.slice(0, -4)] = await statusesAfter(socket, border.udp, readFileSync(join(CORPUS, name, file)));
      worst = Math.max(worst, border.cpu() - before);
    }
    t.strictSame(seen, table, `${name}: each message gets its verdict`);
    const read = Object.values(seen).filter(s => s.some(status => ![400, 416, 420, 483, 505].includes(status)));
    t.ok(read.length * 3 >= files.length, `${read.length} of ${files.length} are understood`);
  }
  t.ok(worst <= CPU_MS, `${worst.toFixed(1)} ms of CPU time at most`);
});
