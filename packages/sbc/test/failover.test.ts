import { H } from '@drawbridge/sip';
import t from 'tap';
import { BorderWorld, CORE_TCP, CORE_UDP, type Half, type Phone, replyTo, type Wire } from './harness.js';

const HOPS = ['10.0.0.5:5060', '10.0.0.6:5060', '10.0.0.7:5060'] as const;
const SERVICE = 'sip:service@pbx.example.net';

/** A border whose upstream has three hops (or as many as said), and Alice who calls it. Hops that aren't plugged in are silent. */
function border(present: readonly number[], count = 3): { world: BorderWorld; hops: Phone[]; alice: Phone } {
  const world = new BorderWorld({ next: HOPS.slice(0, count).map(h => `udp:${h}`) });
  const hops = HOPS.map(at => world.phone('pbx', { at, inner: at, via: CORE_UDP, domain: 'pbx.example.net' }));
  hops.forEach((hop, i) => {
    if (!present.includes(i)) hop.unplug();
  });
  return { world, hops, alice: world.phone('alice', { at: '198.51.100.1:5060' }).register() };
}

/** What left for the upstream, by hop: method and branch, each branch once. */
function tried(world: BorderWorld, method: string): { hop: number; branch: string; wire: Wire }[] {
  const seen = new Map<string, { hop: number; branch: string; wire: Wire }>();
  for (const wire of world.wires) {
    const hop = HOPS.indexOf(wire.peer as (typeof HOPS)[number]);
    if (wire.direction !== 'out' || hop < 0 || !wire.text.startsWith(`${method} `)) continue;
    const branch = /;branch=([^;\r]+)/.exec(wire.text)?.[1] ?? '';
    if (!seen.has(branch)) seen.set(branch, { hop, branch, wire });
  }
  return [...seen.values()];
}

function icmp(world: BorderWorld, quoted: string): void {
  world.run((now, tx) => world.border.handleUndelivered(now, CORE_UDP, quoted, tx));
}

function answered(alice: Phone, hop: Phone): { a: Half; b: Half } {
  const a = alice.invite(SERVICE);
  const b = hop.called();
  b.answer(200, { sdp: hop.sdp() });
  hop.next('ACK');
  a.expect(200);
  a.send('ACK');
  return { a, b };
}

t.test('INVITE: two silent hops, the third answers; each time a new branch; for 30 s it stays first', async t => {
  const { world, hops, alice } = border([2]);
  const a = alice.invite(SERVICE);
  world.pass(20_000, () => hops[2]?.inbox.length === 1);
  const list = tried(world, 'INVITE');
  t.same(
    list.map(x => x.hop),
    [0, 1, 2],
  );
  t.equal(new Set(list.map(x => x.branch)).size, 3);
  const third = hops[2] as Phone;
  const b = third.called();
  b.answer(180);
  a.expect(180);
  a.cancel();
  alice.next(200);
  const cancel = third.next('CANCEL');
  t.equal(cancel.branch, b.invite?.branch, 'CANCEL follows the hop that was used, with its branch');
  third.send(replyTo(cancel, 200));
  b.answer(487);
  const ack = third.next('ACK');
  t.equal(ack.branch, b.invite?.branch, 'and so does the ACK');
  alice.next(487);
  alice.send(a.text('ACK', { branch: a.branch }));
  t.same(
    tried(world, 'CANCEL').map(x => x.hop),
    [2],
  );

  world.wires.length = 0;
  alice.invite(SERVICE);
  third.called().answer(486);
  third.next('ACK');
  alice.next(486);
  t.same(
    tried(world, 'INVITE').map(x => x.hop),
    [2],
    'those that failed come last',
  );
  world.pass(30_000);
  // Nobody acknowledged the 486, which therefore came again.
  alice.heard();
  world.wires.length = 0;
  alice.invite(SERVICE);
  t.same(
    tried(world, 'INVITE').map(x => x.hop),
    [0],
    'after 30 s the first is first again',
  );
});

