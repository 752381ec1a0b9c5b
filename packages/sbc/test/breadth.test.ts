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

    const none = scene();
    none.alice.invite('sip:bob@example.org', { headers: 'Max-Breadth: 0\r\n' });
    none.alice.next(440);
    t.same(none.bob.heard(), []);
  },
);

tap.test(
  'a proxy that sends our own INVITE back: another address is a spiral, the same one a loop; ≤ 60 branches',
  async t => {
    const s = scene();
    const pbx = s.world.phone('pbx', { at: PBX, inner: PBX, via: CORE_UDP, domain: 'pbx.example.net' });
    s.alice.invite('sip:200@pbx.example.net');
    let sent = 0;
    let ringing = 0;
    // It forks every INVITE to the same two addresses behind us, as A and B that forward to each other do.
    const hear = (): void => {
      for (let m = pbx.inbox.shift(); m !== undefined; m = pbx.inbox.shift()) {
        if (m.method !== 'INVITE') continue;
        for (const uri of ['sip:bob@example.org', 'sip:200@pbx.example.net']) {
          if (++sent > 500) throw new Error('no end');
          const branch = pbx.branch();
          const head = m.text
            .replace(/^INVITE \S+/, `INVITE ${uri}`)
            .replace('\r\n', `\r\nVia: SIP/2.0/UDP ${PBX};branch=${branch}\r\nRecord-Route: <sip:${PBX};lr>\r\n`);
          pbx.send(head);
        }
      }
    };
    hear();
    for (let m = s.bob.inbox.shift(); m !== undefined; m = s.bob.inbox.shift()) if (m.method === 'INVITE') ringing++;
    t.ok(ringing >= 1, 'the spiral is no loop');
    t.ok(ringing <= 60);
    t.ok(sent <= 60, `${sent} branches`);
    t.ok(s.world.count('loop-detected') >= 1, 'the same address again was the end of it');
  },
);
