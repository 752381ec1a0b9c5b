import { buildReply, H, headerLine } from '@drawbridge/sip';
import t from 'tap';
import { NatPatience } from '../src/registrar/nat.js';
import { contactsOf, parsed, type Sent, World } from './world.js';

/** A NAT with one idle time for UDP, and one phone behind it. */
class NattedPhone {
  readonly #w: World;
  readonly #address: string;
  readonly #lifetime: number;
  readonly #samePort: boolean;
  readonly #n: number;
  #port: number;
  #lastPacket = Number.NEGATIVE_INFINITY;
  #cseq = 0;
  /** When the phone could not have been called, ms in all. */
  lost = 0;
  asked = 0;
  answers = true;
  on = true;

  constructor(w: World, o: { address: string; lifetime: number; samePort?: boolean; n?: number }) {
    this.#w = w;
    this.#address = o.address;
    this.#lifetime = o.lifetime;
    this.#samePort = o.samePort ?? false;
    this.#n = o.n ?? 1;
    this.#port = 20_000 + this.#n * 1000;
  }

  get reachable(): boolean {
    return this.on && this.#w.now - this.#lastPacket < this.#lifetime;
  }

  out(text: string): void {
    if (!this.reachable && !this.#samePort) this.#port++;
    this.#lastPacket = this.#w.now;
    this.#w.receive(text, `${this.#address}:${this.#port}`);
  }

  /** True when the packet was for this NAT. */
  in(s: Sent): boolean {
    if (!s.to.startsWith(`${this.#address}:`) || s.to !== `${this.#address}:${this.#port}`) return false;
    if (!this.reachable) return true;
    this.#lastPacket = this.#w.now;
    if (!s.text.startsWith('OPTIONS ')) return s.text.trim() === '';
    this.asked++;
    if (this.answers) this.#w.soon.push(() => this.out(buildReply(parsed(s.text), 200, { toTag: 'phone' })));
    return true;
  }

  register(callId = `phone-${this.#n}`): void {
    this.#w.ask(
      {
        contacts: [`<sip:alice@192.168.1.${this.#n}:5060>`],
        callId,
        cseq: this.#cseq,
        headers: 'Expires: 3600\r\n',
      },
      `${this.#address}:${this.#map()}`,
    );
    this.#cseq += 2;
  }

  #map(): number {
    if (!this.reachable && !this.#samePort) this.#port++;
    this.#lastPacket = this.#w.now;
    return this.#port;
  }
}

/** Minutes go by; phones register every 5, and every second that one can't be reached is noted. */
function live(w: World, phones: readonly NattedPhone[], minutes: number, everyS = 300): void {
  for (let second = 0; second < minutes * 60; second++) {
    w.advance(1000);
    for (const [i, p] of phones.entries()) {
      if (!p.on) continue;
      if (!p.reachable) p.lost += 1000;
      if ((second + i * 17) % everyS === 0) p.register();
    }
  }
}

function world(config: object = {}): { w: World; phones: NattedPhone[] } {
  const w = new World({ config: { registrar: { maxExpires: '1h', maxContacts: 50 }, ...config } });
  const phones: NattedPhone[] = [];
  w.onSend = s => phones.some(p => p.in(s));
  return { w, phones };
}

for (const [seconds, samePort] of [
  [30, false],
  [60, true],
  [60, false],
  [120, true],
  [120, false],
] as const) {
  t.test(
    `a NAT that forgets after ${seconds} s is found out within 20 %${samePort ? ', though it keeps the port' : ''}`,
    async t => {
      const { w, phones } = world();
      const p = new NattedPhone(w, { address: '198.51.100.7', lifetime: seconds * 1000, samePort });
      phones.push(p);
      p.register();
      live(w, phones, 60);
      const [b] = w.registrar.lookup('alice@example.org');
      const facts = b === undefined ? undefined : w.registrar.keepalive.facts(b);
      t.equal(facts?.how, 'options');
      t.equal(facts?.searching, false);
      const found = (facts?.intervalMs ?? 0) / 1000;
      t.ok(found >= seconds * 0.8 && found < seconds, `${found} s`);
      const lost = p.lost;
      const asked = p.asked;
      live(w, phones, 60);
      t.equal(p.lost, lost, 'reachable throughout, once it is known');
      t.ok(lost <= 2 * 300_000, `lost ${lost / 1000} s while searching`);
      t.ok(
        p.asked - asked <= 3600 / found + 15,
        `and asked no more often than needed: ${p.asked - asked} times in an hour`,
      );
    },
  );
}

t.test('a NAT that forgets about when the first long gap is tried is asked for less the next time', async t => {
  const patience = (died: number): number | undefined => {
    const nat = new NatPatience('udp 198.51.100.7', { min: 15_000, max: 180_000, start: 30_000 });
    t.equal(nat.next, 30_000, 'control: where the search begins');
    nat.died(died);
    return nat.next;
  };
  t.equal(patience(30_000), 15_000);
  t.equal(patience(30_070), 15_000, 'the question came a moment late');
  t.equal(patience(60_000), 30_000, 'a phone that was silent for longer has said nothing about 30 s');
});

