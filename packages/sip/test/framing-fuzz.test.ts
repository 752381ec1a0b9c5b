import { Endpoints, type Random, seededRandom, type Via } from '@drawbridge/core';
import t from 'tap';
import { checkFrame, FlowTable, FlowTokens, FRAME, Framer, H, MessageView, stunPong } from '../src/index.js';
import { mutated, SEEDS } from './fuzzing.js';

const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`seed ${SEED}; again with SEED=${SEED} node packages/sip/dist/test/framing-fuzz.test.js`);

const LIMITS = { maxHead: 16_384, maxBody: 65_536 };

/** What a stream in pieces is cut into, and whether it was given up. */
function cut(wire: string, size: number): { messages: string[]; faults: number } {
  const framer = new Framer(LIMITS);
  const out = { messages: [] as string[], faults: 0 };
  for (let i = 0; i < wire.length; i += size) {
    framer.push(Buffer.from(wire.slice(i, i + size), 'latin1'));
    for (let f = framer.next(); f !== FRAME.more; f = framer.next()) {
      if (f === FRAME.message) out.messages.push(framer.bytes.toString('latin1', framer.at, framer.at + framer.length));
      if (f !== FRAME.message && f !== FRAME.keepalive) out.faults++;
    }
  }
  return out;
}

const options = (n: number, length: string, body = ''): string =>
  `OPTIONS sip:a@example.org SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK${n}\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: ${n}\r\nCSeq: ${n} OPTIONS\r\n${length}\r\n\r\n${body}`;

t.test('attack 18: no length, however it is written, makes a second message out of a body', async t => {
  const trailing = options(9, 'Content-Length: 0');
  const values = [
    '4294967328',
    '18446744073709551616',
    '-1',
    '+4',
    '0x10',
    '1e1',
    '4.0',
    '0'.repeat(400),
    '9'.repeat(400),
    '4,4',
    '4 4',
    '4\t4',
    '',
    '"4"',
    '４',
    '4\xa0',
    '65537',
  ];
  const names = ['Content-Length', 'CONTENT-LENGTH', 'l', 'L', 'Content-Length ', 'l\t', 'cONTENT-lENGTH \t '];
  const lines: string[] = [];
  for (const name of names)
    for (const value of values) for (const gap of ['', ' ', '\r\n ']) lines.push(`${name}:${gap}${value}`);
  for (const one of names)
    for (const two of names) lines.push(`${one}: 0\r\nX: y\r\n${two}: 4`, `${one}: 4\r\n${two}: 4`);
  lines.push(
    'X: y',
    'Content-Length\r\n : 4',
    'Content_Length: 4',
    'Content-Lengthy: 4',
    ' Content-Length: 4',
    'X: y\r\n Content-Length: 4',
  );
  let tried = 0;
  for (const line of lines)
    for (const size of [1, 7, 1 << 20]) {
      tried++;
      const { messages, faults } = cut(options(1, line, 'body') + trailing, size);
      if (messages.length > 0 || faults !== 1)
        t.fail(`${JSON.stringify(line)}: ${messages.length} messages, ${faults} faults`);
    }
  t.comment(`${tried} streams`);
  // The control: good lengths in the same spellings give both.
  for (const name of names)
    for (const value of ['4', ' 4', '\r\n 4', '0004 ', '\t4\r\n '])
      for (const size of [1, 7, 1 << 20])
        t.equal(
          cut(options(1, `${name}:${value}`, 'body') + trailing, size).messages.length,
          2,
          JSON.stringify(name + value),
        );
  // RFC 7118: one frame, one message, whatever it says of its length.
  const frame = (text: string): number => checkFrame(Buffer.from(text, 'latin1'), LIMITS);
  for (const line of lines) {
    const absent = [
      'X: y',
      'Content-Length\r\n : 4',
      'Content_Length: 4',
      'Content-Lengthy: 4',
      ' Content-Length: 4',
      'X: y\r\n Content-Length: 4',
    ];
    if (absent.includes(line)) continue;
    if (frame(options(1, line, 'body')) === FRAME.message) t.fail(`a frame with ${JSON.stringify(line)}`);
  }
  t.equal(frame(options(1, 'Content-Length: 4', 'body') + trailing), FRAME.faultyHead, 'two in one');
  t.equal(frame(options(1, 'Content-Length: 4', 'body')), FRAME.message);
});

t.test('who cuts a stream and who reads a message agree on where it ends', async t => {
  const random = seededRandom(SEED);
  const m = new MessageView();
  let accepted = 0;
  let framed = 0;
  for (let i = 0; i < 6000; i++) {
    // What mutations rarely leave whole is put right now and then: a length that fits.
    const text = mutated(random);
    const wire = i % 3 === 0 ? withLength(text) : text;
    for (const message of cut(`${wire}${options(9, 'l: 0')}`, 1 + (random.u32() % 4000)).messages) {
      framed++;
      if (m.parse(message, true) !== undefined) continue;
      if (m.callId !== '9') accepted++;
      if (m.bodyEnd !== message.length)
        t.fail(`seed ${SEED}, run ${i}: cut at ${message.length}, read to ${m.bodyEnd}: ${JSON.stringify(message)}`);
      if (m.next(m.first(H.contentLength)) >= 0) t.fail(`seed ${SEED}, run ${i}: two lengths`);
    }
  }
  t.ok(accepted > 200, `${accepted} of ${framed} accepted`);
});

