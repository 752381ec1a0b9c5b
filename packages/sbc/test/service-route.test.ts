import { H, headerLine, type MessageView, parseNameAddr } from '@drawbridge/sip';
import tap from 'tap';
import { readRecord, writeRecord } from '../src/registrar/record.js';
import { BorderWorld, CORE_UDP, PBX, type Phone, replyTo } from './harness.js';

const WAY = ['<sip:scscf.inner.example.net;lr>', '<sip:orig@as1.inner.example.net:5080;lr>'];
const LINES = WAY.map(r => headerLine('Service-Route', r)).join('');

function world(): { w: BorderWorld; pbx: Phone; carol: Phone } {
  const w = new BorderWorld();
  const pbx = w.phone('pbx', { at: PBX, inner: '10.0.0.5:5060', via: CORE_UDP, domain: 'pbx.example.net' });
  const carol = w.phone('carol', { at: '198.51.100.3:5060', domain: 'pbx.example.net' });
  return { w, pbx, carol };
}

/** Registers; the upstream says `headers` in its 200. The phone's 200. */
function register(phone: Phone, pbx: Phone, headers: string): MessageView {
  phone.ask({ method: 'REGISTER', uri: 'sip:pbx.example.net', to: `<${phone.aor}>`, callId: phone.user });
  const out = pbx.next('REGISTER');
  const contact = parseNameAddr(out.list(H.contact)[0] ?? '')?.uri ?? '';
  pbx.send(
    replyTo(out, 200).replace(
      'Content-Length',
      `${headers}${headerLine('Contact', `<${contact}>;expires=600`)}Content-Length`,
    ),
  );
  return phone.next(200);
}

tap.test('the upstream’s Service-Route is walked by us; the phone hears of us alone', async t => {
  const { w, pbx, carol } = world();
  const ok = register(carol, pbx, LINES);
  t.same(ok.list(H.serviceRoute), ['<sip:203.0.113.10:5060;lr>']);
  t.notOk(ok.text.includes('inner.example.net'), 'nothing of the inside');
  t.same(w.registrar.lookup('carol@pbx.example.net')[0]?.serviceRoute, WAY);

  const half = carol.invite('sip:200@pbx.example.net', { headers: headerLine('Route', ok.get(H.serviceRoute)) });
  const there = pbx.called();
  t.same(there.invite?.list(H.route), WAY, 'in order, and without ours');
  there.answer(180);
  half.cancel();
  t.same(pbx.next('CANCEL').list(H.route), WAY);
  w.pass(40_000);
  pbx.heard();
  carol.ask({ method: 'MESSAGE', uri: 'sip:200@pbx.example.net', to: '<sip:200@pbx.example.net>', contact: false });
  t.same(pbx.next('MESSAGE').list(H.route), WAY);

  const dave = w.phone('dave', { at: '198.51.100.4:5060', domain: 'pbx.example.net' });
  t.notOk(register(dave, pbx, '').has(H.serviceRoute), 'control: none was given');
  dave.ask({ method: 'MESSAGE', uri: 'sip:200@pbx.example.net', to: '<sip:200@pbx.example.net>', contact: false });
  t.notOk(pbx.next('MESSAGE').has(H.route), 'and another phone’s is not taken');
});

tap.test('a refresh that the border answers says it again', async t => {
  const { w, pbx, carol } = world();
  register(carol, pbx, LINES);
  w.pass(20_000);
  carol.ask({ method: 'REGISTER', uri: 'sip:pbx.example.net', to: `<${carol.aor}>`, callId: carol.user });
  t.same(
    pbx.heard().filter(what => what === 'REGISTER'),
    [],
    'not asked',
  );
  t.same(carol.next(200).list(H.serviceRoute), ['<sip:203.0.113.10:5060;lr>']);
  t.same(w.registrar.lookup('carol@pbx.example.net')[0]?.serviceRoute, WAY);
});

tap.test('what can’t be walked whole is not walked', async t => {
  for (const bad of [
    headerLine('Service-Route', '<tel:+1>') + LINES,
    headerLine('Service-Route', 'nonsense'),
    LINES.repeat(9),
    headerLine('Service-Route', `<sip:${'x'.repeat(250)}@as;lr>`).repeat(9),
  ]) {
    const { w, pbx, carol } = world();
    t.notOk(register(carol, pbx, bad).has(H.serviceRoute));
    t.same(w.registrar.lookup('carol@pbx.example.net')[0]?.serviceRoute, []);
  }
  const { w, pbx, carol } = world();
  register(carol, pbx, LINES.repeat(8));
  t.equal(w.registrar.lookup('carol@pbx.example.net')[0]?.serviceRoute.length, 16, 'control');
});

tap.test('it outlives a restart; records of earlier versions are read', async t => {
  const { w, pbx, carol } = world();
  register(carol, pbx, LINES);
  const [b] = w.registrar.lookup('carol@pbx.example.net');
  if (b === undefined) return t.fail('control');
  const listener = w.realms.listener(b.flow.via);
  const whole = JSON.parse(JSON.stringify(writeRecord(b, listener, 1e12)));
  t.same(readRecord(whole)?.fields.serviceRoute, WAY);
  b.lease = undefined;
  const leaseless = readRecord(JSON.parse(JSON.stringify(writeRecord(b, listener, 1e12))));
  t.same(leaseless?.fields.serviceRoute, WAY);
  t.equal(leaseless?.lease, undefined);
  const old = readRecord(whole.slice(0, 20));
  t.equal(old?.fields.aor, 'carol@pbx.example.net');
  t.same(old?.fields.serviceRoute, []);
});
