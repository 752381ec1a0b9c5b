import { loadConfig } from '@drawbridge/service';
import { H, type MessageView } from '@drawbridge/sip';
import t from 'tap';
import { configSchema } from '../src/config.js';
import { BorderWorld, CORE_UDP, PBX, type Phone, replyTo, talking } from './harness.js';

interface Parties {
  readonly world: BorderWorld;
  readonly alice: Phone;
  readonly bob: Phone;
  readonly pbx: Phone;
}

const realm = (bind: string, headers: object = {}): object => ({ bind: [bind], headers });

function parties(o: { access?: object; core?: object; identity?: object } = {}): Parties {
  const world = new BorderWorld({
    config: {
      realms: { access: realm('203.0.113.10', o.access), core: realm('10.0.0.1', o.core) },
      identity: o.identity ?? {},
      auth: { trustRegisteredFlow: true },
    },
  });
  return {
    world,
    alice: world.phone('alice', { at: '198.51.100.1:5060' }).register(),
    bob: world.phone('bob', { at: '198.51.100.2:6060' }).register(),
    pbx: world.phone('pbx', { at: PBX, inner: '10.0.0.5:5060', via: CORE_UDP, domain: 'pbx.example.net' }),
  };
}

/** `headers` goes out byte for byte; undefined when nothing came through. */
function message(from: Phone, to: Phone, headers: string): MessageView | undefined {
  const uri = `sip:${to.user === 'pbx' ? '200' : to.user}@${to.domain}`;
  const text = from.request({
    method: 'MESSAGE',
    uri,
    to: `<${uri}>`,
    body: 'x',
    contact: false,
    headers: 'X-Here: 1\r\n',
  });
  from.send(text.replace('X-Here: 1\r\n', headers));
  from.inbox.length = 0;
  const m = to.inbox.shift();
  if (m !== undefined) to.send(replyTo(m, 200));
  from.inbox.length = 0;
  return m;
}

const lines = (m: MessageView | undefined): string[] =>
  m === undefined
    ? []
    : Array.from({ length: m.count }, (_, i) => m.line(i).trimEnd()).filter(l =>
        /^(X-|P-|Subject|s:|Alert|Call-Info|Identity)/i.test(l),
      );

t.test('pass: from one realm, or into one realm; the other direction stays closed', async t => {
  const { alice, bob, pbx } = parties({
    core: { in: [{ pass: 'X-Account' }] },
    access: { out: [{ pass: 'Alert-Info' }] },
  });
  const sent = 'X-Account: 7\r\nX-Other: 8\r\nAlert-Info: <http://ring.example/a.wav>\r\n';
  t.same(lines(message(pbx, bob, sent)), ['X-Account: 7', 'Alert-Info: <http://ring.example/a.wav>']);
  t.same(
    lines(message(alice, bob, sent)),
    ['Alert-Info: <http://ring.example/a.wav>'],
    'the rule of core is not one of access',
  );
  t.same(
    lines(message(alice, pbx, sent)),
    ['P-Asserted-Identity: <sip:alice@example.org>'],
    'nor does it hold toward core',
  );
});

t.test('remove takes away what crosses otherwise, and wins over pass; set writes in its place', async t => {
  const { alice, bob, pbx } = parties({
    access: { in: [{ remove: 's' }, { pass: 'X-A' }, { set: 'X-From', value: 'access' }], out: [{ remove: 'x-a' }] },
    core: { out: [{ set: 'x-from', value: 'toward core' }, { remove: 'P-Asserted-Identity' }] },
  });
  const sent = 'Subject: secret\r\nX-A: 1\r\nX-FROM: forged\r\n';
  t.same(lines(message(alice, bob, sent)), ['X-From: access']);
  t.same(lines(message(alice, pbx, sent)), [
    'X-A: 1',
    'x-from: toward core',
    'P-Asserted-Identity: <sip:alice@example.org>',
  ]);
  t.same(
    lines(message(pbx, bob, sent)),
    ['Subject: secret'],
    'the control: no rule of access about what comes from core',
  );
});

t.test('a rule shows an asserted identity to subscribers, yet never takes one from them', async t => {
  const { alice, bob, pbx } = parties({
    access: { in: [{ pass: 'P-Asserted-Identity' }, { pass: 'Identity' }], out: [{ pass: 'P-Asserted-Identity' }] },
  });
  const forged = 'P-Asserted-Identity: <sip:boss@10.0.0.5>\r\nIdentity: x\r\n';
  t.same(lines(message(pbx, bob, forged)), ['P-Asserted-Identity: <sip:boss@pbx.example.net>']);
  t.same(lines(message(alice, bob, forged)), []);
  t.same(lines(message(alice, pbx, forged)), ['P-Asserted-Identity: <sip:alice@example.org>']);
  t.same(lines(message(pbx, bob, `${forged}Privacy: id\r\n`)), [], 'nor against the wish of who is named');
});

