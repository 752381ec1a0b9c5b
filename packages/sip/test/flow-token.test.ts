import { Endpoints, parseEndpoint, type Via } from '@drawbridge/core';
import t from 'tap';
import { type Flow, FlowTable, FlowTokens } from '../src/index.js';

const WEEK = 7 * 86_400_000;
const STREAM: Via = (77 << 8) | 2;

function table(): FlowTable {
  return new FlowTable(
    { cap: 10, idleMs: 1000 },
    { transportOf: via => (via > 255 ? 'tcp' : 'udp'), localOf: () => ({ address: '203.0.113.10', port: 5060 }) },
  );
}

function peer(text: string): Endpoints {
  const e = parseEndpoint(text);
  if (e === undefined) throw new Error(text);
  return Endpoints.of(e);
}

t.test('a token names its flow, whatever family, and nothing but its own bytes', async t => {
  const flows = table();
  let wall = 1_700_000_000_000;
  const tokens = new FlowTokens(new Uint8Array(32).fill(1), { flows, wall: () => wall });
  const made = (via: number, at: string): Flow => {
    const f = flows.of(0, via as Via, peer(at), 0);
    if (f === undefined) throw new Error(at);
    return f;
  };
  const v4 = made(0, '198.51.100.7:40001');
  const v6 = made(1, '[2001:db8::7]:5060');
  const stream = made(STREAM, '198.51.100.7:40001');
  t.equal(tokens.mint(v4).length, 36);
  t.equal(tokens.mint(v6).length, 52);
  for (const f of [v4, v6, stream]) {
    const token = tokens.mint(f);
    t.match(token, /^[A-Za-z0-9_-]+$/, 'may stand in a user part as it is');
    t.equal(tokens.find(token), f);
    for (let i = 0; i < token.length; i++) {
      const forged = token.slice(0, i) + (token[i] === 'A' ? 'B' : 'A') + token.slice(i + 1);
      t.equal(tokens.find(forged), 'tampered', `character ${i}`);
    }
    t.equal(tokens.find(token.slice(1)), 'foreign');
    t.equal(tokens.find(`${token}A`), 'foreign');
    t.equal(tokens.find(`${token.slice(0, -1)}!`), 'foreign');
  }
  t.equal(tokens.find(''), 'foreign');
  const other = new FlowTokens(new Uint8Array(32).fill(2), { flows, wall: () => wall });
  t.equal(other.find(tokens.mint(v4)), 'tampered', 'another secret');
  const again = new FlowTokens(new Uint8Array(32).fill(1), { flows, wall: () => wall });
  t.equal(again.find(tokens.mint(v4)), v4, 'the same after a restart');

  const old = tokens.mint(v4);
  wall += WEEK;
  t.equal(tokens.find(old), v4, 'the key of the week before still counts');
  t.not(tokens.mint(v4), old);
  wall += WEEK;
  t.equal(tokens.find(old), 'tampered', 'the one before that does not');
  t.equal(tokens.find(tokens.mint(v4)), v4, 'control');
});

t.test('a flow that is gone', async t => {
  const flows = table();
  const tokens = new FlowTokens(new Uint8Array(32), { flows, wall: () => 0 });
  const stream = flows.of(0, STREAM, peer('198.51.100.7:40001'), 0);
  const udp = flows.of(0, 0, peer('198.51.100.8:5060'), 0);
  if (stream === undefined || udp === undefined) return t.fail('control');
  const [a, b] = [tokens.mint(stream), tokens.mint(udp)];
  t.equal(tokens.find(a), stream, 'control');
  flows.streamClosed(1, STREAM, { text: () => true, inPlace: () => true });
  t.equal(tokens.find(a), 'gone');
  flows.of(2, STREAM, peer('198.51.100.9:1024'), 0);
  t.equal(tokens.find(a), 'gone', 'somebody else has that stream now');
  t.equal(tokens.find(b), udp, 'control');
  flows.sweep(5000);
  t.equal(tokens.find(b), 'gone', 'idle and forgotten');
});
