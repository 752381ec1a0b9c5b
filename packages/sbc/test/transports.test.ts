import type { Via } from '@drawbridge/core';
import { H } from '@drawbridge/sip';
import t from 'tap';
import { configSchema } from '../src/config.js';
import { planRealms } from '../src/plan-realms.js';
import type { OpenedListener } from '../src/realms.js';
import { BORDER, BORDER_CORE, BorderWorld, type Phone } from './harness.js';

const listener = (realm: string, transport: OpenedListener['transport'], port: number): OpenedListener => {
  const at = { address: realm === 'access' ? BORDER : BORDER_CORE, port };
  return { realm, transport, bind: at, advertise: at };
};
const LISTENERS = [
  listener('access', 'tls', 5061),
  listener('access', 'ws', 8088),
  listener('access', 'wss', 8443),
  listener('core', 'tls', 5061),
];
const TLS = 4;
const WS = 5;
const WSS = 6;
const CORE_TLS = 7;

/** A border with every transport; what it says of its streams is written down. */
class World extends BorderWorld {
  readonly vouched: Set<Via>;
  readonly expected: string[];
  readonly names: Map<Via, readonly string[]>;
  #serial = 1;

  constructor(next?: readonly string[]) {
    const vouched = new Set<Via>();
    const expected: string[] = [];
    const names = new Map<Via, readonly string[]>();
    super({
      listeners: LISTENERS,
      ...(next === undefined ? {} : { next }),
      streams: () => ({
        namesOf: via => names.get(via) ?? [],
        isDialled: () => false,
        expect: (to, name) => void expected.push(`${to.address}:${to.port} ${name}`),
        vouch: via => void vouched.add(via),
      }),
    });
    this.vouched = vouched;
    this.expected = expected;
    this.names = names;
  }

  /** A user agent on a stream of its own. */
  on(
    user: string,
    listener: number,
    o: { at?: string; inner?: string; domain?: string; names?: readonly string[] } = {},
  ): Phone {
    const at = o.at ?? `198.51.100.${listener}:${40_000 + this.#serial}`;
    const via = this.#serial++ * 256 + listener;
    if (o.names !== undefined) this.names.set(via, o.names);
    this.openStream(via, at);
    return this.phone(user, { ...o, at, via });
  }
}

t.test('a call between TLS, WebSocket and UDP: each side is told how to reach us there', async t => {
  const w = new World();
  const phones: [string, string, Phone][] = [
    ['TLS', `${BORDER}:5061;transport=tls`, w.on('bob', TLS)],
    ['WS', `${BORDER}:8088;transport=ws`, w.on('bob', WS, { inner: 'df7jal23ls0d.invalid' })],
    ['WSS', `${BORDER}:8443;transport=ws`, w.on('bob', WSS, { inner: 'df7jal23ls0e.invalid' })],
  ];
  const alice = w.phone('alice', { at: '198.51.100.1:5060' }).register();
  for (const [via, contact, bob] of phones) {
    bob.register();
    const half = alice.invite('sip:bob@example.org');
    const invite = bob.next('INVITE');
    t.match(invite.get(H.via), new RegExp(`^SIP/2\\.0/${via} ${BORDER.replaceAll('.', '\\.')}:`));
    t.match(invite.get(H.contact), new RegExp(`^<sip:[^@]+@${contact.replaceAll('.', '\\.')}>$`), via);
    t.ok(w.vouched.has(bob.via), 'a registered stream may stay');
    bob.unplug();
    w.closeStream(bob.via);
    t.same(w.registrar.lookup('bob@example.org'), [], 'a dead flow takes its bindings along');
    w.pass(200_000);
    t.ok(half);
    alice.inbox.length = 0;
  }
  t.equal(w.transactions.clientCount, 0);
});

t.test('a WebSocket message needs no Content-Length, one on TCP does', async t => {
  const w = new World();
  const text = (p: Phone): string =>
    p.request({ method: 'OPTIONS', uri: `sip:${BORDER}`, to: `<sip:${BORDER}>` }).replace(/Content-Length: 0\r\n/, '');
  const browser = w.on('alice', WS, { inner: 'x.invalid' });
  browser.send(text(browser));
  t.equal(browser.next(200).status, 200);
  const desk = w.on('bob', 1);
  desk.send(text(desk));
  t.equal(desk.next(400).status, 400);
});

