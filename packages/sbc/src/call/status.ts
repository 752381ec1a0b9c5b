import type { Reason } from '@drawbridge/core';

/** Why a call failed, from the final status its callee (or we) gave. */
export function causeOf(status: number): Reason {
  switch (status) {
    case 486:
    case 600:
      return 'busy';
    case 408:
    case 480:
      return 'no-answer';
    case 404:
    case 604:
      return 'not-found';
    case 603:
      return 'declined';
    case 487:
      return 'cancelled';
    case 503:
      return 'next-hop-down';
    default:
      return 'peer-rejected';
  }
}

/**
 * What the other side sees of a final failure: a 503 says that the next hop is overloaded, not we (RFC 3261 §16.7 step 6);
 * a challenge or a redirection means nothing where its headers don't go.
 */
export function statusAcross(status: number, challengesCross: boolean): number {
  if (status === 503) return 500;
  // Which flows there were is between us and what is behind them (RFC 5626 §11.5).
  if (status === 430) return 480;
  if (status === 401 || status === 407) return challengesCross ? status : 403;
  return status >= 300 && status < 400 ? 480 : status;
}

/** Whether a target that answers so is passed over for another: a next hop is overloaded, a flow has failed. */
export function passesOver(status: number, hops: object | undefined): boolean {
  return status === 430 || (status === 503 && hops !== undefined);
}

/** RFC 3261 §16.7 step 6: any 6xx wins, then the lowest class; within 4xx those that say how to do better. Lower is better. */
export function rank(status: number): number {
  if (status >= 600) return 0;
  if (status < 400) return 300;
  if (status === 401 || status === 407 || status === 415 || status === 420 || status === 484) return 400;
  if (status === 486) return 401;
  if (status === 408 || status === 480 || status === 487) return 498;
  return status < 500 ? 410 : status;
}
