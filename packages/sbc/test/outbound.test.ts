import { H, headerLine, parseNameAddr, parseUri } from '@drawbridge/sip';
import tap from 'tap';
import { ACCESS_TCP, BorderWorld, CORE_UDP, PBX, type Phone, parsed, replyTo } from './harness.js';
import { ACCESS_UDP, CORE_UDP as CORE, contactsOf, World } from './world.js';

const UUID = 'urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF';
const PHONE = '198.51.100.7:40001';
const OTHER = '198.51.100.8:40002';
const OUTBOUND = 'Supported: path, outbound\r\n';

function contact(host: string, regId: number, instance = UUID): string {
  return `<sip:alice@${host};ob>;reg-id=${regId};+sip.instance="<${instance}>"`;
}

tap.test('a binding is its instance and reg-id; the 200 says that outbound was done only when it was', async t => {
  const w = new World({ config: { keepalive: { start: '25s', max: '150s' } } });
  const plain = w.ask({ contacts: ['<sip:alice@192.168.1.5>'], headers: OUTBOUND, callId: 'plain' }, PHONE);
  t.equal(plain?.status, 200);
  t.notOk(plain?.has(H.require), 'no reg-id, no outbound');
  t.notOk(plain?.has(H.flowTimer));
  w.ask({ contacts: ['*'], headers: 'Expires: 0\r\n', callId: 'clear' }, PHONE);

  const first = w.ask({ contacts: [contact('192.168.1.5', 1)], headers: OUTBOUND, callId: 'a' }, PHONE);
  t.equal(first?.get(H.require), 'outbound');
  t.equal(first?.get(H.supported), 'outbound');
  t.equal(first?.get(H.flowTimer), '25');
  t.same(
    contactsOf(first),
    [`${contact('192.168.1.5', 1)};expires=600`],
    'ob, reg-id and instance come back as they were',
  );
  const [b] = w.registrar.lookup('alice@example.org');
  t.equal(b?.instance, UUID.toLowerCase());

  w.ask({ contacts: [contact('10.9.9.9:7000', 1, UUID.toLowerCase())], headers: OUTBOUND, callId: 'b' }, OTHER);
  const [again, ...more] = w.registrar.lookup('alice@example.org');
  t.equal(more.length, 0, 'replaced: the same flow of the same phone in other letters');
  t.equal(again?.contact, 'sip:alice@10.9.9.9:7000;ob');
  t.equal(again?.flow.peer.port(again.flow.j), 40002);
  w.ask({ contacts: [contact('10.9.9.9:7000', 2)], headers: OUTBOUND, callId: 'c' }, PHONE);
  t.equal(w.registrar.lookup('alice@example.org').length, 2, 'control: another reg-id is another flow');
  w.ask({ contacts: [contact('10.9.9.9:7000', 2, 'urn:uuid:1')], headers: OUTBOUND, callId: 'd' }, PHONE);
  t.equal(w.registrar.lookup('alice@example.org').length, 3, 'control: another instance is another phone');
  w.ask({ contacts: [`${contact('10.1.1.1', 1)};expires=0`], headers: OUTBOUND, callId: 'e' }, PHONE);
  t.equal(w.registrar.lookup('alice@example.org').length, 2, 'removed by its key');

  const silent = w.ask({ contacts: [contact('10.9.9.9:7000', 2)], callId: 'f' }, PHONE);
  t.equal(silent?.status, 200);
  t.notOk(silent?.has(H.require), 'a phone that does not say outbound hears nothing of it');
  const two = w.ask(
    { contacts: [contact('1.1.1.1', 1), contact('1.1.1.2', 2)], headers: OUTBOUND, callId: 'g' },
    PHONE,
  );
  t.equal(two?.status, 400, 'one REGISTER stands for one flow');

  const tcp = w.stream((9 << 8) | ACCESS_TCP, '198.51.100.9:3000');
  const stream = w.ask({ contacts: [contact('1.1.1.9', 9)], headers: OUTBOUND, callId: 'h' }, '198.51.100.9:3000', tcp);
  t.equal(stream?.get(H.flowTimer), '150', 'a stream keeps longer than a UDP mapping');

  const huge = `urn:x:${'a'.repeat(200)}`;
  w.ask({ contacts: ['*'], headers: 'Expires: 0\r\n', callId: 'z' }, PHONE);
  for (const last of ['b', 'c'])
    w.ask(
      { contacts: [contact(`1.1.1.1:${last.charCodeAt(0)}`, 1, huge + last)], headers: OUTBOUND, callId: last },
      PHONE,
    );
  t.equal(
    w.registrar.lookup('alice@example.org').length,
    2,
    'instances past the limit are none, and never taken for each other',
  );
});

