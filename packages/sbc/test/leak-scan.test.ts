import { H, type MessageView } from '@drawbridge/sip';
import tap from 'tap';
import { ack, prack, RELIABLE, rseq } from './dialog-phones.js';
import { BORDER, BORDER_CORE, BorderWorld, CORE_UDP, type Half, PBX, type Phone, type Wire } from './harness.js';
import { CARRIER } from './trunk-world.js';

/*
 * Checklist 60 over everything a call can do: each party says who and where it is in all the ways there are, and nobody
 * else may hear any of it.
 */

const PARTIES = {
  alice: { at: '198.51.100.1:5060', inner: '192.168.77.5:45062' },
  bob: { at: '198.51.100.2:6060', inner: '172.16.5.9:45070' },
  carol: { at: '198.51.100.3:7060', inner: '10.99.3.3:45080' },
  dora: { at: '198.51.100.4:7060', inner: '10.98.4.4:45090' },
  pbx: { at: PBX, inner: '10.0.0.5:45100' },
  carrier: { at: CARRIER, inner: '10.0.0.7:45110' },
} as const;
type Name = keyof typeof PARTIES;
const NAMES = Object.keys(PARTIES) as Name[];
const hostOf = (at: string): string => at.slice(0, at.lastIndexOf(':'));

/** What a party says of itself beside its message, in headers that name hosts, products and people. */
function lines(name: Name): string {
  const host = `${name}.corp.lan`;
  return [
    `Record-Route: <sip:rr.${host};lr>`,
    `Call-Info: <http://ci.${host}/icon.png>;purpose=icon`,
    `Alert-Info: <http://ai.${host}/ring.wav>`,
    `Error-Info: <sip:ei.${host}>`,
    `Warning: 399 w.${host} "made by w2.${host}"`,
    `Reason: SIP;cause=200;text="by r.${host}"`,
    `History-Info: <sip:h@hi.${host}?Reason=SIP%3Bcause%3D302%3Btext%3Dhh.${host}>;index=1`,
    `P-Asserted-Identity: <sip:pai@pai.${host}>`,
    `Remote-Party-ID: <sip:rpi@rpi.${host}>`,
    `Diversion: <sip:d@d.${host}>;reason=unknown;x=dx.${host}`,
    `In-Reply-To: irt@${host}`,
    `Reply-To: <sip:rt@rt.${host}>`,
    `User-Agent: ua-${name}/1.0`,
    `Server: sv-${name}/1.0`,
    `Organization: ${name} Inc`,
    `Target-Dialog: td.${host};local-tag=a;remote-tag=b`,
    `Accept-Contact: *;description="<sip:ac.${host}>"`,
    `X-Secret-${name}: yes`,
    '',
  ].join('\r\n');
}

/** Everybody speaks with his marks on, whatever the script says. */
class MarkedWorld extends BorderWorld {
  override receive(text: string, from: string, via?: number): void {
    const name = NAMES.find(n => PARTIES[n].at === from);
    if (name === undefined) throw new Error(from);
    const marked = text
      .replaceAll(`sip:${name}@${PARTIES[name].inner}`, `sip:cu-${name}@${PARTIES[name].inner}`)
      .replace(/\r\nContent-Length:/, `\r\n${lines(name)}Content-Length:`)
      .replace(/;tag=([tf]\d+|itself)(?=[\r\n;>])/g, `;tag=$1-made-by-${name}`)
      .replace(/^o=(\S+) 4711 /m, (_, user: string) => `o=${'O'.repeat(user.length)} 4711 `);
    super.receive(marked, from, via);
  }
}

interface Mark {
  readonly kind: string;
  readonly text: string;
}

