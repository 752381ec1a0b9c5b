import t from 'tap';
import { isRejected, type SdpRejected } from '../src/index.js';
import { portOf, rtp, VirtualRelay } from './virtual.js';

const ALICE = '198.51.100.7';
const BOB = '10.0.0.9';

function text(x: string | SdpRejected): string {
  if (isRejected(x)) throw new Error(`${x.rejected}: ${x.detail}`);
  return x;
}

interface Said {
  readonly c?: string;
  readonly session?: readonly string[];
  readonly media?: readonly string[];
  readonly version?: number;
  readonly port?: number;
}

function sdp(at: string, o: Said = {}): string {
  return [
    'v=0',
    `o=phone 1 ${o.version ?? 1} IN IP4 ${at}`,
    's=-',
    `c=${o.c ?? `IN IP4 ${at}`}`,
    't=0 0',
    ...(o.session ?? []),
    `m=audio ${o.port ?? 4000} RTP/AVP 0 101`,
    'a=rtpmap:101 telephone-event/8000',
    ...(o.media ?? []),
    '',
  ].join('\r\n');
}

/** Two legs whose media flows both ways; says who hears what is sent. */
function talking() {
  const relay = new VirtualRelay({ latch: { windowMs: 60_000 } });
  const session = relay.hub.session('call');
  session.leg('a', { realm: 'access', local: '203.0.113.10' });
  session.leg('b', { realm: 'core', local: '10.0.0.1' });
  const seen = { a: ALICE, b: BOB } as const;
  const offer = (from: 'a' | 'b', body: string) =>
    text(session.offer({ from, to: from === 'a' ? 'b' : 'a', sdp: body, seenFrom: seen[from] }));
  const answer = (from: 'a' | 'b', body: string) =>
    text(session.answer({ from, to: from === 'a' ? 'b' : 'a', sdp: body, seenFrom: seen[from], final: true }));
  const toB = offer('a', sdp(ALICE));
  const toA = answer('b', sdp(BOB));
  const ports = { a: portOf(toA), b: portOf(toB) };
  const heard = (from: 'a' | 'b', type = 0): boolean => {
    const [at, ours] = from === 'a' ? [ALICE, '203.0.113.10'] : [BOB, '10.0.0.1'];
    return relay.arrive(`${at}:4000`, `${ours}:${ports[from]}`, rtp({ type })) !== undefined;
  };
  return { relay, session, offer, answer, heard, ports };
}

/** What the SDP says of direction and address where it counts. */
function said(body: string): string[] {
  return body.split('\r\n').filter(l => /^(c=|a=(sendrecv|sendonly|recvonly|inactive))/.test(l));
}

const DIALECTS: readonly {
  readonly name: string;
  readonly hold: Said;
  readonly as: readonly string[];
  readonly hears: [boolean, boolean];
}[] = [
  { name: 'sendonly', hold: { media: ['a=sendonly'] }, as: ['c=IN IP4 10.0.0.1', 'a=sendonly'], hears: [true, false] },
  { name: 'inactive', hold: { media: ['a=inactive'] }, as: ['c=IN IP4 10.0.0.1', 'a=inactive'], hears: [false, false] },
  {
    name: 'sendonly for the session',
    hold: { session: ['a=sendonly'] },
    as: ['c=IN IP4 10.0.0.1', 'a=sendonly'],
    hears: [true, false],
  },
  {
    name: 'inactive for the session',
    hold: { session: ['a=inactive'] },
    as: ['c=IN IP4 10.0.0.1', 'a=inactive'],
    hears: [false, false],
  },
  {
    name: 'the stream against the session',
    hold: { session: ['a=sendrecv'], media: ['a=sendonly'] },
    as: ['c=IN IP4 10.0.0.1', 'a=sendrecv', 'a=sendonly'],
    hears: [true, false],
  },
  { name: '0.0.0.0', hold: { c: 'IN IP4 0.0.0.0' }, as: ['c=IN IP4 10.0.0.1', 'a=sendonly'], hears: [true, false] },
  {
    name: '0.0.0.0 and sendrecv',
    hold: { c: 'IN IP4 0.0.0.0', media: ['a=sendrecv'] },
    as: ['c=IN IP4 10.0.0.1', 'a=sendonly'],
    hears: [true, false],
  },
  {
    name: '0.0.0.0 and sendonly',
    hold: { c: 'IN IP4 0.0.0.0', media: ['a=sendonly'] },
    as: ['c=IN IP4 10.0.0.1', 'a=sendonly'],
    hears: [true, false],
  },
  {
    name: '0.0.0.0 and inactive',
    hold: { c: 'IN IP4 0.0.0.0', media: ['a=inactive'] },
    as: ['c=IN IP4 10.0.0.1', 'a=inactive'],
    hears: [false, false],
  },
  {
    name: '0.0.0.0 and recvonly',
    hold: { c: 'IN IP4 0.0.0.0', media: ['a=recvonly'] },
    as: ['c=IN IP4 10.0.0.1', 'a=inactive'],
    hears: [false, false],
  },
  {
    name: 'the unspecified IPv6 address',
    hold: { c: 'IN IP6 ::' },
    as: ['c=IN IP4 10.0.0.1', 'a=sendonly'],
    hears: [true, false],
  },
  {
    name: '0.0.0.0 of the stream',
    hold: { media: ['c=IN IP4 0.0.0.0'] },
    as: ['c=IN IP4 10.0.0.1', 'c=IN IP4 10.0.0.1', 'a=sendonly'],
    hears: [true, false],
  },
];

