import { createSocket, type RemoteInfo } from 'node:dgram';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { type Answer, AUTHORITATIVE_ANSWER, decode, encode, type Packet, TRUNCATED_RESPONSE } from 'dns-packet';
import t, { type Test } from 'tap';
import { DnsClient, type DnsReply, readAnswer } from '../src/index.js';

const Q = { name: '_sip._udp.example.net', type: 'SRV' as const };
const SRV: Answer = { type: 'SRV', class: 'IN', name: Q.name, ttl: 60, data: { port: 5060, target: 'a.example.net' } };

/** Messages that answer one query, in this order. */
type Script = (query: Packet, from: RemoteInfo | undefined) => Packet[];

/** A name server on loopback, UDP and TCP on one port. */
async function server(t: Test, script: Script, tcp: Script = script) {
  const asked: { way: 'udp' | 'tcp'; id: number; port: number }[] = [];
  const udp = createSocket('udp4');
  await new Promise<void>(done => udp.bind(0, '127.0.0.1', done));
  const { port } = udp.address();
  udp.on('message', (bytes, from) => {
    const query = decode(bytes);
    asked.push({ way: 'udp', id: query.id ?? -1, port: from.port });
    for (const p of script(query, from)) udp.send(encode(p), from.port, from.address);
  });
  const streams = createServer(socket => {
    socket.on('error', () => {});
    socket.on('data', bytes => {
      const query = decode(bytes.subarray(2));
      asked.push({ way: 'tcp', id: query.id ?? -1, port: socket.remotePort ?? 0 });
      for (const p of tcp(query, undefined)) {
        const out = encode(p);
        const length = Buffer.alloc(2);
        length.writeUInt16BE(out.length);
        // In pieces, as a stream may come.
        socket.write(length);
        setImmediate(() => {
          socket.write(out.subarray(0, 7));
          setImmediate(() => socket.end(out.subarray(7)));
        });
      }
    });
  });
  await new Promise<void>(done => streams.listen(port, '127.0.0.1', done));
  t.teardown(() => {
    udp.close();
    streams.close();
  });
  return { at: { address: '127.0.0.1', port }, asked, close: () => udp.close() };
}

function reply(query: Packet, answers: Answer[], flags = 0): Packet {
  return { type: 'response', id: query.id, flags, questions: query.questions, answers };
}

function client(t: Test, servers: { address: string; port: number }[], timeoutMs = 3000, cap = 200): DnsClient {
  const dns = new DnsClient({ servers, timeoutMs, cap, hostsFile: '/nonexistent' });
  t.teardown(() => dns.close());
  return dns;
}

function targets(r: DnsReply, q: Parameters<typeof readAnswer>[1] = Q): unknown {
  if ('failed' in r) return r.failed;
  const read = readAnswer(r.message, q);
  return read.kind === 'records'
    ? read.records.map(x => ('target' in x ? x.target : 'address' in x ? x.address : x))
    : read.kind;
}

t.test('an answer over UDP; each question has a port and an id of its own', async t => {
  const s = await server(t, q => [reply(q, [SRV], AUTHORITATIVE_ANSWER)]);
  const dns = client(t, [s.at]);
  const all = await Promise.all(Array.from({ length: 16 }, () => dns.ask(Q)));
  t.same(
    all.map(r => targets(r)),
    all.map(() => ['a.example.net']),
  );
  t.equal(s.asked.length, 16);
  t.equal(new Set(s.asked.map(x => x.port)).size, 16, 'source ports');
  t.ok(new Set(s.asked.map(x => x.id)).size >= 15, 'ids');
  t.same([dns.counters.udp, dns.counters.tcp, dns.counters.foreign, dns.open], [16, 0, 0, 0]);
});

t.test('a wrong id, another question and noise are ignored; the right answer after them counts', async t => {
  const s = await server(t, q => [
    { ...reply(q, [{ ...SRV, data: { port: 1, target: 'evil.example' } }]), id: ((q.id ?? 0) + 1) & 0xffff },
    { ...reply(q, [SRV]), questions: [{ name: 'other.example.net', type: 'SRV', class: 'IN' }] },
    { ...reply(q, [SRV]), type: 'query' },
    reply(q, [SRV]),
  ]);
  const dns = client(t, [s.at]);
  t.same(targets(await dns.ask(Q)), ['a.example.net']);
  t.equal(dns.counters.foreign, 3);
  t.equal(s.asked.length, 1, 'and it was asked once');
  const only = await server(t, q => [{ ...reply(q, [SRV]), id: ((q.id ?? 0) + 1) & 0xffff }]);
  const fooled = client(t, [only.at], 500);
  t.match(targets(await fooled.ask(Q)), /no answer/, 'a wrong id alone is no answer');
  t.ok(fooled.counters.foreign > 0);
});

t.test('somebody else with the right id is not heard', async t => {
  const stranger = createSocket('udp4');
  await new Promise<void>(done => stranger.bind(0, '127.0.0.1', done));
  t.teardown(() => void stranger.close());
  let late: (() => void) | undefined;
  const s = await server(t, (q, from) => {
    const evil = reply(q, [{ ...SRV, data: { port: 1, target: 'evil.example' } } as Answer]);
    stranger.send(encode(evil), from?.port ?? 0, '127.0.0.1', () => late?.());
    return [];
  });
  const dns = client(t, [s.at], 600);
  const sent = new Promise<void>(done => {
    late = done;
  });
  const answer = dns.ask(Q);
  await sent;
  t.match(targets(await answer), /no answer/);
});