/** What must not be seen anywhere else: what a party said of itself, and every name of its dialogs and hops. */
function marksOf(wires: readonly Wire[], name: Name): Mark[] {
  const { at, inner } = PARTIES[name];
  const marks: Mark[] = [
    { kind: 'inner address', text: hostOf(inner) },
    { kind: 'outer address', text: hostOf(at) },
    { kind: 'port', text: inner.slice(inner.lastIndexOf(':')) },
    { kind: 'contact user', text: `cu-${name}` },
    { kind: 'product', text: `ua-${name}/` },
    { kind: 'product', text: `sv-${name}/` },
    { kind: 'host name', text: `${name}.corp.lan` },
    { kind: 'unknown header', text: `X-Secret-${name}` },
    { kind: 'o= line', text: 'OO 4711 ' },
  ];
  const names = new Map<string, string>();
  for (const w of wires) {
    if (w.peer !== at) continue;
    const head = w.text.slice(0, w.text.indexOf('\r\n\r\n'));
    for (const [kind, pattern] of [
      ['Call-ID', /^Call-ID: *(.+)$/gim],
      ['tag', /;tag=([^;\r\n>]+)/gi],
      ['branch', /;branch=z9hG4bK([^;\r\n,]+)/gi],
    ] as const)
      for (const [, value] of head.matchAll(pattern)) names.set((value ?? '').trim(), kind);
  }
  for (const [text, kind] of names) marks.push({ kind, text });
  return marks;
}

interface Leak extends Mark {
  readonly of: Name;
  readonly to: Name;
  readonly message: string;
}

/** Marks of anybody in what left toward anybody else. */
function leaks(wires: readonly Wire[], out: readonly Wire[]): Leak[] {
  const found: Leak[] = [];
  const marks = new Map(NAMES.map(n => [n, marksOf(wires, n)]));
  for (const w of out) {
    const to = NAMES.find(n => PARTIES[n].at === w.peer);
    if (to === undefined) throw new Error(`something left to ${w.peer}:\n${w.text}`);
    for (const [of, theirs] of marks) {
      if (of === to) continue;
      for (const m of theirs) if (w.text.includes(m.text)) found.push({ ...m, of, to, message: w.text });
    }
    // Which of our own realms there are, and where, is nobody's business either.
    const other = w.via === CORE_UDP ? BORDER : BORDER_CORE;
    if (w.text.includes(other)) found.push({ kind: 'realm', text: other, of: to, to, message: w.text });
  }
  return found;
}

interface Cast {
  readonly w: MarkedWorld;
  readonly phones: Readonly<Record<Name, Phone>>;
}

function cast(config: object = {}): Cast {
  const w = new MarkedWorld({
    relay: { inactivityMs: 0 },
    config: {
      trunks: {
        carrier: {
          next: [`sip:${CARRIER}`],
          host: 'carrier.example',
          options: false,
          dids: { '+4930555': 'bob@example.org' },
        },
      },
      numbering: { country: '49' },
      routes: [{ name: 'out', when: { to: '+*' }, to: [{ trunk: 'carrier' }] }],
      ...config,
    },
  });
  const made = (name: Name, domain?: string): Phone =>
    w.phone(name, {
      ...PARTIES[name],
      ...(domain === undefined ? {} : { domain }),
      ...(name === 'pbx' || name === 'carrier' ? { via: CORE_UDP } : {}),
    });
  const phones = {
    alice: made('alice').register(),
    bob: made('bob').register(),
    carol: made('carol').register(),
    dora: made('dora', 'pbx.example.net'),
    pbx: made('pbx', 'pbx.example.net'),
    carrier: made('carrier', 'carrier.example'),
  };
  return { w, phones };
}

function reply(by: Phone, m: MessageView, status: number, headers = '', body = ''): void {
  const vias = m.list(H.via).map(v => `Via: ${v}\r\n`);
  const tag = m.toTag === '' ? ';tag=itself' : '';
  by.send(
    `SIP/2.0 ${status} X\r\n${vias.join('')}From: ${m.get(H.from)}\r\nTo: ${m.get(H.to)}${tag}\r\nCall-ID: ${m.callId}\r\nCSeq: ${m.cseq} ${m.method}\r\n${headers}Content-Length: ${body.length}\r\n\r\n${body}`,
  );
}

