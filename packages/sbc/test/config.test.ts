import { Endpoints, seededRandom } from '@drawbridge/core';
import { formatProblems, loadConfig } from '@drawbridge/service';
import t from 'tap';
import { configSchema, EMBEDDED_DEFAULT, freezeConfig } from '../src/config.js';
import { planRealms } from '../src/plan-realms.js';
import { type OpenedListener, Realms } from '../src/realms.js';
import type { Machine } from '../src/shell/machine.js';
import { makeDomains } from '../src/upstreams.js';

function load(text: string) {
  return loadConfig(configSchema, { text, file: 'drawbridge.yaml' });
}

function problems(text: string): string {
  const r = load(text);
  return r.ok ? '' : formatProblems(r.problems);
}

const FULL = `
realms:
  access:
    bind: [203.0.113.10, "2001:db8::10"]
    sip: { udp: 5060, tcp: 5060 }
    advertise: [198.51.100.7]
    networks: ["0.0.0.0/0", "::/0"]
  core: { bind: [10.0.0.1], sip: { udp: 5070, tcp: false }, networks: ["10.0.0.0/8"] }
domains:
  example.org: { kind: local, algorithms: [SHA-256, MD5] }
  pbx.example.net: { kind: upstream, realm: core, next: ["sip:10.0.0.5:5060;transport=udp", "sip:pbx.inside"] }
registrar: { minExpires: 60s, maxExpires: 1h, defaultExpires: 10m, maxContacts: 10, maxBindings: 200000 }
auth: { algorithms: [SHA-512-256, SHA-256, MD5], qop: [auth, auth-int], nonceLifetime: 5m }
keepalive: { min: 15s, max: 180s, start: 30s }
calls: { noAnswer: 60s, timerC: 181s, maxDuration: 12h, max: 10000, perSubscriber: 10, forking: parallel }
media: { ports: [30000, 39999], path: auto, inactivity: 60s, latchWindow: 5s, sites: { office: ["10.20.0.0/16"] } }
methods: { OPTIONS: anyone, MESSAGE: authenticated, REFER: deny }
limits: { transactions: 100000, flows: 200000, streams: 10000, streamsPerAddress: 100 }
store: { kind: lmdb, path: var/store }
cdr: { file: var/cdr.jsonl }
log: { level: info, personal: masked }
admin: { listen: "127.0.0.1:8080" }
timers: { t1: 500ms, t2: 4s, t4: 5s }
`;

t.test('every key has a default, and the whole file is understood', async t => {
  const d = load(EMBEDDED_DEFAULT);
  t.ok(d.ok);
  if (!d.ok) return;
  t.equal(d.value.realms, 'auto');
  t.equal(d.value.domains, undefined);
  t.same(d.value.auth.algorithms, ['MD5']);
  t.same(d.value.media.ports, [30000, 39999]);
  t.equal(d.value.registrar.maxExpires, 3_600_000);
  t.equal(d.value.methods.REFER, 'deny');
  t.equal(d.value.calls.timerC, 181_000);
  const frozen = freezeConfig(d.value);
  t.throws(() => Object.assign(frozen.media, { path: 'dgram' }), 'frozen all the way down');

  const f = load(FULL);
  t.ok(f.ok, f.ok ? '' : formatProblems(f.problems));
  if (!f.ok || f.value.realms === 'auto') return;
  t.same(f.value.realms.access?.bind, ['203.0.113.10', '2001:db8::10']);
  t.equal(f.value.realms.core?.sip.tcp, false);
});

t.test('all faults at once, each with its line, what was expected and the nearest right key', async t => {
  const said = problems(`realms:
  access: { bind: [203.0.113.10, 203.0.113.11], sip: { udp: 99999 } }
  core: { bindd: [10.0.0.1] }
domains:
  pbx.example.net: { kind: upstream, realm: cor, next: ["10.0.0.5"] }
registrar: { minExpires: 60 }
calls: { timerC: 3m }
methods: { INVITE: anyone }
`);
  for (const expected of [
    /drawbridge\.yaml:2.*realms\.access\.bind/,
    /drawbridge\.yaml:2.*realms\.access\.sip\.udp.*65535/,
    /drawbridge\.yaml:3.*bindd[\s\S]*bind/,
    /drawbridge\.yaml:5.*next.*sip:10\.0\.0\.5:5060;transport=udp/,
    /drawbridge\.yaml:6.*registrar\.minExpires.*500ms/,
    /drawbridge\.yaml:8.*methods.*INVITE/,
  ])
    t.match(said, expected);
  t.match(problems('calls: { timerC: 3m }'), /drawbridge\.yaml:1.*calls\.timerC.*more than 3 minutes/);
  t.match(
    problems(
      'realms: { a: { bind: [10.0.0.1] } }\ndomains: { x.example: { kind: upstream, realm: b, next: ["sip:10.0.0.5"] } }',
    ),
    /drawbridge\.yaml:2.*realm.*a/,
  );
  t.match(problems('registrar: { minExpires: 2h }'), /minExpires/);
  t.equal(problems(FULL), '', 'control');
});

