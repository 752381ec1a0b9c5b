import { type DigestAlgorithm, digestResponse, H, ha1, headerLine, type MessageView, parseAuth } from '@drawbridge/sip';
import tap from 'tap';
import { BORDER_CORE, BorderWorld, CORE_UDP, type Phone, replyTo } from './harness.js';
import { answered, CARRIER, hangUp, trunkOf } from './trunk-world.js';

function registering(o: object = {}, more: object = {}): { world: BorderWorld; carrier: Phone } {
  const world = new BorderWorld({
    config: {
      trunks: {
        carrier: {
          next: [`sip:${CARRIER}`],
          host: 'carrier.example',
          options: false,
          register: { user: 'acct', password: 'pw', expires: '1h', ...o },
          dids: { '+4930555': 'alice@example.org' },
          ...more,
        },
      },
      numbering: { country: '49' },
      routes: [{ name: 'out', to: { trunk: 'carrier' } }],
    },
  });
  const carrier = world.phone('carrier', { at: CARRIER, inner: CARRIER, via: CORE_UDP, domain: 'carrier.example' });
  return { world, carrier };
}

function nextRegister({ world, carrier }: { world: BorderWorld; carrier: Phone }, within = 2000): MessageView {
  world.pass(within, () => carrier.inbox.length > 0);
  return carrier.next('REGISTER');
}

const says = (carrier: Phone, m: MessageView, status: number, headers = ''): void =>
  carrier.send(replyTo(m, status).replace('Content-Length', `${headers}Content-Length`));

const challenge = (nonce = 'n1', more = ''): string =>
  headerLine('WWW-Authenticate', `Digest realm="carrier.realm",nonce="${nonce}",algorithm=MD5,qop="auth"${more}`);

/** What the registrar computes from its own copy of the password. */
function isRight(m: MessageView, password = 'pw'): boolean {
  const p = parseAuth(m.get(H.authorization))?.params;
  if (p === undefined) return false;
  const algorithm = 'MD5' as DigestAlgorithm;
  const response = digestResponse({
    algorithm,
    ha1: ha1(algorithm, 'acct', 'carrier.realm', password),
    method: 'REGISTER',
    uri: m.uri,
    nonce: p.get('nonce') ?? '',
    qop: 'auth',
    nc: p.get('nc') ?? '',
    cnonce: p.get('cnonce') ?? '',
    body: '',
  });
  return response === p.get('response');
}

function granted(carrier: Phone, m: MessageView, seconds: number): void {
  const contact = m.get(H.contact).replace('>', `>;expires=${seconds}`);
  says(carrier, m, 200, `Contact: <sip:other@192.0.2.1>;expires=9\r\nContact: ${contact}\r\n`);
}

tap.test('registers, answers the challenge, and refreshes before what was granted is over', async t => {
  const w = registering();
  const { world, carrier } = w;
  const first = nextRegister(w);
  t.equal(first.uri, 'sip:carrier.example');
  t.match(first.get(H.from), /^<sip:acct@carrier\.example>;tag=/);
  t.equal(first.get(H.to), '<sip:acct@carrier.example>');
  t.equal(first.get(H.contact), `<sip:acct@${BORDER_CORE}:5060>`);
  t.equal(first.get(H.expires), '3600');
  t.equal(first.get(H.authorization), '');
  says(carrier, first, 401, challenge());
  const second = carrier.next('REGISTER');
  t.equal(second.callId, first.callId);
  t.equal(second.cseq, first.cseq + 1);
  t.equal(isRight(second), true);
  t.equal(isRight(second, 'other'), false, 'the check can fail');
  granted(carrier, second, 600);
  t.equal(trunkOf(world, 'carrier').registered, true);
  t.match(world.take('trunk-registration'), [{ registered: true, why: '200' }]);
  const began = world.now;
  const refresh = nextRegister(w, 600_000);
  const after = (world.now - began) / 600_000;
  t.ok(after >= 0.85 && after <= 0.905, `refreshed after ${after.toFixed(3)} of the time`);
  t.equal(refresh.callId, first.callId);
  t.ok(refresh.cseq > second.cseq);
  says(carrier, refresh, 401, challenge('n2', ',stale=true'));
  const third = carrier.next('REGISTER');
  says(carrier, third, 401, challenge('n3', ',stale=true'));
  granted(carrier, carrier.next('REGISTER'), 600);
  t.equal(trunkOf(world, 'carrier').registered, true);
  t.notMatch(JSON.stringify(world.events), /"pw"/);
  t.notMatch(world.wires.map(x => x.text).join(), /\bpw\b/, 'the password never travels');
});