t.test('only who proves himself is vouched for', async t => {
  const w = new World(['sip:10.0.0.5:5060;transport=tcp']);
  const prober = w.on('alice', TLS);
  for (let i = 0; i < 3; i++) {
    prober.send(prober.request({ method: 'OPTIONS', uri: `sip:${BORDER}`, to: `<sip:${BORDER}>` }));
    prober.next(200);
  }
  prober.send(prober.request({ method: 'REGISTER', uri: 'sip:example.org', to: '<sip:alice@example.org>' }));
  prober.next(401);
  t.notOk(w.vouched.has(prober.via), 'answers to anybody and challenges are no proof');
  const carol = w.on('carol', WSS).register();
  t.ok(w.vouched.has(carol.via));
  const pbx = w.on('pbx', 3, { at: '10.0.0.5:33000', inner: '10.0.0.5:5060' });
  pbx.send(pbx.request({ method: 'OPTIONS', uri: `sip:${BORDER_CORE}`, to: `<sip:${BORDER_CORE}>` }));
  t.ok(w.vouched.has(pbx.via), "a configured peer's address");
});

t.test('a stream is vouched for once the upstream has taken its registration', async t => {
  const w = new World(['sip:10.0.0.5:5060;transport=udp']);
  const pbx = w.phone('pbx', { at: '10.0.0.5:5060', via: 2 });
  const dora = w.on('dora', TLS, { domain: 'pbx.example.net' });
  dora.send(
    dora.request({ method: 'REGISTER', uri: 'sip:pbx.example.net', to: `<${dora.aor}>`, headers: 'Expires: 600\r\n' }),
  );
  const register = pbx.next('REGISTER');
  t.notOk(w.vouched.has(dora.via));
  pbx.send(
    `SIP/2.0 200 OK\r\n${['Via', 'From', 'Call-ID', 'CSeq']
      .map(n => `${n}: ${register.get({ Via: H.via, From: H.from, 'Call-ID': H.callId, CSeq: H.cseq }[n] ?? 0)}\r\n`)
      .join(
        '',
      )}To: ${register.get(H.to)};tag=x\r\nContact: ${register.get(H.contact).replace(/;expires=\d+/, '')};expires=600\r\nContent-Length: 0\r\n\r\n`,
  );
  dora.next(200);
  t.ok(w.vouched.has(dora.via));
});

t.test('sips: goes over TLS to the end or nowhere', async t => {
  const w = new World();
  const carol = w.on('carol', TLS).register();
  const bob = w.phone('bob', { at: '198.51.100.2:5060' }).register();
  const call = (p: Phone, uri: string): void => void p.ask({ method: 'INVITE', uri, to: `<${uri}>`, sdp: p.sdp() });
  call(carol, 'sips:bob@example.org');
  const refused = carol.inbox.at(-1);
  t.equal(refused?.status, 480);
  t.match(refused?.text, /Warning: 380 /);
  t.same(bob.heard(), []);
  t.equal(w.count('no-secure-way'), 1);
  call(bob, 'sips:carol@example.org');
  t.equal(bob.inbox.at(-1)?.status, 416, 'asked for over UDP the promise is broken already');
  const secure = w.on('bob', TLS, { at: '198.51.100.2:41000' });
  secure.register({ contact: '<sips:bob@198.51.100.2:41000>' });
  carol.inbox.length = 0;
  call(carol, 'sips:bob@example.org');
  t.same(
    bob.heard().filter(x => x === 'INVITE'),
    [],
    'not to the contact on UDP',
  );
  const invite = secure.next('INVITE');
  t.equal(invite.uri, 'sips:bob@198.51.100.2:41000');
  t.match(invite.get(H.contact), /^<sips:[^@]+@203\.0\.113\.10:5061>$/);
  secure.send(
    `SIP/2.0 180 Ringing\r\nVia: ${invite.get(H.via)}\r\nFrom: ${invite.get(H.from)}\r\nTo: ${invite.get(H.to)};tag=b\r\nCall-ID: ${invite.callId}\r\nCSeq: ${invite.get(H.cseq)}\r\nContact: <sips:bob@198.51.100.2:41000>\r\nContent-Length: 0\r\n\r\n`,
  );
  const ringing = carol.inbox.at(-1);
  t.equal(ringing?.status, 180);
  t.match(ringing?.get(H.contact), /^<sips:[^@]+@203\.0\.113\.10:5061>$/);
  // The control: the same pair by sip.
  const other = w.on('alice', TLS).register();
  call(other, 'sip:carol@example.org');
  t.match(
    carol.inbox.find(m => m.method === 'INVITE')?.get(H.contact),
    /^<sip:[^@]+@203\.0\.113\.10:5061;transport=tls>$/,
  );
});

