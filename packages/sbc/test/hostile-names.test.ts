import { createLogger } from '@drawbridge/service';
import { H, type Tap } from '@drawbridge/sip';
import tap from 'tap';
import { callRecord } from '../src/accounting/record.js';
import { ladder } from '../src/commands/ladder.js';
import { forTerminal, table } from '../src/commands/table.js';
import { EventLog } from '../src/event-log.js';
import type { BorderEvent } from '../src/events.js';
import { subscriberWrite } from '../src/subscribers.js';
import { hangUp } from './dialog-phones.js';
import { BorderWorld, CORE_UDP, PASSWORD, PBX } from './harness.js';

/** What a terminal would obey, but for the line feed. */
const OBEYED = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/;

tap.test(
  'attack 19: what peers write stays one line, and obeys nobody, in log, ledger, trace and terminal',
  async t => {
    const world = new BorderWorld();
    const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
    const pbx = world.phone('2', { at: PBX, inner: '10.0.0.5:5060', via: CORE_UDP, domain: 'pbx.example.net' });
    const name = '"\x9d0;owned\x9c \\"x\\" <sip:ceo@bank.example>;\x9b2J"';
    const user = '2\x9b31m%0d%0aEvil';
    world.events.length = 0;
    world.wires.length = 0;
    const a = pbx.invite('sip:alice@example.org', {
      from: `${name} <sip:${user}@pbx.example.net>`,
      headers: 'Subject: \x1b[2J\r\nUser-Agent: \x1b[31m\x9b\r\n',
    });
    const b = alice.called();
    b.answer(200, { sdp: alice.sdp() });
    alice.next('ACK');
    a.expect(200);
    a.send('ACK');
    const [call] = world.border.calls();
    const trace = world.border.trace(call?.id ?? '') ?? [];
    t.ok(
      trace.length > 4 && trace.some(m => OBEYED.test(m.text.replaceAll('\r', ''))),
      'control: it is in the messages',
    );
    t.notMatch(ladder(trace, true), OBEYED);
    t.notMatch(ladder(trace, false), OBEYED);
    t.match(call?.from, OBEYED, 'control: and in what is known of the call');
    t.notMatch(forTerminal(`${call?.from}`), OBEYED);
    t.notMatch(table(['FROM'], [[call?.from ?? '']]), OBEYED);
    const json = JSON.stringify(call);
    t.match(json, OBEYED, 'control: JSON escapes only C0');
    t.notMatch(forTerminal(json), OBEYED);
    t.same(JSON.parse(forTerminal(json)), JSON.parse(json), 'and says the same');
    hangUp(a, b);

    const ended = world.events.find((e): e is Extract<BorderEvent, { kind: 'call-ended' }> => e.kind === 'call-ended');
    if (ended === undefined) throw new Error('the call has ended');
    const record = callRecord(ended, 1_700_000_000_000);
    t.equal(record.caller, `sip:${user}@pbx.example.net`, 'the name in quotes is nobody’s address');
    t.notMatch(JSON.stringify(record), /[\r\n]/);
    for (const form of ['json', 'plain'] as const) {
      const lines: string[] = [];
      const log = new EventLog(
        createLogger({ level: 'debug', personal: 'plain', form, to: { write: l => void lines.push(l) } }),
      );
      for (const e of world.events) log.write(world.now, e);
      t.ok(lines.length >= 3 && lines.some(l => l.includes('31m')), 'control: the lines tell of it');
      for (const l of lines) {
        t.equal(l.indexOf('\n'), l.length - 1, 'one line each');
        if (form === 'plain') t.notMatch(l.slice(0, -1), OBEYED);
        else t.ok(JSON.parse(l));
      }
    }
    for (const w of world.wires.filter(x => x.direction === 'out')) t.notMatch(w.text, /\r\nEvil/);
  },
);

const NAMES = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf', '__defineGetter__'];