/** The call is answered. */
function answer(a: Half, at: Phone): Half {
  const b = at.called();
  b.answer(180);
  a.expect(180);
  b.answer(200, { sdp: at.sdp() });
  at.next('ACK');
  a.expect(200);
  a.send('ACK');
  return b;
}

function over(by: Half, other: Half): void {
  by.send('BYE');
  by.phone.next(200);
  other.reply(other.phone.next('BYE'), 200);
}

function quiet({ phones }: Cast): void {
  for (const p of Object.values(phones)) p.inbox.length = 0;
}

/** Everything a call can do. Gives how many messages each part let out. */
const SCENES: readonly (readonly [name: string, play: (c: Cast) => void, config?: object])[] = [
  [
    'a call with reliable early media, UPDATE, hold, DTMF and session timers',
    c => {
      const { alice, bob } = c.phones;
      const a = alice.invite('sip:bob@example.org', {
        headers: `${RELIABLE.replace('100rel', '100rel, timer')}Session-Expires: 120\r\n`,
      });
      const b = bob.called();
      b.answer(183, { headers: rseq(1), sdp: bob.sdp() });
      prack(a, a.expect(183));
      b.reply(bob.next('PRACK'), 200);
      alice.next(200);
      a.send('UPDATE', { sdp: alice.sdp({ version: 2, port: 41_000 }) });
      b.reply(bob.next('UPDATE'), 200, { sdp: bob.sdp({ version: 2 }) });
      alice.next(200);
      b.answer(200);
      bob.next('ACK');
      ack(a, a.expect(200));
      b.send('INVITE', { sdp: bob.sdp({ version: 3, lines: ['a=sendonly'] }) });
      a.reply(alice.next('INVITE'), 200, { sdp: alice.sdp({ version: 3, lines: ['a=recvonly'] }) });
      alice.next('ACK');
      bob.inbox.length = 0;
      b.send('ACK');
      a.send('INFO', { body: 'Signal=1\r\n', contentType: 'application/dtmf-relay' });
      b.reply(bob.next('INFO'), 200);
      alice.next(200);
      // Refreshes of ours, and the end of a side that doesn't.
      c.w.pass(130_000);
    },
  ],
  [
    'a transfer to a third phone',
    c => {
      const { alice, bob, carol } = c.phones;
      const a = alice.invite('sip:bob@example.org');
      const b = answer(a, bob);
      b.send('REFER', {
        headers: `Contact: <${bob.contact}>\r\nRefer-To: <sip:carol@example.org>\r\nReferred-By: <sip:bob@172.16.5.9>\r\n`,
      });
      bob.next(202);
      for (let n = 0; n < 6; n++) {
        for (const p of [alice, bob, carol]) {
          for (const m of p.inbox.splice(0)) {
            if (!m.isRequest || m.method === 'ACK') continue;
            const sdp = m.method === 'INVITE' ? p.sdp({ version: 4 }) : '';
            const more = sdp === '' ? '' : `Contact: <${p.contact}>\r\nContent-Type: application/sdp\r\n`;
            reply(p, m, 200, more, sdp);
          }
        }
        c.w.pass(500);
      }
      if (!c.w.wires.some(w => w.peer === carol.at && w.text.startsWith('INVITE '))) throw new Error('no transfer');
      c.w.run((now, tx) => c.w.border.endAll(now, tx));
    },
  ],
  [
    'forwarding when busy',
    c => {
      const { alice, bob, carol } = c.phones;
      const a = alice.invite('sip:bob@example.org');
      bob.called().answer(486);
      bob.next('ACK');
      alice.inbox.length = 0;
      over(a, answer(a, carol));
    },
    {
      forwarding: { 'bob@example.org': { busy: 'carol' } },
      calls: { forwardingHeaders: ['Diversion', 'History-Info'] },
    },
  ],
  [
    'a redirection that is followed',
    c => {
      const { alice, bob, carol } = c.phones;
      const a = alice.invite('sip:bob@example.org');
      bob.called().answer(302, { headers: `Contact: <sip:carol@example.org;x=bob.corp.lan>\r\n` });
      bob.next('ACK');
      over(a, answer(a, carol));
    },
    { calls: { redirect: 'recurse' } },
  ],
  [
    'a redirection that is passed on',
    c => {
      const { alice, bob } = c.phones;
      const a = alice.invite('sip:bob@example.org');
      bob.called().answer(302, { headers: `Contact: <sip:carol@example.org>, <sip:bob@172.16.5.9:45070>\r\n` });
      bob.next('ACK');
      alice.inbox.length = 0;
      a.send('ACK', { branch: a.branch });
    },
    { calls: { redirect: 'pass' } },
  ],
  [
    'failures',
    c => {
      const { alice, bob } = c.phones;
      for (const status of [400, 404, 415, 480, 486, 488, 500, 503, 600, 603]) {
        const a = alice.invite('sip:bob@example.org');
        bob.called().answer(status);
        bob.next('ACK');
        alice.inbox.length = 0;
        a.send('ACK', { branch: a.branch });
      }
      const a = alice.invite('sip:bob@example.org');
      const b = bob.called();
      b.answer(180);
      alice.inbox.length = 0;
      a.cancel();
      reply(bob, bob.next('CANCEL'), 200);
      b.answer(487);
    },
  ],
  [
    'MESSAGE, SUBSCRIBE with its NOTIFY, PUBLISH, REFER outside a call, OPTIONS',
    c => {
      const { alice, bob } = c.phones;
      const uri = 'sip:bob@example.org';
      for (const method of ['MESSAGE', 'PUBLISH', 'NOTIFY', 'INFO']) {
        alice.ask({
          method,
          uri,
          to: `<${uri}>`,
          headers: 'Event: presence\r\n',
          ...(method === 'MESSAGE' ? { body: 'hi' } : {}),
        });
        reply(bob, bob.next(method as 'MESSAGE'), 200);
        alice.inbox.length = 0;
      }
      alice.ask({ method: 'OPTIONS', uri, to: `<${uri}>` });
      bob.inbox.length = 0;
      alice.inbox.length = 0;
      for (const method of ['SUBSCRIBE', 'REFER']) {
        alice.ask({
          method,
          uri,
          to: `<${uri}>`,
          callId: `${method}@alice.corp.lan`,
          headers: `Event: dialog;call-id=${method}@alice.corp.lan;from-tag=ev-alice\r\nExpires: 60\r\n${method === 'REFER' ? 'Refer-To: <sip:carol@example.org>\r\nReferred-By: <sip:alice@192.168.77.5>\r\n' : ''}`,
        });
        const m = bob.next(method);
        reply(bob, m, method === 'REFER' ? 202 : 200, `Contact: <${bob.contact}>\r\nExpires: 60\r\n`);
        bob.send(
          bob.request({
            method: 'NOTIFY',
            uri: /<(.*)>/.exec(m.list(H.contact)[0] ?? '')?.[1] ?? '',
            from: `${m.get(H.to)};tag=itself`,
            to: m.get(H.from),
            callId: m.callId,
            cseq: 7,
            headers: `Event: ${method === 'REFER' ? 'refer' : 'dialog;to-tag=ev-bob'}\r\nSubscription-State: active;expires=60\r\n`,
          }),
        );
        const notify = alice.inbox.find(x => x.method === 'NOTIFY');
        if (notify !== undefined) reply(alice, notify, 200);
        quiet(c);
      }
    },
    { methods: { REFER: 'authenticated' }, calls: { transfer: 'relay' } },
  ],
  [
    'a trunk, both ways',
    c => {
      const { alice, bob, carrier } = c.phones;
      const a = alice.invite('sip:+4930123456@example.org');
      over(a, answer(a, carrier));
      const k = carrier.invite(`sip:+4930555@${BORDER_CORE}`, { from: `<sip:+49170@10.0.0.7:45110>` });
      over(k, answer(k, bob));
      const no = alice.invite('sip:+4930123456@example.org');
      carrier.called().answer(503);
      carrier.next('ACK');
      alice.inbox.length = 0;
      no.send('ACK', { branch: no.branch });
    },
  ],
  [
    'an upstream: registration in the name of another host, a call there, a call back, a message',
    c => {
      const { dora, pbx, alice } = c.phones;
      dora.send(
        dora.request({
          method: 'REGISTER',
          uri: 'sip:pbx.example.net',
          from: '"Dora" <sip:dora@10.98.4.4:45090;x=dora.corp.lan>;tag=reg-dora',
          to: '<sip:dora@pbx.example.net>',
        }),
      );
      const r = pbx.next('REGISTER');
      reply(
        pbx,
        r,
        200,
        `Contact: ${r.get(H.contact)}\r\nService-Route: <sip:sr.pbx.corp.lan;lr>\r\nPath: <sip:p.pbx.corp.lan>\r\n`,
      );
      dora.next(200);
      const a = dora.invite('sip:200@pbx.example.net');
      over(a, answer(a, pbx));
      const target = /<(sip:[^>]+)>/.exec(r.get(H.contact))?.[1] ?? '';
      const back = pbx.invite(target, { from: '<sip:200@10.0.0.5:45100>' });
      over(back, answer(back, dora));
      const local = pbx.invite('sip:alice@example.org', { from: '<sip:200@pbx.corp.lan>' });
      over(local, answer(local, alice));
      dora.send(
        dora.request({
          method: 'MESSAGE',
          uri: 'sip:200@pbx.example.net',
          to: '<sip:200@pbx.example.net>',
          body: 'hi',
        }),
      );
      reply(pbx, pbx.next('MESSAGE'), 200);
    },
  ],
  [
    'a phone that sleeps and is woken',
    c => {
      const { alice, bob } = c.phones;
      const contact = `<sip:bob@${PARTIES.bob.inner};pn-provider=apns;pn-prid=token.bob.corp.lan;pn-param=x>`;
      bob.ask({
        method: 'REGISTER',
        uri: 'sip:example.org',
        to: `<${bob.aor}>`,
        contact,
        headers: 'Expires: 3600\r\n',
      });
      bob.next(200);
      const a = alice.invite('sip:bob@example.org');
      c.w.pass(3000);
      bob.inbox.length = 0;
      alice.inbox.length = 0;
      a.cancel();
    },
    { push: { providers: { apns: { url: 'https://push.example.org/wake' } } } },
  ],
];

