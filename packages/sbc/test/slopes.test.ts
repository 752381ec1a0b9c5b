import { HEADER_IDS, headerName, type Tap } from '@drawbridge/sip';
import tap from 'tap';
import { BORDER, BORDER_CORE, BorderWorld, CORE_UDP, PBX, type Phone, parsed, talking } from './harness.js';

/*
 * Attacks 20 and 27: whatever stands in a header, the border's own time for the message is a matter of its length. Every header
 * that the border knows by name, and one that it doesn't, is filled with what makes careless readers slow.
 */

const LARGE = 60_000;
const SMALL = LARGE / 16;
/** ms: below this the clock, which counts in ticks of 4, is too coarse to tell; a quadratic reader needs hundreds. */
const CLOSELY = 8;

/** Units that are repeated, behind what makes some readers look closer. */
const HOSTILE: readonly (readonly [head: string, unit: string])[] = [
  ['', ','],
  ['', ' '],
  ['a', ' \t'],
  ['', 'a,'],
  ['', '"'],
  ['"', '\\"'],
  ['', '<'],
  ['<sip:a', '%41'],
  ['<sip:a@b', ';x'],
  ['<sip:a@b?', 'x=y&'],
  ['<sip:a@b>', ';a="'],
  ['<sip:a@b>', ';tag'],
  ['<sip:a@b>;a=b', ' ;'],
  ['', '<sip:a@b>,'],
  ['', 'sip:a@b;x=y,'],
  ['Digest ', 'a="b",'],
  ['Digest realm', ' '],
  ['', '9'],
  ['', '1.'],
  ['', ';='],
  ['', '('],
  ['', '\xff'],
  ['', 'a\r\n '],
  ['', 'response='],
  ['SIP', ';cause'],
  ['SIP;', ' cause='],
  ['SIP/2.0/UDP a', ';b'],
];

const filled = (head: string, unit: string, n: number): string => head + unit.repeat(Math.ceil(n / unit.length));

interface Scene {
  readonly world: BorderWorld;
  readonly alice: Phone;
  readonly bob: Phone;
  readonly pbx: Phone;
}

function scene(taps?: (own: Tap) => Tap): Scene {
  const world = new BorderWorld({
    config: {
      auth: { trustRegisteredFlow: true },
      calls: { perSubscriber: 1000, redirect: 'recurse' },
      realms: { access: { bind: [BORDER], headers: { in: [{ pass: 'X-Any' }] } }, core: { bind: [BORDER_CORE] } },
    },
    ...(taps === undefined ? {} : { taps }),
  });
  world.recording = false;
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const bob = world.phone('bob', { at: '198.51.100.2:6060' }).register();
  const pbx = world.phone('pbx', { at: PBX, inner: PBX, via: CORE_UDP, domain: 'pbx.example.net' });
  return { world, alice, bob, pbx };
}

/** From here on nobody hears: what a phone of the test's needs for reading isn't what is measured. */
function deafen(s: Scene): Scene {
  for (const phone of [s.alice, s.bob, s.pbx]) phone.unplug();
  return s;
}

/** CPU ms of the border for one message and what comes of it. */
function cost({ world }: Scene, from: Phone, text: string): number {
  const before = process.cpuUsage();
  from.send(text);
  const used = process.cpuUsage(before);
  world.lost.length = 0;
  return (used.user + used.system) / 1000;
}

const measured = { messages: 0, ms: 0, what: '' };

/**
 * Why a message that holds `n` bytes of something is too dear, undefined when it isn't. Most cost next to nothing; what doesn't is
 * looked at closely: 50 ms at most, and at most four times what sixteen messages with a sixteenth of it cost; a quadratic reader
 * needs sixteen times that.
 */
function tooDear(s: Scene, from: Phone, what: string, text: (n: number) => string): string | undefined {
  measured.messages++;
  if (cost(s, from, text(LARGE)) < CLOSELY) return undefined;
  const least = (n: number, times: number): number =>
    Math.min(
      ...Array.from({ length: 7 }, () =>
        Array.from({ length: times }, () => cost(s, from, text(n))).reduce((sum, ms) => sum + ms),
      ),
    );
  const ms = least(LARGE, 1);
  const sixteen = least(SMALL, 16);
  if (ms > measured.ms) Object.assign(measured, { ms, what });
  return ms > 50 || (ms > CLOSELY && ms > 4 * sixteen) ? `16 × ${sixteen / 16} ms → ${ms} ms: ${what}` : undefined;
}

/** The message with this line instead of those of its name: a second one would be refused at once. */
function withLine(text: string, line: string): string {
  const name = line.slice(0, line.indexOf(':') + 1).toLowerCase();
  const empty = text.indexOf('\r\n\r\n');
  const kept = text
    .slice(0, empty)
    .split('\r\n')
    .filter((l, i) => i === 0 || !l.toLowerCase().startsWith(name));
  return `${kept.join('\r\n')}\r\n${line}${text.slice(empty)}`;
}

const NAMES = [...Array.from({ length: HEADER_IDS - 1 }, (_, i) => headerName(i + 1)), 'X-Any', 'X-Other'];