function withLength(text: string): string {
  const empty = text.indexOf('\r\n\r\n');
  if (empty < 0) return text;
  const head = text
    .slice(0, empty)
    .split('\r\n')
    .filter(l => !/^(?:content-length|l)[ \t]*:/i.test(l));
  return `${head.join('\r\n')}\r\nContent-Length: ${text.length - empty - 4}${text.slice(empty)}`;
}

t.test('the quick way of reading and the close one read the same', async t => {
  const random = seededRandom(SEED + 1);
  const quick = new MessageView();
  const close = new MessageView();
  let both = 0;
  for (let i = 0; i < 6000; i++) {
    const text = i < SEEDS.length ? (SEEDS[i] as string) : mutated(random);
    const start = text.indexOf('\r\n');
    if (start <= 0) continue;
    // A TAB in a header that nobody asks for: from there on nothing is read the quick way.
    const odd = `${text.slice(0, start)}\r\nX-Odd: a\tb${text.slice(start)}`;
    if (quick.parse(text) !== undefined || close.parse(odd) !== undefined) continue;
    both++;
    const of = (m: MessageView): unknown[] => [
      m.method,
      m.uri,
      m.status,
      m.branch,
      m.sentBy,
      m.viaTransport,
      m.via.rport,
      m.callId,
      m.fromTag,
      m.toTag,
      m.cseq,
      m.cseqMethod,
      m.maxForwards,
      m.contentLength,
      m.body,
      m.count - (m === close ? 1 : 0),
    ];
    // A Contact is read leniently the quick way: who uses its URI parses it.
    const same = close.contactUri === '' || close.contactUri === quick.contactUri;
    const [a, b] = [of(quick), of(close)];
    if (!same || JSON.stringify(a) !== JSON.stringify(b))
      t.fail(`seed ${SEED}, run ${i}: ${JSON.stringify([a, b, text])}`);
  }
  t.ok(both > 300, `${both} read both ways`);
});

/** Bytes of `text` with some of them changed, cut off or doubled. */
function spoilt(bytes: Buffer, random: Random): Buffer {
  const out = Buffer.from(bytes);
  for (let n = random.u32() % 4; n > 0; n--) out[random.u32() % out.length] = random.u32() & 255;
  const kind = random.u32() % 4;
  if (kind === 0) return out.subarray(0, random.u32() % (out.length + 1));
  return kind === 1 ? Buffer.concat([out, out.subarray(random.u32() % out.length)]) : out;
}

t.test('STUN keepalives: whatever the bytes, nothing or an answer of one shape', async t => {
  const random = seededRandom(SEED + 2);
  const peer = new Endpoints(1);
  peer.set(0, { address: '198.51.100.7', port: 40_001 });
  const request = Buffer.from('000100002112a442000102030405060708090a0b', 'hex');
  const optional = Buffer.from('000100082112a442000102030405060708090a0b8022000461626364', 'hex');
  let answered = 0;
  for (let i = 0; i < 20_000; i++) {
    const bytes = spoilt(i % 2 === 0 ? request : optional, random);
    // Anywhere in a larger buffer: nothing around it counts.
    const around = Buffer.alloc(bytes.length + 64, 0xff);
    bytes.copy(around, 32);
    const pong = stunPong(around, 32, bytes.length, peer, 0);
    if (pong === '') continue;
    answered++;
    const out = Buffer.from(pong, 'latin1');
    if (out.readUInt16BE(0) !== 0x0101 || out.length !== 20 + out.readUInt16BE(2) || out.length > 52)
      t.fail(`seed ${SEED}: ${out.toString('hex')}`);
    if (!out.subarray(4, 20).equals(bytes.subarray(4, 20))) t.fail('another transaction');
  }
  t.ok(answered > 1000, `${answered} of 20,000 answered`);
});

t.test('flow tokens: whatever the text, no flow but the one it was made for', async t => {
  const random = seededRandom(SEED + 3);
  const flows = new FlowTable(
    { cap: 10, idleMs: 1000 },
    { transportOf: () => 'udp', localOf: () => ({ address: '203.0.113.10', port: 5060 }) },
  );
  const peer = new Endpoints(1);
  peer.set(0, { address: '198.51.100.7', port: 40_001 });
  const flow = flows.of(0, 0 as Via, peer, 0);
  if (flow === undefined) throw new Error('no flow');
  const tokens = new FlowTokens(new Uint8Array(32).fill(1), { flows, wall: () => 1_700_000_000_000 });
  const token = tokens.mint(flow);
  const seen = new Set<string>();
  for (let i = 0; i < 20_000; i++) {
    const forged = spoilt(Buffer.from(token, 'latin1'), random).toString('latin1');
    const found = tokens.find(forged);
    if (forged !== token && typeof found === 'object') t.fail(`seed ${SEED}: ${JSON.stringify(forged)}`);
    seen.add(typeof found === 'object' ? 'flow' : found);
  }
  t.same([...seen].sort(), ['flow', 'foreign', 'tampered']);
  for (const unit of ['A', '=', '-', '\xff', '%41']) t.equal(tokens.find(unit.repeat(65_536)), 'foreign');
});
