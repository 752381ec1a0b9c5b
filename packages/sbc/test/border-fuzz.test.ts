import { seededRandom } from '@drawbridge/core';
import { H, MessageView } from '@drawbridge/sip';
import t from 'tap';
import { ACCESS_TCP, BorderWorld, CORE_UDP, PBX, Phone, parsed, replyTo } from './harness.js';

const SEED = Number(process.env.SEED ?? 20261121);
const ROUNDS = Number(process.env.ROUNDS ?? 3000);

/** Values that some stack somewhere once fell over. */
const NASTY = [
  '',
  ' ',
  ',',
  ';',
  '<>',
  '*',
  '"',
  '"\\',
  '<sip:',
  '<sip:@>',
  '<sip:a@b',
  'sip:a@b;tag=',
  '<sip:a b@c>;tag=1',
  '<sip:a@b>;tag=1;tag=2',
  '<tel:+44>',
  'tel:+44;phone-context=x',
  '<sips:a@b>',
  '<http://a/>',
  '<sip:%00@b>',
  '<sip:a@[::1]:99999>',
  '<sip:a@[fe80::1%25eth0]>',
  '<sip:\xc3\xa9@b>',
  '"\xff\xfe" <sip:a@b>',
  '0',
  '-1',
  '4294967296',
  '2147483648',
  '99999999999999999999',
  '1 INVITE',
  '1  BYE',
  'INVITE 1',
  'SIP/2.0/UDP',
  'SIP/2.0/UDP ;branch=z9hG4bK',
  'SIP/3.0/UDP a;branch=z9hG4bK1',
  'SIP/2.0/UDP [::1]:1;rport=x;branch=z9hG4bK2',
  '<sip:203.0.113.10;lr>',
  '<sip:203.0.113.10>',
  '<sip:192.0.2.1;lr>,<sip:192.0.2.2>',
  'a\r\n b',
  '__proto__',
  'constructor',
  'application/sdp',
  'multipart/mixed;boundary=x',
  'text/plain',
  '100rel',
  'Digest',
  'Digest username="a',
  'terminated',
  'active;expires=1',
  '%s%n',
  'x'.repeat(2000),
  'a,'.repeat(500),
  '('.repeat(100),
  ' \t '.repeat(50),
];
const NAMES = [
  'Via',
  'From',
  'To',
  'Call-ID',
  'CSeq',
  'Contact',
  'Max-Forwards',
  'Content-Length',
  'Content-Type',
  'Route',
  'Record-Route',
  'Require',
  'Supported',
  'Expires',
  'Event',
  'Subscription-State',
  'Reason',
  'Authorization',
  'Proxy-Authorization',
  'Retry-After',
  'Allow',
  'Accept',
  'Subject',
  'f',
  't',
  'i',
  'm',
  'v',
  'l',
  'c',
  's',
  'k',
  'X-Any',
];
const SDP_LINES = [
  'm=audio 0 RTP/AVP 0',
  'm=audio 99999 RTP/AVP 0',
  'm=video 4000 RTP/AVP 96',
  'm=audio 4000 RTP/SAVP 0',
  'm=',
  'c=IN IP4 203.0.113.10',
  'c=IN IP4 127.0.0.1',
  'c=IN IP6 ::1',
  'c=',
  'o=',
  'a=sendonly',
  'a=inactive',
  'a=rtcp:1',
  'a=rtcp-mux',
  'v=1',
  '\x80',
];

interface Dice {
  below(n: number): number;
  of<T>(list: readonly T[]): T;
}

function dice(seed: number): Dice {
  const random = seededRandom(seed);
  const below = (n: number): number => random.u32() % n;
  return { below, of: list => list[below(list.length)] as never };
}

