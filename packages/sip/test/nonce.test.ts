import { Endpoints, seededRandom } from '@drawbridge/core';
import t from 'tap';
import { checked, checkNonce, mintNonce, nonceKey } from '../src/digest/nonce.js';
import { NonceCounts } from '../src/digest/nonce-counts.js';
import { SipHash } from '../src/digest/siphash.js';
import { MessageView, statelessTag } from '../src/index.js';

const KEY = Buffer.from('first key');

t.test('SipHash-2-4-128 agrees with its authors and with OpenSSL', async t => {
  const key = Uint8Array.from({ length: 16 }, (_, i) => i);
  const mac = new SipHash(key);
  const of = (length: number): string => {
    mac.mixBytes(key, 0, length);
    const out = Buffer.alloc(16);
    mac.end().forEach((word, k) => void out.writeInt32LE(word, k * 4));
    return out.toString('hex');
  };
  // vectors_sip128 of the reference implementation
  t.equal(of(0), 'a3817f04ba25a8e66df67214c7550293');
  t.equal(of(1), 'da87c1d86b99af44347659119b22fc45');
  t.equal(of(2), '8177228da4a45dc7fca38bdef60affe4');
  const text = (...parts: string[]): string => {
    for (const p of parts) mac.mixText(p);
    const out = Buffer.alloc(16);
    mac.end().forEach((word, k) => void out.writeInt32LE(word, k * 4));
    return out.toString('hex');
  };
  // openssl mac -macopt hexkey:000102030405060708090a0b0c0d0e0f -macopt size:16 -in FILE SIPHASH
  t.equal(text('a longer message, of more than one block'), 'a6cca0f4939f209d6ca499f22b465a17');
  t.equal(text('x'.repeat(1000), 'y'.repeat(3000)), 'e5e954b6ac6b9a985ec9c6ae46705dc9', 'past the room it begins with');
  t.equal(text('a', 'b'), text('ab'));
  t.not(text('é'), text('Ã©'), 'nothing but ASCII stands for itself');
  // The same of the bytes e0 83 a9 e2 82 ac.
  t.equal(text('é€'), 'bec19773e3824997f8548a0bd4d3301f', 'three bytes each');
  t.equal(of(2), '8177228da4a45dc7fca38bdef60affe4', 'nothing is left of a longer message before it');
  t.throws(() => new SipHash(key.subarray(1)), TypeError);
});

t.test('the table of counts is bounded, and forgetting allows no replay', async t => {
  const counts = new NonceCounts(3, 1000);
  for (let n = 0; n < 3; n++) t.ok(counts.take(n, n, 70 + n, 1));
  t.ok(counts.take(3, 3, 73, 1));
  t.equal(counts.size, 3);
  t.notOk(counts.take(3, 0, 70, 1), 'forgotten, and refused for it');
  t.notOk(counts.take(3, 0, 70, 2));
  t.ok(counts.take(3, 1, 71, 2), 'the others go on');
  t.ok(counts.take(2000, 2000, 74, 1));
  t.equal(counts.size, 1, 'expired ones make room first');
  t.ok(counts.take(2000, 1999, 75, 1), 'and those leave no floor');
  t.ok(counts.take(2000, 2, 76, 1));
});

t.test(
  'nonces of one moment, or of one salt, are counted apart; a count far below the window is not taken',
  async t => {
    const counts = new NonceCounts(8, 1000);
    t.ok(counts.take(5, 5, 70, 1));
    t.ok(counts.take(5, 5, 71, 1), 'the same moment');
    t.ok(counts.take(6, 6, 70, 1), 'the same salt');
    t.equal(counts.size, 3);
    for (const [mintedAt, salt] of [
      [5, 70],
      [5, 71],
      [6, 70],
    ] as const)
      t.notOk(counts.take(6, mintedAt, salt, 1), `${mintedAt} ${salt}`);
    t.ok(counts.take(6, 5, 70, 100));
    t.notOk(counts.take(6, 5, 70, 67), '33 below the highest');
    t.ok(counts.take(6, 5, 70, 69), 'control: 31 below it');
  },
);

