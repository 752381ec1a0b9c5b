import { formatParams, headerLine, type MessageView, parseParams, splitList } from '@drawbridge/sip';
import { sessionIdLine } from '../call/session-id.js';
import { asserted, identityLine, mappedLine, warningLine } from '../identity/headers.js';
import type { Crossing } from '../identity/policy.js';
import { type Privacy, privacyOf } from '../identity/privacy.js';
import { RULE } from '../identity/rules.js';
import { CROSS, CROSSING, DEMANDED_TAGS, OPTION_TAGS, REQUIRE_TAGS } from './allow.js';

/**
 * What may cross besides what crosses between anybody. `credentials` go to the upstream they are meant for, and its
 * `challenges` come back. `across`: who sends to whom; without it neither side counts as trusted and no rule holds.
 */
export interface Trust {
  readonly credentials: boolean;
  readonly challenges: boolean;
  readonly across?: Crossing | undefined;
}

/** Header lines of the inner message that the other side may see, in their order; runs of untouched lines are one slice. */
export function hide(m: MessageView, trust: Trust): string {
  const { across } = trust;
  const rules = across?.rules;
  const trusted = across?.fromTrusted === true && across.toTrusted;
  const privacy = across === undefined || across.toTrusted ? undefined : privacyOf(m);
  let out = '';
  let run = -1;
  const n = m.count;
  for (let i = 0; i < n; i++) {
    const how = CROSSING[m.id(i)]!;
    let asIs =
      how === CROSS.asIs ||
      (how === CROSS.personal && privacy?.user !== true) ||
      (how === CROSS.trusted && trusted) ||
      (how === CROSS.credential && trust.credentials) ||
      (how === CROSS.challenge && trust.challenges);
    const rule = rules === undefined ? 0 : rules.of(m, i);
    if (rule !== 0) asIs = (asIs || passedByRule(how, across)) && (rule & RULE.remove) === 0;
    if (asIs) {
      if (run < 0) run = m.lineAt(i);
      continue;
    }
    if (run >= 0) {
      out += m.text.slice(run, m.lineAt(i));
      run = -1;
    }
    if (how !== 0 && (rule & RULE.remove) === 0) out += rewritten(m, i, how, across, privacy, rule);
  }
  if (run >= 0) out += m.text.slice(run, endOfHeaders(m));
  if (across === undefined) return out;
  if (rules !== undefined) out += rules.lines;
  return out + asserted(across, m);
}

/** A rule lets a header out that nobody would see otherwise; whom it may come from stays a matter of trust. */
function passedByRule(how: number, across: Crossing | undefined): boolean {
  if (how === 0) return true;
  return how === CROSS.trusted && across?.fromTrusted === true;
}

function rewritten(
  m: MessageView,
  i: number,
  how: number,
  across: Crossing | undefined,
  privacy: Privacy | undefined,
  rule: number,
): string {
  if (how === CROSS.supported) return tags('Supported', m.value(i), OPTION_TAGS);
  if (how === CROSS.sessionId) return sessionIdLine(m.value(i));
  if (how === CROSS.require) return tags('Require', m.value(i), m.status === 421 ? DEMANDED_TAGS : REQUIRE_TAGS);
  if (how === CROSS.reason) return reason(m.value(i));
  if (how === CROSS.event) return event(m, i);
  if (how === CROSS.privacy) return privacy === undefined ? m.line(i) : i === m.first(m.id(i)) ? privacy.left : '';
  if (across === undefined) return '';
  if (how === CROSS.warning) return warningLine(across, m, i);
  if (how !== CROSS.identity) return '';
  if (rule !== 0 && across.fromTrusted && privacy?.id !== true) return mappedLine(across, m, i);
  return identityLine(across, m, i, privacy);
}

/** Up to the empty line, which is not ours to copy. */
function endOfHeaders(m: MessageView): number {
  const last = m.count - 1;
  return m.lineAt(last) + m.line(last).length;
}

function tags(name: string, value: string, which: ReadonlySet<string>): string {
  const crossing = splitList(value).filter(tag => which.has(tag.toLowerCase()));
  return crossing.length === 0 ? '' : headerLine(name, crossing.join(', '));
}

/** RFC 3326: protocol and cause stay; the text may quote a host. */
function reason(value: string): string {
  let out = '';
  for (const one of splitList(value)) {
    const protocol = /^[A-Za-z0-9._-]{1,32}/.exec(one)?.[0];
    const cause = /;\s*cause=(\d{1,3})(?!\d)/i.exec(one)?.[1];
    if (protocol !== undefined && cause !== undefined) out += headerLine('Reason', `${protocol};cause=${cause}`);
  }
  return out;
}

const DIALOG_NAMES = ['call-id', 'from-tag', 'to-tag'] as const;

/** RFC 4235 §4.1: who asks for one dialog's events names it as his side knows it, which nobody on the other can. */
function event(m: MessageView, i: number): string {
  const value = m.value(i);
  const at = value.indexOf(';');
  if (at < 0) return m.line(i);
  const params = parseParams(value, at, value.length);
  if (params !== undefined && !DIALOG_NAMES.some(name => params.has(name))) return m.line(i);
  for (const name of DIALOG_NAMES) params?.delete(name);
  return headerLine('Event', value.slice(0, at).trimEnd() + (params === undefined ? '' : formatParams(params)));
}

export const ALLOWED_METHODS =
  'INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, MESSAGE, PRACK, UPDATE, SUBSCRIBE, NOTIFY, REFER';
export const ALLOW_LINE = headerLine('Allow', ALLOWED_METHODS);
