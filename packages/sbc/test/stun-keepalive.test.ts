import { Endpoints, parseEndpoint } from '@drawbridge/core';
import { stunPong } from '@drawbridge/sip';
import tap from 'tap';
import { PrefixBudget } from '../src/guard/prefix-budget.js';
import { BorderWorld, type Phone } from './harness.js';

/** Address, port and transaction id of RFC 5769's sample responses, whose XOR-MAPPED-ADDRESS is the literal here. */
const ID = 'b7e7a701bc34d686fa87dfae';
const PLAIN = `000100002112a442${ID}`;
const V4 = '192.0.2.1:32853';
const V4_PONG = `0101000c2112a442${ID}002000080001a147e112a643`;

/** With the CRC-32 that Python's zlib gives. */
const FINGERPRINTED = '000100082112a442b7e7a701bc34d686fa87dfae80280004fdf6ae02';
const FINGERPRINTED_PONG = '010100142112a442b7e7a701bc34d686fa87dfae002000080001a147e112a643802800047d281f59';

function peer(text: string): Endpoints {
  const e = parseEndpoint(text);
  if (e === undefined) throw new Error(text);
  return Endpoints.of(e);
}

function pong(request: string, from = V4): string {
  const bytes = Buffer.from(`ff${request}`, 'hex');
  return Buffer.from(stunPong(bytes, 1, bytes.length - 1, peer(from), 0), 'latin1').toString('hex');
}

tap.test('a Binding request is answered with the source, under the cookie', async t => {
  t.equal(pong(PLAIN), V4_PONG);
  t.equal(V4_PONG.length / 2, 32, 'twenty bytes in, thirty-two out');
  t.equal(
    pong(PLAIN, '[2001:db8:1234:5678:11:2233:4455:6677]:32853'),
    `010100182112a442${ID}002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9`,
  );
  t.equal(pong(FINGERPRINTED), FINGERPRINTED_PONG, 'FINGERPRINT for who has one');
  t.equal(
    pong(`000100102112a442${ID}8022000b706a6e6174682d322e313400`),
    V4_PONG,
    'SOFTWARE may be there, and none comes back',
  );
});

tap.test('nothing else is answered', async t => {
  t.equal(pong(PLAIN), V4_PONG, 'control');
  for (const [why, request] of [
    ['an indication', PLAIN.replace(/^0001/, '0011')],
    ['a response', PLAIN.replace(/^0001/, '0101')],
    ['an Allocate request', PLAIN.replace(/^0001/, '0003')],
    ['another cookie', PLAIN.replace('2112a442', '2112a443')],
    ['a length past the end', PLAIN.replace(/^00010000/, '00010004')],
    ['more than its length', `${PLAIN}00000000`],
    ['not a multiple of four', `00010002${PLAIN.slice(8)}0000`],
    ['an attribute past the end', `00010004${PLAIN.slice(8)}80220004`],
    ['credentials, which mean nothing here', `00010008${PLAIN.slice(8)}0006000161000000`],
    ['a FINGERPRINT that is wrong', `${FINGERPRINTED.slice(0, -2)}00`],
    ['a FINGERPRINT before something else', `0001000c${FINGERPRINTED.slice(8)}80220000`],
    ['too short', PLAIN.slice(0, -2)],
  ] as const)
    t.equal(pong(request), '', why);
});

/** How many answers a source gets to so many requests; none goes anywhere else. */
function answers(world: BorderWorld, from: string, n: number): number {
  const mark = world.wires.length;
  for (let k = 0; k < n; k++) world.receive(PING, from);
  const out = world.wires.slice(mark).filter(w => w.direction === 'out');
  if (out.some(w => w.peer !== from)) throw new Error('an answer went elsewhere');
  return out.length;
}

const PING = Buffer.from(PLAIN, 'hex').toString('latin1');

/** A phone that takes STUN answers for what they are. */
function stunPhone(world: BorderWorld): Phone {
  const phone = world.phone('alice', { at: '198.51.100.66:5060' });
  const { hear } = phone;
  phone.hear = text => (text.startsWith('\x01\x01') ? undefined : hear.call(phone, text));
  return phone.register();
}

tap.test('strangers share a budget per prefix, registered phones do not, and nothing is kept', async t => {
  const world = new BorderWorld();
  t.equal(answers(world, '198.51.100.66:1000', 50), 50);
  t.equal(answers(world, '198.51.100.66:1000', 20), 0, 'then silence');
  t.equal(answers(world, '198.51.100.67:1000', 20), 0, 'the neighbour shares it');
  t.equal(world.count('rate-limited'), 40);
  t.equal(answers(world, '203.0.112.5:1000', 20), 20, 'another prefix does not');
  t.equal(world.flows.size, 0, 'no flow was made');
  const alice = stunPhone(world);
  t.equal(answers(world, alice.at, 200), 200, 'a registered flow in the middle of the flood');
  t.equal(world.count('stun'), 0, 'never counted as garbage');
  t.equal(world.count('not-sip'), 0);
  world.pass(9000);
  t.ok(answers(world, '198.51.100.66:1000', 60) <= 50);
  world.pass(20_000);
  t.equal(answers(world, '198.51.100.66:1000', 60), 50, 'and the budget comes back');
});

tap.test('it is a sign of life: the search for the NAT’s patience leaves such a phone alone', async t => {
  const asked = (ping: boolean): number => {
    const world = new BorderWorld();
    const alice = stunPhone(world);
    world.pass(10_000);
    const mark = world.wires.length;
    for (let n = 0; n < 20; n++) {
      world.pass(10_000);
      if (ping) alice.send(PING);
    }
    return world.wires.slice(mark).filter(w => w.direction === 'out' && w.text.startsWith('OPTIONS')).length;
  };
  t.equal(asked(true), 0);
  t.ok(asked(false) > 3, 'control: a silent phone is asked');
});

tap.test('the budget: any span of a window stays within the limit, in fixed memory', async t => {
  const budget = new PrefixBudget(3, 1000, 42);
  const a = peer('198.51.100.1:1');
  const b = peer('198.51.100.254:9');
  const six = peer('[2001:db8:1:2::1]:1');
  const same48 = peer('[2001:db8:1:ffff::9]:1');
  const other48 = peer('[2001:db8:2::1]:1');
  const took = (now: number, p: Endpoints): boolean => budget.take(now, p, 0);
  t.same([took(0, a), took(990, b), took(999, a), took(999, b)], [true, true, true, false]);
  t.notOk(took(1001, a), 'no fresh three at the turn of the window');
  t.ok(took(2000, a), 'but then');
  t.same([took(2000, six), took(2000, same48), took(2000, six), took(2000, same48)], [true, true, true, false]);
  t.ok(took(2000, other48), 'control');
  t.ok(took(1e9, six), 'long after');
});