t.test(
  'toward an upstream by sips: the certificate must name it, and aliases serve who has proven his name',
  async t => {
    const w = new World(['sip:10.0.0.5:5061;transport=tls']);
    const alice = w.on('alice', TLS, { domain: 'pbx.example.net' });
    const register = (): void =>
      alice.send(alice.request({ method: 'REGISTER', uri: 'sip:pbx.example.net', to: `<${alice.aor}>` }));
    register();
    t.same(w.expected, ['10.0.0.5:5061 10.0.0.5']);
    const sentTo = (): [number, string] | undefined => {
      const last = w.lost.filter(x => x.text.startsWith('REGISTER')).at(-1);
      return last === undefined ? undefined : [last.via & 0xff, last.peer];
    };
    t.same(sentTo(), [CORE_TLS, '10.0.0.5:5061']);
    t.match(w.lost.at(-1)?.text, /Contact: <sip:[^@]+@10\.0\.0\.1:5061;transport=tls>/);
    const options = (p: Phone): void =>
      p.send(
        p
          .request({ method: 'OPTIONS', uri: `sip:${BORDER_CORE}`, to: `<sip:${BORDER_CORE}>` })
          .replace(/(Via: [^\r]*)/, '$1;alias'),
      );
    const plain = w.on('pbx', CORE_TLS, { at: '10.0.0.5:33001', inner: '10.0.0.5:5061' });
    const wrong = w.on('pbx', CORE_TLS, { at: '10.0.0.5:33002', inner: '10.0.0.5:5061', names: ['10.0.0.6'] });
    const right = w.on('pbx', CORE_TLS, { at: '10.0.0.5:33003', inner: '10.0.0.5:5061', names: ['10.0.0.5'] });
    for (const [p, reused] of [
      [plain, false],
      [wrong, false],
    ] as const) {
      options(p);
      p.next(200);
      register();
      t.equal(p.heard().includes('REGISTER'), reused);
    }
    wrong.unplug();
    w.closeStream(wrong.via);
    options(right);
    right.next(200);
    register();
    t.same(right.heard(), ['REGISTER'], 'over the connection that the peer opened');
    right.unplug();
    w.closeStream(right.via);
    register();
    t.same(sentTo(), [CORE_TLS, '10.0.0.5:5061'], 'dialled again');
  },
);

t.test('sips: to an upstream goes to its TLS hops, and its plain ones are passed over', async t => {
  const w = new World(['sip:10.0.0.5:5060;transport=udp', 'sip:10.0.0.6:5061;transport=tls']);
  const carol = w.on('carol', TLS).register();
  const sent = (uri: string): string[] => {
    const before = w.lost.length;
    carol.inbox.length = 0;
    carol.ask({ method: 'INVITE', uri, to: `<${uri}>`, sdp: carol.sdp() });
    return w.lost.slice(before).map(x => `${x.via & 0xff} ${x.peer} ${x.text.slice(0, x.text.indexOf(' SIP/2.0'))}`);
  };
  t.same(sent('sip:dora@pbx.example.net'), ['2 10.0.0.5:5060 INVITE sip:dora@pbx.example.net'], 'the control');
  t.same(sent('sips:dora@pbx.example.net'), [`${CORE_TLS} 10.0.0.6:5061 INVITE sips:dora@pbx.example.net`]);
});

