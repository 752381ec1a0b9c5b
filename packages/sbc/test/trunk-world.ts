import { BorderWorld, CORE_UDP, type Half, type Phone } from './harness.js';

export const CARRIER = '10.0.0.7:5060';
export const SECOND = '10.0.0.8:5060';

export interface TrunkWorldOptions {
  readonly carrier?: object;
  readonly second?: object;
  readonly config?: object;
  readonly routes?: readonly object[];
}

export interface TrunkWorld {
  readonly world: BorderWorld;
  readonly alice: Phone;
  readonly carrier: Phone;
  readonly second: Phone;
}

/** A border with two trunks and a route to the first, then the second; alice is registered. OPTIONS only where a test asks. */
export function trunked(o: TrunkWorldOptions = {}): TrunkWorld {
  const world = new BorderWorld({
    config: {
      trunks: {
        carrier: { next: [`sip:${CARRIER}`], host: 'carrier.example', options: false, ...o.carrier },
        second: { next: [`sip:${SECOND}`], host: 'second.example', options: false, ...o.second },
      },
      numbering: { country: '49' },
      routes: o.routes ?? [{ name: 'out', when: { to: '+*' }, to: [{ trunk: 'carrier' }, { trunk: 'second' }] }],
      ...o.config,
    },
  });
  const alice = world.phone('alice', { at: '198.51.100.1:5060' }).register();
  const carrier = world.phone('carrier', { at: CARRIER, inner: CARRIER, via: CORE_UDP, domain: 'carrier.example' });
  const second = world.phone('second', { at: SECOND, inner: SECOND, via: CORE_UDP, domain: 'second.example' });
  return { world, alice, carrier, second };
}

export function trunkOf(world: BorderWorld, name: string) {
  const t = world.border.shard.m.trunks.get(name);
  if (t === undefined) throw new Error(name);
  return t;
}

/** The callee of a call out answers it. */
export function answered(caller: Half, at: Phone): Half {
  const b = at.called();
  b.answer(200, { sdp: at.sdp() });
  at.next('ACK');
  caller.expect(200);
  caller.send('ACK');
  return b;
}

export function hangUp(caller: Half, callee: Half): void {
  caller.send('BYE');
  caller.phone.next(200);
  callee.reply(callee.phone.next('BYE'), 200);
}

/** The caller hears this final failure and acknowledges it. */
export function refused(half: Half, status: number) {
  const m = half.phone.next(status);
  half.send('ACK', { branch: half.branch });
  return m;
}

/** The callee refuses the INVITE that lies in its inbox. */
export function refuses(at: Phone, status: number, o: Parameters<Half['answer']>[1] = {}): void {
  at.called().answer(status, o);
  at.next('ACK');
}
