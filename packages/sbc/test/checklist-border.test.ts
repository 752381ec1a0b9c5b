import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { answerChallenge, H } from '@drawbridge/sip';
import tap from 'tap';
import type { OpenedListener } from '../src/realms.js';
import { settled } from './dialog-phones.js';
import {
  ACCESS_TCP,
  ACCESS_UDP,
  BORDER,
  BorderWorld,
  CORE_UDP,
  PASSWORD,
  PBX,
  type Phone,
  talking,
} from './harness.js';
import { trunked } from './trunk-world.js';

/*
 * Rows of the border's checklist that no feature's own tests ask about: who gets in at all, who moves a call, where
 * anything may go, and what a stranger can learn. Each refusal stands beside what is allowed.
 */

const access = (transport: OpenedListener['transport'], port: number): OpenedListener => ({
  realm: 'access',
  transport,
  bind: { address: BORDER, port },
  advertise: { address: BORDER, port },
});
const MORE = [access('tls', 5061), access('ws', 8088), access('wss', 8443)];
const TRANSPORTS = [
  ['udp', ACCESS_UDP],
  ['tcp', ACCESS_TCP],
  ['tls', 4],
  ['ws', 5],
  ['wss', 6],
] as const;

let streams = 0;
function on(world: BorderWorld, user: string, via: number, domain = 'example.org'): Phone {
  const at = `198.51.100.${20 + via}:${41_000 + ++streams}`;
  const inner = via > 4 ? 'df7jal23ls0d.invalid' : '192.168.77.5:5062';
  if (via === ACCESS_UDP) return world.phone(user, { at, inner, domain });
  return world.phone(user, { at, inner, domain, via: world.openStream((streams << 8) | via, at) });
}

/** What of a stranger's request stays here. */
function kept(world: BorderWorld): number {
  const { shard } = world.border;
  return (
    world.transactions.serverCount +
    world.transactions.clientCount +
    world.border.callCount +
    shard.legs.size +
    shard.subscriptions.size +
    world.relay.size +
    world.registrar.bindings.of('alice@example.org').length
  );
}

/** Method → what a stranger hears who says that he is alice, and what one hears who names a domain that isn't ours. */
const MATRIX: readonly (readonly [method: string, alice: number, elsewhere: number])[] = [
  ['INVITE', 407, 403],
  ['REGISTER', 401, 401],
  ['MESSAGE', 407, 403],
  ['SUBSCRIBE', 407, 403],
  ['NOTIFY', 407, 403],
  ['PUBLISH', 407, 403],
  ['INFO', 407, 403],
  ['UPDATE', 407, 403],
  ['OPTIONS', 403, 403],
  ['REFER', 403, 403],
  ['BYE', 481, 481],
  ['PRACK', 481, 481],
  ['CANCEL', 481, 481],
  ['DANCE', 405, 405],
];

tap.test('71: every method of a stranger is refused over every transport, and leaves nothing', async t => {
  for (const [name, via] of TRANSPORTS) {
    const world = new BorderWorld({ listeners: MORE });
    const bob = world.phone('bob', { at: '198.51.100.2:6060' }).register();
    world.pass(40_000);
    bob.inbox.length = 0;
    const them = on(world, 'alice', via);
    for (const [method, asAlice, asOther] of MATRIX) {
      for (const [from, status] of [
        ['<sip:alice@example.org>;tag=1', asAlice],
        ['<sip:bob@example.org>;tag=1', asAlice],
        ['<sip:x@elsewhere.example>;tag=1', asOther],
        ['<sip:200@pbx.example.net>;tag=1', method === 'REGISTER' ? 401 : asOther],
      ] as const) {
        const uri = method === 'REGISTER' ? 'sip:example.org' : 'sip:bob@example.org';
        const to = method === 'REGISTER' ? from.replace(';tag=1', '') : '<sip:bob@example.org>';
        them.send(
          them.request({ method, uri, from, to, headers: 'Event: presence\r\nRefer-To: <sip:carol@example.org>\r\n' }),
        );
        t.same(them.heard(), [status], `${name} ${method} ${from}`);
      }
    }
    t.same(bob.heard(), [], `${name}: nothing reached anybody`);
    t.equal(kept(world), 0, `${name}: nothing is kept`);
    // The control: with the password each of them gets through.
    for (const method of ['INVITE', 'MESSAGE', 'SUBSCRIBE', 'NOTIFY', 'PUBLISH', 'INFO', 'UPDATE']) {
      them.inbox.length = 0;
      them.ask({ method, uri: 'sip:bob@example.org', to: '<sip:bob@example.org>', headers: 'Event: presence\r\n' });
      t.same(bob.heard(), [method], `${name} ${method} of alice herself`);
    }
    t.ok(kept(world) > 0, 'the detector of what is kept sees that');
  }
});

