import { type ReasonCounts, stageOf } from '@drawbridge/core';
import type { MediaRelay } from '@drawbridge/media-relay';
import type { Metrics } from '@drawbridge/service';
import type { FlowTable, StreamListener, Transactions } from '@drawbridge/sip';
import type { UdpListener } from 'node-dgram-raw';
import { registerTransferMetrics, type TransferCounts } from './call/metrics.js';
import type { Forwarder } from './forwarding/chain.js';
import { registerForwardingMetrics } from './forwarding/metrics.js';
import { registerPushMetrics } from './push/metrics.js';
import type { Waker } from './push/waker.js';
import type { RealmListener } from './realms.js';
import { registerAlgMetrics, registerLeaseMetrics } from './registrar/metrics.js';
import type { Registrar } from './registrar/registrar.js';
import type { Subscribers } from './subscribers.js';

export interface MetricsSources {
  readonly counts: ReasonCounts;
  /** Requests by method (`other` for those we don't know), responses by class (`2xx`). */
  readonly requests: ReadonlyMap<string, number>;
  readonly replies: ReadonlyMap<string, number>;
  readonly registrar: Registrar;
  readonly transfers: TransferCounts;
  readonly waker: Waker | undefined;
  readonly forwarder: Forwarder;
  readonly subscribers: Subscribers;
  readonly transactions: Transactions;
  readonly flows: FlowTable;
  readonly relay: MediaRelay;
  readonly listeners: readonly RealmListener[];
  readonly udp: readonly (UdpListener | undefined)[];
  readonly streams: readonly (StreamListener | undefined)[];
  readonly store: { readonly commits: number; readonly failures: number; readonly waiting: number };
  calls(): number;
  refused(): number;
  faults(): number;
}

const METHODS = [
  'INVITE',
  'ACK',
  'BYE',
  'CANCEL',
  'REGISTER',
  'OPTIONS',
  'MESSAGE',
  'INFO',
  'SUBSCRIBE',
  'NOTIFY',
  'PUBLISH',
  'REFER',
  'UPDATE',
  'PRACK',
] as const;
const CLASSES = ['1xx', '2xx', '3xx', '4xx', '5xx', '6xx'] as const;
const NONE = {};

/** All series of the border. Everything is read at scrape; labels are closed sets, so nobody on the wire can make one. */
export function registerMetrics(metrics: Metrics, s: MetricsSources): void {
  metrics.counterFrom(
    'drawbridge_reason_total',
    'Messages, calls and packets dropped, rejected or ended, by reason and the stage that gave it',
    ['reason', 'stage'],
    function* () {
      const relay = s.relay.stats().reasons;
      for (const [reason, n] of s.counts.entries())
        yield [{ reason, stage: stageOf(reason) }, n + (relay.get(reason) ?? 0)];
    },
  );
  metrics.counterFrom('drawbridge_requests_total', 'Requests received, by method', ['method'], () =>
    byMethod(s.requests),
  );
  metrics.counterFrom('drawbridge_responses_total', 'Responses received, by class', ['class'], () =>
    CLASSES.map(c => [{ class: c }, s.replies.get(c) ?? 0] as const),
  );
  metrics.gaugeFrom('drawbridge_bindings', 'Registered contacts', [], () => [[NONE, s.registrar.bindings.size]]);
  metrics.gaugeFrom('drawbridge_keepalive_nats', 'NAT addresses under observation', [], () => [
    [NONE, s.registrar.keepalive.nats],
  ]);
  metrics.gaugeFrom('drawbridge_subscribers', 'Subscribers with a password here', [], () => [
    [NONE, s.subscribers.size],
  ]);
  metrics.gaugeFrom('drawbridge_calls', 'Calls under way', [], () => [[NONE, s.calls()]]);
  metrics.gaugeFrom('drawbridge_transactions', 'SIP transactions', ['side'], () => [
    [{ side: 'server' }, s.transactions.serverCount],
    [{ side: 'client' }, s.transactions.clientCount],
  ]);
  metrics.gaugeFrom('drawbridge_flows', 'Known ways to peers', [], () => [[NONE, s.flows.size]]);
  metrics.counterFrom('drawbridge_flows_evicted_total', 'Flows given up for room or idleness', [], () => [
    [NONE, s.flows.evicted],
  ]);
  metrics.counterFrom('drawbridge_sends_refused_total', 'Messages that no socket took', [], () => [
    [NONE, s.refused()],
  ]);
  metrics.counterFrom('drawbridge_faults_total', 'Faults of the program itself that were caught', [], () => [
    [NONE, s.faults()],
  ]);
  metrics.counterFrom('drawbridge_store_commits_total', 'Batches written to the store', ['result'], () => [
    [{ result: 'ok' }, s.store.commits],
    [{ result: 'failed' }, s.store.failures],
  ]);
  metrics.gaugeFrom('drawbridge_store_waiting', 'Batches on their way to the store', [], () => [
    [NONE, s.store.waiting],
  ]);
  registerLeaseMetrics(metrics, s.registrar.leases);
  registerAlgMetrics(metrics, s.registrar.alg);
  registerPushMetrics(metrics, s.waker);
  registerTransferMetrics(metrics, s.transfers);
  registerForwardingMetrics(metrics, s.forwarder);
  listenerMetrics(metrics, s);
  relayMetrics(metrics, s.relay);
}

