import { own, PrefixSet, type Reason } from '@drawbridge/core';
import {
  type Flow,
  H,
  type MessageView,
  parseContacts,
  parseNameAddr,
  parseUri,
  uriEqual,
  viaHost,
} from '@drawbridge/sip';
import type { Binding } from './binding.js';
import type { Bindings } from './bindings.js';

/** What a router's SIP helper (ALG) does to messages on their way, as far as it shows here. */
export const ALG_KINDS = [
  'contact-rewritten',
  'via-rewritten',
  'sdp-rewritten',
  'rport-stripped',
  'contact-unstable',
  'length-wrong',
  'via-garbled',
] as const;
export type AlgKind = (typeof ALG_KINDS)[number];

export interface AlgFinding {
  readonly kind: AlgKind;
  /** What was seen, in the words of the message. */
  readonly evidence: string;
}

export const NO_FINDINGS: readonly AlgFinding[] = [];

const OFF = 'Turn SIP ALG (also called SIP helper or SIP fixup) off in the router of this phone';
const ADVICE: Readonly<Record<AlgKind, string>> = {
  'contact-rewritten': `${OFF}; the border finds the way back without it.`,
  'via-rewritten': `${OFF}; the border answers to where packets come from.`,
  'sdp-rewritten': `${OFF}, or STUN for media off in the phone: audio may go one way only.`,
  'rport-stripped': `${OFF}: answers may miss the phone once its port changes.`,
  'contact-unstable': `${OFF}: each refresh makes another contact, and calls may ring a dead one.`,
  'length-wrong': `${OFF}, or let the phone use TLS: messages arrive cut or with a wrong Content-Length.`,
  'via-garbled': `${OFF}, or let the phone use TLS: messages arrive damaged.`,
};

/** A sentence that says what to do. */
export function algAdvice(kind: AlgKind): string {
  return ADVICE[kind];
}

const MAX_EVIDENCE = 200;
const BROKEN: Partial<Record<Reason, AlgKind>> = {
  'truncated-body': 'length-wrong',
  'malformed-content-length': 'length-wrong',
  'malformed-via': 'via-garbled',
};

const INSIDE = ((): PrefixSet => {
  const set = PrefixSet.parse([
    '10.0.0.0/8',
    '172.16.0.0/12',
    '192.168.0.0/16',
    '100.64.0.0/10',
    '169.254.0.0/16',
    'fc00::/7',
    'fe80::/10',
  ]);
  if ('bad' in set) throw new TypeError(set.bad);
  return set;
})();

/**
 * Looks for damage in what registered phones send. For reports only: nothing is routed, refused or repaired by it. A phone
 * that has learnt its outer address from our own answers writes it too; so an outer address says something only in the
 * first REGISTER of a Call-ID, to which nothing had been answered yet but a challenge.
 */
export class AlgWatch {
  /** Bindings on which each kind was found. */
  readonly counts = new Map<AlgKind, number>(ALG_KINDS.map(k => [k, 0]));
  /** Found in a REGISTER whose binding isn't made yet; goes with its flow. */
  readonly #early = new WeakMap<Flow, readonly AlgFinding[]>();
  readonly #bindings: Bindings;
  readonly #aorOf: (uri: string) => string | undefined;

  constructor(bindings: Bindings, aorOf: (uri: string) => string | undefined) {
    this.#bindings = bindings;
    this.#aorOf = aorOf;
  }

  /** A REGISTER that passed authentication, before it changes anything. */
  register(m: MessageView, flow: Flow): void {
    const known = this.#bindings.byFlow(flow);
    let repeated = false;
    for (const b of known) {
      if (b.callId !== m.callId) continue;
      repeated = true;
      if (m.via.rport) b.rport = true;
      else if (b.rport) this.#note(b, 'rport-stripped', 'Via had rport before and has none now');
      if (b.contact !== m.contactUri) this.#moved(m, flow, b);
    }
    const via = viaHost(m.text, m.via);
    // The common case, NAT or none: one host in both.
    if (repeated || m.contactUri === '' || m.contactUri.includes(via)) return;
    this.#addresses(m, flow, via);
  }