t.test('rules hold in calls, both ways and in dialogs, and never make two messages of one', async t => {
  const { world, alice, bob } = parties({
    access: { in: [{ pass: 'X-A' }], out: [{ set: 'X-Set', value: 'a, b; "c"' }] },
  });
  const { alice: a, bob: b } = talking(world, { caller: alice, callee: bob });
  a.send('INFO', { headers: 'X-A: 1\r\nX-B: 2\r\n', body: 'Signal=1\r\n', contentType: 'application/dtmf-relay' });
  const info = bob.next('INFO');
  t.same(lines(info), ['X-A: 1', 'X-Set: a, b; "c"']);
  b.reply(info, 200, { headers: 'X-A: 3\r\nX-B: 4\r\n' });
  t.same(lines(alice.next(200)), ['X-A: 3', 'X-Set: a, b; "c"']);
});

t.test('header smuggling: no spelling of a name gets past its rule (CVE-2020-28361)', async t => {
  const { alice, bob, pbx } = parties({
    access: { in: [{ pass: 'X-Good' }, { remove: 'X-Bad' }, { remove: 'Subject' }], out: [{ pass: 'X-Bad' }] },
    identity: {},
  });
  const spellings = (name: string, compact?: string): string[] => [
    `${name}: evil`,
    `${name} : evil`,
    `${name}\t: evil`,
    `${name} \t : evil`,
    `${name}:\r\n evil`,
    `${name} :\r\n\tevil`,
    `${name}:evil`,
    `${name.toUpperCase()}: evil`,
    `${name.toLowerCase()} : evil`,
    `${name}: evil\r\n${name}: evil`,
    `${name}: fine\r\n${name.toLowerCase()}\t: evil`,
    `${name}\0: evil`,
    `${name}: \0evil`,
    `\0${name}: evil`,
    `${name}\r\n : evil`,
    `X-Good: a\r\n\t${name}: evil`.replace('X-Good', 'X-Unknown'),
    ...(compact === undefined ? [] : [`${compact}: evil`, `${compact.toUpperCase()} : evil`, `${compact}\t:\r\n evil`]),
  ];
  let tried = 0;
  const guarded: [string, string?][] = [
    ['P-Asserted-Identity'],
    ['P-Preferred-Identity'],
    ['Remote-Party-ID'],
    ['Diversion'],
    ['History-Info'],
    ['P-Charging-Vector'],
    ['Identity', 'y'],
    ['X-Bad'],
    ['X-Secret'],
    ['Subject', 's'],
    ['Record-Route'],
    ['User-Agent'],
    ['Call-Info'],
    ['Path'],
  ];
  for (const [name, compact] of guarded) {
    for (const line of spellings(name, compact)) {
      for (const to of [bob, pbx]) {
        const m = message(alice, to, `${line}\r\n`);
        tried++;
        if (m !== undefined && /evil/.test(m.text)) t.fail(`${JSON.stringify(line)} reached ${to.user}`);
      }
    }
  }
  t.equal(tried, (14 * 16 + 6) * 2);
  // The control: the same spellings of what may cross do, unless they are no header line at all.
  const through = spellings('X-Good').filter(line => /evil/.test(message(alice, bob, `${line}\r\n`)?.text ?? ''));
  t.equal(through.length, 11);
});

t.test('a rule about what is ours is an error of the configuration that says so', async t => {
  const fault = (rule: object): string => {
    const text = `realms:\n  access:\n    bind: [203.0.113.10]\n    headers:\n      in:\n        - ${JSON.stringify(rule)}\n`;
    const read = loadConfig(configSchema, { file: 'x.yaml', text });
    return read.ok ? 'fine' : read.problems.map(p => `${p.line} ${p.message}`).join();
  };
  t.equal(fault({ pass: 'X-Account' }), 'fine');
  t.equal(fault({ remove: 'P-Asserted-Identity' }), 'fine');
  for (const [name, said] of [
    ['Via', 'Via'],
    ['v', 'Via'],
    ['contact', 'Contact'],
    ['Call-ID', 'Call-ID'],
    ['content-length', 'Content-Length'],
    ['Authorization', 'Authorization'],
    ['Record-Route', 'Record-Route'],
  ])
    for (const rule of [{ pass: name }, { remove: name }, { set: name, value: 'x' }])
      t.match(fault(rule), new RegExp(`${said} is the border's own to write`), JSON.stringify(rule));
  t.match(fault({ pass: 'P-Preferred-Identity' }), /P-Asserted-Identity/);
  t.match(fault({ pass: 'X Account' }), /header name/);
  t.match(fault({ set: 'X-A', value: 'a\r\nEvil: b' }), /one line/);
  t.match(fault({ put: 'X-A' }), /pass.*remove.*set/);
});

t.test('hiding without rules is not asked about them', async t => {
  const { alice, bob } = parties();
  t.same(lines(message(alice, bob, 'X-A: 1\r\nSubject: s\r\n')), ['Subject: s']);
  t.equal(message(alice, bob, 'Subject: s\r\n')?.get(H.subject), 's');
});
