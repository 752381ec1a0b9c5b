import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

export type Labels = Readonly<Record<string, string | number>>;
/** Reads what a core counted, at the moment of a scrape. Yield zeros too, so that every series exists from the start. */
export type Read = () => Iterable<readonly [Labels, number]>;

/** The registry of a process. Cores count in typed arrays; nothing here is called on a hot path. */
export class Metrics {
  readonly registry = new Registry();
  readonly contentType = Registry.PROMETHEUS_CONTENT_TYPE;
  readonly #delay: IntervalHistogram;
  #readFaults = 0;

  constructor() {
    collectDefaultMetrics({ register: this.registry });
    this.#delay = monitorEventLoopDelay({ resolution: 10 });
    this.#delay.enable();
    this.gaugeFrom(
      'drawbridge_event_loop_delay_seconds',
      'How late the event loop ran since the last scrape',
      ['quantile'],
      () => {
        const at = (q: number): number => (Number.isNaN(this.#delay.mean) ? 0 : this.#delay.percentile(q) / 1e9);
        const seen = [
          [{ quantile: '0.5' }, at(50)],
          [{ quantile: '0.99' }, at(99)],
          [{ quantile: '1' }, at(100)],
        ] as const;
        this.#delay.reset();
        return seen;
      },
    );
    this.counterFrom('drawbridge_metrics_read_faults_total', 'Collectors that threw during a scrape', [], () => [
      [{}, this.#readFaults],
    ]);
  }

  /** A total that only rises, read at scrape. */
  counterFrom(name: string, help: string, labelNames: readonly string[], read: Read): void {
    const faulty = (): void => void this.#readFaults++;
    new Counter<string>({
      name,
      help,
      labelNames: [...labelNames],
      registers: [this.registry],
      collect() {
        this.reset();
        collectInto(read, (labels, value) => this.inc(labels, value), faulty);
      },
    });
  }

  /** A level that rises and falls, read at scrape. */
  gaugeFrom(name: string, help: string, labelNames: readonly string[], read: Read): void {
    const faulty = (): void => void this.#readFaults++;
    new Gauge<string>({
      name,
      help,
      labelNames: [...labelNames],
      registers: [this.registry],
      collect() {
        this.reset();
        collectInto(read, (labels, value) => this.set(labels, value), faulty);
      },
    });
  }

  /** A distribution that the shell feeds from events; not for per-datagram use. */
  histogram<L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    buckets: readonly number[],
  ): Histogram<L> {
    return new Histogram({
      name,
      help,
      labelNames: [...labelNames],
      buckets: [...buckets],
      registers: [this.registry],
    });
  }

  /** The text of a scrape. */
  text(): Promise<string> {
    return this.registry.metrics();
  }

  close(): void {
    this.#delay.disable();
    this.registry.clear();
  }
}

/** A collector that throws loses its own series of this scrape, not the whole scrape. */
function collectInto(
  read: Read,
  put: (labels: Record<string, string | number>, value: number) => void,
  faulty: () => void,
): void {
  try {
    for (const [labels, value] of read()) put(labels as Record<string, string | number>, value);
  } catch {
    faulty();
  }
}
