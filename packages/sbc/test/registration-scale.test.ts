import { H, headerLine, type MessageView, parseContacts } from '@drawbridge/sip';
import t from 'tap';
import { BINDING_PREFIX } from '../src/registrar/bindings.js';
import type { MemoryStore } from '../src/store/memory.js';
import { ACCESS_TCP, ACCESS_UDP, CORE_UDP, contactsOf, PBX, parsed, type Sent, World } from './world.js';

const DOMAIN = 'pbx.example.net';
const URI = `sip:${DOMAIN}`;
const HOUR = 3_600_000;

/** Answers for the upstream: grants what is asked, to anybody who brings credentials. */
class Upstream {
  readonly w: World;
  /** Every REGISTER that reached it, challenges included. */
  readonly heard: { at: number; m: MessageView }[] = [];
  /** Status of its answers instead of 200; 0: it is silent. */
  status: number | undefined;
  /** Ms it thinks before it answers. */
  credentials = true;
  hold: (() => void)[] | undefined;

  constructor(w: World) {
    this.w = w;
    w.onSend = s => {
      if (s.to !== PBX || s.via !== CORE_UDP) return false;
      const m = parsed(s.text);
      if (m.method !== 'REGISTER') return false;
      this.heard.push({ at: w.now, m });
      const answer = (): void => this.#answer(m);
      if (this.hold === undefined) w.soon.push(answer);
      else this.hold.push(answer);
      return true;
    };
  }

  #answer(m: MessageView): void {
    if (this.status === 0) return;
    const contact = m.get(H.contact);
    if (this.status !== undefined) {
      const challenge =
        this.status === 401 ? `WWW-Authenticate: Digest realm="pbx",nonce="n${this.heard.length}",qop="auth"\r\n` : '';
      return this.#send(m, `${this.status} Whatever`, this.status === 423 ? 'Min-Expires: 7200\r\n' : challenge);
    }
    if (this.credentials && !m.has(H.authorization))
      return this.#send(m, '401 Unauthorized', 'WWW-Authenticate: Digest realm="pbx",nonce="n",qop="auth"\r\n');
    const seconds = parseContacts(m)?.[0]?.expires ?? 0;
    this.#send(m, '200 OK', contact === '*' || seconds === 0 ? '' : headerLine('Contact', contact));
  }

  #send(m: MessageView, status: string, headers: string): void {
    const lines = ['via', 'from', 'to', 'callId', 'cseq'] as const;
    const copied = lines.map(h => m.line(m.first(H[h]))).join('');
    const tagged = copied.replace(/(To: [^\r]*)/, '$1;tag=pbx');
    this.w.receive(`SIP/2.0 ${status}\r\n${tagged}${headers}Content-Length: 0\r\n\r\n`, PBX, CORE_UDP);
  }

  /** How many REGISTERs with credentials came since. */
  take(): MessageView[] {
    return this.heard.splice(0).map(h => h.m);
  }
}

/** A phone that registers with credentials it was once challenged for, at half of what it is granted. */
class Device {
  readonly w: World;
  readonly user: string;
  readonly at: string;
  readonly via: number;
  callId: string;
  contact: string;
  cseq = 10;
  headers: string;
  next = 0;
  sent = 0;
  last: MessageView | undefined;

  constructor(w: World, n: number, o: { via?: number } = {}) {
    this.w = w;
    this.user = `u${n}`;
    this.at = `198.51.${100 + (n >> 8)}.${n & 255}:40000`;
    this.via = o.via ?? ACCESS_UDP;
    this.callId = `call-${n}`;
    this.contact = `<sip:${this.user}@192.168.1.5:5060>`;
    this.headers = `Authorization: Digest username="${this.user}",realm="pbx",nonce="n",uri="${URI}",response="00"\r\n`;
  }