/** As `NonceCounts` says it works, written down without a thought for speed. */
class PlainCounts {
  readonly #max: number;
  readonly #lifetimeMs: number;
  #entries: { mintedAt: number; salt: number; highest: number; used: Set<number> }[] = [];
  #floor = Number.NEGATIVE_INFINITY;
  constructor(max: number, lifetimeMs: number) {
    this.#max = max;
    this.#lifetimeMs = lifetimeMs;
  }
  get size(): number {
    return this.#entries.length;
  }
  take(wall: number, mintedAt: number, salt: number, nc: number): boolean {
    const known = this.#entries.find(e => e.mintedAt === mintedAt && e.salt === salt);
    if (known !== undefined) {
      if (known.used.has(nc) || nc <= known.highest - 32) return false;
      known.used.add(nc);
      known.highest = Math.max(known.highest, nc);
      return true;
    }
    if (mintedAt <= this.#floor) return false;
    for (let e = this.#entries[0]; e !== undefined; e = this.#entries[0]) {
      const expired = wall - e.mintedAt > this.#lifetimeMs;
      if (!expired && this.#entries.length < this.#max) break;
      this.#entries.shift();
      if (!expired) this.#floor = Math.max(this.#floor, e.mintedAt);
    }
    this.#entries.push({ mintedAt, salt, highest: nc, used: new Set([nc]) });
    return true;
  }
}

t.test('nonce counts in a crowded table are those of a plain list', async t => {
  for (const max of [1, 2, 7, 16, 17]) {
    const random = seededRandom(max);
    const real = new NonceCounts(max, 500);
    const plain = new PlainCounts(max, 500);
    let taken = 0;
    for (let i = 0; i < 20_000; i++) {
      // Minted one per 20 ms, as a rule used soon, a few of one moment.
      const wall = i * 2;
      const mintedAt = Math.max(0, Math.floor(wall / 20) - (random.u32() % 12)) * 20;
      const salt = random.u32() % 3;
      const nc = 1 + (random.u32() % 70);
      const expected = plain.take(wall, mintedAt, salt, nc);
      if (real.take(wall, mintedAt, salt, nc) !== expected || real.size !== plain.size)
        return t.fail(
          `max ${max}, step ${i}: ${mintedAt}/${salt} nc ${nc}, expected ${expected}, ${plain.size} entries`,
        );
      if (expected) taken++;
    }
    t.ok(taken > 1000 && taken < 19_000, `max ${max}: ${taken} of 20000 taken`);
  }
});

t.test('the tag of a stateless reply is the same for a retransmission, another for another request or key', async t => {
  const tag = (change: (text: string) => string, key = KEY): string => {
    const m = new MessageView();
    m.parse(
      change(
        'INVITE sip:b@example.org SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n',
      ),
    );
    return statelessTag(m, key);
  };
  const first = tag(x => x);
  t.match(first, /^[\w-]{16}$/);
  t.equal(
    tag(x => x),
    first,
  );
  const others = [
    tag(x => x.replace('z9hG4bK1', 'z9hG4bK2')),
    tag(x => x.replace('Call-ID: c', 'Call-ID: d')),
    tag(x => x.replace('tag=1', 'tag=2')),
    tag(x => x.replace('CSeq: 1', 'CSeq: 2')),
    tag(x => x.replace('UDP h;', 'UDP i;')),
    tag(x => x.replace('INVITE sip:b@', 'INVITE sip:c@')),
    // The same characters, parted elsewhere.
    tag(x => x.replace('Call-ID: c', 'Call-ID: c1').replace('tag=1', 'tag=')),
    tag(x => x.replace('z9hG4bK1', 'z9hG4bK').replace('UDP h;', 'UDP 1h;')),
    tag(x => x, Buffer.from('other')),
  ];
  t.equal(new Set([first, ...others]).size, 10);
  t.equal(
    first,
    tag(x => x.replace('To: <sip:a@b>', 'To: <sip:other@b>')),
    'what is no part of it',
  );
});

t.test('a nonce is ours to the letter, for one address of a batch, in its lifetime', async t => {
  const LIFE = 300_000;
  const WALL = 1_700_000_000_000;
  const key = nonceKey(KEY);
  const peers = new Endpoints(2);
  peers.set(0, { address: '198.51.100.66', port: 40_000 });
  peers.set(1, { address: '198.51.100.7', port: 40_000 });
  const random = seededRandom(3);
  const nonce = mintNonce(key, WALL, random, 'example.org', peers, 1);
  const check = (text: string, wall = WALL, keys = [key]): string =>
    checkNonce(text, keys, wall, LIFE, 'example.org', peers, 1);
  t.equal(check(nonce), 'good');
  t.same({ ...checked }, { mintedAt: WALL, salt: seededRandom(3).u32() });
  // The MAC as of `openssl mac … SIPHASH`.
  t.equal(nonce, '3QGLz-VoALhgyFJqenh8sr50tAJnS0_u6vEq', 'the same on every node, now and after a restart');
  t.not(mintNonce(key, WALL, random, 'example.org', peers, 1), nonce, 'two phones behind one NAT share none');

  t.equal(checkNonce(nonce, [key], WALL, LIFE, 'example.org', peers, 0), 'unverified', 'another address');
  t.equal(checkNonce(nonce, [key], WALL, LIFE, 'example.com', peers, 1), 'unverified', 'another realm');
  t.equal(check(nonce, WALL, []), 'unverified');
  t.equal(check(nonce, WALL, [nonceKey(Buffer.from('other'))]), 'unverified');
  t.equal(check(nonce, WALL, [nonceKey(Buffer.from('other')), key]), 'good');
  for (let i = 0; i < nonce.length; i++) {
    const change = (c: string): string => check(nonce.slice(0, i) + c + nonce.slice(i + 1));
    t.equal(change(nonce[i] === 'A' ? 'B' : 'A'), 'unverified', `character ${i}`);
    for (const c of ['!', '=', '+', '\u00e9', '\u0141']) t.equal(change(c), 'foreign', `${c} at ${i}`);
  }
  for (const shape of ['', nonce.slice(1), `${nonce}A`, `${nonce}AAAA`]) t.equal(check(shape), 'foreign', shape);

  t.same(
    [LIFE, LIFE + 1, -LIFE, -LIFE - 1].map(age => check(nonce, WALL + age)),
    ['good', 'old', 'good', 'old'],
  );
  const early = mintNonce(key, -5, random, 'example.org', peers, 1);
  t.equal(check(early, 0), 'good', 'a clock before 1970 is no reason to fail');
  t.equal(checked.mintedAt, 0);
});
