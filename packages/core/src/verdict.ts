/**
 * Why something was dropped, rejected or ended. One closed union for the whole product: the same string is
 * the log field, the metric label and the evidence on a ban. Its index counts in typed arrays.
 */
// biome-ignore format: the groups read better as paragraphs
const BY_STAGE = {
  guard: [
    'too-short', 'too-long', 'not-sip', 'keepalive', 'stun', 'foreign-network', 'rate-limited', 'banned',
  ],
  parse: [
    'malformed-start-line', 'malformed-header', 'too-many-headers', 'missing-header', 'duplicate-header', 'malformed-uri',
    'malformed-via', 'malformed-cseq', 'cseq-method-mismatch', 'malformed-content-length', 'truncated-body', 'unsupported-version',
    'unsupported-scheme', 'frame-too-long', 'frame-deadline',
  ],
  transact: [
    'retransmission', 'stray-response', 'stray-ack', 'stray-cancel', 'merged-request', 'loop-detected', 'too-many-hops', 'too-many-branches',
    'method-not-allowed', 'unknown-extension', 'transaction-limit',
  ],
  authenticate: [
    'challenge', 'stale-nonce', 'bad-credentials', 'malformed-credentials', 'replayed-nonce', 'not-authenticated', 'not-owner',
    'unknown-user', 'unproven-budget',
  ],
  decide: [
    'unknown-domain', 'not-found', 'not-registered', 'forbidden', 'method-denied', 'foreign-route', 'declined', 'call-limit', 'session-limit', 'draining',
    'forwarding-stopped', 'unresolvable', 'no-route', 'next-hop-down', 'privacy-unavailable', 'no-secure-way', 'trunk-limit', 'emergency-limit',
  ],
  registrar: [
    'too-many-contacts', 'interval-too-brief', 'out-of-order', 'wildcard-with-expires', 'store-failed', 'binding-limit', 'foreign-contact',
    'path-too-long', 'edge-lacks-outbound', 'push-unsupported',
  ],
  call: [
    'no-dialog', 'lower-cseq', 'request-pending', 'glare', 'busy', 'no-answer', 'cancelled', 'timeout', 'answered-elsewhere',
    'transport-failed', 'flow-gone', 'peer-rejected', 'peer-gone', 'ack-missing', 'normal-clearing', 'media-inactive', 'wrong-source',
    'admin-request', 'shutdown', 'call-duration', 'session-expired', 'serial-next', 'offer-answer-violation',
    'transferred', 'replaced', 'transfer-limit',
  ],
  anchor: [
    'sdp-malformed', 'sdp-unsupported', 'sdp-too-large', 'malformed-body', 'unsupported-body', 'ports-exhausted', 'media-refused-target', 'media-wrong-source', 'media-not-rtp', 'media-no-flow', 'media-no-target', 'media-send-failed',
    'media-held', 'media-own-address', 'media-loop',
  ],
  any: [
    'queue-full', 'stream-limit', 'idle', 'internal-error', 'ask-limit', 'ask-timeout', 'clock-jump',
  ],
} as const;

/** The stage that speaks a reason, `registrar` and `any` beside those of the pipeline. */
export type Stage = keyof typeof BY_STAGE;
export type Reason = (typeof BY_STAGE)[Stage][number];

export const REASONS: readonly Reason[] = Object.values(BY_STAGE).flat();

const INDEX: ReadonlyMap<string, number> = new Map(REASONS.map((r, i) => [r, i]));

const STAGE: ReadonlyMap<Reason, Stage> = new Map(
  (Object.keys(BY_STAGE) as Stage[]).flatMap(stage =>
    BY_STAGE[stage].map((reason): [Reason, Stage] => [reason, stage]),
  ),
);

export function stageOf(reason: Reason): Stage {
  return STAGE.get(reason) ?? 'any';
}

/** Position of a reason in every counting array. */
export function reasonIndex(reason: Reason): number {
  return INDEX.get(reason) ?? 0;
}

/** Counters by reason: fixed, typed, read at scrape. */
export class ReasonCounts {
  readonly counts = new Float64Array(REASONS.length);

  add(reason: Reason, n = 1): void {
    const i = reasonIndex(reason);
    this.counts[i] = this.counts[i]! + n;
  }

  get(reason: Reason): number {
    return this.counts[reasonIndex(reason)]!;
  }

  /** Every reason, zero included, in the order of the union. */
  *entries(): IterableIterator<[Reason, number]> {
    for (let i = 0; i < REASONS.length; i++) yield [REASONS[i] as Reason, this.counts[i]!];
  }
}

/** What a pipeline stage returns. `pass` carries nothing: the work is on the stage's subject. */
export type Verdict =
  | { readonly do: 'pass' }
  | { readonly do: 'drop'; readonly reason: Reason }
  | { readonly do: 'reply'; readonly status: number; readonly reason: Reason; readonly headers?: string }
  | { readonly do: 'ask'; readonly reason: Reason };

export const PASS: Verdict = { do: 'pass' };

const DROPS: ReadonlyMap<Reason, Verdict> = new Map(REASONS.map(reason => [reason, { do: 'drop', reason }]));

/** One frozen object per reason: a drop on the hot path allocates nothing. */
export function drop(reason: Reason): Verdict {
  return DROPS.get(reason) as Verdict;
}

/** `headers`: further header lines, each ending in CRLF. */
export function reply(status: number, reason: Reason, headers?: string): Verdict {
  return headers === undefined ? { do: 'reply', status, reason } : { do: 'reply', status, reason, headers };
}