  /** Seconds granted, -1 when no 200 came. */
  register(o: { expires?: number; headers?: string; contact?: string; from?: string; cseq?: number } = {}): number {
    const mark = this.w.sent.length;
    const contact = o.contact ?? this.contact;
    this.sent++;
    this.cseq = o.cseq ?? this.cseq + 1;
    this.w.receive(
      this.w.request({
        uri: URI,
        from: `<sip:${this.user}@${DOMAIN}>;tag=p${this.user}`,
        to: `<sip:${this.user}@${DOMAIN}>`,
        callId: this.callId,
        cseq: this.cseq,
        contacts: [contact === '*' ? contact : `${contact};expires=${o.expires ?? 60}`],
        headers: `${o.headers ?? this.headers}${contact === '*' ? 'Expires: 0\r\n' : ''}`,
      }),
      o.from ?? this.at,
      this.via,
    );
    const mine = this.w.sent.slice(mark).filter((s: Sent) => s.text.startsWith('SIP/2.0'));
    this.last = mine.length === 0 ? undefined : parsed(mine.at(-1)?.text ?? '');
    return this.granted();
  }

  granted(): number {
    if (this.last?.status !== 200) return -1;
    return Number(/expires=(\d+)/.exec(contactsOf(this.last).join())?.[1] ?? 0);
  }
}

/** Lets every device register at half of what it is granted, until `until`. */
function run(w: World, devices: readonly Device[], until: number): void {
  for (;;) {
    const d = devices.reduce((a, b) => (b.next < a.next ? b : a));
    if (d.next > until) break;
    w.advance(Math.max(0, d.next - w.now));
    const seconds = d.register();
    if (seconds <= 0) throw new Error(`${d.user} got ${d.last?.status ?? 'nothing'} at ${w.now}`);
    d.next = w.now + seconds * 500;
    w.sent.length = 0;
  }
  w.advance(Math.max(0, until - w.now));
}

function fleet(config: object, size: number, o: { store?: MemoryStore; now?: number } = {}) {
  const w = new World({ config: { registrar: config }, ...o });
  const upstream = new Upstream(w);
  const devices = Array.from({ length: size }, (_, n) => new Device(w, n));
  for (const [n, d] of devices.entries()) d.next = w.now + n * 300;
  return { w, upstream, devices };
}

const sum = (devices: readonly Device[]): number => devices.reduce((n, d) => n + d.sent, 0);

t.test('REGISTERs at the upstream are cut by the ratio of the intervals', async t => {
  const counted = (config: object): { phones: number; upstream: number; ratio: number } => {
    const { w, upstream, devices } = fleet(config, 100);
    run(w, devices, w.now + HOUR);
    upstream.take();
    const before = sum(devices);
    run(w, devices, w.now + HOUR);
    const phones = sum(devices) - before;
    const seen = upstream.take().length;
    return { phones, upstream: seen, ratio: phones / seen };
  };
  const on = counted({ upstreamExpires: '1h', downstreamExpires: { udp: '60s' } });
  t.comment(`on: ${JSON.stringify(on)}`);
  t.equal(on.phones, 12_000);
  t.ok(Math.abs(on.ratio / 60 - 1) <= 0.05, `1 h / 60 s = 60, found ${on.ratio.toFixed(1)}`);
  const shorter = counted({ upstreamExpires: '10m', downstreamExpires: { udp: '60s' } });
  t.comment(`10 min: ${JSON.stringify(shorter)}`);
  // A refresh that finds half of the time over comes up to half a minute late: of five minutes that is more.
  t.ok(Math.abs(shorter.ratio / 10 - 1) <= 0.1, `10 min / 60 s = 10, found ${shorter.ratio.toFixed(1)}`);

  const { w, upstream, devices } = fleet({ upstreamExpires: false, downstreamExpires: { udp: '60s' } }, 10);
  for (const d of devices) t.equal(d.register({ expires: 60 }), 60);
  upstream.take();
  const before = sum(devices);
  for (let n = 0; n < 20; n++) {
    w.advance(30_000);
    for (const d of devices) d.register({ expires: 60 });
  }
  t.equal((sum(devices) - before) / upstream.take().length, 1, 'control: switched off, every one goes there');
});

