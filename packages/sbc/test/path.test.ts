import { H, headerLine } from '@drawbridge/sip';
import tap from 'tap';
import { BorderWorld, CORE_UDP, PBX, type Phone, replyTo } from './harness.js';
import { ACCESS_UDP, CORE_UDP as CORE, PBX as WORLD_PBX, World } from './world.js';

const EDGES = ['<sip:inner.example.net;lr>', '<sip:tok-en_1@10.0.0.5:5060;lr;ob>'];
const PATH = EDGES.map(p => headerLine('Path', p)).join('');
const BOB = '<sip:bob@172.16.5.9:5070>';

/** Bob registers with us through a configured edge. */
function behindEdge(headers = ''): { world: BorderWorld; alice: Phone; edge: Phone; ok: string } {
  const world = new BorderWorld({ config: { auth: { trustRegisteredFlow: true } } });
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const edge = world.phone('bob', { at: PBX, inner: '10.0.0.5:5060', via: CORE_UDP });
  edge.ask({
    method: 'REGISTER',
    uri: 'sip:example.org',
    to: '<sip:bob@example.org>',
    contact: BOB,
    headers: PATH + headers,
  });
  return { world, alice, edge, ok: edge.next(200).text };
}

tap.test('Path is kept per contact and goes ahead of it as Route, in order', async t => {
  const { world, alice, edge } = behindEdge();
  const a = alice.invite('sip:bob@example.org');
  const b = edge.called();
  t.same(b.invite?.list(H.route), EDGES);
  t.equal(b.invite?.uri, 'sip:bob@172.16.5.9:5070');
  b.answer(180);
  a.expect(180);
  a.cancel();
  t.same(edge.next('CANCEL').list(H.route), EDGES, 'the CANCEL goes the way of its INVITE (RFC 3261 §9.1)');
  b.answer(487);
  t.same(edge.next('ACK').list(H.route), EDGES, 'and the ACK');
  alice.heard();

  const again = alice.invite('sip:bob@example.org');
  const there = edge.called();
  there.answer(200, { sdp: edge.sdp(), headers: 'Record-Route: <sip:10.0.0.5;lr;r2>\r\n' });
  t.same(edge.next('ACK').list(H.route), ['<sip:10.0.0.5;lr;r2>'], 'the dialog’s route set is its own');
  again.expect(200);
  again.send('ACK');
  again.send('BYE');
  const bye = edge.next('BYE');
  t.same(bye.list(H.route), ['<sip:10.0.0.5;lr;r2>']);
  edge.send(replyTo(bye, 200));
  alice.heard();

  alice.ask({ method: 'MESSAGE', uri: 'sip:bob@example.org', to: '<sip:bob@example.org>', contact: false });
  const message = edge.next('MESSAGE');
  t.same(message.list(H.route), EDGES);
  edge.send(replyTo(message, 200));
  alice.heard();
  alice.ask({
    method: 'SUBSCRIBE',
    uri: 'sip:bob@example.org',
    to: '<sip:bob@example.org>',
    headers: 'Event: presence\r\nExpires: 600\r\n',
  });
  t.same(edge.next('SUBSCRIBE').list(H.route), EDGES);

  world.phone('carol', { at: '198.51.100.4:5060' }).register();
  alice.invite('sip:carol@example.org');
  const carol = world.phones.get('0 198.51.100.4:5060');
  t.notOk(carol?.next('INVITE').has(H.route), 'control: a contact without Path gets no Route');
});

tap.test('the phone behind the edge is the edge’s to keep alive', async t => {
  const { world, edge } = behindEdge();
  world.pass(120_000);
  t.notOk(
    world.wires.some(w => w.direction === 'out' && w.peer === edge.at && w.text.startsWith('OPTIONS')),
    'no OPTIONS for a phone that the edge would have to look for',
  );
  t.ok(
    world.wires.some(w => w.direction === 'out' && w.peer !== edge.at && w.text.startsWith('OPTIONS')),
    'control: a phone of our own is asked',
  );
});

tap.test('who hears of the Path in the 200 (decision 040)', async t => {
  t.notOk(behindEdge().ok.includes('\r\nPath:'), 'a phone that does not know it is bound all the same');
  const known = behindEdge('Supported: path\r\n').ok;
  for (const p of EDGES) t.ok(known.includes(headerLine('Path', p)), p);
  const required = behindEdge('Require: path\r\nSupported: path\r\n').ok;
  t.match(required, /^SIP\/2\.0 200 /, 'Require: path is understood');
});

tap.test('a Path counts only from a configured edge, whole, and within bounds', async t => {
  const w = new World();
  const from = (headers: string, at: string, via: number): number | undefined =>
    w.ask({ contacts: ['<sip:alice@192.168.1.5>'], headers, callId: `c${headers.length}` }, at, via)?.status;
  const stored = (): readonly string[] | undefined => w.registrar.lookup('alice@example.org')[0]?.path;
  t.equal(from(PATH, '198.51.100.7:40001', ACCESS_UDP), 200);
  t.same(stored(), [], 'a stranger’s is not kept');
  t.equal(from(PATH, WORLD_PBX, CORE), 200);
  t.same(stored(), EDGES, 'control: the edge’s is');
  const many = (n: number): string =>
    Array.from({ length: n }, (_, i) => headerLine('Path', `<sip:10.0.0.${i};lr>`)).join('');
  t.equal(from(many(16), WORLD_PBX, CORE), 200);
  t.equal(from(many(17), WORLD_PBX, CORE), 400);
  t.equal(w.counts.get('path-too-long'), 1);
  const long = headerLine('Path', `<sip:${'x'.repeat(240)}@10.0.0.5;lr>`);
  t.equal(from(long.repeat(7), WORLD_PBX, CORE), 200, 'control');
  t.equal(from(long.repeat(9), WORLD_PBX, CORE), 400, 'more bytes than a request should carry');
  t.equal(from('Path: nonsense\r\n', WORLD_PBX, CORE), 400);
  t.equal(from('Path: <tel:+1234>\r\n', WORLD_PBX, CORE), 400);
  t.equal(stored()?.length, 7, 'what was refused changed nothing');
});

tap.test('a Path outlives a restart', async t => {
  const w = new World();
  w.ask({ contacts: ['<sip:alice@192.168.1.5>'], headers: PATH }, WORLD_PBX, CORE);
  const restarted = new World({ store: w.store, now: 5000 });
  const records = [];
  for await (const r of w.store.load('binding/')) records.push(r);
  t.same(restarted.registrar.restore(5000, records), { kept: 1, dropped: 0 });
  t.same(restarted.registrar.lookup('alice@example.org')[0]?.path, EDGES);
});