t.test('INVITE: 503 goes on at once; a last 503 is not passed as 503', async t => {
  const { world, hops, alice } = border([0, 1, 2]);
  alice.invite(SERVICE);
  const began = world.now;
  for (const hop of hops) {
    hop.called().answer(503);
    hop.next('ACK');
  }
  t.equal(world.now, began, 'no time was lost');
  t.equal(alice.next(500).status, 500);
  const control = border([0, 1, 2]);
  control.alice.invite(SERVICE);
  control.hops[0]?.called().answer(486);
  control.alice.next(486);
  t.same(control.hops[1]?.heard(), [], 'control: another failure stands');
});

t.test('ICMP: the next hop at once, for whoever quotes the request', async t => {
  const { world, hops, alice } = border([1]);
  alice.invite(SERVICE);
  const [first] = tried(world, 'INVITE');
  const text = first?.wire.text ?? '';
  icmp(world, text.replace(first?.branch ?? '', 'z9hG4bKforged0000000'));
  icmp(world, text.slice(0, text.indexOf(';branch=') + 12));
  icmp(world, 'INVITE');
  icmp(world, '');
  icmp(world, text.replace('INVITE sip', 'SIP/2.0 sip'));
  t.equal(tried(world, 'INVITE').length, 1, 'forged, cut and foreign quotes change nothing');
  const at = world.now;
  icmp(world, text.slice(0, 300));
  t.same(
    tried(world, 'INVITE').map(x => x.hop),
    [0, 1],
  );
  t.equal(world.now, at);
  const b = (hops[1] as Phone).called();
  b.answer(100);
  icmp(world, tried(world, 'INVITE')[1]?.wire.text ?? '');
  t.equal(tried(world, 'INVITE').length, 2, 'who has answered has been reached, whatever ICMP says');
  t.equal(world.count('transport-failed'), 1);
});

t.test('MESSAGE, SUBSCRIBE and REGISTER: silence, 503 and ICMP', async t => {
  for (const method of ['MESSAGE', 'SUBSCRIBE', 'REGISTER'] as const) {
    const { world, hops, alice: local } = border([1, 2]);
    const alice =
      method === 'REGISTER' ? world.phone('alice', { at: '198.51.100.9:5060', domain: 'pbx.example.net' }) : local;
    const [, second, third] = hops as [Phone, Phone, Phone];
    const uri = method === 'REGISTER' ? 'sip:pbx.example.net' : SERVICE;
    const to = method === 'REGISTER' ? `<${alice.aor}>` : `<${uri}>`;
    const headers = method === 'SUBSCRIBE' ? 'Event: presence\r\nExpires: 60\r\n' : '';
    alice.ask({ method, uri, to, headers, ...(method === 'MESSAGE' ? { body: 'hello' } : {}) });
    world.pass(20_000, () => second.inbox.length > 0);
    second.send(replyTo(second.next(method), 503));
    const m = third.next(method);
    const list = tried(world, method);
    t.same(
      list.map(x => x.hop),
      [0, 1, 2],
      `${method}: silence, then 503`,
    );
    t.equal(new Set(list.map(x => x.branch)).size, 3);
    t.same(new Set(list.map(x => x.wire.text.split('\r\n')[0])).size, 1, 'the same Request-URI');
    const contact = method === 'REGISTER' ? `Contact: ${m.get(H.contact)}\r\n` : 'Contact: <sip:third@10.0.0.7>\r\n';
    third.send(replyTo(m, 200).replace('Content-Length', `${contact}Expires: 60\r\nContent-Length`));
    t.equal(alice.next(200).status, 200);
    t.equal(world.border.shard.subscriptions.size, method === 'SUBSCRIBE' ? 1 : 0, 'one subscription, none left over');

    const again = border([1], 2);
    const who =
      method === 'REGISTER'
        ? again.world.phone('alice', { at: '198.51.100.9:5060', domain: 'pbx.example.net' })
        : again.alice;
    who.ask({ method, uri, to, headers, ...(method === 'MESSAGE' ? { body: 'hello' } : {}) });
    icmp(again.world, tried(again.world, method)[0]?.wire.text ?? '');
    again.hops[1]?.send(replyTo(again.hops[1].next(method), 503));
    t.equal(who.next(500).status, 500, `${method}: ICMP, then a last 503 that is not passed as such`);
    t.equal(again.world.border.shard.subscriptions.size, 0);
  }
});