tap.test('439: the first hop is somebody else, who does not know outbound', async t => {
  const w = new World();
  const throughEdge = (headers: string, from = PBX, via = CORE): ReturnType<World['ask']> =>
    w.ask(
      {
        contacts: [contact('192.168.1.5', 1)],
        headers: `Via: SIP/2.0/UDP 192.168.1.5;branch=z9hG4bKphone\r\n${headers}`,
      },
      from,
      via,
    );
  t.equal(throughEdge(OUTBOUND)?.status, 439, 'no Path at all');
  t.equal(w.counts.get('edge-lacks-outbound'), 1);
  t.equal(throughEdge(`${OUTBOUND}Path: <sip:10.0.0.5;lr>\r\n`)?.status, 439, 'a Path without ob');
  t.equal(w.registrar.bindings.size, 0);
  const good = throughEdge(`${OUTBOUND}Path: <sip:token@10.0.0.5;lr;ob>\r\n`);
  t.equal(good?.status, 200, 'control: with ob');
  t.equal(good?.get(H.require), 'outbound');
  t.equal(
    throughEdge(`${OUTBOUND}Path: <sip:token@198.51.100.66;lr;ob>\r\n`, '198.51.100.66:5060', ACCESS_UDP)?.status,
    439,
    'a stranger’s word for it counts nothing',
  );
  w.ask({ contacts: ['*'], headers: 'Expires: 0\r\n', callId: 'z' }, PHONE);
  const ignored = throughEdge('');
  t.equal(ignored?.status, 200, 'a phone that does not ask for it is bound by its URI');
  t.equal(w.registrar.lookup('alice@example.org')[0]?.regId, 0);
});

/** One phone with a UDP flow (older) and a stream (newer). */
function twoFlows(): { world: BorderWorld; alice: Phone; udp: Phone; tcp: Phone } {
  const world = new BorderWorld({ config: { auth: { trustRegisteredFlow: true } } });
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const udp = world.phone('bob', { at: '198.51.100.2:6060', inner: '172.16.5.9:5070' });
  const via = world.openStream((5 << 8) | ACCESS_TCP, '198.51.100.2:7070');
  const tcp = world.phone('bob', { at: '198.51.100.2:7070', inner: '172.16.5.9:5071', via });
  for (const [n, phone] of [udp, tcp].entries()) {
    world.pass(1000);
    phone.register({
      headers: OUTBOUND,
      contact: `<sip:bob@${phone.inner};ob>;reg-id=${n + 1};+sip.instance="<${UUID}>"`,
    });
  }
  return { world, alice, udp, tcp };
}

