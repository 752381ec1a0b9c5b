import { canonicalAddress, type Endpoint, type Mono } from '@drawbridge/core';
import { type Description, describe, rejected, type StreamDescription } from './anchor/describe.js';
import { type OutStream, rewrite } from './anchor/rewrite.js';
import { isLoopback, refuseTarget } from './anchor/target.js';
import type { SdpRejected, StreamFacts } from './api.js';
import { streamFacts } from './facts.js';
import { InactivityWatch } from './inactivity.js';
import { Leg, type LegStream, type PartyOrigin, type PendingOffer } from './leg.js';
import type { RelayHub } from './relay.js';
import { readReports } from './rtcp.js';
import { Wiring } from './wiring.js';

/** Legs of one session, ended forks included until they are dropped. */
const MOST_LEGS = 64;

export interface LegOptions {
  readonly realm: string;
  /** Address the leg's SIP listener is bound to: chooses the relay address (and family) that faces the leg. */
  readonly local: string;
  /** Where the leg's signalling goes, when known before it answers: lets a site's calls stay direct. */
  readonly seenFrom?: string;
}

export interface OfferInput {
  readonly from: string;
  readonly to: string;
  readonly sdp: string;
  /** Address the signalling came from. */
  readonly seenFrom: string;
}

export interface AnswerInput extends OfferInput {
  /** False for the preview in an unreliable provisional response: media flows, the offer stays open. */
  readonly final: boolean;
  /** Another dialog of the same INVITE answers the offer that this leg has answered already (RFC 3261 §13.2.2.4). */
  readonly again?: boolean;
}

/**
 * The media of one call: SDP anchoring over offer/answer (RFC 3264), independent of which SIP message carried what.
 * Legs are named by the caller. Every method is synchronous and makes no system call. What a peer did wrong comes
 * back as SdpRejected and changes nothing.
 *
 * An offer changes no flow; the answer does (RFC 6141: until then the old media goes on). m-lines keep their index on
 * every leg. The forks of a call share the caller's ports; `select` ends the losers' flows.
 */
export class MediaSession {
  readonly id: string;
  readonly #hub: RelayHub;
  readonly #legs = new Map<string, Leg>();
  readonly #wiring: Wiring;
  readonly #watch: InactivityWatch;
  #closed = false;

  /** Use `MediaRelay.session`. */
  constructor(id: string, hub: RelayHub) {
    this.id = id;
    this.#hub = hub;
    this.#wiring = new Wiring(hub);
    this.#watch = new InactivityWatch(this, hub);
  }