function mutated(d: Dice, text: string): string {
  const lines = text.split('\r\n');
  const at = d.below(lines.length);
  const line = lines[at] ?? '';
  switch (d.below(12)) {
    case 0:
      return text.slice(0, d.below(text.length));
    case 1: {
      const i = d.below(text.length);
      return `${text.slice(0, i)}${String.fromCharCode(d.below(256))}${text.slice(i + 1)}`;
    }
    case 2:
      lines.splice(at, 1);
      break;
    case 3:
      lines.splice(at, 0, line);
      break;
    case 4:
      lines.splice(1 + d.below(8), 0, `${d.of(NAMES)}: ${d.of(NASTY)}`);
      break;
    case 5:
    case 6:
    case 7: {
      const colon = line.indexOf(':');
      if (at > 0 && colon > 0) lines[at] = `${line.slice(0, colon)}: ${d.of(NASTY)}`;
      break;
    }
    case 8:
      lines.push(d.of(SDP_LINES));
      return fixed(lines.join('\r\n'));
    case 9: {
      const m = lines.findIndex(l => /^[mcoa]=/.test(l));
      if (m >= 0) lines[m + d.below(lines.length - m)] = d.of(SDP_LINES);
      return fixed(lines.join('\r\n'));
    }
    case 10:
      lines[0] = d.of([
        'INVITE sip:bob@example.org SIP/2.0',
        'BYE sip:x SIP/2.0',
        'SIP/2.0 200 OK',
        'SIP/2.0 699 ',
        'SIP/2.0 100 Trying',
        'ACK sip:a@b SIP/2.0',
        'X y SIP/2.0',
        'NOTIFY sip:bob@example.org SIP/2.0',
        `${line.slice(0, 200)}`,
      ]);
      break;
    default:
      lines[at] = `${line} ${d.of(NASTY)}`;
      break;
  }
  return lines.join('\r\n');
}

/** The body's length set right again, so that the fault lies in the description. */
function fixed(text: string): string {
  const end = text.indexOf('\r\n\r\n');
  return end < 0 ? text : text.replace(/Content-Length: \d+/, `Content-Length: ${text.length - end - 4}`);
}

/** A phone that answers everything, and now and then wrongly. */
class Wild extends Phone {
  dice: Dice = dice(0);
  wrong = 0;

  override send(text: string): void {
    super.send(this.dice.below(100) < this.wrong ? mutated(this.dice, text) : text);
  }

  override hear(text: string): void {
    if (text.trim() === '') return;
    // A refusal of the malformed repeats it; everything else that the border sends is well-formed, or `parsed` throws.
    if (/^SIP\/2\.0 (400|416|505) /.test(text) && new MessageView().parse(text) !== undefined) return;
    const m = parsed(text);
    this.world.soon.push(() => this.react(m));
  }