tap.test('a call forks to one flow of a phone at a time: the newest, the next when it fails', async t => {
  const { world, alice, udp, tcp } = twoFlows();
  const carol = world.phone('bob', { at: '198.51.100.4:6060', inner: '172.16.5.9:5074' });
  carol.register({ contact: `<sip:bob@${carol.inner}>;reg-id=1;+sip.instance="<urn:uuid:2>"` });

  const a = alice.invite('sip:bob@example.org');
  t.same(carol.heard(), ['INVITE'], 'control: another phone of the same user rings too');
  t.same(udp.heard(), []);
  const b = tcp.called();
  t.equal(b.invite?.uri, 'sip:bob@172.16.5.9:5071;ob');
  b.answer(430);
  t.same(tcp.heard(), ['ACK']);
  const again = udp.called();
  t.equal(again.invite?.uri, 'sip:bob@172.16.5.9:5070;ob');
  again.answer(200, { sdp: udp.sdp() });
  a.expect(200);
  a.send('ACK');
  t.same(udp.heard(), ['ACK']);

  const busy = alice.invite('sip:bob@example.org');
  tcp.called().answer(486);
  t.same(tcp.heard(), ['ACK']);
  t.same(udp.heard(), [], 'busy is the phone’s word, on whatever flow');
  busy.cancel();
  world.pass(40_000);
});

tap.test('a flow that dies or says nothing: the next one is taken; 430 stays between us', async t => {
  const { world, alice, udp, tcp } = twoFlows();
  alice.invite('sip:bob@example.org');
  t.same(tcp.heard(), ['INVITE']);
  world.closeStream(tcp.via);
  const b = udp.called();
  t.equal(b.invite?.uri, 'sip:bob@172.16.5.9:5070;ob', 'the stream closed under the INVITE');
  b.answer(430);
  udp.next('ACK');
  alice.next(480);

  const silent = twoFlows();
  silent.tcp.unplug();
  silent.alice.invite('sip:bob@example.org');
  silent.world.pass(8100);
  t.same(silent.udp.heard(), ['INVITE'], 'eight seconds of silence');

  const message = twoFlows();
  message.alice.ask({
    method: 'MESSAGE',
    uri: 'sip:bob@example.org',
    to: '<sip:bob@example.org>',
    body: 'hello',
    contact: false,
  });
  t.same(message.udp.heard(), [], 'no message comes twice');
  message.tcp.send(replyTo(message.tcp.next('MESSAGE'), 430));
  message.udp.send(replyTo(message.udp.next('MESSAGE'), 200));
  t.same(message.alice.heard(), [200]);
});

/** Registers with the upstream, which knows Path; gives our Path and Contact there. */
function registerThere(phone: Phone, pbx: Phone): { path: string; ours: string } {
  phone.ask({ method: 'REGISTER', uri: 'sip:pbx.example.net', to: `<${phone.aor}>`, callId: `reg-${phone.user}` });
  const out = pbx.next('REGISTER');
  const ours = parseNameAddr(out.list(H.contact)[0] ?? '')?.uri ?? '';
  pbx.send(
    replyTo(out, 200).replace(
      'Content-Length',
      `${headerLine('Supported', 'path')}${headerLine('Contact', `<${ours}>;expires=600`)}Content-Length`,
    ),
  );
  phone.next(200);
  return { path: out.get(H.path), ours };
}

/** An upstream that knows Path, a phone registered there through the border. */
function upstream(o: { via?: number } = {}): {
  world: BorderWorld;
  pbx: Phone;
  carol: Phone;
  path: string;
  ours: string;
} {
  const world = new BorderWorld();
  const pbx = world.phone('pbx', { at: PBX, inner: '10.0.0.5:5060', via: CORE_UDP, domain: 'pbx.example.net' });
  // The first answer says that the upstream knows it.
  registerThere(world.phone('dave', { at: '198.51.100.9:5060', domain: 'pbx.example.net' }), pbx);
  const at = '198.51.100.3:5060';
  const carol = world.phone('carol', {
    at,
    domain: 'pbx.example.net',
    ...(o.via === undefined ? {} : { via: world.openStream(o.via, at) }),
  });
  return { world, pbx, carol, ...registerThere(carol, pbx) };
}