  /** Throws TypeError for a realm that isn't configured or a name in use: our own fault. */
  leg(id: string, o: LegOptions): void {
    if (this.#legs.has(id)) throw new TypeError(`leg ${id} exists`);
    if (this.#legs.size === MOST_LEGS) throw new TypeError(`more than ${MOST_LEGS} legs`);
    const address = this.#hub.addressFor(o.realm, canonicalAddress(o.local) ?? o.local);
    if (address < 0) throw new TypeError(`no relay address in realm ${o.realm}`);
    this.#legs.set(
      id,
      new Leg(
        id,
        o.realm,
        address,
        { sessionId: String(this.#hub.random.u32()), version: 0, lastBody: '' },
        o.seenFrom === undefined ? undefined : canonicalAddress(o.seenFrom),
      ),
    );
  }

  /**
   * A leg of another session goes on in this one: its party keeps its o= line and its number of m-lines, and gets new
   * ports with the next offer. In the other session it stays as it is. Throws TypeError as `leg` does.
   */
  adopt(id: string, other: MediaSession, otherId: string): void {
    const was = other.#legs.get(otherId);
    if (was === undefined) throw new TypeError(`no leg ${otherId}`);
    if (this.#legs.has(id)) throw new TypeError(`leg ${id} exists`);
    const leg = new Leg(id, was.realm, was.address, was.origin, was.seenFrom);
    leg.agreedStreams = was.agreedStreams;
    for (const [i, s] of was.streams.entries()) leg.stream(i).kind = s.kind;
    this.#legs.set(id, leg);
  }

  /** SDP to send to `to`. */
  offer(o: OfferInput): string | SdpRejected {
    return this.#counted(this.#offer(o));
  }

  /** SDP to send to `to`, the leg that offered. */
  answer(o: AnswerInput): string | SdpRejected {
    const to = this.#legs.get(o.to);
    if (to === undefined || this.#legs.get(o.from)?.pending?.repeat !== true) return this.#counted(this.#answer(o));
    const { lastBody, version } = to.origin;
    const out = this.#counted(this.#answer(o));
    to.origin.lastBody = lastBody;
    to.origin.version = version;
    return out;
  }

  /** What a leg was last told, word for word; undefined when that was nothing of ours. */
  said(id: string): string | undefined {
    const leg = this.#legs.get(id);
    return leg === undefined || leg.origin.lastBody === '' ? undefined : versioned(leg.origin);
  }

  /**
   * What a leg was last told, as an offer to it that changes nothing (same o= line). Its answer comes through `answer`,
   * `rollback` if it fails. Undefined when there is nothing to repeat.
   */
  repeat(id: string): string | undefined {
    const leg = this.#legs.get(id);
    const other = leg === undefined ? undefined : this.#counterpart(leg);
    if (leg === undefined || other === undefined || leg.pending !== undefined || leg.origin.lastBody === '')
      return undefined;
    const streams = leg.streams
      .slice(0, leg.agreedStreams)
      .map((_, i) => other.stream(i).agreed?.description ?? NO_STREAM);
    this.#pend(leg, { from: other, streams, seenFrom: other.seenFrom ?? '', direct: false, repeat: true });
    return versioned(leg.origin);
  }

  /** The winning fork gets the caller's ports; the flows of the caller's other forks end. */
  select(id: string): void {
    const leg = this.#legs.get(id);
    const hub = leg === undefined ? undefined : this.#counterpart(leg);
    if (leg === undefined || hub === undefined) return;
    leg.lastOffer = undefined;
    leg.selected = hub;
    hub.selected = leg;
    for (const other of this.#legs.values()) {
      if (other === leg || other === hub || this.#counterpart(other) !== hub) continue;
      this.#silence(other);
    }
    this.#wiring.connect(leg, hub);
    const open = leg.pending ?? (hub.pending?.from === leg ? hub.pending : undefined);
    if (open === undefined) this.#trim(leg, hub);
    // A 2xx without SDP after a preview in a 18x: what flows is what was agreed, even though the answer never came.
    else if (leg.streams.some(s => s.current !== undefined)) this.#settle(leg, hub, open.streams.length);
  }

  /** The last offer (to `to`, or every open one) failed: what was agreed before holds again (RFC 6141 §3). */
  rollback(to?: string): void {
    for (const leg of this.#legs.values()) {
      const p = leg.pending;
      if (p === undefined || (to !== undefined && leg.id !== to)) continue;
      leg.pending = undefined;
      for (const party of [leg, p.from]) {
        if (party === p.from && this.#hasOtherFork(p.from, leg)) continue;
        for (const s of party.streams) this.#restore(party, s);
      }
      if (leg.peer === p.from) this.#wiring.connect(leg, p.from);
    }
  }

  /** An in-dialog request authentically moved the leg's flow: its latch windows open again. */
  reopen(id: string, seenFrom: string): void {
    const leg = this.#legs.get(id);
    const from = canonicalAddress(seenFrom);
    if (leg === undefined || from === undefined) return;
    leg.seenFrom = from;
    for (const s of leg.streams) {
      if (s.current !== undefined) this.#wiring.apply(leg, s, { ...s.current, seenFrom: from }, true);
      if (s.agreed !== undefined) s.agreed = { ...s.agreed, seenFrom: from };
    }
  }

  dropLeg(id: string): void {
    const leg = this.#legs.get(id);
    if (leg === undefined) return;
    this.#legs.delete(id);
    this.#silence(leg);
    for (const other of this.#legs.values()) {
      if (other.pending?.from === leg) other.pending = undefined;
      if (other.selected === leg) other.selected = undefined;
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch.stop();
    for (const leg of this.#legs.values()) this.#silence(leg);
    this.#legs.clear();
    this.#hub.closed(this);
  }

  /** Facts per leg and stream; plain data, made anew at each call. */
  get streams(): readonly StreamFacts[] {
    return [...this.#legs.values()].flatMap(leg => streamFacts(leg, this.#hub));
  }

  /** @internal RTCP from the far end of a leg. SRTCP can't be read and says nothing here. */
  reported(at: Mono, id: string, index: number, from: Endpoint, bytes: Uint8Array): void {
    const leg = this.#legs.get(id);
    const s = leg?.streams[index];
    if (leg === undefined || s?.side === undefined || s.current === undefined || s.current.description.secure) return;
    const reports = readReports(bytes);
    if (reports.length === 0) return;
    const other = leg.peer?.streams[index]?.reports;
    for (const r of reports) s.reports.note(at, r, other, s.current.description.clockRate);
    this.#hub.emit({ kind: 'reported', session: this.id, leg: id, stream: index, from, local: s.side.local, reports });
  }

  /** @internal */
  get legs(): Iterable<Leg> {
    return this.#legs.values();
  }

  #offer(o: OfferInput): string | SdpRejected {
    const from = this.#legs.get(o.from);
    const to = this.#legs.get(o.to);
    const seenFrom = canonicalAddress(o.seenFrom);
    if (from === undefined || to === undefined || seenFrom === undefined)
      return rejected(488, 'no-dialog', 'no such leg');
    const codecs = this.#hub.codecs(from.realm, to.realm, true);
    const d = describe(o.sdp, this.#hub.maxStreams, codecs);
    if ('rejected' in d) return d;
    if (d.streams.length < from.agreedStreams)
      return rejected(488, 'offer-answer-violation', 'fewer streams than before');
    from.seenFrom = seenFrom;
    // What we can't relay (DTLS, say) two ends of one site may still agree on.
    if (this.#staysDirect(from, to, d)) {
      this.#pend(to, { from, streams: d.streams, seenFrom, direct: true });
      return codecs === undefined ? o.sdp : d.sdp.format();
    }
    if (!d.streams.some(s => s.enabled) && (from.agreedStreams === 0 || d.barred > 0))
      return rejected(488, 'sdp-unsupported', 'no stream that can be relayed');
    const refused = this.#accepts(from, d);
    if (refused !== undefined) return refused;
    const taken: [Leg, LegStream][] = [];
    for (const [i, s] of d.streams.entries()) {
      if (s.enabled && this.#takePorts(from, i, s, taken) && this.#takePorts(to, i, s, taken)) continue;
      if (!s.enabled) continue;
      for (const [, stream] of taken) this.#wiring.release(stream);
      return rejected(503, 'ports-exhausted', `stream ${i}`);
    }
    this.#pend(to, { from, streams: d.streams, seenFrom, direct: false });
    const out = d.streams.map(
      (s, i): OutStream => (s.enabled ? { port: to.stream(i).side?.local.port ?? 0, mux: s.mux } : OFF),
    );
    return this.#write(d, to, out);
  }

  #answer(o: AnswerInput): string | SdpRejected {
    const from = this.#legs.get(o.from);
    const to = this.#legs.get(o.to);
    const seenFrom = canonicalAddress(o.seenFrom);
    if (from === undefined || to === undefined || seenFrom === undefined)
      return rejected(488, 'no-dialog', 'no such leg');
    const p = from.pending ?? (o.again === true ? from.lastOffer : undefined);
    if (p === undefined || p.from !== to) {
      const repeated = from.answered?.to === to && from.answered.sdp === o.sdp;
      return repeated && from.answered !== undefined
        ? from.answered.out
        : rejected(488, 'offer-answer-violation', 'no offer is open');
    }
    const streams = p.streams.length;
    // An adopted leg may have been offered more m-lines than the offer had: those beyond are off and end here.
    const whole = from.agreedStreams > streams ? firstStreams(o.sdp, streams, from.agreedStreams) : o.sdp;
    const codecs = this.#hub.codecs(from.realm, to.realm, false);
    const d = describe(whole, this.#hub.maxStreams, codecs);
    if ('rejected' in d) return d;
    if (d.barred > 0 && !d.streams.some(s => s.enabled))
      return rejected(488, 'sdp-unsupported', 'no codec that is allowed');
    if (d.streams.length !== streams)
      return rejected(488, 'offer-answer-violation', `${d.streams.length} streams for ${streams}`);
    if (p.direct) {
      from.direct = to.direct = true;
      return this.#finish(from, to, o, d.streams.length, codecs === undefined ? o.sdp : d.sdp.format());
    }
    const refused = this.#accepts(from, d);
    if (refused !== undefined) return refused;
    from.seenFrom = seenFrom;
    const out: OutStream[] = [];
    for (const [i, answered] of d.streams.entries()) {
      const offered = p.streams[i] as StreamDescription;
      const mine = from.stream(i);
      const theirs = to.stream(i);
      if (!offered.enabled || !answered.enabled) {
        mine.current = undefined;
        if (!this.#hasOtherFork(to, from)) theirs.current = undefined;
        out.push(OFF);
        continue;
      }
      mine.kind = theirs.kind = answered.kind;
      this.#wiring.apply(
        from,
        mine,
        { description: answered, seenFrom, mux: offered.mux && answered.mux },
        o.final && mine.agreed === undefined,
      );
      this.#wiring.apply(
        to,
        theirs,
        { description: offered, seenFrom: to.seenFrom ?? p.seenFrom, mux: offered.mux },
        o.final && theirs.agreed === undefined,
      );
      out.push({ port: theirs.side?.local.port ?? 0, mux: offered.mux });
    }
    const loop = this.#wiring.connect(from, to);
    if (loop !== undefined) return rejected(488, loop, 'media would return to its own port');
    return this.#finish(from, to, o, d.streams.length, this.#write(d, to, out));
  }

  #finish(from: Leg, to: Leg, o: AnswerInput, streams: number, out: string): string {
    if (o.final) {
      from.lastOffer = from.pending ?? from.lastOffer;
      from.pending = undefined;
      from.answered = { sdp: o.sdp, to, out };
      this.#settle(from, to, streams);
      this.#trim(from, to);
    }
    return out;
  }

  /** What flows now is what holds until the next completed offer/answer. */
  #settle(a: Leg, b: Leg, streams: number): void {
    for (const leg of [a, b]) {
      for (const s of leg.streams) s.agreed = s.current;
      leg.agreedStreams = Math.max(leg.agreedStreams, streams);
    }
    this.#watch.start();
  }

  /** Our version of the description for `to`, with its o= line. */
  #write(d: Description, to: Leg, streams: readonly OutStream[]): string {
    const address = this.#hub.addresses[to.address]?.advertise ?? '';
    const addressType = address.includes(':') ? 'IP6' : 'IP4';
    const { origin: own } = to;
    const origin = { username: '-', sessionId: own.sessionId, version: '0', addressType, address } as const;
    let body = rewrite(d, { origin, address, streams });
    for (let i = streams.length; i < to.agreedStreams; i++) body += offStream(to.stream(i).kind);
    if (body !== own.lastBody) {
      own.lastBody = body;
      own.version++;
    }
    return versioned(own);
  }

  /** Family, realm and deny rules for what the leg said about itself. */
  #accepts(leg: Leg, d: Description): SdpRejected | undefined {
    for (const [i, s] of d.streams.entries()) {
      if (!s.enabled) continue;
      if (!this.#facesFamily(leg, s))
        return rejected(488, 'sdp-unsupported', `stream ${i}: the realm has no IPv${s.family} address`);
      const rules = {
        deny: this.#hub.deny,
        loopback: isLoopback(this.#hub.addresses[leg.address]?.bind ?? ''),
        ownerOf: this.#hub.ownerOf,
        session: this.id,
      };
      for (const target of [s.rtp, s.mux ? null : s.rtcp]) {
        const reason = target === null ? undefined : refuseTarget(target, rules);
        if (reason !== undefined) return rejected(488, reason, `stream ${i}`);
      }
    }
    return undefined;
  }

  #facesFamily(leg: Leg, s: StreamDescription): boolean {
    if (this.#hub.addresses[leg.address]?.family === s.family) return true;
    if (s.rtp === null) return true;
    if (leg.streams.some(x => x.side !== undefined)) return false;
    const other = this.#hub.addressOfFamily(leg.realm, s.family);
    if (other >= 0) leg.address = other;
    return other >= 0;
  }

  #staysDirect(from: Leg, to: Leg, d: Description): boolean {
    if (this.#hub.sites.length === 0) return false;
    if (from.streams.some(s => s.side !== undefined) || from.seenFrom === undefined || to.seenFrom === undefined)
      return false;
    const addresses = d.streams.flatMap(s => (s.rtp === null ? [] : [s.rtp.address]));
    return this.#hub.sites.some(site =>
      [from.seenFrom ?? '', to.seenFrom ?? '', ...addresses].every(a => site.hasAddress(a)),
    );
  }

  #takePorts(leg: Leg, i: number, s: StreamDescription, taken: [Leg, LegStream][]): boolean {
    const stream = leg.stream(i);
    stream.kind = s.kind;
    if (stream.side !== undefined) return true;
    const reply = this.#hub.apply({ do: 'allocate', address: leg.address, tag: this.#hub.tag(this.id, leg.id, i) });
    if (!reply.ok || !('side' in reply)) return false;
    stream.side = { id: reply.side, local: reply.local };
    taken.push([leg, stream]);
    return true;
  }

  #pend(to: Leg, p: PendingOffer): void {
    to.pending = p;
    to.answered = to.answered?.to === p.from ? undefined : to.answered;
  }

  /** After a final answer: ports of streams that nobody uses go back. */
  #trim(a: Leg, b: Leg): void {
    for (const [leg, other] of [
      [a, b],
      [b, a],
    ] as const) {
      if (this.#hasOtherFork(leg, other)) continue;
      for (const s of leg.streams) if (s.current === undefined && s.side !== undefined) this.#wiring.release(s);
    }
  }

  /** Who a leg talks to, or would if its offer or answer went through. */
  #counterpart(leg: Leg): Leg | undefined {
    const known = leg.peer ?? leg.answered?.to ?? leg.pending?.from;
    if (known !== undefined) return known;
    for (const other of this.#legs.values()) if (other.pending?.from === leg) return other;
    return undefined;
  }

  /** Does `hub` still have an open offer to, or media with, a leg other than `except`? */
  #hasOtherFork(hub: Leg, except: Leg): boolean {
    for (const leg of this.#legs.values()) {
      if (leg === except || leg === hub) continue;
      if (leg.pending?.from === hub || (leg.answered?.to === hub && leg.streams.some(s => s.side !== undefined)))
        return true;
    }
    return false;
  }

  #restore(leg: Leg, s: LegStream): void {
    if (s.agreed === undefined) {
      if (s.side !== undefined) this.#wiring.release(s);
      s.current = undefined;
      return;
    }
    // An offer may have called it otherwise (T.38 in place of audio).
    s.kind = s.agreed.description.kind;
    if (s.current !== s.agreed) this.#wiring.apply(leg, s, s.agreed, false);
  }

  /** Ends everything that flows to and from a leg; its ports rest. */
  #silence(leg: Leg): void {
    leg.pending = undefined;
    if (leg.peer?.peer === leg) leg.peer.peer = undefined;
    leg.peer = undefined;
    for (const s of leg.streams) if (s.side !== undefined) this.#wiring.release(s);
  }

  #counted(result: string | SdpRejected): string | SdpRejected {
    if (typeof result !== 'string') this.#hub.reasons.add(result.rejected);
    return result;
  }
}

/** An m-line that stays because the party has it (RFC 3264 §8), and carries nothing. */
function offStream(kind: string): string {
  return `m=${kind === '' ? 'audio' : kind} 0 RTP/AVP 0\r\n`;
}

/** A description without its m-lines from the nth on, if it has `all` of them; otherwise as it is. */
function firstStreams(sdp: string, n: number, all: number): string {
  const starts: number[] = sdp.startsWith('m=') ? [0] : [];
  for (let at = sdp.indexOf('\nm='); at >= 0; at = sdp.indexOf('\nm=', at + 1)) starts.push(at + 1);
  return starts.length === all ? sdp.slice(0, starts[n]) : sdp;
}

/** The last description with its version in place of the 0. */
function versioned({ lastBody, sessionId, version }: PartyOrigin): string {
  const at = lastBody.indexOf(`o=- ${sessionId} 0 `) + `o=- ${sessionId} `.length;
  return `${lastBody.slice(0, at)}${version}${lastBody.slice(at + 1)}`;
}

const NO_STREAM: StreamDescription = {
  kind: '',
  enabled: false,
  rtp: null,
  rtcp: null,
  mux: false,
  opaque: false,
  secure: false,
  clockRate: 0,
  direction: 'inactive',
  legacyHold: false,
  family: 4,
};
const OFF: OutStream = { port: 0, mux: false };