tap.test('attack 26: names that objects have by themselves are names like any other', async t => {
  for (const name of NAMES) {
    const world = new BorderWorld({ config: { auth: { trustRegisteredFlow: true } } });
    const w = subscriberWrite(name, 'example.org', { password: PASSWORD });
    const aor = `sip:${name}@example.org`;
    const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
    alice.send(alice.request({ method: 'MESSAGE', uri: aor, to: `<${aor}>`, contact: false }));
    alice.next(404);
    world.subscribers.apply(w.key, w.value);
    const phone = world.phone(name, { at: '198.51.100.9:5060' }).register({ callId: name });
    const a = alice.invite(aor, {
      callId: name,
      headers: `${name}: ${name}\r\nEvent: ${name}\r\nSupported: ${name}\r\nReason: ${name};${name};cause=1\r\nPrivacy: ${name}\r\n`,
      sdp: alice.sdp({ lines: [`a=${name}:${name}`, `a=rtpmap:96 ${name}/8000`] }),
    });
    const b = phone.called();
    t.notOk(b.invite?.named(name), 'an unknown header stays here');
    t.equal(b.invite?.get(H.reason), `${name};cause=1`);
    b.answer(200, { sdp: phone.sdp() });
    phone.next('ACK');
    a.expect(200);
    a.send('ACK');
    // No method begins so: it is dropped before it is read.
    const asMethod = name.startsWith('_') ? `X${name}` : name;
    for (const method of [asMethod, 'INFO', 'NOTIFY', 'MESSAGE']) {
      a.send(method, {
        body: 'x',
        contentType: `${name}/${name}`,
        headers: `Event: ${name}\r\nInfo-Package: ${name}\r\n`,
      });
      const m = alice.inbox.shift();
      t.ok((m?.status ?? 0) >= 400, `${method}: ${m?.status}`);
    }
    hangUp(a, b);
    alice.send(
      alice.request({
        method: asMethod,
        uri: aor,
        to: `<${aor};${name}=1?${name}=1>;${name}=2`,
        headers: `Require: ${name}\r\n`,
      }),
    );
    alice.next(420);
    alice.send(alice.request({ method: asMethod, uri: `${aor};${name}=1`, to: `<${aor}>` }));
    alice.next(405);
    alice.send(alice.request({ method: 'REGISTER', uri: `sip:${name}`, to: `<sip:${name}>` }));
    alice.next(404);
    alice.send(
      alice.request({
        method: 'REGISTER',
        uri: 'sip:example.org',
        to: `<${aor}>`,
        headers: `Authorization: ${name} ${name}="${name}"\r\nAuthorization: Digest ${name}="x", realm="${name}"\r\n`,
      }),
    );
    alice.next(401);
  }
});

tap.test('attack 26: keys that fall into one bucket of a table stall nobody', async t => {
  // V8 took the value of a short decimal string for its hash before CVE-2026-21717: these were all in one bucket.
  const colliding = Array.from({ length: 2400 }, (_, i) => String((i + 1) * 4096));
  const plain = Array.from({ length: 2400 }, (_, i) => `k${(i + 1) * 4099}`);
  const cpu = (work: () => void): number => {
    const from = process.cpuUsage();
    work();
    const used = process.cpuUsage(from);
    return (used.user + used.system) / 1000;
  };
  const run = (keys: readonly string[], tap?: Tap): { worst: number; all: number } => {
    const world = new BorderWorld({
      config: { auth: { trustRegisteredFlow: true } },
      ...(tap === undefined ? {} : { taps: () => tap }),
    });
    world.recording = false;
    const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
    world.phone('bob', { at: '198.51.100.2:6060' }).register().unplug();
    alice.unplug();
    let worst = 0;
    let all = 0;
    for (const key of keys) {
      const port = (Number.parseInt(key.replace('k', ''), 10) % 60_000) + 1;
      const text = alice
        .request({
          method: 'MESSAGE',
          uri: 'sip:bob@example.org',
          to: `<sip:${key}@example.org>`,
          callId: key,
          branch: key,
          from: `<sip:alice@example.org>;tag=${key}`,
          headers: `${key}: ${key}\r\n`,
          body: 'x',
        })
        .replaceAll('192.168.77.5:5062', `192.168.77.5:${port}`);
      const ms = cpu(() => alice.send(text));
      worst = Math.max(worst, ms);
      all += ms;
      world.lost.length = 0;
    }
    t.equal(world.transactions.serverCount, keys.length + 2, 'each is kept, beside two registrations');
    return { worst, all };
  };
  const others = run(plain);
  const same = run(colliding);
  t.comment(
    `2400 requests: ${same.all.toFixed(0)} ms, worst ${same.worst.toFixed(1)} ms; with other keys ${others.all.toFixed(0)} ms, ${others.worst.toFixed(1)} ms`,
  );
  t.ok(same.worst < 50, `${same.worst} ms`);
  t.ok(same.all < 2 * others.all + 50, `${others.all} → ${same.all} ms in all`);
  // The control: a table that is searched from one end.
  let kept = 0;
  let looked = 0;
  const slow = run(colliding, {
    message() {
      kept += 70;
      for (let k = 0; k < kept; k++) looked ^= k;
    },
  });
  t.type(looked, 'number');
  t.ok(slow.all > 2 * others.all + 50, `${slow.all} ms`);
});