tap.test('our Path toward an upstream is a token: good, tampered, of a flow that is gone', async t => {
  const { world, pbx, carol, path, ours } = upstream({ via: (6 << 8) | ACCESS_TCP });
  t.match(path, /^<sip:[A-Za-z0-9_-]{36}@10\.0\.0\.1:5060;lr;ob>$/);
  const call = (route: string | undefined): ReturnType<Phone['invite']> =>
    pbx.invite(ours, route === undefined ? {} : { headers: headerLine('Route', route) });
  const cancelled = call(path);
  t.same(carol.heard(), ['INVITE']);
  t.notOk(parsed(world.wires.at(-1)?.text ?? '').has(H.route), 'our own Route is taken off');
  cancelled.cancel();
  world.pass(40_000);
  pbx.heard();
  carol.heard();

  const user = parseUri(parseNameAddr(path)?.uri ?? '')?.user ?? '';
  const forged = path.replace(user, `${user.slice(0, 7)}${user[7] === 'A' ? 'B' : 'A'}${user.slice(8)}`);
  const before = world.wires.length;
  call(forged);
  pbx.next(403);
  t.same(carol.heard(), []);
  t.equal(world.wires.slice(before).filter(w => w.direction === 'out').length, 1, 'nothing left but the 403');
  t.equal(world.count('foreign-route'), 1);

  world.closeStream(carol.via);
  call(path);
  pbx.next(430);
  t.equal(world.count('flow-gone'), 1);
  call(undefined);
  pbx.next(480);
});

tap.test('a phone that came back over another flow: the old Path has failed, the new one works', async t => {
  const { world, pbx, carol, path, ours } = upstream();
  carol.moveTo('198.51.100.3:6000');
  const now = registerThere(carol, pbx);
  t.not(now.path, path);
  pbx.invite(ours, { headers: headerLine('Route', path) });
  pbx.next(430);
  pbx.invite(ours, { headers: headerLine('Route', now.path) });
  t.same(carol.heard(), ['INVITE'], 'control');
  world.pass(1000);
});

tap.test('Route of a phone: its outbound proxy passes, everything foreign gets 403 and nothing leaves', async t => {
  const world = new BorderWorld({ config: { auth: { trustRegisteredFlow: true } } });
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const bob = world.phone('bob', { at: '198.51.100.2:6060' }).register();
  const send = (...routes: string[]): void => {
    alice.ask({
      method: 'MESSAGE',
      uri: 'sip:bob@example.org',
      to: '<sip:bob@example.org>',
      contact: false,
      headers: routes.map(r => headerLine('Route', r)).join(''),
    });
  };
  for (const proxy of ['<sip:203.0.113.10;lr>', '<sip:203.0.113.10:5060;transport=udp;lr>', '<sip:example.org;lr>']) {
    send(proxy);
    const m = bob.next('MESSAGE');
    t.notOk(m.has(H.route), proxy);
    bob.send(replyTo(m, 200));
    alice.next(200);
  }
  for (const routes of [
    ['<sip:198.51.100.99;lr>'],
    ['<sip:203.0.113.10;lr>', '<sip:198.51.100.99;lr>'],
    ['<sip:203.0.113.10;lr>,<sip:198.51.100.99;lr>'],
    ['<sip:bob@203.0.113.10;lr>'],
    [`<sip:${'A'.repeat(36)}@203.0.113.10;lr>`],
    ['<tel:+123>'],
    ['sip:'],
  ]) {
    const mark = world.wires.length;
    send(...routes);
    alice.next(403);
    const out = world.wires.slice(mark).filter(w => w.direction === 'out');
    t.same(
      out.map(w => w.peer),
      [alice.at],
      routes.join(),
    );
  }
  const mark = world.wires.length;
  alice.ask({
    method: 'MESSAGE',
    uri: 'sip:bob@example.org;maddr=198.51.100.99',
    to: '<sip:bob@example.org>',
    contact: false,
  });
  t.same(bob.heard(), ['MESSAGE'], 'maddr is no destination');
  t.notOk(world.wires.slice(mark).some(w => w.peer.startsWith('198.51.100.99')));
});
