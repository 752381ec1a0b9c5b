/*
 * Invariant: whatever the bytes are, parseSdp returns an SdpError or a description whose format() is the input,
 * whose views don't throw, and which stays one description after every edit a border makes. Nothing is thrown, and
 * no input takes more than 50 ms.
 *
 *   npm run fuzz -- sdp [seconds] [seed]
 */
import { seededRandom } from '@drawbridge/core';
import { connectionTo, parseSdp, SdpError } from '@drawbridge/sdp';

const seconds = Number(process.argv[2] ?? 10);
const seed = Number(process.argv[3] ?? Date.now() % 2 ** 32);
const random = seededRandom(seed);
const below = (n: number): number => random.u32() % n;

const SEEDS = [
  'v=0\r\no=a 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=rtcp:4001 IN IP4 192.0.2.1\r\na=sendrecv\r\n',
  'v=0\no=- 9 2 IN IP6 2001:db8::1\ns= \nc=IN IP6 2001:db8::1\nt=0 0\na=group:BUNDLE 0\nm=video 9/2 RTP/SAVPF 96\na=mid:0\na=rtcp-mux\na=candidate:1 1 UDP 1 10.0.0.1 9 typ host\n',
];
const SPLICES = [
  '\r\n',
  '\n',
  '\r',
  '\0',
  'm=',
  'a=',
  'c=',
  'v=0\r\n',
  'o=',
  ' ',
  '/',
  ':',
  '\xff',
  '0'.repeat(40),
  'm=audio 1 RTP/AVP 0\r\n',
  'a=rtcp:',
  'IN IP4 ',
];

function mutated(): string {
  let text = SEEDS[below(SEEDS.length)] ?? '';
  for (let n = below(8); n >= 0; n--) {
    const at = below(text.length + 1);
    const len = below(12);
    const kind = below(5);
    if (kind === 0) text = text.slice(0, at) + text.slice(at + len);
    else if (kind === 1) text = text.slice(0, at) + (SPLICES[below(SPLICES.length)] ?? '') + text.slice(at);
    else if (kind === 2) text = text.slice(0, at) + String.fromCharCode(below(256)) + text.slice(at + 1);
    else if (kind === 3) text = text.slice(0, at) + text.slice(below(text.length + 1));
    else text = text.slice(0, at) + text.slice(at, at + len).repeat(1 + below(200)) + text.slice(at);
  }
  return text;
}

function check(text: string): boolean {
  const sdp = parseSdp(text);
  if (sdp instanceof SdpError) return false;
  if (sdp.format() !== text) throw new Error('format is not identity');
  for (const m of sdp.media)
    void [
      m.kind,
      m.port,
      m.portCount,
      m.proto,
      m.formats,
      m.connection,
      m.direction,
      m.rtcp,
      m.candidates,
      m.clockRate,
      m.legacyHold,
      m.fingerprints,
    ];
  const streams = sdp.media.length;
  sdp.setOrigin({ ...sdp.origin, address: '203.0.113.1', addressType: 'IP4' });
  sdp.session.setConnection(connectionTo('203.0.113.1'));
  for (const m of sdp.media) {
    m.setPort(30000);
    m.setAttribute('rtcp', '30001');
    m.setDirection('inactive');
    m.removeAttributes(a => a.name === 'candidate');
  }
  const again = parseSdp(sdp.format(), { bytes: 200_000, linesPerSection: 1024 });
  if (again instanceof SdpError) throw new Error(`edited description: ${again}`);
  if (again.media.length !== streams || again.media.some(m => m.port !== 30000))
    throw new Error('an edit changed the streams');
  return true;
}

let runs = 0;
let accepted = 0;
const until = Date.now() + seconds * 1000;
while (Date.now() < until) {
  const text = mutated();
  const before = process.cpuUsage();
  try {
    if (check(text)) accepted++;
  } catch (error) {
    process.stderr.write(`seed ${seed}, run ${runs}: ${error}\n${JSON.stringify(text)}\n`);
    process.exit(1);
  }
  const spent = process.cpuUsage(before);
  if (spent.user + spent.system > 50_000) {
    process.stderr.write(
      `seed ${seed}, run ${runs}: ${spent.user + spent.system} µs for ${text.length} characters\n${JSON.stringify(text.slice(0, 500))}\n`,
    );
    process.exit(1);
  }
  runs++;
}
process.stdout.write(`${JSON.stringify({ fuzz: 'sdp', seed, seconds, runs, accepted })}\n`);
