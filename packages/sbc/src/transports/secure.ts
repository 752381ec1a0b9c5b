import { reply, type Verdict } from '@drawbridge/core';
import { headerLine, isSecure } from '@drawbridge/sip';
import type { Plan, Target } from '../decide/plan.js';

/** `sips:` in any case. */
export function isSips(uri: string): boolean {
  return uri.charCodeAt(4) === 58 && uri.slice(0, 4).toLowerCase() === 'sips';
}

/** Whether a request, as text, asks for a `sips:` URI. */
export function asksSips(request: string): boolean {
  const at = request.indexOf(' ') + 1;
  return request.charCodeAt(at + 4) === 58 && isSips(request.slice(at, at + 5));
}

/**
 * What a `sips:` URI wants of the next hop (RFC 3261 §26.2.2): TLS, or nothing is sent. `asked`: the request came for one; a
 * target that is one itself wants it in any case. RFC 5630 §5.3 names the answer and its warning.
 */
export function securely(plan: Plan | Verdict, asked: boolean): Plan | Verdict {
  if (plan.do !== 'forward') return plan;
  if (!asked && !plan.targets.some(wantsSecurity)) return plan;
  const targets = plan.targets.flatMap(t => secureOf(t, asked) ?? []);
  return targets.length === 0
    ? reply(480, 'no-secure-way', headerLine('Warning', '380 border "SIPS Not Allowed"'))
    : { ...plan, targets };
}

function wantsSecurity(t: Target): boolean {
  return isSips(t.uri) || (t.otherwise !== undefined && wantsSecurity(t.otherwise));
}

/** A target and those in its place, without the ones that would break the promise. */
function secureOf(t: Target, asked: boolean): Target | undefined {
  const otherwise = t.otherwise === undefined ? undefined : secureOf(t.otherwise, asked);
  if (isSecure(t.flow.transport) || !(asked || isSips(t.uri)))
    return otherwise === t.otherwise ? t : { ...t, otherwise };
  return otherwise;
}
