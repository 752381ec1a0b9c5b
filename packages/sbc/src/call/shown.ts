import type { Fork } from './fork.js';

/** `calls.earlyDialogs: single`: the fork whose early dialog the caller sees in place of this one's. */
export function hiddenBehind(fork: Fork): Fork | undefined {
  const { call } = fork;
  if (call.shard.o.calls.earlyDialogs === 'all') return undefined;
  const { shown } = call;
  if (shown !== undefined && shown !== fork && call.forks.some(f => f.carries(shown))) return shown;
  if (shown !== fork) {
    call.shown = fork;
    call.shownSdp = false;
  }
  return undefined;
}

/** The winner answers in the dialog that the caller sees, unless that has had another's description (RFC 3261 §13.2.1). */
export function takeShown(winner: Fork): void {
  const shown = hiddenBehind(winner);
  if (shown === undefined || winner.call.shownSdp) return;
  const own = winner.caller;
  winner.caller = shown.caller;
  shown.caller = own;
  for (const fork of [winner, shown]) {
    fork.caller.peer = fork.callee;
    fork.callee.peer = fork.caller;
  }
}