function listenerMetrics(metrics: Metrics, s: MetricsSources): void {
  const labels = ['realm', 'transport', 'family'] as const;
  const each = (read: (via: number) => number | undefined) =>
    function* (): Iterable<[Record<string, string>, number]> {
      for (const l of s.listeners) {
        const n = read(l.via);
        if (n !== undefined) yield [{ realm: l.realm.name, transport: l.transport, family: String(l.family) }, n];
      }
    };
  metrics.counterFrom(
    'drawbridge_sip_received_total',
    'SIP messages received, keepalives included',
    labels,
    each(v => s.udp[v]?.counters.received ?? s.streams[v]?.counters.received),
  );
  metrics.counterFrom(
    'drawbridge_sip_sent_total',
    'SIP messages sent',
    labels,
    each(v => s.udp[v]?.counters.sent ?? s.streams[v]?.counters.sent),
  );
  metrics.counterFrom(
    'drawbridge_sip_kernel_drops_total',
    'Datagrams the kernel dropped because our queue was full',
    labels,
    each(v => s.udp[v]?.kernelDrops()),
  );
  metrics.counterFrom(
    'drawbridge_sip_send_errors_total',
    'Datagrams the kernel would not take',
    labels,
    each(v => s.udp[v]?.counters.sendErrors),
  );
  metrics.gaugeFrom(
    'drawbridge_streams',
    'Open SIP streams',
    labels,
    each(v => s.streams[v]?.streams),
  );
  metrics.counterFrom(
    'drawbridge_streams_cut_total',
    'SIP streams closed by a deadline or for what could not be framed',
    labels,
    each(v => {
      const c = s.streams[v]?.counters;
      return c === undefined ? undefined : c.deadlines + c.framingFaults;
    }),
  );
  metrics.counterFrom(
    'drawbridge_streams_turned_away_total',
    'SIP streams refused at a cap',
    labels,
    each(v => s.streams[v]?.counters.turnedAway),
  );
}

function relayMetrics(metrics: Metrics, relay: MediaRelay): void {
  metrics.gaugeFrom('drawbridge_relay_sessions', 'Media sessions', [], () => [[NONE, relay.stats().sessions]]);
  metrics.gaugeFrom('drawbridge_relay_port_pairs', 'Relay port pairs', ['state'], () => {
    const r = relay.stats();
    return [
      [{ state: 'in-use' }, r.pairsInUse],
      [{ state: 'resting' }, r.pairsResting],
      [{ state: 'free' }, r.pairsTotal - r.pairsInUse - r.pairsResting],
    ];
  });
  metrics.counterFrom('drawbridge_relay_packets_total', 'Media packets', ['direction'], () => {
    const r = relay.stats();
    return [
      [{ direction: 'received' }, r.received],
      [{ direction: 'sent' }, r.sent],
      [{ direction: 'send-failed' }, r.sendErrors],
      [{ direction: 'no-flow' }, r.noFlow],
    ];
  });
  metrics.gaugeFrom(
    'drawbridge_relay_path',
    'What carries media on each address (1 = this one)',
    ['realm', 'path'],
    () => relay.paths.map(p => [{ realm: p.realm, path: p.path }, 1] as const),
  );
}

function* byMethod(counts: ReadonlyMap<string, number>): Iterable<[Record<string, string>, number]> {
  let other = 0;
  for (const method of METHODS) yield [{ method }, counts.get(method) ?? 0];
  for (const [method, n] of counts) if (!METHODS.some(m => m === method)) other += n;
  yield [{ method: 'other' }, other];
}