t.test('a long interval upstream, a short one downstream', async t => {
  const { w, upstream, devices } = fleet({}, 3);
  const [d, long, brief] = devices as [Device, Device, Device];
  t.equal(d.register({ headers: '' }), -1);
  t.equal(d.last?.status, 401, 'the first is judged by the upstream');
  t.equal(d.register({ expires: 300 }), 60, 'on UDP');
  t.match(upstream.take().at(-1)?.get(H.contact), /;expires=3600$/, 'the upstream is asked for an hour');
  t.equal(long.register({ expires: 7200 }), 60);
  t.match(upstream.take().at(-1)?.get(H.contact), /;expires=7200$/, 'or for more, when the phone wants more');
  t.equal(brief.register({ expires: 20 }), 20, 'a phone gets no more than it asks for');
  const [b] = w.registrar.lookup(`u0@${DOMAIN}`);
  t.equal((b?.expires ?? 0) - w.now, 60_000);
  t.equal((b?.lease?.until ?? 0) - w.now, 3_600_000);
  upstream.take();

  w.advance(30_000);
  t.equal(d.register(), 60, 'the same again');
  t.equal(upstream.take().length, 0, 'is answered here');
  t.equal(d.register({ headers: '' }), 60, 'without credentials as well: the flow is proven and nothing has changed');
  t.equal(upstream.take().length, 0);
  w.advance(61_000);
  t.equal(w.registrar.lookup(`u0@${DOMAIN}`).length, 0, 'and without a refresh it ends after a minute');

  w.stream((7 << 8) | ACCESS_TCP, '198.51.100.200:3333');
  const tcp = new Device(w, 200, { via: (7 << 8) | ACCESS_TCP });
  tcp.register({ from: '198.51.100.200:3333', expires: 3600 });
  t.equal(tcp.granted(), 600, 'longer on a stream');
  t.same({ ...w.registrar.leases.counts }, { local: 2, forwarded: 5, bridged: 0 });
});

t.test('what is never answered here', async t => {
  const fresh = (): { w: World; upstream: Upstream; d: Device } => {
    const { w, upstream, devices } = fleet({}, 1);
    const d = devices[0] as Device;
    d.register();
    w.advance(20_000);
    upstream.take();
    t.equal(d.register(), 60);
    t.equal(upstream.take().length, 0, 'control: the plain refresh is');
    return { w, upstream, d };
  };
  const other = (user: string): string =>
    `Authorization: Digest username="${user}",realm="pbx",nonce="n",uri="${URI}",response="00"\r\n`;
  const cases: [string, (d: Device) => void][] = [
    ['another port of the same address', d => d.register({ from: d.at.replace(':40000', ':40001') })],
    ['another address', d => d.register({ from: '203.0.113.77:40000' })],
    ['a changed contact', d => d.register({ contact: `<sip:${d.user}@192.168.1.6:5060>` })],
    ['the same contact with an instance', d => d.register({ contact: `${d.contact};+sip.instance="<urn:uuid:1>"` })],
    ['another q', d => d.register({ contact: `${d.contact};q=0.5` })],
    ['credentials of another user', d => d.register({ headers: other('mallory') })],
    ['de-registration', d => d.register({ expires: 0 })],
    ['de-registration of all', d => d.register({ contact: '*' })],
    [
      'another Call-ID',
      d => {
        d.callId = 'restarted';
        d.register();
      },
    ],
    ['a CSeq that does not rise', d => d.register({ cseq: 5 })],
  ];
  for (const [name, change] of cases) {
    const { upstream, d } = fresh();
    change(d);
    t.equal(upstream.take().length, 1, name);
  }

  const { w, upstream, d } = fresh();
  const second = new Device(w, 0);
  second.callId = 'second-device';
  second.contact = '<sip:u0@192.168.1.99:5060>';
  second.register({ headers: '', from: '198.51.100.240:1024' });
  t.equal(second.last?.status, 401, 'a second device of the user proves itself to the upstream');
  t.equal(upstream.take().length, 1);
  const third = new Device(w, 0);
  third.register({ headers: '', from: '198.51.100.241:1024', cseq: d.cseq + 1 });
  t.equal(third.last?.status, 401, 'and so does one that claims to be the first, from elsewhere');
  t.equal(w.registrar.lookup(`u0@${DOMAIN}`)[0]?.flow.address, '198.51.100.0');
});