  /** A binding was made, or made again: what was found before is its. */
  bound(b: Binding): void {
    const found = this.#early.get(b.flow);
    if (found === undefined) return;
    this.#early.delete(b.flow);
    for (const f of found) this.#note(b, f.kind, f.evidence);
  }

  /** An INVITE over a known flow, its body in place. */
  invite(m: MessageView, flow: Flow): void {
    const known = this.#bindings.byFlow(flow);
    if (known.length === 0) return;
    if (
      flow.transport === 'udp' &&
      m.contentLength >= 0 &&
      m.text.length > m.bodyEnd &&
      m.text.slice(m.bodyEnd).trim() !== ''
    )
      this.#all(
        known,
        'length-wrong',
        `Content-Length is ${m.contentLength}, the body has ${m.text.length - m.bodyStart} bytes`,
      );
    const at = m.text.indexOf('c=IN IP', m.bodyStart) + 9;
    if (at < m.bodyStart || !m.text.startsWith(flow.address, at) || INSIDE.hasAddress(flow.address)) return;
    const via = viaHost(m.text, m.via);
    const contact = parseUri(m.contactUri)?.host ?? '';
    if (isInside(via) && isInside(contact))
      this.#all(known, 'sdp-rewritten', `SDP says ${flow.address}, Contact ${contact}, Via ${via}`);
  }

  /** A message that was refused or dropped before it was understood. */
  broken(reason: Reason, flow: Flow): void {
    const kind = BROKEN[reason];
    if (kind !== undefined)
      this.#all(this.#bindings.byFlow(flow), kind, `a message arrived with ${reason.replaceAll('-', ' ')}`);
  }

  #addresses(m: MessageView, flow: Flow, via: string): void {
    const { address } = flow;
    if (INSIDE.hasAddress(address)) return;
    const vias = m.list(H.via);
    if (vias.length > 1) {
      if (new Set(vias).size < vias.length)
        this.#early.set(flow, [{ kind: 'via-garbled', evidence: 'the same Via twice' }]);
      return;
    }
    const contact = parseUri(m.contactUri)?.host ?? '';
    const kind =
      contact === address && isInside(via)
        ? 'contact-rewritten'
        : via === address && isInside(contact)
          ? 'via-rewritten'
          : undefined;
    // The same Call-ID over an earlier flow: it has heard from us.
    if (kind === undefined || this.#heardBefore(m)) return;
    this.#early.set(flow, [{ kind, evidence: `Contact says ${contact}, Via ${via}, the packet ${address}` }]);
  }

  #heardBefore(m: MessageView): boolean {
    const aor = this.#aorOf(parseNameAddr(m.get(H.to))?.uri ?? '');
    return aor !== undefined && this.#bindings.of(aor).some(b => b.callId === m.callId);
  }

  /** Another contact over the same flow in the same Call-ID, neither taken back by the phone nor learnt from us. */
  #moved(m: MessageView, flow: Flow, b: Binding): void {
    if (b.regId !== 0) return;
    const before = parseUri(b.contact);
    const contacts = parseContacts(m) ?? [];
    if (before === undefined) return;
    for (const c of contacts) {
      const now = parseUri(c.uri);
      if (now === undefined || uriEqual(now, before)) return;
    }
    const changed = contacts.map(c => parseUri(c.uri)).find(u => u !== undefined && u.user === before.user);
    if (changed === undefined || changed.host === flow.address) return;
    if (changed.host === before.host && changed.port === before.port) return;
    this.#note(b, 'contact-unstable', `${b.contact} became ${m.contactUri} without a new Call-ID`);
  }

  #all(known: readonly Binding[], kind: AlgKind, evidence: string): void {
    for (const b of known) this.#note(b, kind, evidence);
  }

  /** Once per kind: the first evidence stays. */
  #note(b: Binding, kind: AlgKind, evidence: string): void {
    if (b.alg.some(f => f.kind === kind)) return;
    b.alg = [...b.alg, { kind, evidence: own(evidence.slice(0, MAX_EVIDENCE)) }];
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
  }
}

function isInside(host: string): boolean {
  return INSIDE.hasAddress(host);
}