tap.test('64 kB of anything in any header of a request cost time in proportion', async t => {
  t.ok(NAMES.length > 90 && NAMES.includes('History-Info'));
  for (const name of NAMES) {
    const s = deafen(scene());
    for (const [method, from] of [
      ['MESSAGE', s.alice],
      ['MESSAGE', s.pbx],
      ['REGISTER', s.alice],
      ['INVITE', s.alice],
    ] as const) {
      const uri = method === 'REGISTER' ? 'sip:example.org' : 'sip:bob@example.org';
      const request = (): string =>
        from.request({
          method,
          uri,
          to: method === 'REGISTER' ? `<${from.aor}>` : `<${uri}>`,
          ...(method === 'INVITE' ? { sdp: from.sdp() } : { body: 'x' }),
        });
      for (const [head, unit] of HOSTILE) {
        const what = `${method} from ${from.user}, ${name}: ${JSON.stringify(head)} and many ${JSON.stringify(unit)}`;
        const dear = tooDear(s, from, what, n => withLine(request(), `${name}: ${filled(head, unit, n)}`));
        if (dear !== undefined) t.fail(dear);
      }
    }
    s.alice.send(s.alice.request({ method: 'OPTIONS', uri: 'sip:example.org', to: '<sip:example.org>' }));
    if (!s.world.lost.some(w => w.text.startsWith('SIP/2.0 200 '))) t.fail(`${name}: no answer to an OPTIONS`);
  }
  t.comment(`${measured.messages} messages; the dearest ${measured.ms.toFixed(1)} ms: ${measured.what}`);
});

tap.test('and in requests of a dialog, in a start line, and in responses', async t => {
  const inside: readonly (readonly [method: string, names: readonly string[]])[] = [
    ['REFER', ['Refer-To', 'Referred-By', 'Refer-Sub', 'Target-Dialog']],
    ['UPDATE', ['Session-Expires', 'Min-SE', 'Contact', 'Content-Type', 'Content-Disposition', 'Supported', 'Allow']],
    ['PRACK', ['RAck', 'Require']],
    ['NOTIFY', ['Event', 'Subscription-State']],
    ['INFO', ['Info-Package', 'Content-Type', 'Content-Encoding']],
    ['BYE', ['Reason', 'Warning', 'Privacy']],
  ];
  const s = scene();
  const { alice } = talking(s.world, { caller: s.alice, callee: s.bob });
  deafen(s);
  for (const [method, names] of inside)
    for (const name of names)
      for (const [head, unit] of HOSTILE) {
        // No BYE ends the call: its CSeq is too low for that.
        const o = method === 'UPDATE' ? { sdp: s.alice.sdp() } : method === 'BYE' ? { cseq: 1 } : { body: 'x' };
        const dear = tooDear(s, s.alice, `${method}, ${name}: ${JSON.stringify([head, unit])}`, n =>
          withLine(alice.text(method, o), `${name}: ${filled(head, unit, n)}`),
        );
        if (dear !== undefined) t.fail(dear);
      }
  t.equal(s.world.border.callCount, 1, 'the call lives');
  for (const [head, unit] of HOSTILE) {
    const plain = (): string =>
      s.alice.request({ method: 'MESSAGE', uri: 'sip:bob@example.org', to: '<sip:bob@example.org>' });
    for (const scheme of ['sip:', 'tel:', 'sip:bob@example.org;', 'sip:bob@example.org?']) {
      const dear = tooDear(s, s.alice, `Request-URI ${scheme} ${JSON.stringify([head, unit])}`, n =>
        plain().replace('sip:bob@example.org', () => scheme + filled(head, unit, n).replaceAll(/[\r\n ]/g, '')),
      );
      if (dear !== undefined) t.fail(dear);
    }
  }
  for (const name of [
    'Contact',
    'Warning',
    'Reason',
    'Require',
    'RSeq',
    'Session-Expires',
    'Record-Route',
    'Retry-After',
    'Content-Type',
  ]) {
    const { world, alice: caller, bob } = scene();
    world.loses = w => w.peer === caller.at;
    for (const status of [183, 302, 486]) {
      for (const [head, unit] of HOSTILE) {
        const answer = (line: string): string => {
          bob.inbox.length = 0;
          caller.invite('sip:bob@example.org');
          const b = bob.called();
          return withLine(b.replyText(b.invite ?? parsed(''), status), line);
        };
        const dear = tooDear(
          { world, alice: caller, bob, pbx: bob },
          bob,
          `${status}, ${name}: ${JSON.stringify([head, unit])}`,
          n => answer(`${name}: ${filled(head, unit, n)}`),
        );
        if (dear !== undefined) t.fail(dear);
      }
      world.run((now, tx) => world.border.endAll(now, tx));
      bob.inbox.length = 0;
      caller.inbox.length = 0;
    }
  }
  t.comment(`${measured.messages} messages; the dearest ${measured.ms.toFixed(1)} ms: ${measured.what}`);
});

tap.test('the yardstick finds a quadratic reader', async t => {
  const slow: Tap = {
    message(_now, _direction, _via, _peer, _j, text) {
      for (let at = text.indexOf('X-Slow'); at >= 0 && at < text.length; at += 8) text.lastIndexOf('no such text', at);
    },
  };
  const s = deafen(scene(() => slow));
  const text = (name: string) => (n: number) =>
    withLine(
      s.alice.request({ method: 'OPTIONS', uri: 'sip:example.org', to: '<sip:example.org>' }),
      `${name}: ${'a'.repeat(n)}`,
    );
  t.not(tooDear(s, s.alice, 'slow', text('X-Slow')), undefined);
  t.equal(tooDear(s, s.alice, 'control', text('X-Fast')), undefined);
});
