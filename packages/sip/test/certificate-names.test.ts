import t from 'tap';
import { certificateNames, namesHost } from '../src/index.js';
import { authority } from './certificates.js';

t.test('a certificate names the hosts of its sip URIs, else its DNS names, else its common name', async t => {
  const ca = await authority();
  const named = async (o: Parameters<typeof ca.issue>[0]): Promise<readonly string[]> =>
    certificateNames((await ca.issue(o)).der);
  t.same(
    await named({
      cn: 'cn.example',
      names: [
        ['dns', 'Border.Example'],
        ['dns', 'two.example.'],
      ],
    }),
    ['border.example', 'two.example'],
  );
  t.same(
    await named({
      names: [
        ['dns', 'dns.example'],
        ['url', 'sip:example.org'],
        ['url', 'SIP:Other.Example;x'],
      ],
    }),
    ['example.org', 'other.example'],
    'a sip URI leaves no room for DNS names (RFC 5922 §7.1)',
  );
  t.same(
    await named({
      names: [
        ['url', 'sip:alice@example.org'],
        ['url', 'https://example.org'],
        ['url', 'sips:example.org'],
        ['dns', 'd.example'],
      ],
    }),
    ['d.example'],
    'a user, another scheme: no domain',
  );
  t.same(await named({ cn: 'cn.example' }), ['cn.example'], 'only without any subjectAltName');
  t.same(await named({ cn: 'cn.example', names: [['url', 'https://x.example']] }), []);
  t.same(
    await named({
      names: [
        ['ip', '192.0.2.1'],
        ['ip', '2001:db8::1'],
        ['dns', '192.0.2.9'],
      ],
    }),
    ['192.0.2.1', '2001:db8::1'],
  );
});

t.test('wildcards name nobody, a name with a NUL or a control spoils the whole certificate', async t => {
  const ca = await authority();
  const named = async (...names: ['dns' | 'url', string][]): Promise<readonly string[]> =>
    certificateNames((await ca.issue({ names })).der);
  t.same(await named(['dns', '*.example.org'], ['dns', 'a.example.org']), ['a.example.org']);
  t.same(await named(['url', 'sip:*.example.org']), []);
  for (const bad of ['victim.example\0.attacker.example', 'victim.example\n', 'a\x7f.example']) {
    t.same(await named(['dns', bad]), [], JSON.stringify(bad));
    t.same(await named(['dns', 'good.example'], ['dns', bad]), [], `beside a good one: ${JSON.stringify(bad)}`);
    t.same(await named(['url', `sip:${bad}`]), []);
  }
  t.same(certificateNames((await ca.issue({ cn: 'victim.example\0.attacker.example' })).der), []);
  t.same(await named(['dns', 'victim.example']), ['victim.example'], 'the control: the same without its tail');
  t.same(await named(['dns', 'bücher.example'], ['dns', 'a b.example']), [], 'no host at all');
});

t.test('a comparison is exact but for case and a final dot', async t => {
  const names = ['example.org', '192.0.2.1', '2001:db8::1'];
  for (const host of ['example.org', 'EXAMPLE.ORG', 'example.org.', '192.0.2.1', '[2001:DB8:0::1]', '2001:db8::1'])
    t.ok(namesHost(names, host), host);
  for (const host of ['sub.example.org', 'example.or', 'xexample.org', 'example.org\0', '*.org', '', '192.0.2.10'])
    t.notOk(namesHost(names, host), JSON.stringify(host));
  t.notOk(namesHost(['*.example.org'], '*.example.org'), 'nobody is called that');
});

t.test('bytes that are no certificate name nobody and cost linear time', async t => {
  const ca = await authority();
  const { der } = await ca.issue({ names: [['dns', 'a.example']] });
  t.same(certificateNames(der), ['a.example']);
  let named = 0;
  for (let cut = 0; cut < der.length; cut++) named += certificateNames(der.subarray(0, cut)).length;
  t.equal(named, 0, 'every prefix of a good one');
  const seed = Number(process.env['SEED'] ?? 5922);
  t.comment(`SEED=${seed}`);
  let x = seed;
  const random = (n: number): number => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return x % n;
  };
  for (let round = 0; round < 5000; round++) {
    const bent = Uint8Array.from(der);
    for (let k = 0; k <= random(4); k++) bent[random(bent.length)] = random(256);
    for (const name of certificateNames(bent)) if (!/^[a-z0-9_.:-]+$/.test(name)) t.fail(`${name} of round ${round}`);
  }
  t.same(certificateNames(new Uint8Array(0)), []);
  t.same(certificateNames(new Uint8Array(1 << 20).fill(0x30)), []);
});