t.test('a response whose connection died goes where a configured peer listens; a phone is never dialled', async t => {
  const w = new World(['sip:10.0.0.5:5060;transport=tcp']);
  const bob = w.phone('bob', { at: '198.51.100.2:5060' }).register();
  const pbx = w.on('pbx', 3, { at: '10.0.0.5:33000', inner: '10.0.0.5:5070' });
  const carol = w.on('carol', 1, { inner: '192.168.0.9:5060' }).register();
  const answered = (from: Phone, send: () => void): string[] => {
    send();
    const invite = bob.next('INVITE');
    from.unplug();
    w.closeStream(from.via);
    const before = w.lost.length;
    bob.send(
      `SIP/2.0 486 Busy Here\r\nVia: ${invite.get(H.via)}\r\nFrom: ${invite.get(H.from)}\r\nTo: ${invite.get(H.to)};tag=b\r\nCall-ID: ${invite.callId}\r\nCSeq: ${invite.get(H.cseq)}\r\nContent-Length: 0\r\n\r\n`,
    );
    bob.inbox.length = 0;
    return w.lost.slice(before).map(x => `${x.via} ${x.peer} ${x.text.slice(0, 11)}`);
  };
  const invite = (p: Phone) => () =>
    p.send(p.request({ method: 'INVITE', uri: 'sip:bob@example.org', to: '<sip:bob@example.org>', sdp: p.sdp() }));
  t.same(answered(pbx, invite(pbx)), ['3 10.0.0.5:5070 SIP/2.0 486']);
  t.same(
    answered(
      carol,
      () =>
        void carol.ask({ method: 'INVITE', uri: 'sip:bob@example.org', to: '<sip:bob@example.org>', sdp: carol.sdp() }),
    ),
    [],
  );
  w.pass(300_000);
  t.equal(w.transactions.serverCount + w.transactions.clientCount, 0);
  t.equal(w.border.callCount, 0);
});

t.test('ten INVITEs and a reset, a thousand times: no call, transaction, timer or flow is left', async t => {
  const w = new World();
  w.recording = false;
  w.phone('bob', { at: '198.51.100.2:5060' }).register();
  for (let round = 0; round < 1000; round++) {
    const alice = w.on('alice', round % 2 === 0 ? TLS : WSS);
    alice.ask({ method: 'INVITE', uri: 'sip:bob@example.org', to: '<sip:bob@example.org>', sdp: alice.sdp() });
    for (let i = 1; i < 10; i++)
      alice.send(alice.request({ method: 'INVITE', uri: 'sip:bob@example.org', to: '<sip:bob@example.org>' }));
    if (round === 0) t.ok(w.border.callCount > 0, 'the detector sees calls');
    alice.unplug();
    w.closeStream(alice.via);
    if (round % 10 === 9) w.pass(200_000);
    w.events.length = 0;
    w.lost.length = 0;
  }
  w.pass(400_000);
  t.equal(w.border.callCount, 0);
  t.equal(w.transactions.serverCount + w.transactions.clientCount, 0);
  t.ok(w.flows.size <= 1);
});

t.test('realms say where they listen and with what certificate', async t => {
  const config = (sip: object, tls?: object) =>
    configSchema.safeParse({ realms: { out: { bind: [BORDER], sip, ...(tls === undefined ? {} : { tls }) } } });
  const bare = config({ tls: 5061 });
  t.match(bare.error?.issues[0], { path: ['realms', 'out', 'sip', 'tls'], message: /add tls: \{ certificate/ });
  t.match(config({ wss: 443 }).error?.issues[0]?.path, ['realms', 'out', 'sip', 'wss']);
  t.ok(config({ ws: 80 }).success, 'without TLS no certificate');
  const full = config({ tls: 5061, ws: 8088, wss: 8443, tcp: false }, { certificate: 'a.pem', key: 'b.pem' });
  t.ok(full.success);
  const machine = { primary: { 4: BORDER, 6: undefined }, loopback: { 4: undefined, 6: undefined }, all: [BORDER] };
  t.same(
    planRealms(full.data as Parameters<typeof planRealms>[0], machine).realms[0]?.listeners.map(
      l => `${l.transport} ${l.bind.port}`,
    ),
    ['udp 5060', 'tls 5061', 'ws 8088', 'wss 8443'],
  );
});
