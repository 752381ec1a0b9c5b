import type { PhoneOptions } from './baresip.js';
import { Baresip } from './baresip.js';
import type { Border } from './border.js';
import { LOCAL, UPSTREAM } from './border.js';
import { end, establish, pass, registerAll, ring, talk } from './calls.js';
import type { Packet } from './capture.js';
import { Capture, isRtp, media } from './capture.js';
import type { Lab } from './lab.js';
import { AT } from './lab.js';
import { eventually } from './machine.js';
import type { Marks } from './marks.js';
import { found, marksOf } from './marks.js';
import type { NatKind } from './nat.js';
import { deaf, g711Samples, listen } from './tone.js';

/** Where and how one phone of a cell stands: behind a NAT, or on IPv6 without one. */
export interface Place {
  readonly nat: NatKind | 'ipv6';
  readonly transport: 'udp' | 'tcp';
}

export interface Cell {
  readonly caller: Place;
  readonly callee: Place;
  readonly domain: 'local' | 'upstream';
}

export function cellName(c: Cell): string {
  const place = (p: Place): string => `${p.nat}${p.transport === 'tcp' ? '/tcp' : ''}`;
  return `${place(c.caller)} x ${place(c.callee)}, ${c.domain} domain`;
}

/** The passwords of everybody in both domains. */
export const USERS: Readonly<Record<string, string>> = { alice: 'wonder', bob: 'builder', carol: 'reed' };
export const TONES = { alice: 440, bob: 1000, bob2: 700 } as const;

/** Runs one step of a cell; what it returns is what was wrong. */
export type Step = (name: string, work: () => Promise<readonly string[]>) => Promise<void>;

interface Actor {
  readonly phone: Baresip;
  /** The addresses it has and those its NAT has. */
  readonly addresses: readonly string[];
  /** What passes at its own network card. */
  readonly wire: Capture;
}

/** A caller and a callee at their places, registered through the border. */
export interface Stage extends AsyncDisposable {
  readonly lab: Lab;
  readonly cell: Cell;
  readonly alice: Actor;
  readonly bob: Actor;
}

export interface StageOptions {
  /** Seconds between registrations; long, so that none falls into a test that does not ask for it. */
  readonly regint?: number;
  /** Seconds after which a NAT forgets. */
  readonly timeout?: number;
}

let stages = 0;

