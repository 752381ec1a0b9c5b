import type { Baresip, PhoneEvent } from './baresip.js';
import { deaf, listen } from './tone.js';

/** Every call that is listened to lasts this long. */
export const CALL_SECONDS = 4;

/** Time that passes because a call has a length, not to wait for something. */
export function pass(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms));
}

export async function registerAll(...phones: readonly Baresip[]): Promise<void> {
  await Promise.all(phones.map(p => p.registered()));
}

/** Dials until the callee rings and the caller knows. */
export async function ring(caller: Baresip, callee: Baresip, uri = callee.uri): Promise<void> {
  caller.forget();
  callee.forget();
  await caller.dial(uri);
  await callee.event('CALL_INCOMING');
  await caller.event('CALL_RINGING');
}

export async function establish(caller: Baresip, callee: Baresip, uri = callee.uri): Promise<void> {
  await ring(caller, callee, uri);
  await callee.accept();
  await Promise.all([callee.event('CALL_ESTABLISHED'), caller.event('CALL_ESTABLISHED')]);
}

/** Ends the call from one side; what the other was told. */
export async function end(by: Baresip, other: Baresip): Promise<PhoneEvent> {
  await by.hangup();
  const [, event] = await Promise.all([by.event('CALL_CLOSED'), other.event('CALL_CLOSED')]);
  return event;
}

/** A whole call with both voices listened to: what was wrong with it, nothing when both heard the other and only the other. */
export async function talk(
  caller: Baresip,
  callee: Baresip,
  hangsUp: Baresip = caller,
  uri = callee.uri,
): Promise<string[]> {
  caller.heard();
  callee.heard();
  await establish(caller, callee, uri);
  await pass(CALL_SECONDS * 1000);
  await end(hangsUp, hangsUp === caller ? callee : caller);
  return [complaint(caller, callee), complaint(callee, caller)].filter(c => c !== undefined);
}

function complaint(of: Baresip, about: Baresip): string | undefined {
  const why = deaf(listen(of.heard(), { far: about.options.tone, own: of.options.tone }), CALL_SECONDS);
  return why === undefined ? undefined : `${of.options.user} listening to ${about.options.user}: ${why}`;
}
