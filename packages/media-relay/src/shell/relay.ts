import { relayAddresses } from '../addresses.js';
import type { MediaRelayModules, MediaRelayOptions, PathReport, RelayStats } from '../api.js';
import { type DataPath, FlowTable, HEADER_F64, type PathEvent } from '../path/path.js';
import { openDataPath } from '../path/shell/open.js';
import { RelayHub } from '../relay.js';
import type { MediaSession } from '../session.js';

/** The media relay of one process: ports, sessions, and the thread that carries the packets. */
export class MediaRelay {
  readonly paths: readonly PathReport[];
  readonly #hub: RelayHub;
  readonly #path: DataPath;
  readonly #now: () => number;
  #timer: NodeJS.Timeout | undefined;
  #idle: (() => void) | undefined;
  #closed: Promise<void> | undefined;

  private constructor(hub: RelayHub, path: DataPath, paths: readonly PathReport[], now: () => number) {
    this.#hub = hub;
    this.#path = path;
    this.paths = paths;
    this.#now = now;
  }

  /** Throws RelayOptionsError for wrong options, and what the data path throws when nothing at all can be opened. */
  static async open(options: MediaRelayOptions, modules: MediaRelayModules): Promise<MediaRelay> {
    const addresses = relayAddresses(options);
    const [first, last] = options.ports;
    const table = FlowTable.create(
      addresses.map(a => a.bind),
      first,
      last,
    );
    table.f64[HEADER_F64.clockOffset] = Number(process.hrtime.bigint()) / 1e6 - modules.now();
    let hub: RelayHub | undefined;
    const early: PathEvent[] = [];
    const path = await (modules.openPath ?? openDataPath)({
      addresses,
      table,
      path: options.path ?? 'auto',
      onEvent: e => (hub === undefined ? early.push(e) : hub.pathEvent(e)),
      ...(modules.log === undefined ? {} : { log: modules.log }),
    });
    hub = new RelayHub(options, addresses, table, {
      now: modules.now,
      random: modules.random,
      onEvent: modules.onEvent,
      path,
    });
    for (const e of early) hub.pathEvent(e);
    const paths = addresses.map(
      (a, i): PathReport => ({
        realm: a.realm,
        address: a.bind,
        path: path.paths[i]?.kind ?? 'dgram',
        because: path.paths[i]?.because ?? '',
      }),
    );
    const relay = new MediaRelay(hub, path, paths, modules.now);
    relay.#arm();
    return relay;
  }

  /** Synchronous, no system call. Throws TypeError when a session of the name lives. */
  session(o: { id: string }): MediaSession {
    return this.#hub.session(o.id);
  }

  stats(): RelayStats {
    return this.#hub.stats();
  }

  /** Resolves when the last session closed, or after `within` ms. New sessions are the caller's to refuse. */
  async drain(o: { within: number }): Promise<void> {
    const until = this.#now() + o.within;
    while (this.#hub.size > 0 && this.#now() < until) {
      await new Promise<void>(resolve => {
        this.#idle = resolve;
        setTimeout(resolve, Math.min(100, Math.max(1, until - this.#now())));
      });
    }
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#idle?.();
    this.#hub.closeAll();
    await this.#path.close();
  }

  /** Inactivity is counted in tens of seconds: one look per second is enough. */
  #arm(): void {
    this.#timer = setTimeout(() => {
      const now = this.#now();
      if (this.#hub.pollTimeout() <= now) this.#hub.handleTimeout(now);
      this.#arm();
    }, 1000);
    this.#timer.unref();
  }
}