t.test('inside a dialog: the hop has died, the next one takes over; CSeq and Call-ID stay', async t => {
  const { world, hops, alice } = border([0, 1, 2]);
  const [first, second] = hops as [Phone, Phone, Phone];
  const { a } = answered(alice, first);
  first.unplug();
  world.wires.length = 0;
  a.send('INVITE', { sdp: alice.sdp({ version: 2 }) });
  alice.next(100);
  world.pass(20_000, () => second.inbox.length > 0);
  const re = second.called();
  const list = tried(world, 'INVITE');
  t.same(
    list.map(x => x.hop),
    [0, 1],
  );
  const ids = (x: (typeof list)[number] | undefined) =>
    ['Call-ID', 'CSeq', 'From', 'To'].map(h => new RegExp(`\r\n${h}: ([^\r]*)`).exec(x?.wire.text ?? '')?.[1]);
  t.same(ids(list[0]), ids(list[1]), 'the same request');
  t.not(list[0]?.branch, list[1]?.branch, 'with another branch');
  re.answer(200, { sdp: second.sdp({ version: 2 }) });
  t.equal(second.next('ACK').cseq, re.invite?.cseq, 'its ACK goes there');
  a.expect(200);
  a.send('ACK');
  a.send('BYE');
  second.send(replyTo(second.next('BYE'), 200));
  alice.next(200);
  t.same(
    tried(world, 'BYE').map(x => x.hop),
    [1],
    'and so does all that follows',
  );
  t.equal(world.border.callCount, 0);
});

t.test('inside a dialog: all hops silent ends the call once; 503 of the hop that has it stands', async t => {
  const { world, hops, alice } = border([0, 1, 2]);
  const { a } = answered(alice, hops[0] as Phone);
  a.send('INFO');
  hops[0]?.send(replyTo(hops[0].next('INFO'), 503));
  t.equal(alice.next(500).status, 500);
  t.same(hops[1]?.heard(), [], 'nobody else was asked');
  for (const hop of hops) hop.unplug();
  world.wires.length = 0;
  a.send('INFO');
  world.pass(60_000);
  t.same(
    tried(world, 'INFO').map(x => x.hop),
    [0, 1, 2],
  );
  t.equal(alice.heard()[0], 'BYE', 'RFC 4320: a request that is no INVITE gets no 408');
  t.equal(world.border.callCount, 0);
  t.equal(world.take('call-ended').at(-1)?.cause, 'peer-gone');
});

t.test('BYE to a hop that has died reaches the next', async t => {
  const { world, hops, alice } = border([0, 1]);
  const { a } = answered(alice, hops[0] as Phone);
  hops[0]?.unplug();
  a.send('BYE');
  alice.next(200);
  world.pass(20_000, () => hops[1]?.inbox.length !== 0);
  hops[1]?.send(replyTo(hops[1].next('BYE'), 200));
  world.pass(60_000);
  t.same(
    tried(world, 'BYE').map(x => x.hop),
    [0, 1],
  );
});

t.test('one hop only: as patient as ever', async t => {
  const { world, alice } = border([], 1);
  alice.invite(SERVICE);
  world.pass(31_000);
  t.same(alice.heard(), []);
  world.pass(2000);
  t.equal(alice.next(408).status, 408);
  t.equal(tried(world, 'INVITE').length, 1);
});

t.test('a stream that has died is dialled again, and a hop that fails then gives way to the next', async t => {
  const world = new BorderWorld({ next: ['tcp:10.0.0.5:5060', 'tcp:10.0.0.6:5060'] });
  const hop = (at: string) => world.phone('pbx', { at, inner: at, via: CORE_TCP, domain: 'pbx.example.net' });
  const first = hop(HOPS[0]);
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const { a } = answered(alice, first);
  const dead = first.via;
  world.closeStream(dead);
  const again = hop(HOPS[0]);
  a.send('INFO');
  const info = again.next('INFO');
  t.not(again.via, dead, 'over a new stream to the same hop');
  again.send(replyTo(info, 200));
  alice.next(200);
  const second = hop(HOPS[1]);
  a.send('INFO');
  again.next('INFO');
  world.closeStream(again.via);
  second.send(replyTo(second.next('INFO'), 200));
  t.equal(alice.next(200).status, 200, 'the stream broke under the request: the next hop has it at once');
});