tap.test('37: a stranger can’t tell users that exist from others, and the digest is computed for both', async t => {
  const own = crypto.hash;
  let hashes = 0;
  const counting = ((...args: Parameters<typeof own>) => {
    hashes++;
    return own(...args);
  }) as typeof own;
  crypto.hash = counting;
  syncBuiltinESMExports();
  t.teardown(() => {
    crypto.hash = own;
    syncBuiltinESMExports();
  });
  for (const algorithms of [['MD5'], ['SHA-256', 'MD5'], ['SHA-512-256', 'SHA-256', 'MD5']]) {
    const world = new BorderWorld({ config: { auth: { algorithms } } });
    const them = world.phone('x', { at: '192.0.2.66:5060' });
    // Warm: what all requests to a domain share is computed once.
    const attempts = ['carol', 'alice', 'zzzzz'].map(user =>
      ['REGISTER', 'INVITE', 'MESSAGE'].map(method => {
        const uri = method === 'REGISTER' ? 'sip:example.org' : 'sip:bob@example.org';
        const named = { from: `<sip:${user}@example.org>;tag=1`, to: '<sip:bob@example.org>', contact: false as const };
        const parts = { method, uri, ...named, ...(method === 'REGISTER' ? { to: `<sip:${user}@example.org>` } : {}) };
        const shape = (m: { text: string }): string =>
          m.text
            .replaceAll(user, 'someone')
            .replace(/(nonce="|tag=|branch=[^;]*-|Call-ID: call-|CSeq: )[A-Za-z0-9_-]+/g, '$1x');
        const said: string[] = [];
        const counts: number[] = [];
        for (const password of [undefined, 'wrong']) {
          const before = them.inbox.length;
          const challenge = them.inbox.at(-1);
          const line =
            password === undefined || challenge === undefined
              ? ''
              : answerChallenge(challenge, { method, uri }, { realm: 'example.org', user, password }, world.random);
          hashes = 0;
          them.send(them.request({ ...parts, callId: 'call-1', headers: line ?? '' }));
          counts.push(hashes);
          const answer = them.inbox.at(-1);
          t.equal(them.inbox.length, before + 1);
          said.push(shape(answer ?? { text: '' }));
        }
        them.inbox.length = 0;
        return { said, counts };
      }),
    );
    const [, known, unknown] = attempts;
    t.same(known, unknown, algorithms.join());
    t.match(known?.[0]?.said[1], /^SIP\/2\.0 401 /);
    t.ok((known?.[0]?.counts[1] ?? 0) > 0, `${known?.[0]?.counts[1]} hashes for a wrong password`);
    t.equal(known?.[0]?.counts[0], 0, 'the control: none where there is nothing to check');
  }
});

tap.test(
  '37: nor by whom they call: a stranger hears the same whether the callee exists, is there, or isn’t',
  async t => {
    const world = new BorderWorld();
    world.phone('bob', { at: '198.51.100.2:6060' }).register();
    const them = world.phone('alice', { at: '192.0.2.66:5060' });
    const heard = (method: string, user: string, from: string): string => {
      const uri = `sip:${user}@example.org`;
      them.send(
        them.request({
          method,
          uri,
          to: `<${uri}>`,
          from,
          callId: 'c',
          branch: `z9hG4bK-${user}-${method}-${from.length}`,
        }),
      );
      const m = them.inbox.shift();
      return `${m?.status} ${m?.text.replaceAll(user, 'USER').replace(/nonce="[^"]*"|tag=[A-Za-z0-9_-]+|CSeq: \d+/g, '').length}`;
    };
    for (const method of ['INVITE', 'MESSAGE', 'OPTIONS', 'SUBSCRIBE'])
      for (const from of ['<sip:alice@example.org>;tag=1', '<sip:x@elsewhere.example>;tag=22']) {
        const [there, away, nobody] = ['bob', 'carol', 'nobody'].map(user => heard(method, user, from));
        t.equal(away, there, `${method} ${from}: a subscriber who isn’t there`);
        t.equal(nobody, there, `${method} ${from}: nobody`);
      }
    // The control: who has a password is told.
    for (const [user, status] of [
      ['carol', 480],
      ['nobody', 404],
    ] as const) {
      them.ask({ method: 'MESSAGE', uri: `sip:${user}@example.org`, to: `<sip:${user}@example.org>`, body: 'x' });
      them.next(status);
    }
  },
);

tap.test(
  '33: with all ids of a dialog, a third address does nothing in any method; a rebound port may go on',
  async t => {
    const METHODS = ['INVITE', 'UPDATE', 'BYE', 'INFO', 'MESSAGE', 'NOTIFY', 'REFER', 'SUBSCRIBE', 'PRACK', 'OPTIONS'];
    for (const side of ['alice', 'bob'] as const) {
      for (const method of METHODS) {
        const world = new BorderWorld({ relay: { inactivityMs: 0 } });
        const both = talking(world);
        const victim = both[side];
        const other = both[side === 'alice' ? 'bob' : 'alice'];
        const text = victim.text(method, {
          headers: `Event: refer\r\nRefer-To: <sip:carol@example.org>\r\nRAck: 1 1 INVITE\r\n`,
          ...(method === 'INVITE' ? { sdp: victim.phone.sdp({ port: 45_000 }) } : {}),
        });
        const thief = world.phone('mallory', { at: '192.0.2.66:5060' });
        thief.send(text);
        t.same(thief.heard(), [407], `${method} as ${side}`);
        // With credentials of somebody else's own: still not his call.
        thief.send(victim.text('ACK', { branch: 'z9hG4bK-no' }));
        t.same([thief.heard(), other.phone.heard(), victim.phone.heard()], [[], [], []]);
        t.equal(world.border.callCount, 1);
        // The control: the same bytes from the phone's own address, on another port.
        victim.phone.moveTo(victim.phone.at.replace(/:\d+$/, ':61000'));
        victim.phone.send(text);
        const status = victim.phone.inbox.find(m => !m.isRequest)?.status ?? 0;
        const crossed = other.phone.heard();
        t.ok(status !== 407 && status !== 403 && (status > 0 || crossed.length > 0), `${method}: ${status} ${crossed}`);
      }
    }
  },
);

tap.test('33: another subscriber’s password moves no call; Call-ID and tags used again find nothing', async t => {
  const world = new BorderWorld({ relay: { inactivityMs: 0 } });
  const { alice, bob } = talking(world);
  const carol = world.phone('carol', { at: '192.0.2.66:5060' }).register();
  const bye = alice.text('BYE');
  carol.send(bye);
  const challenge = carol.next(407);
  const proof = (user: string): string =>
    answerChallenge(
      challenge,
      { method: 'BYE', uri: alice.target },
      { realm: 'example.org', user, password: PASSWORD },
      world.random,
    ) ?? '';
  carol.send(alice.text('BYE', { headers: proof('carol') }));
  carol.next(403);
  t.same(bob.phone.heard(), []);
  // A new INVITE in the old Call-ID and From tag is a call of its own.
  carol.invite('sip:bob@example.org', { callId: alice.callId });
  t.equal(bob.phone.next('INVITE').toTag, '');
  // Without the peer's tag, or with that of another call.
  for (const broken of [
    alice.text('BYE').replace(`;tag=${alice.localTag}`, ''),
    alice.text('BYE').replace(`;tag=${alice.localTag}`, `;tag=${alice.localTag}x`),
    alice.text('BYE').replace(`tag=${alice.remoteTag}`, `tag=${alice.localTag}`),
    alice.text('BYE').replace(`tag=${alice.remoteTag}`, `tag=${bob.remoteTag}`),
  ]) {
    alice.phone.send(broken);
    t.same(alice.phone.heard(), [481]);
  }
  t.ok(alice.remoteTag.length >= 16, '96 bits');
  alice.send('BYE', { headers: '' });
  t.same(alice.phone.heard(), [200], 'the control');
});

tap.test(
  '34: a CANCEL ends a call only with branch, sent-by, Call-ID, tag, CSeq and address of its INVITE',
  async t => {
    const world = new BorderWorld();
    const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
    const bob = world.phone('bob', { at: '198.51.100.2:6060' }).register();
    const a = alice.invite('sip:bob@example.org');
    bob.called().answer(180);
    a.expect(180);
    const cancel = alice.request({
      method: 'CANCEL',
      uri: 'sip:bob@example.org',
      branch: a.branch,
      from: `${a.local};tag=${a.localTag}`,
      to: a.remote,
      callId: a.callId,
      cseq: a.cseq,
      contact: false,
    });
    const spoofed = [
      cancel.replace(a.branch, `${a.branch}x`),
      cancel.replace(/Via: SIP\/2\.0\/UDP [^;]+/, 'Via: SIP/2.0/UDP 192.168.77.5:5063'),
      cancel.replace(/Via: SIP\/2\.0\/UDP [^;]+/, 'Via: SIP/2.0/UDP 192.168.77.6:5062'),
      cancel.replace(a.callId, `${a.callId}x`),
      cancel.replace(`tag=${a.localTag}`, `tag=${a.localTag}x`),
      cancel.replace(`CSeq: ${a.cseq}`, `CSeq: ${a.cseq + 1}`),
    ];
    for (const text of spoofed) {
      t.not(text, cancel);
      alice.send(text);
      t.same(alice.heard(), [481]);
    }
    world.phone('mallory', { at: '198.51.100.3:5060' }).send(cancel);
    t.same(bob.heard(), []);
    alice.moveTo('198.51.100.1:61000');
    alice.send(cancel);
    t.same(alice.heard(), [200], 'the control: from a port that the NAT has changed');
    t.same(bob.heard(), ['CANCEL']);
  },
);

tap.test(
  '32: who registered at an upstream is known by his flow; his address alone lets nobody call elsewhere',
  async t => {
    const { world, carrier } = trunked();
    const pbx = world.phone('pbx', { at: PBX, inner: PBX, via: CORE_UDP, domain: 'pbx.example.net' });
    const bob = world.phone('bob', { at: '198.51.100.2:6060' }).register();
    const dora = world.phone('dora', { at: '198.51.100.9:5060', domain: 'pbx.example.net' });
    dora.send(dora.request({ method: 'REGISTER', uri: 'sip:pbx.example.net', to: `<${dora.aor}>` }));
    const register = pbx.next('REGISTER');
    pbx.send(
      `SIP/2.0 200 OK\r\nVia: ${register.get(H.via)}\r\nFrom: ${register.get(H.from)}\r\nTo: ${register.get(H.to)};tag=p\r\nCall-ID: ${register.callId}\r\nCSeq: ${register.cseq} REGISTER\r\nContact: ${register.get(H.contact)}\r\nContent-Length: 0\r\n\r\n`,
    );
    dora.next(200);
    // Somebody else behind the same NAT, who says that he is she.
    const thief = world.phone('dora', { at: '198.51.100.9:7777', domain: 'pbx.example.net' });
    for (const uri of ['sip:bob@example.org', 'sip:+4930123456@example.org']) {
      thief.send(thief.request({ method: 'INVITE', uri, to: `<${uri}>`, sdp: thief.sdp() }));
      t.same(thief.heard(), [403], uri);
    }
    t.same([bob.heard(), carrier.heard()], [[], []], 'neither a subscriber nor a trunk hears of it');
    thief.send(
      thief.request({
        method: 'INVITE',
        uri: 'sip:200@pbx.example.net',
        to: '<sip:200@pbx.example.net>',
        sdp: thief.sdp(),
      }),
    );
    t.same(pbx.heard(), ['INVITE'], 'her upstream may ask for the password itself');
    // The control: she herself.
    dora.send(
      dora.request({ method: 'INVITE', uri: 'sip:bob@example.org', to: '<sip:bob@example.org>', sdp: dora.sdp() }),
    );
    t.same(bob.heard(), ['INVITE']);
    dora.send(
      dora.request({
        method: 'INVITE',
        uri: 'sip:+4930123456@example.org',
        to: '<sip:+4930123456@example.org>',
        sdp: dora.sdp(),
      }),
    );
    t.same(carrier.heard(), ['INVITE']);
  },
);

tap.test(
  '36: A and B registered at each other, or forwarding or redirecting to each other: a few branches, then an end',
  async t => {
    // Contacts that name the border: ten each, each other's address.
    const w = new BorderWorld();
    const alice = w.phone('alice', { at: '198.51.100.1:5060' });
    const bob = w.phone('bob', { at: '198.51.100.2:6060' });
    for (let i = 0; i < 10; i++) {
      alice.ask({
        method: 'REGISTER',
        uri: 'sip:example.org',
        to: `<${alice.aor}>`,
        contact: `<sip:bob@${BORDER}:5060;n=${i}>`,
        callId: 'a',
      });
      bob.ask({
        method: 'REGISTER',
        uri: 'sip:example.org',
        to: `<${bob.aor}>`,
        contact: `<sip:alice@${BORDER}:5060;n=${i}>`,
        callId: 'b',
      });
      t.same([alice.next(200).list(H.contact).length, bob.next(200).list(H.contact).length], [i + 1, i + 1]);
    }
    w.phone('carol', { at: '198.51.100.3:5060' }).invite('sip:alice@example.org');
    t.same(
      alice.heard(),
      Array.from({ length: 10 }, () => 'INVITE'),
      'the contacts of one address, over the flow they came by',
    );
    t.same(bob.heard(), [], 'nobody else');
    w.pass(300_000);
    t.ok(alice.heard().length + bob.heard().length <= 10 * 7 + 40, 'and their repetitions');
    t.equal(w.border.callCount, 0);

    for (const [name, config, status] of [
      [
        'forwarding',
        { forwarding: { 'alice@example.org': { busy: 'bob' }, 'bob@example.org': { busy: 'alice' } } },
        486,
      ],
      ['redirection', { calls: { redirect: 'recurse' } }, 302],
    ] as const) {
      const world = new BorderWorld({ config });
      const phones = (['alice', 'bob'] as const).flatMap(user =>
        Array.from({ length: 5 }, (_, i) =>
          world
            .phone(user, { at: `198.51.100.${user === 'alice' ? 1 : 2}:${5060 + i}`, inner: `192.168.1.${i + 1}:5060` })
            .register(),
        ),
      );
      const caller = world.phone('carol', { at: '198.51.100.3:5060' });
      const call = caller.invite('sip:alice@example.org');
      let branches = 0;
      for (let open = true; open; ) {
        open = false;
        for (const phone of phones) {
          while (phone.inbox[0]?.method === 'ACK') phone.inbox.shift();
          if (phone.inbox[0]?.method !== 'INVITE') continue;
          open = true;
          branches++;
          const half = phone.called();
          const to = phone.user === 'alice' ? 'bob' : 'alice';
          half.answer(status, { headers: `Contact: <sip:${to}@example.org>\r\n` });
          if (branches > 60) throw new Error(`${name}: more than 60 branches`);
        }
      }
      t.ok(branches >= 10 && branches <= 20, `${name}: ${branches} branches`);
      t.ok((caller.inbox.at(-1)?.status ?? 0) >= 400, `${name}: ${caller.inbox.at(-1)?.status}`);
      call.send('ACK', { branch: call.branch });
      settled(t, world);
    }
  },
);

tap.test(
  '35: whatever names a stranger’s address, nothing leaves to it; the same detector sees what leaves to a trunk',
  async t => {
    const VICTIM = '192.0.2.99';
    const { world, alice, carrier } = trunked({
      config: {
        calls: { redirect: 'recurse' },
        methods: { REFER: 'authenticated' },
        forwarding: { 'carol@example.org': { unconditional: `sip:x@${VICTIM}` } },
      },
    });
    const bob = world.phone('bob', { at: '198.51.100.2:6060' }).register();
    const known = new Set([alice.at, bob.at, '10.0.0.7:5060', '10.0.0.8:5060']);
    const elsewhere = (): string[] =>
      world.wires.filter(w => w.direction === 'out' && !known.has(w.peer)).map(w => `${w.peer} ${w.text.slice(0, 40)}`);
    const uri = 'sip:bob@example.org';
    const targets: Parameters<Phone['ask']>[0][] = [];
    for (const method of ['INVITE', 'MESSAGE', 'SUBSCRIBE', 'REFER', 'OPTIONS', 'PUBLISH']) {
      const base = { method, to: `<${uri}>`, headers: `Event: presence\r\nRefer-To: <sip:x@${VICTIM}>\r\n` };
      targets.push(
        { ...base, uri: `sip:bob@${VICTIM}` },
        { ...base, uri: `sip:${VICTIM}` },
        { ...base, uri: `sip:bob@example.org;maddr=${VICTIM}` },
        { ...base, uri: `sip:bob@${VICTIM};maddr=example.org` },
        { ...base, uri, routes: [`<sip:${VICTIM};lr>`] },
        { ...base, uri, routes: [`<sip:${BORDER};lr>`, `<sip:${VICTIM};lr>`] },
        { ...base, uri, routes: [`<sip:${BORDER};lr;maddr=${VICTIM}>`] },
        { ...base, uri, headers: `${base.headers}Record-Route: <sip:${VICTIM};lr>\r\nPath: <sip:${VICTIM};lr>\r\n` },
      );
    }
    for (const o of targets) {
      alice.ask(o);
      if (bob.inbox[0]?.method === 'INVITE') {
        const b = bob.called();
        b.answer(302, { headers: `Contact: <sip:y@${VICTIM}>\r\nRecord-Route: <sip:${VICTIM};lr>\r\n` });
      }
      world.pass(1000);
      bob.inbox.length = 0;
      alice.inbox.length = 0;
    }
    // Inside a dialog: a target refresh, a transfer and a route set that name the victim.
    const both = talking(world, { caller: alice, callee: bob });
    both.alice.send('REFER', { headers: `Contact: <sip:alice@${VICTIM}>\r\nRefer-To: <sip:x@${VICTIM}>\r\n` });
    alice.inbox.length = 0;
    bob.inbox.length = 0;
    alice.send(
      both.alice
        .text('UPDATE', { sdp: alice.sdp({ version: 2 }) })
        .replace(/Contact: .*\r\n/, `Contact: <sip:alice@${VICTIM}>\r\n`),
    );
    both.bob.reply(bob.next('UPDATE'), 200, { sdp: bob.sdp() });
    both.bob.send('INFO', { body: 'Signal=1\r\n', contentType: 'application/dtmf-relay' });
    t.equal(alice.inbox.at(-1)?.uri, `sip:alice@${VICTIM}`, 'the phone gets back what it said, over its own flow');
    // A subscriber whose calls are sent on there.
    alice.ask({ method: 'INVITE', uri: 'sip:carol@example.org', to: '<sip:carol@example.org>', sdp: alice.sdp() });
    world.pass(40_000);
    t.same(elsewhere(), []);
    t.equal(world.take('ask').filter(e => JSON.stringify(e).includes(VICTIM)).length, 0, 'and nobody is asked for it');
    known.delete('10.0.0.7:5060');
    alice.inbox.length = 0;
    alice.ask({
      method: 'INVITE',
      uri: 'sip:+4930123456@example.org',
      to: '<sip:+4930123456@example.org>',
      sdp: alice.sdp(),
    });
    t.ok(
      elsewhere().some(line => line.startsWith('10.0.0.7:5060 INVITE')),
      'the control',
    );
    t.ok(carrier.inbox.length > 0);
  },
);

tap.test('61: Max-Forwards is one less on the other side of every request, and at 0 nothing crosses', async t => {
  const world = new BorderWorld({ config: { methods: { REFER: 'authenticated' } }, relay: { inactivityMs: 0 } });
  const { alice, bob } = talking(world);
  const headers = 'Event: presence\r\nRefer-To: <sip:carol@example.org>\r\n';
  for (const method of ['INFO', 'MESSAGE', 'NOTIFY', 'UPDATE', 'INVITE']) {
    const o = method === 'INFO' ? { body: 'Signal=1\r\n', contentType: 'application/dtmf-relay' } : {};
    const sdp = method === 'INVITE' || method === 'UPDATE' ? { sdp: alice.phone.sdp({ version: 9 }) } : {};
    alice.send(method, { ...o, ...sdp, headers, maxForwards: 0 });
    t.same(bob.phone.heard(), [], `${method} in a dialog at 0`);
    t.equal(alice.phone.inbox.at(-1)?.status, 483);
    alice.send(method, { ...o, ...sdp, headers, maxForwards: 7 });
    const m = bob.phone.next(method);
    t.equal(m.maxForwards, 6, `${method} in a dialog`);
    bob.reply(m, 500);
    alice.phone.inbox.length = 0;
    bob.phone.inbox.length = 0;
  }
  for (const method of ['INVITE', 'MESSAGE', 'SUBSCRIBE', 'PUBLISH', 'REFER']) {
    for (const [maxForwards, crosses] of [
      [0, []],
      [1, [0]],
      [9, [8]],
    ] as const) {
      alice.phone.ask({ method, uri: bob.phone.aor, to: `<${bob.phone.aor}>`, headers, maxForwards });
      t.same(
        bob.phone.inbox.splice(0).map(m => m.maxForwards),
        crosses,
        `${method} at ${maxForwards}`,
      );
      if (crosses.length === 0) t.equal(alice.phone.inbox.at(-1)?.status, 483);
      alice.phone.inbox.length = 0;
    }
  }
});

tap.test('23, 31: one subscriber’s subscriptions have a cap of their own, and give their places back', async t => {
  const world = new BorderWorld({ config: { calls: { subscriptionsPerSubscriber: 3 } } });
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const bob = world.phone('bob', { at: '198.51.100.2:6060' }).register();
  const carol = world.phone('carol', { at: '198.51.100.3:6060' }).register();
  const subscribe = (by: Phone): number | undefined => {
    by.inbox.length = 0;
    by.ask({ method: 'SUBSCRIBE', uri: bob.aor, to: `<${bob.aor}>`, headers: 'Event: presence\r\nExpires: 60\r\n' });
    const m = bob.inbox.find(x => x.method === 'SUBSCRIBE');
    bob.inbox.length = 0;
    if (m !== undefined)
      bob.send(
        `SIP/2.0 200 OK\r\nVia: ${m.get(H.via)}\r\nFrom: ${m.get(H.from)}\r\nTo: ${m.get(H.to)};tag=n\r\nCall-ID: ${m.callId}\r\nCSeq: ${m.cseq} SUBSCRIBE\r\nContact: <${bob.contact}>\r\nExpires: 60\r\nContent-Length: 0\r\n\r\n`,
      );
    return by.inbox.find(x => x.status >= 200)?.status;
  };
  t.same(
    [1, 2, 3, 4].map(() => subscribe(alice)),
    [200, 200, 200, 403],
  );
  t.equal(world.count('session-limit'), 1);
  t.equal(subscribe(carol), 200, 'the control: somebody else');
  world.pass(200_000);
  t.equal(world.border.shard.subscriptions.size, 0);
  t.equal(world.border.shard.subscriptionsOf.size, 0);
  alice.inbox.length = 0;
  bob.inbox.length = 0;
  alice.register();
  bob.register();
  t.equal(subscribe(alice), 200, 'their time is over');
});