const MACHINE: Machine = {
  primary: { 4: '192.0.2.5', 6: undefined },
  loopback: { 4: '127.0.0.1', 6: '::1' },
  all: ['127.0.0.1', '::1', '192.0.2.5', '10.0.0.1'],
};

t.test('auto realms are what the machine has', async t => {
  const auto = planRealms({ realms: 'auto' }, MACHINE);
  t.same(
    auto.realms.map(r => [r.name, r.addresses.map(a => a.bind)]),
    [
      ['default', ['192.0.2.5']],
      ['loopback', ['127.0.0.1', '::1']],
    ],
  );
  t.match(auto.warnings, [/no IPv6/]);
  const none = planRealms({ realms: 'auto' }, { ...MACHINE, primary: { 4: undefined, 6: undefined } });
  t.same(
    none.realms.map(r => r.name),
    ['loopback'],
  );
  t.match(none.warnings, [/only phones on this machine/]);
});

const OPENED: readonly OpenedListener[] = [
  {
    realm: 'access',
    transport: 'udp',
    bind: { address: '203.0.113.10', port: 5060 },
    advertise: { address: '198.51.100.7', port: 5060 },
  },
  {
    realm: 'access',
    transport: 'udp',
    bind: { address: '2001:db8::10', port: 5060 },
    advertise: { address: '2001:db8::10', port: 5060 },
  },
  {
    realm: 'core',
    transport: 'udp',
    bind: { address: '10.0.0.1', port: 5070 },
    advertise: { address: '10.0.0.1', port: 5070 },
  },
  {
    realm: 'core',
    transport: 'tcp',
    bind: { address: '10.0.0.1', port: 5070 },
    advertise: { address: '10.0.0.1', port: 5070 },
  },
];

t.test('realms: whom they serve, and from where a next hop is reached', async t => {
  const realms = new Realms(
    [
      { name: 'access', networks: ['0.0.0.0/0', '::/0'] },
      { name: 'core', networks: ['10.0.0.0/8'] },
    ],
    OPENED,
  );
  const at = (address: string): Endpoints => Endpoints.of({ address, port: 5060 });
  t.equal(realms.towards(at('10.1.2.3'), 0, 'udp')?.realm.name, 'core', 'the most specific network');
  t.equal(realms.towards(at('10.1.2.3'), 0, 'tcp')?.via, 3);
  t.equal(realms.towards(at('192.0.2.1'), 0, 'udp')?.realm.name, 'access');
  t.equal(realms.towards(at('192.0.2.1'), 0, 'tcp'), undefined, 'no TCP there');
  t.equal(realms.towards(at('2001:db8::99'), 0, 'udp')?.via, 1, 'by family');
  t.ok(realms.accepts(2, at('10.9.9.9'), 0));
  t.notOk(realms.accepts(2, at('192.0.2.1'), 0), 'a stranger on the inner side');
  t.notOk(realms.accepts(2, at('2001:db8::1'), 0));
  t.ok(realms.accepts(0x500, at('192.0.2.1'), 0), 'a stream belongs to its listener');
  t.equal(realms.listener(0).sentBy, '198.51.100.7:5060');
  t.equal(realms.listener(1).sentBy, '[2001:db8::10]:5060');
  t.ok(realms.isOwn('198.51.100.7'));
  t.ok(realms.isOwn('[2001:DB8::10]', 5060));
  t.notOk(realms.isOwn('198.51.100.7', 5070));
  t.notOk(realms.isOwn('example.org'));
});

t.test('upstreams: literal and named hops, and what can not be reached', async t => {
  const r = load(FULL);
  if (!r.ok) return t.fail('control');
  const realms = new Realms(
    [
      { name: 'access', networks: ['0.0.0.0/0', '::/0'] },
      { name: 'core', networks: ['10.0.0.0/8'] },
    ],
    OPENED,
  );
  const made = makeDomains(r.value.domains ?? {}, realms, seededRandom(1));
  const pbx = made.find(d => d.kind === 'upstream');
  const next = pbx?.kind === 'upstream' ? pbx.next : undefined;
  t.same(
    next?.all.map(n => n.endpoint.address),
    ['10.0.0.5'],
  );
  t.same(
    next?.named.map(n => n.uri.host),
    ['pbx.inside'],
    'the name waits for the DNS',
  );
  t.match(next?.facts(0)[1]?.why, /the DNS has not answered yet/);
  const [gone] = makeDomains(
    { 'x.example': { kind: 'upstream', next: ['sip:10.0.0.5;transport=tls'] } },
    realms,
    seededRandom(1),
  );
  t.match(gone?.kind === 'upstream' ? gone.next.facts(0)[0]?.why : '', /no socket here speaks tls/);
  t.same(gone?.kind === 'upstream' ? gone.next.current(0) : undefined, []);
});
