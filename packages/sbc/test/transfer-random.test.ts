import { type Random, seededRandom } from '@drawbridge/core';
import { H, type MessageView } from '@drawbridge/sip';
import tap from 'tap';
import { type Half, type Phone, replyTo } from './harness.js';
import { left, NOTHING, replacing, sdpOf, type Trio, trio } from './transfers.js';

tap.setTimeout(120_000);
const SEEDS = 60;
const STEPS = 60;

interface Line {
  readonly half: Half;
  state: 'calling' | 'ringing' | 'talking' | 'over';
  /** Branches of our INVITEs in this dialog, by CSeq: the ACK to a failure repeats them. */
  readonly branches: Map<number, string>;
}

/** A phone that does anything a phone may do, at any moment. */
class Robot {
  readonly phone: Phone;
  readonly lines = new Map<string, Line>();
  readonly done = new Map<string, number>();
  readonly #random: Random;

  constructor(phone: Phone, random: Random) {
    this.phone = phone;
    this.#random = random;
  }

  /** Deals with all that has arrived. */
  listen(): void {
    for (let m = this.phone.inbox.shift(); m !== undefined; m = this.phone.inbox.shift())
      if (m.isRequest) this.#asked(m);
      else this.#told(m);
  }

  line(...states: Line['state'][]): Line | undefined {
    const fit = [...this.lines.values()].filter(l => states.includes(l.state));
    return fit[this.#random.u32() % Math.max(1, fit.length)];
  }

  call(aor: string, headers = ''): void {
    const half = this.phone.invite(aor, { sdp: sdpOf(this.phone), headers });
    this.lines.set(half.callId, { half, state: 'calling', branches: new Map([[half.cseq, half.branch]]) });
  }

  decide(line: Line, accept: boolean): void {
    line.half.answer(accept ? 200 : 486, accept ? { sdp: sdpOf(this.phone) } : {});
    line.state = accept ? 'talking' : 'over';
  }

  hangUp(line: Line): void {
    if (line.state === 'ringing') return this.decide(line, false);
    if (line.state === 'calling') return line.half.cancel();
    if (line.state === 'talking') line.half.send('BYE');
    line.state = 'over';
  }

  reinvite(line: Line): void {
    const branch = this.phone.branch();
    const version = 10 + (this.#random.u32() % 1000);
    const mode = this.#random.u32() % 2 === 0 ? ['a=sendonly'] : [];
    line.branches.set(line.half.cseq + 1, branch);
    line.half.send('INVITE', { branch, sdp: sdpOf(this.phone, mode, version) });
  }

  refer(line: Line, to: string): void {
    line.half.send('REFER', { headers: `Contact: <${this.phone.contact}>\r\nRefer-To: <${to}>\r\n` });
  }

  #asked(m: MessageView): void {
    const line = this.lines.get(m.callId);
    if (m.method === 'ACK') return;
    if (m.method === 'INVITE' && m.toTag === '') {
      this.phone.inbox.unshift(m);
      const half = this.phone.called();
      this.lines.set(m.callId, { half, state: 'ringing', branches: new Map() });
      return half.answer(180);
    }
    if (line === undefined || (line.state === 'over' && m.method === 'INVITE')) {
      this.phone.send(replyTo(m, m.method === 'BYE' || m.method === 'NOTIFY' || m.method === 'CANCEL' ? 200 : 481));
      return;
    }
    const dice = this.#random.u32() % 20;
    switch (m.method) {
      case 'INVITE':
        if (dice < 3) return line.half.reply(m, 491);
        if (dice < 5) return line.half.reply(m, 488);
        return line.half.reply(m, 200, { sdp: sdpOf(this.phone, [], 2000 + (this.#random.u32() % 1000)) });
      case 'CANCEL':
        this.phone.send(replyTo(m, 200));
        if (line.state === 'ringing') {
          line.half.answer(487);
          line.state = 'over';
        }
        return;
      case 'BYE':
        line.state = 'over';
        return line.half.reply(m, 200);
      default:
        return line.half.reply(m, 200);
    }
  }

  #told(m: MessageView): void {
    const line = this.lines.get(m.callId);
    if (m.cseqMethod === 'REFER') this.done.set(`REFER ${m.status}`, (this.done.get(`REFER ${m.status}`) ?? 0) + 1);
    if (line === undefined || m.cseqMethod !== 'INVITE' || m.status < 200) {
      if (line?.state === 'calling' && m.toTag !== '') line.half.learn(m);
      return;
    }
    if (m.status >= 300) {
      const branch = line.branches.get(m.cseq) ?? this.phone.branch();
      this.phone.send(
        this.phone.request({
          method: 'ACK',
          uri: line.half.target,
          branch,
          from: m.get(H.from),
          to: m.get(H.to),
          callId: m.callId,
          cseq: m.cseq,
          contact: false,
        }),
      );
      if (line.state === 'calling') line.state = 'over';
      return;
    }
    line.half.learn(m);
    if (line.state === 'calling') line.state = 'talking';
    line.half.send('ACK', { cseq: m.cseq });
  }
}

function step(robots: readonly Robot[], random: Random, all: Trio): void {
  const pick = (): Robot => robots[random.u32() % robots.length] as Robot;
  const robot = pick();
  const other = pick();
  robot.listen();
  const talking = robot.line('talking');
  switch (random.u32() % 12) {
    case 0:
    case 1:
      if (robot.lines.size < 6 && other !== robot) robot.call(other.phone.aor);
      break;
    case 2:
    case 3:
    case 4: {
      const ringing = robot.line('ringing');
      if (ringing !== undefined) robot.decide(ringing, random.u32() % 5 !== 0);
      break;
    }
    case 5: {
      const any = robot.line('talking', 'calling');
      if (any !== undefined) robot.hangUp(any);
      break;
    }
    case 6:
    case 7:
      if (talking !== undefined) robot.refer(talking, other.phone.aor);
      break;
    case 8: {
      const second = robot.line('talking', 'calling');
      if (talking !== undefined && second !== undefined) robot.refer(talking, replacing(other.phone.aor, second.half));
      break;
    }
    case 9: {
      const theirs = other.line('talking');
      if (theirs !== undefined && other !== robot) {
        const { half } = theirs;
        const named = `${half.callId};to-tag=${half.remoteTag};from-tag=${half.localTag}`;
        robot.call(other.phone.aor, `Replaces: ${named}\r\n`);
      }
      break;
    }
    case 10:
      if (talking !== undefined) robot.reinvite(talking);
      break;
    default:
      all.world.pass(random.u32() % 3000);
  }
  for (const r of robots) if (random.u32() % 3 !== 0) r.listen();
}

tap.test('anything in any order: when all have hung up nothing is left', async t => {
  const seen = new Map<string, number>();
  let transfers = 0;
  let replaced = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const random = seededRandom(seed);
    const all = trio({ config: { calls: { transfer: seed % 4 === 0 ? 'relay' : 'border' } } });
    all.world.recording = false;
    const robots = [all.alice, all.bob, all.carol].map(phone => new Robot(phone, random));
    for (let i = 0; i < STEPS; i++) step(robots, random, all);
    for (let round = 0; round < 30; round++) {
      for (const robot of robots) {
        robot.listen();
        for (const line of robot.lines.values()) if (line.state !== 'over') robot.hangUp(line);
      }
      all.world.pass(2000);
    }
    for (let i = 0; i < 40; i++) {
      for (const robot of robots) robot.listen();
      all.world.pass(10_000);
    }
    // The border's own keepalives come and go.
    all.world.pass(60_000, () => all.world.transactions.clientCount === 0);
    const rest = left(all.world);
    if (JSON.stringify(rest) !== JSON.stringify(NOTHING)) t.same(rest, NOTHING, `seed ${seed}`);
    const { done, replaced: taken } = all.world.border.shard.transfers;
    transfers += done;
    replaced += taken;
    for (const robot of robots) for (const [what, n] of robot.done) seen.set(what, (seen.get(what) ?? 0) + n);
  }
  t.comment(`${SEEDS} seeds, ${transfers} transfers done, ${replaced} parties replaced, ${JSON.stringify([...seen])}`);
  t.ok(transfers > 20, 'control: transfers took place');
  t.ok(replaced > 15, 'control: parties were replaced');
  t.ok((seen.get('REFER 202') ?? 0) > 50 && (seen.get('REFER 491') ?? 0) > 0, 'control: accepted and refused');
});