tap.test('nobody hears where anybody else is, or how he names things, whatever they do', async t => {
  const kinds = new Set<string>();
  for (const [name, play, config] of SCENES) {
    const c = cast(config);
    play(c);
    c.w.pass(70_000);
    const { wires } = c.w;
    const out = wires.filter(w => w.direction === 'out');
    const crossed = out.filter(w => NAMES.some(n => PARTIES[n].at === w.peer)).length;
    const found = leaks(wires, out)
      // The name of the product goes with a registration to its upstream, which keeps a list of phones by it.
      .filter(l => !(l.kind === 'product' && l.to === 'pbx' && l.message.startsWith('REGISTER ')));
    t.same(
      [
        ...new Set(
          found.map(
            l =>
              `${l.kind} of ${l.of} toward ${l.to}: ${l.text} in ${l.message.split('\r\n').find(x => x.includes(l.text))}`,
          ),
        ),
      ],
      [],
      `${name}: ${crossed} messages out`,
    );
    t.ok(crossed >= 10, `${name}: ${crossed} messages`);
    // The control: the same messages as they were said, in the hands of somebody else.
    const passedOn = wires
      .filter(w => w.direction === 'in')
      .map(w => ({ ...w, via: CORE_UDP, peer: w.peer === PARTIES.alice.at ? PARTIES.bob.at : PARTIES.alice.at }));
    for (const l of leaks(wires, passedOn)) kinds.add(l.kind);
  }
  t.same(
    [...kinds].sort(),
    [
      'Call-ID',
      'branch',
      'contact user',
      'host name',
      'inner address',
      'o= line',
      'outer address',
      'port',
      'product',
      'realm',
      'tag',
      'unknown header',
    ],
    'without hiding the detector sees every kind of mark',
  );
});