t.test('no keepalive at all: the control that shows the model NAT forgetting', async t => {
  const { w, phones } = world({ keepalive: { min: '180s', max: '180s', start: '180s' } });
  const p = new NattedPhone(w, { address: '198.51.100.7', lifetime: 60_000 });
  phones.push(p);
  p.register();
  live(w, phones, 60);
  t.ok(p.lost > 30 * 60_000, `lost ${p.lost / 1000} s of 3600`);
});

t.test('a NAT that forgets nothing ends at the longest interval, without a loss', async t => {
  const { w, phones } = world();
  const p = new NattedPhone(w, { address: '198.51.100.7', lifetime: 1e9 });
  phones.push(p);
  p.register();
  live(w, phones, 60, 3000);
  const [b] = w.registrar.lookup('alice@example.org');
  const facts = b === undefined ? undefined : w.registrar.keepalive.facts(b);
  t.equal(facts?.searching, false);
  t.ok((facts?.intervalMs ?? 0) >= 175_000, `${facts?.intervalMs} ms`);
  t.equal(p.lost, 0);
});

t.test('what one phone finds serves the others behind its NAT; another NAT is searched by itself', async t => {
  const { w, phones } = world();
  const office = Array.from(
    { length: 8 },
    (_, n) => new NattedPhone(w, { address: '198.51.100.7', lifetime: 60_000, n: n + 1 }),
  );
  const home = new NattedPhone(w, { address: '198.51.100.200', lifetime: 120_000, n: 20 });
  phones.push(...office, home);
  for (const p of phones) p.register();
  t.equal(w.registrar.keepalive.nats, 2);
  live(w, phones, 60);
  const intervals = w.registrar
    .lookup('alice@example.org')
    .map(b => ({ from: b.flow.peer.address(b.flow.j), s: (w.registrar.keepalive.facts(b)?.intervalMs ?? 0) / 1000 }));
  for (const { from, s } of intervals) {
    if (from === '198.51.100.7') t.ok(s >= 48 && s < 60, `office ${s}`);
    else t.ok(s >= 96 && s < 120, `home ${s}`);
  }
  t.equal(intervals.length, 9);
  const hurt = office.filter(p => p.lost > 0).length;
  t.ok(hurt <= 2, `${hurt} of 8 phones were ever out of reach`);
});

t.test('a phone that is switched off says nothing about its NAT', async t => {
  const { w, phones } = world();
  const p = new NattedPhone(w, { address: '198.51.100.7', lifetime: 1e9 });
  phones.push(p);
  p.register();
  live(w, phones, 2, 3000);
  p.on = false;
  live(w, phones, 10, 3000);
  p.on = true;
  p.register('after-the-boot');
  live(w, phones, 45, 3000);
  const [b] = w.registrar.lookup('alice@example.org');
  t.equal(b === undefined ? 0 : w.registrar.keepalive.facts(b)?.badMs, undefined);
});

t.test('a phone that never answers OPTIONS gets CRLF at the shortest interval', async t => {
  const { w, phones } = world();
  const p = new NattedPhone(w, { address: '198.51.100.7', lifetime: 30_000 });
  p.answers = false;
  const crlf: number[] = [];
  w.onSend = s => {
    if (s.text === '\r\n\r\n') crlf.push(s.at);
    return p.in(s);
  };
  phones.push(p);
  p.register();
  live(w, phones, 10);
  const [b] = w.registrar.lookup('alice@example.org');
  t.equal(b === undefined ? '' : w.registrar.keepalive.facts(b)?.how, 'crlf');
  t.ok(crlf.length > 30);
  t.equal(Math.round(((crlf.at(-1) ?? 0) - (crlf.at(-2) ?? 0)) / 1000), 15);
});

t.test('a phone that keeps its own mapping open is left alone, one in the open is not asked', async t => {
  const { w, phones } = world();
  const p = new NattedPhone(w, { address: '198.51.100.7', lifetime: 30_000 });
  phones.push(p);
  p.register();
  for (let second = 1; second <= 1200; second++) {
    w.advance(1000);
    if (second % 12 === 0) p.out('\r\n\r\n');
  }
  t.equal(p.asked, 1, 'only whether it answers at all');
  t.equal(p.lost, 0);

  const open = new World();
  const options: Sent[] = [];
  open.onSend = s => s.text.startsWith('OPTIONS') && options.push(s) > 0;
  const ok = open.ask(
    { contacts: ['<sip:alice@198.51.100.7:5060>'], headers: headerLine('Expires', '3600') },
    '198.51.100.7:5060',
  );
  t.equal(contactsOf(ok).length, 1);
  open.advance(1_000_000);
  t.equal(options.length, 0);
  t.equal(open.take().filter(s => s.text === '\r\n\r\n').length, 5, 'but gets a CRLF every 180 s');
  t.equal(parsed(open.request({})).first(H.contact), -1);
});
