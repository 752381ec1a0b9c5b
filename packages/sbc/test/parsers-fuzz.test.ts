import { type Random, seededRandom } from '@drawbridge/core';
import { headerLine, MessageView, parseUri } from '@drawbridge/sip';
import t from 'tap';
import { breadthOf } from '../src/call/breadth.js';
import { parseReplaces } from '../src/call/replaces.js';
import { sessionIdLine } from '../src/call/session-id.js';
import { printable } from '../src/commands/table.js';
import { outerDisplay, outerParty, partyName } from '../src/hide/party.js';
import { privacyOf } from '../src/identity/privacy.js';
import { hasPush, pushLines, pushOf } from '../src/push/contact.js';
import { isRefusal, readRegister } from '../src/registrar/request.js';
import { substituted } from '../src/route/naptr.js';
import { plainDigits, toE164, written } from '../src/route/number.js';
import { callIdOf, redacted } from '../src/trace.js';

/*
 * The border's own parsers of what peers write: whatever the text is, they return (`total`), and what they return can go into a
 * header line or a file as it is. `corpus` is what mutations start from, each with a text that must be understood.
 */

const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`seed ${SEED}; again with SEED=${SEED} node packages/sbc/dist/test/parsers-fuzz.test.js`);

interface Target {
  readonly corpus: readonly string[];
  /** Throws where the invariant breaks; true when the text was understood. */
  check(text: string): boolean;
}

const numbering = { country: '49', area: '30', international: '00', national: '0', minLength: 8, maxLength: 15 };
const m = new MessageView();

/** A message with this line. Undefined: it is none. */
function withLine(name: string, value: string): MessageView | undefined {
  const fault = m.parse(
    `REGISTER sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:a@h>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n${name}: ${value}\r\n\r\n`,
  );
  return fault === undefined ? m : undefined;
}

/** Fit for a header: throws when it isn't. */
function line(text: string): boolean {
  headerLine('X', text);
  return text !== '';
}

function must(what: boolean, said: string): void {
  if (!what) throw new Error(said);
}

const TARGETS: Readonly<Record<string, Target>> = {
  replaces: {
    corpus: ['98asjd8@h;to-tag=7553452;from-tag=31431', 'a;from-tag=1;to-tag=2;early-only'],
    check(text) {
      const r = parseReplaces(text);
      must(r === undefined || (r.callId !== '' && r.toTag !== '' && r.fromTag !== ''), 'half a dialog');
      return r !== undefined;
    },
  },
  numbers: {
    corpus: ['+49-30-1234567', '0049 (30) 1234567', '030.1234567', '1234567', '*21#'],
    check(text) {
      const plain = plainDigits(text);
      must(plain === undefined || /^\+?\d+$/.test(plain), `no digits: ${plain}`);
      must(/^\+[1-9]\d{7,14}$/.test(toE164(text, numbering, '+49') ?? '+10000000'), 'no number by its context');
      const e164 = toE164(text, numbering);
      must(e164 === undefined || /^\+[1-9]\d{7,14}$/.test(e164), `no number: ${e164}`);
      if (e164 !== undefined)
        for (const form of ['international', 'national', 'e164'] as const)
          must((toE164(written(e164, form, numbering), numbering) ?? e164) === e164, `${e164} as ${form}`);
      return e164 !== undefined;
    },
  },
  naptr: {
    corpus: ['!^.*$!sip:info@example.com!', '!^\\+49(.*)$!sip:\\1@x!', '/^\\+(\\d+)[0-4]*(.)$/sip:\\2@\\1/i'],
    check(text) {
      const made = substituted(text, '+493012345678');
      must(made === undefined || made.length <= 510, 'too long');
      return made !== undefined;
    },
  },
  privacy: {
    corpus: ['id', 'user; id ;critical', 'header;session;none', 'history, foo'],
    check(text) {
      const read = withLine('Privacy', text);
      if (read === undefined) return false;
      const { left } = privacyOf(read);
      must(left === '' || (left.endsWith('\r\n') && left.indexOf('\r\n') === left.length - 2), 'more than a line');
      return true;
    },
  },
  'session-id': {
    corpus: [
      '0123456789abcdef0123456789abcdef',
      '0123456789abcdef0123456789abcdef ; remote=0123456789abcdef0123456789abcdef',
    ],
    check: text => {
      const said = sessionIdLine(text);
      must(/^(Session-ID: [0-9a-f]{32}(;remote=[0-9a-f]{32})?\r\n)?$/.test(said), said);
      return said !== '';
    },
  },
  push: {
    corpus: ['sip:a@h;pn-provider=apns;pn-prid=0011;pn-param=T.app', 'sip:a@h;pn-prid=%00;pn-provider=fcm'],
    check(text) {
      const push = pushOf(parseUri(text));
      must(hasPush(text) === (push !== undefined) || !text.includes(';pn-p'), 'two opinions');
      const read = withLine('Contact', `<${text}>;+sip.pnsreg`);
      if (read !== undefined) for (const l of (pushLines(read, ['apns', 'fcm']) ?? '').split('\r\n')) line(l);
      return push !== undefined;
    },
  },
  contacts: {
    corpus: [
      '<sip:a@h;x=1?y=z>;expires=60;q=0.5;reg-id=1;+sip.instance="<urn:uuid:1>"',
      '*',
      'sip:a@[2001:db8::1]:5060;expires=9, "x" <sips:b@h>;foo="a;b"',
    ],
    check(text) {
      const read = withLine('Contact', text);
      if (read === undefined) return false;
      const wanted = readRegister(read, { minExpires: 60_000, maxExpires: 3_600_000, defaultExpires: 600_000 });
      if (isRefusal(wanted)) return false;
      for (const c of wanted.contacts) {
        line(c.contact + c.params + c.instance);
        must(c.uri.headers === '' && parseUri(c.contact) !== undefined, 'headers are kept');
        must(c.seconds >= 0 && c.seconds <= 3600 && c.q >= 0 && c.q <= 1, 'out of bounds');
      }
      return true;
    },
  },
  parties: {
    corpus: [
      '"A \\"B\\" C" <sip:a@10.0.0.1:5060;x=y>;tag=1',
      'Bob <tel:+49-30-1>',
      'sip:a@h;tag=1',
      '"sip:x@y" <sip:a@h>',
    ],
    check(text) {
      line(outerParty(text, () => 'outer.example', 'sip:anonymous@anonymous.invalid'));
      line(outerDisplay(text));
      return partyName(text) !== 'anonymous';
    },
  },
  'max-breadth': {
    corpus: ['60', '0', ' 7 '],
    check(text) {
      const read = withLine('Max-Breadth', text);
      if (read === undefined) return false;
      const breadth = breadthOf(read);
      must(Number.isInteger(breadth) && breadth >= 0 && breadth <= 60, String(breadth));
      return true;
    },
  },
  terminal: {
    corpus: ['plain', '\x1b]0;title\x07\x1b[2J\x9b31m', 'a\r\nb\x7f'],
    check(text) {
      const shown = printable(text);
      must(
        [...shown].every(c => c >= ' ' && !(c >= '\x7f' && c < '\xa0')) && shown.length === text.length,
        JSON.stringify(shown),
      );
      return true;
    },
  },
  traces: {
    corpus: [
      'INVITE sip:a SIP/2.0\r\nAuthorization: Digest response="0123abcd", nc=1\r\nCall-ID: c1\r\n\r\n',
      'x\r\ni : c1\r\nAuthorization: Digest response = 0123abcd\r\n\r\n',
      'x\r\nAuthorization: Digest RESPONSE=\r\n "0123abcd"\r\ncall-id:c1\r\n\r\n',
    ],
    check(text) {
      must(!/[\r\n]/.test(callIdOf(text)), 'more than a line');
      const out = redacted(text);
      must(
        !/response[ \t\r\n]*=[ \t\r\n]*"?[0-9a-f]/i.test(out.replaceAll(/[^ -~\r\n\t]/g, '\x01')) ||
          /\wresponse/i.test(out),
        out,
      );
      return out !== text;
    },
  },
};

