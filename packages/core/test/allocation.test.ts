import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { drop, Endpoints, own, PrefixSet, ReasonCounts, TimerWheel, Waiting } from '../src/index.js';

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

const OPERATIONS = 1_000_000;

/** Bytes of heap per operation that `work` leaves behind before a collection; a scavenge in between fails the measure loudly. */
function bytesPerOperation(work: (from: number, to: number) => void): number {
  work(0, 20_000);
  let least = Number.POSITIVE_INFINITY;
  // Until the compiler is through: beside other work it may take longer than three rounds, and what runs uncompiled boxes its numbers.
  for (let round = 0; round < 3 || (round < 20 && least >= NOISE); round++) {
    gc();
    let allocated = 0;
    // Short enough that even 16 bytes each fit the young generation without a collection.
    const slice = 20_000;
    for (let at = 0; at < OPERATIONS; at += slice) {
      const before = process.memoryUsage().heapUsed;
      work(at, at + slice);
      allocated += Math.max(0, process.memoryUsage().heapUsed - before);
    }
    least = Math.min(least, allocated / OPERATIONS);
  }
  return least;
}

/** What the measure itself makes: `memoryUsage()` returns an object. */
const NOISE = 1;

t.test('the measure finds an allocation of one small object per operation', async t => {
  let sink: unknown;
  const found = bytesPerOperation((from, to) => {
    for (let i = from; i < to; i++) sink = { i };
  });
  t.ok(found > 8, `control: ${found.toFixed(2)} bytes per operation`);
  t.ok(sink !== undefined);
});

t.test('endpoints, prefixes, counters and verdicts allocate nothing per operation', async t => {
  const e = new Endpoints(64);
  for (let i = 0; i < 64; i++) e.setV4(i, 0x0a000000 + i, 5060);
  const set = PrefixSet.parse(['192.168.0.0/16', '10.0.0.0/8']) as PrefixSet;
  const counts = new ReasonCounts();
  let n = 0;
  const found = bytesPerOperation((from, to) => {
    for (let i = from; i < to; i++) {
      const j = i & 63;
      e.setV4(j, 0x0a000000 + (i & 0xffff), 5060);
      e.copy((j + 1) & 63, e, j);
      e.setWords((j + 2) & 63, 0x20010db8, 0, 0, i & 0xffff, 5060);
      if (e.equal(j, e, (j + 1) & 63)) n++;
      if (e.sameAddress(j, e, (j + 2) & 63)) n++;
      n += e.hash(j, 7) & 1;
      n += e.port(j) & 1;
      n += e.family(j);
      if (set.has(e, j)) n++;
      counts.add('rate-limited');
      if (drop('rate-limited').do === 'drop') n++;
    }
  });
  t.ok(found < NOISE, `${found.toFixed(3)} bytes per operation`);
  t.ok(n > 0);
});

class Silent extends Waiting {
  static fired = 0;
  onDue(): void {
    Silent.fired++;
  }
}

t.test('the wheel arms, cancels and fires without allocating', async t => {
  const wheel = new TimerWheel(0);
  const all = Array.from({ length: 1024 }, () => new Silent());
  let now = 0;
  const found = bytesPerOperation((from, to) => {
    for (let i = from; i < to; i++) {
      const w = all[i & 1023] as Silent;
      wheel.arm(w, now + 50 + (i & 255));
      if ((i & 7) === 0) wheel.cancel(w);
      if ((i & 63) === 0) {
        now += 10;
        wheel.advance(now);
        if (wheel.pollTimeout() < 0) now++;
      }
    }
  });
  t.ok(found < NOISE, `${found.toFixed(3)} bytes per operation`);
  t.ok(Silent.fired > 1000, `${Silent.fired} fired`);
});

t.test('own() frees the message a slice was cut from', async t => {
  const cut = (keep: (s: string) => string): number => {
    gc();
    const before = process.memoryUsage().heapUsed;
    const kept: string[] = [];
    for (let i = 0; i < 2000; i++) {
      const message = Buffer.alloc(4000, 'x').fill(`${i}`, 0, 8).toString('latin1');
      kept.push(keep(message.slice(100, 140)));
    }
    gc();
    const after = process.memoryUsage().heapUsed;
    return kept.length === 2000 ? (after - before) / 2000 : 0;
  };
  cut(s => s);
  const pinned = cut(s => s);
  const owned = cut(own);
  t.ok(pinned > 2000, `control: a slice pins ${pinned.toFixed(0)} bytes`);
  t.ok(owned < 300, `an owned one costs ${owned.toFixed(0)}`);
});
