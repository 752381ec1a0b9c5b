import { H } from '@drawbridge/sip';
import tap from 'tap';
import { scene } from './dialog-phones.js';
import { CORE_UDP, PBX } from './harness.js';

function manyBobs(s: ReturnType<typeof scene>, n: number): ReturnType<typeof s.world.phone>[] {
  return Array.from({ length: n }, (_, i) =>
    s.world.phone('bob', { at: `198.51.100.${10 + i}:5060`, inner: `10.0.1.${10 + i}:5060` }).register(),
  );
}

tap.test(
  'Max-Breadth (RFC 5393): 60 when nobody says, shared by the forks, never more of them than it allows',
  async t => {
    const s = scene();
    const [one, two] = manyBobs(s, 2);
    s.alice.invite('sip:bob@example.org');
    for (const phone of [s.bob, one, two]) t.equal(phone?.called().invite?.get(H.maxBreadth), '20');

    const narrow = scene();
    const others = manyBobs(narrow, 2);
    const a = narrow.alice.invite('sip:bob@example.org', { headers: 'Max-Breadth: 2\r\n' });
    const all = [narrow.bob, ...others];
    const ringing = all.filter(p => p.inbox.length > 0);
    t.equal(ringing.length, 2);
    for (const p of ringing) {
      const half = p.called();
      t.equal(half.invite?.get(H.maxBreadth), '1');
      half.answer(486);
      p.next('ACK');
    }
    const last = all.find(p => !ringing.includes(p));
    const half = last?.called();
    t.equal(half?.invite?.get(H.maxBreadth), '2', 'the third rings when there is room');
    half?.answer(486);
    narrow.alice.next(486);
    t.ok(a);

    const texts = scene();
    const more = manyBobs(texts, 2);
    const text = (headers: string): void =>
      void texts.alice.ask({
        method: 'MESSAGE',
        uri: 'sip:bob@example.org',
        to: '<sip:bob@example.org>',
        headers,
        body: 'hi',
      });
    text('');
    for (const p of [texts.bob, ...more]) t.equal(p.next('MESSAGE').get(H.maxBreadth), '20', 'a MESSAGE likewise');
    text('Max-Breadth: 1\r\n');
    t.equal([texts.bob, ...more].filter(p => p.inbox.length > 0).length, 1);

    const none = scene();
    none.alice.invite('sip:bob@example.org', { headers: 'Max-Breadth: 0\r\n' });
    none.alice.next(440);
    t.same(none.bob.heard(), []);
  },
);

tap.test('a proxy sends our own INVITE back: for another address a spiral, for the same one a loop', async t => {
  const s = scene();
  const pbx = s.world.phone('pbx', { at: PBX, inner: PBX, via: CORE_UDP, domain: 'pbx.example.net' });
  // Carol's registration leads to that proxy, as if she forwarded all her calls there.
  const carol = s.world.phone('carol', { at: '10.0.0.5:5070', inner: '10.0.0.5:5070', via: CORE_UDP }).register();
  s.alice.invite('sip:carol@example.org');
  let sent = 0;
  // It forks every INVITE to the same two addresses behind us, as A and B that forward to each other do.
  for (let m = carol.inbox.shift(); m !== undefined; m = carol.inbox.shift()) {
    if (m.method !== 'INVITE') continue;
    for (const uri of ['sip:bob@example.org', 'sip:carol@example.org']) {
      if (++sent > 60) throw new Error('more than 60 branches');
      pbx.send(
        m.text
          .replace(/^INVITE \S+/, `INVITE ${uri}`)
          .replace('\r\n', `\r\nVia: SIP/2.0/UDP ${PBX};branch=${pbx.branch()}\r\nRecord-Route: <sip:${PBX};lr>\r\n`),
      );
    }
  }
  t.equal(s.bob.inbox.filter(m => m.method === 'INVITE').length, 1, 'the spiral rings');
  t.same(
    pbx.inbox.map(m => m.status).filter(status => status > 100),
    [482],
    'the loop does not',
  );
  t.equal(s.world.count('loop-detected'), 1);
  t.equal(sent, 2);
});