t.test('one that is under way for an AoR is waited for', async t => {
  const { w, upstream, devices } = fleet({}, 1);
  const d = devices[0] as Device;
  d.register();
  upstream.take();
  upstream.hold = [];
  d.register({ expires: 0 });
  d.register();
  t.equal(upstream.take().length, 2, 'the refresh after a removal follows it');
  const [removal, refresh] = upstream.hold.splice(0);
  refresh?.();
  removal?.();
  w.advance(10);
  t.equal(w.registrar.lookup(`u0@${DOMAIN}`).length, 1, 'the younger stands, in whatever order they are answered');
  upstream.hold = undefined;
  t.equal(d.register(), 60);
  t.equal(upstream.take().length, 0, 'control: nothing is under way any more');
  d.register({ expires: 0 });
  t.equal(w.registrar.lookup(`u0@${DOMAIN}`).length, 0, 'control: a removal removes');
});

t.test('the upstream fails: bindings are kept for a while, and then are not', async t => {
  for (const [how, status] of [
    ['silent', 0],
    ['busy', 503],
  ] as const) {
    const { w, upstream, devices } = fleet({ upstreamExpires: '10m', grace: '15m' }, 2);
    const [d, stranger] = devices as [Device, Device];
    d.register();
    const began = w.now;
    upstream.status = status;
    let last = 0;
    let refused = 0;
    for (; w.now < began + 40 * 60_000 && refused === 0; ) {
      w.advance(25_000);
      d.register();
      if (d.last === undefined) {
        const mark = w.sent.length;
        w.advance(29_000);
        const late = w.sent.slice(mark).find(s => s.text.startsWith('SIP/2.0'));
        d.last = late === undefined ? undefined : parsed(late.text);
      }
      if (d.granted() > 0) last = w.now;
      else refused = d.last?.status ?? -1;
      w.sent.length = 0;
    }
    const minutes = (last - began) / 60_000;
    t.ok(minutes > 23 && minutes <= 25, `${how}: until ${minutes.toFixed(1)} of 10 + 15 minutes`);
    t.equal(refused, status === 0 ? 504 : 500);
    t.equal(w.registrar.lookup(`u0@${DOMAIN}`).length, 0, 'then it is over');
    t.ok(w.registrar.leases.counts.bridged > 10);
    t.match(
      w.events.filter(e => e.kind === 'binding-grace').map(e => (e as { what: string }).what),
      ['began', 'ended'],
    );
    t.equal(w.registrar.leases.inGrace, 0);
    stranger.register();
    w.advance(29_000);
    t.equal(w.registrar.lookup(`u1@${DOMAIN}`).length, 0, 'control: whom it never knew is not let in');
  }
});

t.test('an upstream that is down is spared', async t => {
  const { w, upstream, devices } = fleet({ upstreamExpires: '2m' }, 40);
  for (const d of devices) d.register();
  upstream.status = 503;
  for (let n = 0; n < 6; n++) {
    w.advance(25_000);
    for (const d of devices) d.register();
  }
  t.equal(w.registrar.leases.inGrace, 40);
  upstream.take();
  const before = w.registrar.leases.counts.bridged;
  for (let n = 0; n < 4; n++) {
    w.advance(25_000);
    for (const d of devices) t.ok(d.register() > 0);
  }
  t.equal(upstream.take().length, 4, 'one in each round asks it');
  t.equal(w.registrar.leases.counts.bridged - before, 160, 'control: all were there');
});