const PIECES = [
  '\r\n',
  '\n',
  '\0',
  '\r\n ',
  ';',
  ',',
  '"',
  '\\',
  '<',
  '>',
  '@',
  '%',
  '%00',
  ' ',
  '\t',
  '=',
  '?',
  '&',
  '\xff',
  '\x1b[',
  '-1',
  '9'.repeat(40),
  '[',
  '*',
  '(',
  '__proto__',
  'constructor',
];

function mutated(corpus: readonly string[], random: Random): string {
  const below = (n: number): number => random.u32() % n;
  let text = corpus[below(corpus.length)] ?? '';
  for (let n = below(4); n > 0; n--) {
    const at = below(text.length + 1);
    const length = below(8);
    const kind = below(5);
    if (kind === 0) text = text.slice(0, at) + text.slice(at + length);
    else if (kind === 1) text = text.slice(0, at) + (PIECES[below(PIECES.length)] ?? '') + text.slice(at);
    else if (kind === 2) text = text.slice(0, at) + String.fromCharCode(below(256)) + text.slice(at + 1);
    else if (kind === 3) text = text.slice(0, at) + text.slice(at, at + length).repeat(1 + below(100)) + text.slice(at);
    else text += corpus[below(corpus.length)] ?? '';
  }
  return text;
}

t.test('a number of this country is never written as one abroad', async t => {
  t.equal(toE164('+49 (0)30 1234567', numbering), '+49301234567');
  t.equal(toE164('004900301234567', numbering), '+490301234567', 'once');
  t.equal(written('+490301234567', 'national', numbering), '00490301234567');
  t.equal(written('+49019001234567', 'national', numbering), '0049019001234567', 'not 0019001234567: that is +1 900');
  t.equal(written('+49301234567', 'national', numbering), '0301234567', 'control');
  const russia = { ...numbering, country: '7', national: '8', international: '810' };
  t.equal(
    toE164('+78005553535', russia),
    '+78005553535',
    'where another digit is dialled in front, numbers begin with it',
  );
  t.equal(written('+78005553535', 'national', russia), '88005553535');
  t.equal(written('+710441234567', 'national', russia), '810710441234567');
});

for (const [name, target] of Object.entries(TARGETS)) {
  t.test(`${name}: total, and fit to be written`, async t => {
    const random = seededRandom(SEED);
    t.ok(
      target.corpus.some(text => target.check(text)),
      'the corpus is understood',
    );
    let understood = 0;
    for (let i = 0; i < 3000; i++) {
      const text = mutated(target.corpus, random);
      try {
        if (target.check(text)) understood++;
      } catch (error) {
        t.fail(`seed ${SEED}, run ${i}: ${error}`, { text: JSON.stringify(text) });
        return;
      }
    }
    t.ok(understood > 100 && understood <= 3000, `${understood} of 3000 understood`);
  });
}
