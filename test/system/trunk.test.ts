import t from 'tap';
import { Baresip } from '../lab/baresip.js';
import { Border, LOCAL } from '../lab/border.js';
import { end, establish, registerAll, talk } from '../lab/calls.js';
import { Capture } from '../lab/capture.js';
import { inLaboratory } from '../lab/evidence.js';
import { Kamailio } from '../lab/kamailio.js';
import { AT, type Lab } from '../lab/lab.js';
import { eventually, unable } from '../lab/machine.js';
import { options, Udp } from '../lab/udp.js';

const skip = unable() ?? false;
t.setTimeout(240_000);

const CARRIER = 'carrier.test';
const NUMBER = '+4930123456';
const SECOND = '10.0.0.6';
const USERS = { acct: 'secret', [NUMBER]: 'callee' };

/** What the API says of a trunk. */
interface TrunkSeen {
  readonly name: string;
  readonly up: boolean;
  readonly registered?: boolean;
  readonly hops: readonly { readonly up: boolean }[];
}

function carrier(lab: Lab, address: string, full = false): Promise<Kamailio> {
  return Kamailio.start(lab, { box: 'core', address, domain: CARRIER, users: USERS, full });
}

/** The same number behind each carrier: who rings tells which of them was taken. */
function behind(lab: Lab, address: string, tone: number): Promise<Baresip> {
  return Baresip.start(lab, {
    box: 'core',
    address,
    port: 5090,
    user: NUMBER,
    domain: CARRIER,
    password: USERS[NUMBER] ?? '',
    outbound: address,
    tone,
    regint: 10,
  });
}

const trunk = (address: string, priority: number): string =>
  `{ next: ["sip:${address}:5060;transport=udp"], realm: core, host: ${CARRIER}, priority: ${priority}, ` +
  `auth: { user: acct, password: secret, realm: ${CARRIER} }, register: { user: acct, password: secret, expires: 60s }, ` +
  'options: { every: 1s, timeout: 1s, failures: 2 } }';

t.test('two carriers, and one of them fails', { skip }, t =>
  inLaboratory(t, 'trunk', async lab => {
    let first = await carrier(lab, AT.service);
    await using _second = await carrier(lab, SECOND);
    await using border = await Border.start(lab, {
      domains: `{ ${LOCAL}: { kind: local } }`,
      trunks: `
  a: ${trunk(AT.service, 1)}
  b: ${trunk(SECOND, 2)}`,
      routes: `
  - { name: in, when: { trunk: a }, to: { address: alice@${LOCAL} } }
  - { name: out, when: { to: "+*" }, to: [{ trunk: a }, { trunk: b }] }`,
      calls: '{ noAnswer: 20s }',
      media: '{ ports: [30000, 30199], inactivity: 20s }',
    });
    await border.subscriber('alice', 'wonder', LOCAL);
    await using alice = await Baresip.start(lab, {
      box: 'lan1',
      address: AT.lan1,
      user: 'alice',
      domain: LOCAL,
      password: 'wonder',
      outbound: AT.border,
      tone: 400,
      regint: 60,
    });
    await using callee = await behind(lab, AT.service, 800);
    await using other = await behind(lab, SECOND, 1200);
    await registerAll(alice, callee, other);
    const trunks = (): Promise<readonly TrunkSeen[]> => border.api<readonly TrunkSeen[]>('/trunks');
    const states = async (): Promise<boolean[]> => (await trunks()).map(x => x.up && x.registered !== false);
    await eventually(2000, 'both trunks to be up and registered', async () =>
      (await states()).every(Boolean) ? true : undefined,
    );
    const number = `sip:${NUMBER}@${LOCAL}`;

    await t.test('a call out through the first: its challenge answered, both hear the other', async t => {
      t.same(await talk(alice, callee, alice, number), []);
      t.equal((await border.api<unknown[]>('/calls')).length, 0);
    });

    await t.test('a call in, to the contact that the border registered', async t => {
      t.same(await talk(callee, alice, alice, `sip:acct@${CARRIER}`), []);
    });

    await t.test('a stranger that says he is the carrier', async t => {
      await using evil = await Udp.open(lab, 'evil', AT.evil, 5060);
      await evil.send(
        AT.border,
        5060,
        options(evil).replaceAll('OPTIONS', 'INVITE').replace(`sip:${AT.border}`, `sip:alice@${LOCAL}`),
      );
      const answer = await evil.receive(p => !p.payload.startsWith('SIP/2.0 1'));
      t.match(answer.payload, /^SIP\/2\.0 (403|407) /);
    });

    await t.test('the first dies with a call under way', async t => {
      await establish(alice, callee, number);
      await first[Symbol.asyncDispose]();
      await eventually(3000, 'the trunk to be seen down', async () =>
        (await states())[0] === false ? true : undefined,
      );
      t.same((await border.api<unknown[]>('/calls')).length, 1, 'the call goes on');
      alice.forget();
      await alice.hangup();
      await alice.event('CALL_CLOSED');
      other.forget();
      t.same(await talk(alice, other, alice, number), [], 'the next goes through the second');
    });

    await t.test('it comes back, but has no room: 503 sends the call to the second at once', async t => {
      first = await carrier(lab, AT.service, true);
      await eventually(5000, 'the trunk to be up again', async () => ((await states())[0] === true ? true : undefined));
      await using wire = await Capture.start(lab, 'core', 'eth0', 'full');
      other.forget();
      await establish(alice, other, number);
      const sip = wire.packets();
      const refused = sip.find(p => p.from === AT.service && p.payload.startsWith('SIP/2.0 503 '));
      const next = sip.find(p => p.to === SECOND && p.payload.startsWith('INVITE '));
      t.ok(refused !== undefined && next !== undefined, 'it was asked and refused');
      const ms = 1000 * ((next?.at ?? Number.NaN) - (refused?.at ?? Number.NaN));
      t.ok(ms > 0 && ms < 500, `${Math.round(ms)} ms later`);
      await end(alice, other);
      t.equal((await states())[0], true, 'one refusal takes no trunk out of service');
      await first[Symbol.asyncDispose]();
      await eventually(3000, 'the trunk to be seen down', async () =>
        (await states())[0] === false ? true : undefined,
      );
    });

    await t.test('it has room again', async t => {
      first = await carrier(lab, AT.service);
      await eventually(5000, 'the trunk to be up again', async () => ((await states())[0] === true ? true : undefined));
      // The phone behind it is back with its next registration.
      callee.forget();
      await callee.registered(2000);
      t.same(await talk(alice, callee, alice, number), []);
    });
    await first[Symbol.asyncDispose]();
  }),
);