tap.test('423 is honoured, a wrong password and silence are repeated ever more slowly', async t => {
  const w = registering({ expires: '60s' });
  const { world, carrier } = w;
  const first = nextRegister(w);
  says(carrier, first, 423, 'Min-Expires: 1800\r\n');
  const longer = carrier.next('REGISTER');
  t.equal(longer.get(H.expires), '1800');
  says(carrier, longer, 401, challenge());
  const answer = carrier.next('REGISTER');
  says(carrier, answer, 401, challenge('n2'));
  t.same(carrier.heard(), [], 'the same password is not tried twice in a row');
  t.match(world.take('trunk-registration'), [{ registered: false, why: '401' }]);
  const gaps: number[] = [];
  for (let i = 0; i < 6; i++) {
    const began = world.now;
    const again = nextRegister(w, 1_000_000);
    gaps.push((world.now - began) / 1000);
    says(carrier, again, 503);
  }
  for (const [i, gap] of gaps.entries()) {
    const about = 5 * 2 ** i;
    t.ok(gap >= about * 0.74 && gap <= about * 1.26, `try ${i}: after ${gap.toFixed(1)} s, about ${about}`);
  }
  for (let i = 0; i < 6; i++) says(carrier, nextRegister(w, 1_000_000), 503);
  const began = world.now;
  nextRegister(w, 1_000_000);
  t.ok(world.now - began <= 751_000, 'never more than twelve and a half minutes');
  // A 423 that wants what nobody would promise is a failure.
  const odd = registering();
  says(odd.carrier, nextRegister(odd), 423, 'Min-Expires: 99999999\r\n');
  t.same(odd.carrier.heard(), []);
});

tap.test('calls come in to the registered contact, whoever To says is meant; and go out as the account', async t => {
  const w = registering();
  const { world, carrier } = w;
  granted(carrier, nextRegister(w), 600);
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const ids = { branch: 'z9hG4bK-in', callId: 'in@carrier', cseq: 1 };
  const call = carrier.request({
    ...ids,
    method: 'INVITE',
    uri: `sip:acct@${BORDER_CORE}:5060`,
    to: '<sip:+4930555@carrier.example>',
    from: '<sip:+49170@carrier.example>;tag=c1',
    sdp: carrier.sdp(),
  });
  carrier.send(call);
  const b = alice.called();
  b.answer(486);
  alice.next('ACK');
  t.equal(carrier.next(100).status, 100);
  const busy = carrier.next(486);
  carrier.send(
    carrier.request({
      ...ids,
      method: 'ACK',
      uri: `sip:acct@${BORDER_CORE}:5060`,
      to: busy.get(H.to),
      from: '<sip:+49170@carrier.example>;tag=c1',
      contact: false,
    }),
  );
  const a = alice.invite('sip:+4930123456@example.org');
  t.match(carrier.inbox[0]?.get(H.from), /^<sip:alice@carrier\.example>;tag=/, 'the provider knows its own host');
  hangUp(a, answered(a, carrier));
  // The realm that the registrar named serves calls too.
  says(carrier, nextRegister(w, 600_000), 401, challenge('n7'));
  granted(carrier, carrier.next('REGISTER'), 600);
  const c = alice.invite('sip:+4930123456@example.org');
  const first = carrier.called();
  first.answer(407, {
    headers: headerLine('Proxy-Authenticate', 'Digest realm="carrier.realm",nonce="c1",algorithm=MD5'),
  });
  carrier.next('ACK');
  t.match(carrier.inbox[0]?.get(H.proxyAuthorization), /realm="carrier\.realm",nonce="c1"/);
  hangUp(c, answered(c, carrier));
});

tap.test('the end takes the registration back', async t => {
  const w = registering();
  const { world, carrier } = w;
  says(carrier, nextRegister(w), 401, challenge());
  granted(carrier, carrier.next('REGISTER'), 600);
  world.run(now => world.trunkWatch.unregister(now));
  const last = carrier.next('REGISTER');
  t.equal(last.get(H.expires), '0');
  says(carrier, last, 401, challenge('n2'));
  const proven = carrier.next('REGISTER');
  t.equal(proven.get(H.expires), '0');
  t.equal(isRight(proven), true);
  says(carrier, proven, 200);
  t.equal(trunkOf(world, 'carrier').registered, false);
  world.pass(4_000_000);
  t.same(carrier.heard(), [], 'and no refresh follows');
});