for (const d of DIALECTS) {
  t.test(`hold, said as ${d.name}: the other side hears it in today’s words, media stops and comes back`, async t => {
    const { offer, answer, heard, ports, session } = talking();
    t.same([heard('a'), heard('b')], [true, true], 'the control');
    const held = offer('a', sdp(ALICE, { ...d.hold, version: 2 }));
    t.same(said(held), d.as);
    t.equal(portOf(held), ports.b, 'the port stays');
    t.same([heard('a'), heard('b')], [true, true], 'an offer changes nothing yet');
    const mirrored = d.as.at(-1) === 'a=inactive' ? 'a=inactive' : 'a=recvonly';
    const toA = answer('b', sdp(BOB, { version: 2, media: [mirrored] }));
    t.same(said(toA), ['c=IN IP4 203.0.113.10', mirrored]);
    t.same([heard('a'), heard('b')], d.hears, 'held');
    t.equal(session.streams.length, 2);
    offer('a', sdp(ALICE, { version: 3 }));
    answer('b', sdp(BOB, { version: 3 }));
    t.same([heard('a'), heard('b')], [true, true], 'and resumed');
  });
}

t.test('both hold, each by itself; who resumes first still waits for the other', async t => {
  const { offer, answer, heard } = talking();
  offer('a', sdp(ALICE, { version: 2, media: ['a=sendonly'] }));
  answer('b', sdp(BOB, { version: 2, media: ['a=recvonly'] }));
  offer('b', sdp(BOB, { version: 3, media: ['a=inactive'] }));
  answer('a', sdp(ALICE, { version: 3, media: ['a=inactive'] }));
  t.same([heard('a'), heard('b')], [false, false]);
  offer('a', sdp(ALICE, { version: 4, media: ['a=recvonly'] }));
  answer('b', sdp(BOB, { version: 4, media: ['a=sendonly'] }));
  t.same([heard('a'), heard('b')], [false, true]);
  offer('b', sdp(BOB, { version: 5 }));
  answer('a', sdp(ALICE, { version: 5 }));
  t.same([heard('a'), heard('b')], [true, true]);
});

t.test('a held call can be moved to another port, and resumed from there', async t => {
  const { relay, offer, answer, ports } = talking();
  offer('a', sdp(ALICE, { version: 2, c: 'IN IP4 0.0.0.0' }));
  answer('b', sdp(BOB, { version: 2, media: ['a=recvonly'] }));
  offer('a', sdp(ALICE, { version: 3, port: 4400 }));
  answer('b', sdp(BOB, { version: 3 }));
  t.equal(relay.arrive(`${BOB}:4000`, `10.0.0.1:${ports.b}`, rtp())?.to, `${ALICE}:4400`);
});

t.test('DTMF in RTP: the payload type of each side stays as both agreed on it, and events pass', async t => {
  const { relay, offer, answer, heard, ports } = talking();
  const out = offer('a', sdp(ALICE, { version: 2 }).replaceAll('101', '97'));
  t.match(out, /RTP\/AVP 0 97\r\na=rtpmap:97 telephone-event\/8000/);
  answer('b', sdp(BOB, { version: 2 }).replaceAll('101', '97'));
  t.equal(heard('a', 97), true);
  const event = Buffer.from(rtp({ type: 97, length: 16 }));
  const sent = relay.arrive(`${ALICE}:4000`, `203.0.113.10:${ports.a}`, event);
  t.same([...(sent?.bytes ?? [])], [...event], 'byte for byte');
});
