import type { Metrics } from '@drawbridge/service';
import type { CertificateFiles, StreamCounters, StreamListener } from '@drawbridge/sip';
import type { RealmListener } from '../realms.js';

export interface TransportSources {
  readonly listeners: readonly RealmListener[];
  readonly streams: readonly (StreamListener | undefined)[];
  readonly certificates: readonly { readonly realm: string; readonly files: CertificateFiles }[];
  wall(): number;
}

/** What streams end of, and how long certificates have. */
export function registerTransports(metrics: Metrics, s: TransportSources): void {
  const labels = ['realm', 'transport', 'family'] as const;
  const each = (read: (c: StreamCounters) => number) =>
    function* (): Iterable<[Record<string, string>, number]> {
      for (const l of s.listeners) {
        const c = s.streams[l.via]?.counters;
        if (c !== undefined) yield [{ realm: l.realm.name, transport: l.transport, family: String(l.family) }, read(c)];
      }
    };
  metrics.counterFrom(
    'drawbridge_stream_strangers_total',
    'SIP streams closed because nobody authenticated on them in time',
    labels,
    each(c => c.strangers),
  );
  metrics.counterFrom(
    'drawbridge_stream_unopened_total',
    'Connections that ended before SIP could flow: TLS or WebSocket not agreed on, or nobody there',
    labels,
    each(c => c.unopened),
  );
  metrics.gaugeFrom(
    'drawbridge_tls_certificate_expiry_seconds',
    'Seconds until the certificate expires, negative afterwards',
    ['realm'],
    () => s.certificates.map(c => [{ realm: c.realm }, Math.round((c.files.expiresAt - s.wall()) / 1000)] as const),
  );
  metrics.counterFrom(
    'drawbridge_tls_certificate_reloads_total',
    'New certificate files taken, or refused while the old ones stay',
    ['realm', 'result'],
    () =>
      s.certificates.flatMap(
        c =>
          [
            [{ realm: c.realm, result: 'taken' }, c.files.renewed],
            [{ realm: c.realm, result: 'refused' }, c.files.refused],
          ] as const,
      ),
  );
}