export async function setStage(lab: Lab, cell: Cell, options: StageOptions = {}): Promise<Stage> {
  const owned: AsyncDisposable[] = [];
  const dispose = async (): Promise<void> => {
    for (const one of owned.reverse()) await one[Symbol.asyncDispose]();
  };
  const stage = stages++;
  const enter = async (user: 'alice' | 'bob', place: Place): Promise<Actor> => {
    const side = user === 'alice' ? 1 : 2;
    const lan = user === 'alice' ? 'lan1' : 'lan2';
    const box = place.nat === 'ipv6' ? 'lan6' : lan;
    if (place.nat !== 'ipv6') {
      lab.nat(side, { kind: place.nat, ...(options.timeout === undefined ? {} : { timeout: options.timeout }) });
    }
    const wire = await Capture.start(lab, box, 'eth0', `${user}-${stage}`);
    owned.push(wire);
    const phone = await Baresip.start(lab, phoneOptions(cell, user, place, options.regint ?? 600));
    owned.push(phone);
    return { phone, wire, addresses: place.nat === 'ipv6' ? [AT.lan6] : [AT[lan], `203.0.113.${side}`] };
  };
  try {
    const alice = await enter('alice', cell.caller);
    const bob = await enter('bob', cell.callee);
    await registerAll(alice.phone, bob.phone);
    return { lab, cell, alice, bob, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

export function phoneOptions(cell: Cell, user: 'alice' | 'bob', place: Place, regint: number): PhoneOptions {
  const v6 = place.nat === 'ipv6';
  return {
    box: v6 ? 'lan6' : user === 'alice' ? 'lan1' : 'lan2',
    address: v6 ? AT.lan6 : user === 'alice' ? AT.lan1 : AT.lan2,
    user,
    domain: cell.domain === 'local' ? LOCAL : UPSTREAM,
    password: USERS[user] ?? '',
    outbound: v6 ? `[${AT.border6}]` : AT.border,
    transport: place.transport,
    tone: TONES[user],
    regint,
  };
}

/** Everything a cell shows. The steps share the phones; each leaves no call behind. */
export async function playCell(stage: Stage, border: Border, tell: Step): Promise<void> {
  const { alice, bob } = stage;
  const step: Step = (name, work) =>
    tell(name, async () => {
      try {
        return await work();
      } catch (error) {
        await settle(alice.phone, bob.phone);
        throw error;
      }
    });
  await step('a call: both hear the other, the caller hangs up', () => talk(alice.phone, bob.phone));
  await step('hold and resume; the callee hangs up', () => holdAndResume(stage));
  await step('the callee calls back', () => talk(bob.phone, alice.phone, alice.phone));
  await step('busy', async () => {
    await ring(alice.phone, bob.phone);
    await bob.phone.hangup();
    return expectStatus(alice.phone, 486);
  });
  await step('the caller cancels', async () => {
    await ring(alice.phone, bob.phone);
    await end(alice.phone, bob.phone);
    return [];
  });
  await step('no answer', async () => {
    await ring(alice.phone, bob.phone);
    const wrong = await expectStatus(alice.phone, 408, 480);
    await bob.phone.event('CALL_CLOSED');
    return wrong;
  });
  await step('two contacts ring, one answers', () => twoContacts(stage));
  await step('neither side learns about the other', async () => leaks(stage));
  await step('media comes from the border alone', async () => [...strayMedia(alice), ...strayMedia(bob)]);
  await step('nothing is left in the border', async () => {
    await eventually(500, 'no calls', async () =>
      (await border.api<unknown[]>('/calls')).length === 0 ? true : undefined,
    );
    return [];
  });
}

/** Ends whatever a step that failed half-way left behind, so that the next one fails only by its own fault. */
async function settle(...phones: readonly Baresip[]): Promise<void> {
  for (const phone of phones) for (let n = 0; n < 4; n++) await phone.hangup().catch(() => undefined);
}

/** Media that reached a phone from elsewhere than the border; the control is that some came from there. */
function strayMedia({ phone, wire }: Actor): string[] {
  const arrived = wire.packets().filter(p => p.to === phone.options.address && isRtp(p));
  const from = new Set(arrived.map(p => p.from));
  const wanted = phone.options.address.includes(':') ? AT.border6 : AT.border;
  if (!from.has(wanted)) return [`control: ${phone.options.user} was sent no media from ${wanted}`];
  from.delete(wanted);
  return from.size === 0 ? [] : [`${phone.options.user} was sent media from ${[...from].join(' ')}`];
}

async function expectStatus(phone: Baresip, ...statuses: readonly number[]): Promise<string[]> {
  const why = (await phone.event('CALL_CLOSED', 1000)).param ?? '';
  return statuses.some(s => why.startsWith(`${s} `)) ? [] : [`ended with "${why}", expected ${statuses.join(' or ')}`];
}

async function holdAndResume({ alice, bob }: Stage): Promise<string[]> {
  await establish(alice.phone, bob.phone);
  // baresip sends its re-INVITE at once, even over an INVITE transaction that waits for its ACK
  const mark = bob.wire.mark();
  const own = alice.wire.mark();
  await alice.phone.hold();
  const held = await bob.wire.until(500, 'the hold at the callee', mark, p =>
    /^INVITE .*a=(sendonly|inactive)/s.test(p.payload),
  );
  await alice.wire.until(500, "the hold's ACK", own, p => p.payload.startsWith('ACK '));
  const wrong = bob.phone.options.address === held.to ? [] : [`the hold went to ${held.to}`];
  const next = bob.wire.mark();
  await alice.phone.resume();
  await bob.wire.until(500, 'the resume at the callee', next, p => /^INVITE .*a=sendrecv/s.test(p.payload));
  await bob.wire.until(500, "the resume's ACK", next, p => p.payload.startsWith('ACK '));
  wrong.push(...(await hearOnWire({ alice, bob }, 1)));
  await end(bob.phone, alice.phone);
  return wrong;
}

/** A phone of any make with a voice, and what passes at its own network card. */
export interface Voice {
  readonly phone: { readonly options: Pick<PhoneOptions, 'user' | 'address' | 'tone'> };
  readonly wire: Capture;
}

/** What both are sent during the next seconds of an established call, from captures: what a recorder can't tell after a re-INVITE. */
export async function hearOnWire(
  { alice, bob }: { readonly alice: Voice; readonly bob: Voice },
  seconds: number,
): Promise<string[]> {
  const marks = [alice.wire.mark(), bob.wire.mark()] as const;
  await pass(seconds * 1000 + 200);
  const wrong: string[] = [];
  for (const [of, about, mark] of [
    [alice, bob, marks[0]],
    [bob, alice, marks[1]],
  ] as const) {
    const arrived = of.wire.since(mark).filter(p => p.to === of.phone.options.address);
    const tone = { far: about.phone.options.tone, own: of.phone.options.tone };
    const why = deaf(listen(g711Samples(media(arrived)), tone), seconds);
    if (why !== undefined) wrong.push(`${of.phone.options.user}: ${why}`);
  }
  return wrong;
}

async function twoContacts({ lab, cell, alice, bob }: Stage): Promise<string[]> {
  const box =
    cell.callee.nat === 'ipv6'
      ? { address: bob.phone.options.address, port: 5070 }
      : { address: '10.2.0.3', port: 5070 };
  await using second = await Baresip.start(lab, { ...bob.phone.options, ...box, tone: TONES.bob2 });
  await second.registered();
  for (const phone of [alice.phone, bob.phone, second]) phone.forget();
  alice.phone.heard();
  second.heard();
  await alice.phone.dial(bob.phone.uri);
  await Promise.all([bob.phone.event('CALL_INCOMING'), second.event('CALL_INCOMING')]);
  await second.accept();
  await Promise.all([
    second.event('CALL_ESTABLISHED'),
    alice.phone.event('CALL_ESTABLISHED'),
    bob.phone.event('CALL_CLOSED'),
  ]);
  await pass(1500);
  await end(alice.phone, second);
  const wrong = deaf(listen(alice.phone.heard(), { far: TONES.bob2, own: alice.phone.options.tone }), 1);
  return wrong === undefined ? [] : [`the caller and the phone that answered: ${wrong}`];
}

/** Kamailio gives all whom it challenges within a second the same nonce: in a challenge it is the other's own. */
function foundOpposite(marks: Marks, arrived: readonly Packet[]): string[] {
  const { nonce, others } = withoutNonce(marks);
  const challenge = (p: Packet): boolean => /^SIP\/2\.0 40[17] /.test(p.payload);
  return [
    ...found(others, arrived),
    ...found(
      nonce,
      arrived.filter(p => !challenge(p)),
    ),
  ];
}

function withoutNonce(marks: Marks): { readonly nonce: Marks; readonly others: Marks } {
  const only = (nonce: boolean): Marks => new Map([...marks].filter(([kind]) => (kind === 'nonce') === nonce));
  return { nonce: only(true), others: only(false) };
}

/** A digest passes the border end to end, and a registrar may know the make of its phones; nothing else goes behind. */
function foundBehind(marks: Marks, behind: readonly Packet[]): string[] {
  const secret = withoutNonce(marks).others;
  const hardware = new Map([...secret].filter(([kind]) => kind !== 'user agent'));
  const registering = (p: Packet): boolean => p.payload.startsWith('REGISTER ');
  return [
    ...found(
      secret,
      behind.filter(p => !registering(p)),
    ),
    ...found(hardware, behind.filter(registering)),
  ];
}

/** Marks of each phone on the other's wire and behind the border; the control is that its own wire shows at least five. */
export function leaks({ alice, bob }: Pick<Stage, 'alice' | 'bob'>, behind: readonly Packet[] = []): string[] {
  const wrong: string[] = [];
  for (const [of, other] of [
    [alice, bob],
    [bob, alice],
  ] as const) {
    const address = of.phone.options.address;
    const sent = of.wire.packets().filter(p => p.from === address);
    const marks = marksOf(sent, of.addresses);
    const control = found(marks, sent);
    if (control.length < 5)
      wrong.push(`control: only ${control.length} marks of ${of.phone.options.user} on its own wire`);
    const arrived = other.wire.packets().filter(p => p.to === other.phone.options.address);
    for (const mark of foundOpposite(marks, arrived))
      wrong.push(`${other.phone.options.user} was sent ${of.phone.options.user}'s ${mark}`);
    for (const mark of foundBehind(marks, behind))
      wrong.push(`the service was sent ${of.phone.options.user}'s ${mark}`);
  }
  return wrong;
}