t.test('the upstream comes back, or says no', async t => {
  const failing = (): { w: World; upstream: Upstream; d: Device } => {
    const { w, upstream, devices } = fleet({ upstreamExpires: '2m', grace: '15m' }, 1);
    const d = devices[0] as Device;
    d.register();
    upstream.status = 503;
    for (let n = 0; n < 8; n++) {
      w.advance(25_000);
      t.ok(d.register() > 0);
    }
    t.equal(w.registrar.leases.inGrace, 1);
    w.advance(16_000);
    upstream.take();
    return { w, upstream, d };
  };
  const back = failing();
  back.upstream.status = undefined;
  t.equal(back.d.register(), 60);
  t.equal(back.w.registrar.leases.inGrace, 0, 'a 200 ends the grace');
  t.equal(back.upstream.take().length, 1);
  back.w.advance(20_000);
  back.d.register();
  t.equal(back.upstream.take().length, 0);

  const no = failing();
  no.upstream.status = 403;
  no.d.register();
  t.equal(no.d.last?.status, 403);
  t.equal(no.w.registrar.lookup(`u0@${DOMAIN}`).length, 0, 'a 403 ends it');

  const nonce = failing();
  nonce.upstream.status = 401;
  nonce.d.register();
  t.equal(nonce.d.last?.status, 401);
  t.equal(nonce.w.registrar.lookup(`u0@${DOMAIN}`).length, 1, 'one 401 may only mean an old nonce');
  nonce.d.register();
  t.equal(nonce.w.registrar.lookup(`u0@${DOMAIN}`).length, 0, 'the second is the last word');

  const fine = failing();
  fine.upstream.status = 401;
  fine.d.register();
  fine.upstream.status = undefined;
  t.equal(fine.d.register(), 60, 'control: a new nonce, accepted');
  fine.upstream.status = 401;
  fine.w.advance(90_000);
  t.equal(fine.w.registrar.lookup(`u0@${DOMAIN}`).length, 0);

  const forged = failing();
  forged.upstream.status = 403;
  forged.d.register({ from: '203.0.113.66:4000' });
  t.equal(forged.w.registrar.lookup(`u0@${DOMAIN}`).length, 1, 'somebody else hearing no costs the phone nothing');
});

t.test('after a restart leases go on, and refreshes that are due do not come all at once', async t => {
  const first = fleet({ unprovenRate: 1000, upstreamExpires: '10m', downstreamExpires: { udp: '400s' } }, 200);
  for (const d of first.devices) d.register({ expires: 400 });
  const store = first.w.store;
  const kept = await records(store);
  t.equal(kept.length, 200);

  // When half of the time is over: all of them are due, and come within ten seconds.
  const peaks: number[] = [];
  for (const upstreamRate of [5, 1000]) {
    const w = new World({
      config: { registrar: { upstreamExpires: '10m', downstreamExpires: { udp: '60s' }, upstreamRate } },
      store,
      now: 1000 + 340_000,
    });
    t.same(w.registrar.restore(w.now, kept), { kept: 200, dropped: 0 });
    w.advance(10);
    const upstream = new Upstream(w);
    const devices = first.devices.map((d, n) => Object.assign(new Device(w, n), { cseq: d.cseq }));
    for (const [n, d] of devices.entries()) {
      t.ok(d.register({ expires: 60 }) > 0);
      if (n % 20 === 19) w.advance(1000);
    }
    const perSecond = new Map<number, number>();
    for (const { at } of upstream.heard)
      perSecond.set(Math.floor(at / 1000), (perSecond.get(Math.floor(at / 1000)) ?? 0) + 1);
    peaks.push(Math.max(...perSecond.values()));
  }
  t.comment(`most in a second: ${peaks}`);
  t.ok((peaks[0] ?? 99) <= 10, 'one second of the budget and what refills in it');
  t.ok((peaks[1] ?? 0) >= 15, 'control: without the budget');
});

async function records(store: MemoryStore): Promise<{ key: string; value: unknown }[]> {
  const out: { key: string; value: unknown }[] = [];
  for await (const r of store.load(BINDING_PREFIX)) out.push(r);
  return out;
}

t.test('423 from the upstream is learnt', async t => {
  const { upstream, devices } = fleet({ upstreamExpires: '5m' }, 2);
  const [d, second] = devices as [Device, Device];
  upstream.status = 423;
  d.register();
  t.equal(d.last?.status, 423);
  t.equal(d.last?.get(H.minExpires), '7200');
  t.match(upstream.take()[0]?.get(H.contact), /;expires=300$/);
  upstream.status = undefined;
  second.register();
  t.match(upstream.take()[0]?.get(H.contact), /;expires=7200$/);
});
