import { escapeUser, headerLine } from '@drawbridge/sip';

export type Why = 'unconditional' | 'busy' | 'no-answer' | 'offline' | 'dnd';

/** One step of a call that was sent on. */
export interface Hop {
  /** `user@domain` of who has it sent on. */
  readonly from: string;
  /** Request-URI it goes to. */
  readonly to: string;
  readonly why: Why;
}

/** RFC 5806 §4. */
const REASONS: Readonly<Record<Why, string>> = {
  unconditional: 'unconditional',
  busy: 'user-busy',
  'no-answer': 'no-answer',
  offline: 'unavailable',
  dnd: 'do-not-disturb',
};
/** RFC 4458 §5: what the target hears of why. */
const CAUSES: Readonly<Record<Why, number>> = {
  unconditional: 302,
  busy: 486,
  'no-answer': 408,
  offline: 503,
  dnd: 486,
};

export type HistoryHeader = 'Diversion' | 'History-Info';

/** What the new callee is told of the way to him: Diversion latest first (RFC 5806 §5), History-Info from the start (RFC 7044 §5). */
export function historyLines(hops: readonly Hop[], which: readonly HistoryHeader[]): string {
  let lines = '';
  if (which.includes('Diversion'))
    for (const hop of hops.toReversed())
      lines += headerLine('Diversion', `<${aorUri(hop.from)}>;reason=${REASONS[hop.why]};counter=1`);
  if (!which.includes('History-Info')) return lines;
  let index = '1';
  const first = hops[0];
  if (first === undefined) return lines;
  let entries = `<${aorUri(first.from)}>;index=1`;
  for (const hop of hops) {
    const mapped = index;
    index += '.1';
    entries += `,<${withCause(hop.to, CAUSES[hop.why])}>;index=${index};mp=${mapped}`;
  }
  return lines + headerLine('History-Info', entries);
}

function aorUri(aor: string): string {
  const at = aor.lastIndexOf('@');
  const host = aor.slice(at + 1);
  return `sip:${escapeUser(aor.slice(0, at))}@${host.includes(':') ? `[${host}]` : host}`;
}

function withCause(uri: string, cause: number): string {
  return uri.startsWith('sip') && !uri.includes('?') ? `${uri};cause=${cause}` : uri;
}