  react(m: MessageView): void {
    const d = this.dice;
    if (m.isRequest) {
      if (m.method === 'ACK') return;
      if (m.method !== 'INVITE')
        return this.send(replyTo(m, d.below(10) === 0 ? d.of([100, 180, 302, 401, 481, 500, 603]) : 200));
      if (d.below(2) === 0) this.send(this.#reply(m, d.of([180, 183])));
      if (d.below(4) > 0) this.send(this.#reply(m, d.of([200, 200, 200, 200, 302, 407, 486, 488, 491, 503, 603])));
      return;
    }
    if (m.cseqMethod !== 'INVITE' || m.status < 200) return;
    const uri = /<([^>]*)>/.exec(m.get(H.contact))?.[1] ?? 'sip:bob@example.org';
    const parts = { from: m.get(H.from), to: m.get(H.to), callId: m.callId, contact: false as const };
    this.send(
      this.request({ ...parts, method: 'ACK', uri, cseq: m.cseq, ...(m.status >= 300 ? { branch: m.branch } : {}) }),
    );
    if (m.status >= 300) return;
    const next = d.of([
      'BYE',
      'INVITE',
      'UPDATE',
      'INFO',
      'MESSAGE',
      'OPTIONS',
      'REFER',
      'PRACK',
      'SUBSCRIBE',
      'NOTIFY',
    ]);
    if (m.cseq < 100_000) {
      this.send(
        this.request({
          ...parts,
          method: next,
          uri,
          cseq: m.cseq + 100_000,
          contact: `<${this.contact}>`,
          ...(next === 'INVITE' || next === 'UPDATE' ? { sdp: this.sdp({ version: 2 }) } : {}),
        }),
      );
      if (next !== 'BYE' && d.below(2) === 0)
        this.send(this.request({ ...parts, method: 'BYE', uri, cseq: m.cseq + 200_000 }));
    }
  }

  #reply(m: MessageView, status: number): string {
    const body = status === 180 || status >= 300 ? '' : this.sdp();
    const vias = m
      .list(H.via)
      .map(v => `Via: ${v}\r\n`)
      .join('');
    const tag = m.toTag === '' ? `;tag=w${this.dice.below(3)}` : '';
    return `SIP/2.0 ${status} X\r\n${vias}From: ${m.get(H.from)}\r\nTo: ${m.get(H.to)}${tag}\r\nCall-ID: ${m.callId}\r\nCSeq: ${m.cseq} INVITE\r\nContact: <${this.contact}>\r\n${body === '' ? '' : 'Content-Type: application/sdp\r\n'}Content-Length: ${body.length}\r\n\r\n${body}`;
  }
}

t.test('nothing that peers say throws, makes a malformed message leave, or stays for ever', async t => {
  t.comment(`SEED=${SEED} ROUNDS=${ROUNDS}`);
  const d = dice(SEED);
  const world = new BorderWorld({
    config: { auth: { trustRegisteredFlow: true }, calls: { perSubscriber: 1000, noAnswer: '10s', maxDuration: '5m' } },
  });
  world.recording = false;
  const alice = new Wild(world, 'alice', { at: '198.51.100.1:5060', inner: '192.168.77.5:5062' });
  const bob = new Wild(world, 'bob', { at: '198.51.100.2:6060', inner: '172.16.5.9:5070' });
  const via = world.openStream((1 << 8) | ACCESS_TCP, '198.51.100.3:40001');
  const desk = new Wild(world, 'bob', { at: '198.51.100.3:40001', inner: '172.16.5.10:5070', via });
  const pbx = new Wild(world, 'pbx', { at: PBX, inner: '10.0.0.5:5060', via: CORE_UDP, domain: 'pbx.example.net' });
  const thief = new Wild(world, 'mallory', { at: '192.0.2.66:5060' });
  const all = [alice, bob, desk, pbx, thief];
  for (const phone of all) phone.dice = d;
  const register = (phone: Wild, text: { done: boolean }): void => {
    const hear = phone.hear;
    phone.hear = reply => void phone.inbox.push(parsed(reply));
    phone.register();
    phone.hear = hear;
    text.done = true;
  };
  const enrol = (): void => {
    for (const phone of [alice, bob, desk]) {
      const { wrong } = phone;
      phone.wrong = 0;
      register(phone, { done: false });
      phone.wrong = wrong;
    }
  };
  let answered = 0;
  let last = '';
  const original = world.receive.bind(world);
  world.receive = (text, from, v) => {
    last = `${from} ${text}`;
    original(text, from, v);
  };
  try {
    for (let round = 0; round < ROUNDS; round++) {
      if (round % 200 === 0) enrol();
      for (const phone of all) phone.wrong = round % 5 === 0 ? 0 : 25;
      const from = d.of([alice, alice, bob, desk, pbx, thief]);
      const method = d.of([
        'INVITE',
        'INVITE',
        'INVITE',
        'INVITE',
        'INVITE',
        'INVITE',
        'INVITE',
        'INVITE',
        'MESSAGE',
        'SUBSCRIBE',
        'NOTIFY',
        'OPTIONS',
        'REGISTER',
        'PUBLISH',
        'BYE',
        'CANCEL',
        'ACK',
      ]);
      const to = d.of([
        'sip:bob@example.org',
        'sip:bob@example.org',
        'sip:bob@example.org',
        'sip:alice@example.org',
        'sip:200@pbx.example.net',
        'sip:carol@example.org',
        'sip:nobody@nowhere',
        'sip:example.org',
      ]);
      from.send(
        from.request({
          method,
          uri: method === 'REGISTER' ? `sip:${from.domain}` : to,
          to: `<${to}>`,
          headers: method === 'SUBSCRIBE' || method === 'NOTIFY' ? 'Event: presence\r\n' : '',
          ...(method === 'INVITE' ? { sdp: from.sdp() } : {}),
        }),
      );
      world.pass(d.below(2000));
      answered += world.take('call-answered').length;
      world.events.length = 0;
      for (const phone of all) phone.inbox.length = 0;
    }
  } catch (error) {
    t.fail(`SEED=${SEED}: ${String(error)}\nafter: ${JSON.stringify(last)}`);
    throw error;
  }
  t.ok(answered > ROUNDS / 50, `${answered} calls were answered in between: the border was busy, not deaf`);
  for (const phone of all) phone.wrong = 0;
  // A callee may repeat its last word for ever; here everybody is gone.
  for (const phone of all) phone.unplug();
  world.pass(400_000);
  world.pass(700_000);
  t.equal(world.border.callCount, 0, 'no call is left');
  t.equal(world.relay.size, 0, 'no media session is left');
  t.equal(
    world.border.shard.legs.size - 2 * world.border.shard.subscriptions.size,
    0,
    'no leg is left but those of live subscriptions',
  );
  t.equal(world.transactions.serverCount, 0);
  t.equal(world.transactions.clientCount <= 1, true, 'at most a keepalive');
  t.ok(world.border.shard.perSubscriber.size === 0);
});