t.test('truncated: again over TCP, in pieces', async t => {
  const many = Array.from(
    { length: 40 },
    (_, i): Answer => ({ ...SRV, data: { port: 5060, target: `s${i}.example.net` } }) as Answer,
  );
  const s = await server(
    t,
    q => [reply(q, [], TRUNCATED_RESPONSE)],
    q => [reply(q, many)],
  );
  const dns = client(t, [s.at]);
  t.equal((targets(await dns.ask(Q)) as string[]).length, 40);
  t.same(
    s.asked.map(x => x.way),
    ['udp', 'tcp'],
  );
});

t.test('a silent server: the second answers, and is asked first from then on', async t => {
  const silent = await server(t, () => []);
  const good = await server(t, q => [reply(q, [SRV])]);
  const dns = client(t, [silent.at, good.at], 1600);
  t.same(targets(await dns.ask(Q)), ['a.example.net']);
  t.same([silent.asked.length, good.asked.length, dns.counters.timeouts], [1, 1, 1]);
  t.same(targets(await dns.ask(Q)), ['a.example.net']);
  t.same([silent.asked.length, good.asked.length], [1, 2]);
});

t.test('a server that refuses, and a port where nobody is: the next one, at once', async t => {
  const refuses = await server(t, q => [reply(q, [], 5)]);
  const nobody = createSocket('udp4');
  await new Promise<void>(done => nobody.bind(0, '127.0.0.1', done));
  const closed = { address: '127.0.0.1', port: nobody.address().port };
  nobody.close();
  const good = await server(t, q => [reply(q, [SRV])]);
  const dns = client(t, [refuses.at, closed, good.at], 60_000);
  t.same(targets(await dns.ask(Q)), ['a.example.net']);
  t.equal(dns.counters.timeouts, 0, 'nobody waited');
  const none = client(t, [refuses.at], 60_000);
  t.match(targets(await none.ask(Q)), /answered refused/);
  const nxdomain = await server(t, q => [reply(q, [], 3)]);
  t.equal(targets(await client(t, [nxdomain.at, good.at]).ask(Q)), 'none', 'control: no such name is an answer');
});

t.test('bounded: questions under way, time, and the end', async t => {
  const silent = await server(t, () => []);
  const dns = client(t, [silent.at], 60_000, 5);
  const open = Array.from({ length: 5 }, () => dns.ask(Q));
  t.equal(dns.open, 5);
  t.match(targets(await dns.ask(Q)), /too many/);
  dns.close();
  for (const r of await Promise.all(open)) t.match(targets(r), /stopping/);
  t.equal(dns.open, 0);
  t.match(targets(await dns.ask(Q)), /stopping/);
  const began = performance.now();
  t.match(targets(await client(t, [silent.at, silent.at], 400).ask(Q)), /no answer/);
  const took = performance.now() - began;
  t.ok(took >= 390 && took < 3000, `${took.toFixed(0)} ms of 400`);
  t.match(targets(await client(t, [silent.at]).ask({ name: 'a b.example', type: 'A' })), /no name/);
});

t.test('the hosts file and resolv.conf, read again when they change', async t => {
  const s = await server(t, q => [reply(q, [], 3)]);
  const dir = t.testdir({
    hosts:
      '127.0.0.1 localhost\n10.0.0.5  PBX.inside pbx # the telephone system\n2001:db8::5 pbx.inside\n# 10.0.0.9 pbx.inside\n',
    resolv: 'search example.net\n',
  });
  const dns = new DnsClient({
    servers: [s.at],
    timeoutMs: 2000,
    hostsFile: `${dir}/hosts`,
    resolvConf: `${dir}/resolv`,
  });
  t.teardown(() => dns.close());
  const ask = async (name: string, type: 'A' | 'AAAA' | 'SRV' | 'NAPTR') =>
    targets(await dns.ask({ name, type }), { name, type });
  t.same(await ask('pbx.inside', 'A'), ['10.0.0.5']);
  t.same(await ask('pbx.inside', 'AAAA'), ['2001:db8::5']);
  t.equal(await ask('pbx', 'AAAA'), 'none', 'a family that is not listed does not exist');
  t.equal(await ask('pbx.inside', 'NAPTR'), 'none');
  t.equal(await ask('_sip._udp.pbx.inside', 'SRV'), 'none');
  t.equal(s.asked.length, 0, 'and no server was asked for any of it');
  t.equal(await ask('other.inside', 'A'), 'none');
  t.equal(s.asked.length, 1, 'control: what is not in the file is asked for');
  writeFileSync(`${dir}/hosts`, '10.0.0.66 pbx.inside changed.inside\n');
  let now: unknown;
  for (let i = 0; i < 100 && String(now) !== '10.0.0.66'; i++) {
    now = await ask('pbx.inside', 'A');
    await new Promise(done => setTimeout(done, 50));
  }
  t.same(now, ['10.0.0.66']);
});
