import {
  type AskId,
  type Core,
  Endpoints,
  type FlowChange,
  type FlowId,
  isStream,
  type Mono,
  maskAddress,
  own,
  type Rx,
  type Tx,
  type Verdict,
  type Via,
} from '@drawbridge/core';
import type { RelayEvent } from '@drawbridge/media-relay';
import { buildReply, H, isWebSocket, MessageView, statelessTag } from '@drawbridge/sip';
import type { CallFacts, TraceMessage } from './admin/facts.js';
import type { Call } from './call/call.js';
import { callFacts } from './call/facts.js';
import type { Leg } from './call/leg.js';
import { probe } from './call/probe.js';
import type { BorderAnswer, BorderEvent } from './events.js';
import { guard } from './guard/guard.js';
import { type Inbound, NOBODY } from './inbound.js';
import { parse } from './parse/parse.js';
import { fromStrictRouter } from './parse/strict-route.js';
import { onRequest, onResponse } from './pipeline.js';
import { Shard, type ShardModules, type ShardOptions } from './shard.js';
import type { Traces } from './trace.js';

/** So soon after the answer a refused packet says nothing yet. */
const LATCHING_MS = 2000;

const METHODS: ReadonlySet<string> = new Set([
  'INVITE',
  'ACK',
  'BYE',
  'CANCEL',
  'OPTIONS',
  'REGISTER',
  'INFO',
  'MESSAGE',
  'SUBSCRIBE',
  'NOTIFY',
  'PUBLISH',
  'UPDATE',
  'PRACK',
  'REFER',
]);

/** The SIP border as a core: datagrams and framed messages in, messages, events and questions to the store out. */
export class Border implements Core<BorderEvent, BorderAnswer> {
  readonly shard: Shard;
  readonly #inbound: Inbound;

  constructor(options: ShardOptions, modules: ShardModules, traces: Traces) {
    this.shard = new Shard(options, modules, traces);
    const nothing: Tx = { text: () => false, inPlace: () => false };
    const realm = modules.realms.all[0];
    if (realm === undefined) throw new TypeError('a border needs a realm');
    this.#inbound = {
      now: 0,
      m: new MessageView(),
      via: 0,
      peer: new Endpoints(1),
      j: 0,
      realm,
      identity: NOBODY,
      trustedEdge: false,
      flow: undefined,
      tx: nothing,
      target: undefined,
      strict: '',
    };
    modules.flows.onDead((now, flow) => modules.registrar.onFlowDead(now, flow));
  }

  handleBatch(now: Mono, rx: Rx, tx: Tx): void {
    for (let i = 0; i < rx.count; i++) this.#message(now, rx, i, tx);
  }

  handleFlow(now: Mono, flow: FlowId, what: FlowChange, tx: Tx): void {
    if (what === 'opened') this.shard.m.flows.streamOpened(now, flow);
    else this.shard.m.flows.streamClosed(now, flow, tx);
  }

  handleUndelivered(now: Mono, _via: Via, quoted: string, tx: Tx): void {
    if (this.shard.m.transactions.undelivered(now, quoted, tx)) this.shard.m.counts.add('transport-failed');
  }

  handleTimeout(now: Mono, tx: Tx): void {
    const { transactions, wheel, flows } = this.shard.m;
    transactions.use(tx);
    wheel.advance(now);
    flows.sweep(now);
  }

  handleAnswer(now: Mono, id: AskId, answer: BorderAnswer, tx: Tx): void {
    const { journal, asks } = this.shard.m;
    if (answer.kind === 'stored') journal.answered(now, id, answer.ok, tx);
    else asks.answered(now, id, answer.answer, tx);
  }

  pollTimeout(): Mono {
    return this.shard.m.wheel.pollTimeout();
  }

  pollEvent(): BorderEvent | undefined {
    return this.shard.m.outbox.poll();
  }

  /** What the relay saw; a call whose media is dead both ways is over. */
  onRelayEvent(now: Mono, e: RelayEvent, tx: Tx): void {
    if (e.kind === 'stopped') return;
    const call = this.shard.calls.get(e.session);
    if (call === undefined) return;
    const { outbox } = this.shard.m;
    const of = { ref: call.ref, at: now };
    switch (e.kind) {
      case 'latched':
        outbox.push({
          kind: 'media-latched',
          ...of,
          leg: e.leg,
          stream: e.stream,
          component: e.component,
          source: e.from,
          moved: e.moved,
        });
        return;
      case 'refused':
        // Packets that outrun the answer or the first latch are every call's beginning; the counters have them.
        if (call.state !== 'answered' || now - call.answeredAt < LATCHING_MS) return;
        outbox.push({ kind: 'media-refused', ...of, leg: e.leg, stream: e.stream, reason: e.reason, source: e.from });
        return;
      case 'reported': {
        const { leg, stream, from, local: to, reports } = e;
        outbox.push({ kind: 'media-reported', ...of, leg, stream, from, to, reports });
        return;
      }
      case 'inactive':
        outbox.push({ kind: 'media-inactive', ...of, legs: e.legs, silentMs: e.silentMs });
        if (e.scope === 'both') call.end(now, 'media-inactive', undefined, tx);
        else for (const leg of silentLegs(call, e.legs)) probe(this.shard, now, leg, tx);
        return;
    }
  }

  get callCount(): number {
    return this.shard.calls.size;
  }

  get requests(): ReadonlyMap<string, number> {
    return this.shard.requests;
  }

  get replies(): ReadonlyMap<string, number> {
    return this.shard.replies;
  }

  calls(): CallFacts[] {
    return [...this.shard.calls.values()].map(callFacts);
  }

  call(ref: string): CallFacts | undefined {
    const call = this.shard.calls.get(ref);
    return call === undefined ? undefined : callFacts(call);
  }

  trace(ref: string): readonly TraceMessage[] | undefined {
    return this.shard.traces.of(ref);
  }

  /** False: there is no such call. */
  hangUp(now: Mono, ref: string, tx: Tx): boolean {
    const call = this.shard.calls.get(ref);
    call?.end(now, 'admin-request', undefined, tx);
    return call !== undefined;
  }

  /** No new calls from now on; those under way go on. */
  drain(_now: Mono): void {
    this.shard.draining = true;
  }

  /** What is still there when a drain's time is over, or the process is told twice to stop. */
  endAll(now: Mono, tx: Tx): void {
    for (const call of [...this.shard.calls.values()]) call.end(now, 'shutdown', undefined, tx);
  }

  #message(now: Mono, rx: Rx, i: number, tx: Tx): void {
    const { shard } = this;
    const admitted = guard(shard, now, rx, i, tx);
    if (admitted.do === 'drop') return shard.m.counts.add(admitted.reason);
    const at = rx.at[i]!;
    const via = rx.via[i]!;
    const text = rx.bytes.toString('latin1', at, at + rx.len[i]!);
    shard.m.tap.message(now, 'in', via, rx.peer, i, text);
    const inbound = this.#inbound;
    inbound.now = now;
    inbound.via = via;
    inbound.peer = rx.peer;
    inbound.j = i;
    inbound.realm = shard.m.realms.of(via);
    inbound.identity = NOBODY;
    inbound.trustedEdge = false;
    inbound.flow = undefined;
    inbound.tx = tx;
    inbound.target = undefined;
    inbound.strict = '';
    this.#way(inbound, text);
  }

  #way(inbound: Inbound, text: string): void {
    const { shard } = this;
    const { m } = inbound;
    const parsed = parse(inbound, text, this.#isFramed(inbound));
    const flow = shard.m.flows.find(inbound.via, inbound.peer, inbound.j);
    if (parsed.do !== 'pass') {
      if (flow !== undefined) shard.m.registrar.alg.broken(parsed.reason, flow);
      return this.#finish(inbound, parsed);
    }
    if (flow !== undefined) shard.m.registrar.seen(inbound.now, flow);
    inbound.flow = flow;
    if (!m.isRequest) {
      count(shard.replies, `${Math.floor(m.status / 100)}xx`);
      return onResponse(shard, inbound);
    }
    if (m.has(H.route)) {
      const loose = fromStrictRouter(shard, inbound);
      if (loose !== undefined) {
        inbound.strict = own(m.uri);
        inbound.target = undefined;
        m.parse(loose);
      }
    }
    if (m.method === 'INVITE' && flow !== undefined && m.bodyEnd > m.bodyStart) shard.m.registrar.alg.invite(m, flow);
    count(shard.requests, METHODS.has(m.method) ? m.method : 'other');
    const verdict = onRequest(shard, inbound);
    if (verdict !== 'absorbed') this.#finish(inbound, verdict);
  }

  /** Cut from a byte stream by its Content-Length; a WebSocket frame is whole without one (RFC 7118 §5). */
  #isFramed({ via }: Inbound): boolean {
    return isStream(via) && !isWebSocket(this.shard.m.realms.listener(via).transport);
  }

  /** A verdict that is not `pass` is counted; a reply leaves without state, its To tag a hash of the request. */
  #finish(inbound: Inbound, verdict: Verdict): void {
    const { shard } = this;
    if (verdict.do === 'pass') return;
    if (verdict.reason !== 'normal-clearing') shard.m.counts.add(verdict.reason);
    if (verdict.do !== 'reply' || inbound.m.method === 'ACK') return;
    const { now, m, via, peer, j, tx } = inbound;
    shard.m.flows.reply(
      now,
      via,
      peer,
      j,
      buildReply(m, verdict.status, { peer, j, toTag: statelessTag(m, shard.o.key), headers: verdict.headers }),
      tx,
    );
    if (verdict.status < 300 || verdict.status === 401 || verdict.status === 407) return;
    shard.m.outbox.push({
      kind: 'rejected',
      at: now,
      method: METHODS.has(m.method) ? m.method : 'other',
      status: verdict.status,
      reason: verdict.reason,
      source: maskAddress(peer.address(j)),
    });
  }
}

/** Of the legs that fell silent those that said they would speak. */
function silentLegs(call: Call, ids: readonly string[]): Leg[] {
  if (call.winner === undefined) return [];
  const speaks = new Set(
    call.media.streams.filter(s => s.direction === 'sendrecv' || s.direction === 'sendonly').map(s => s.leg),
  );
  return [call.winner.caller, call.winner.callee].filter(leg => ids.includes(leg.id) && speaks.has(leg.id));
}

function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
