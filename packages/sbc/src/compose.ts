import { Driver, ReasonCounts } from '@drawbridge/core';
import { MediaRelay, type RelayEvent } from '@drawbridge/media-relay';
import {
  type Admin,
  Health,
  type Logger,
  Metrics,
  monotonicNow,
  startAdmin,
  systemRandom,
  untilZero,
  wallNow,
} from '@drawbridge/service';
import { DnsClient } from '@drawbridge/sip';
import { eventMetrics } from './accounting/event-metrics.js';
import { registerAccounting } from './accounting/metrics.js';
import { callRecord } from './accounting/record.js';
import { openLedgers } from './accounting/shell/open.js';
import { adminRoutes } from './admin/api.js';
import type { StatusFacts } from './admin/facts.js';
import { adminSources } from './admin/sources.js';
import { assemble } from './assemble.js';
import type { Border } from './border.js';
import type { Config } from './config.js';
import { demoCredentials } from './demo.js';
import { Domains } from './domains.js';
import { EventLog } from './event-log.js';
import { FORWARDING_PREFIX, Forwardings } from './forwarding/rules.js';
import { registerHep } from './hep/metrics.js';
import { HepMirror, taps } from './hep/mirror.js';
import { openCollector } from './hep/shell/collector.js';
import { dnsOptions, domainFacts, unresolved } from './locate/facts.js';
import { locateMetrics } from './locate/metrics.js';
import { registerMetrics } from './metrics.js';
import { planRealms } from './plan-realms.js';
import { askGateway } from './push/shell/gateway.js';
import { Realms } from './realms.js';
import { BINDING_PREFIX } from './registrar/bindings.js';
import { borderSecret, derive } from './secrets.js';
import { Certificates } from './shell/certificates.js';
import { type Credential, readCredentials, writeCredentials } from './shell/credentials.js';
import { openSockets } from './shell/listeners.js';
import { lookAtMachine } from './shell/machine.js';
import { openStore } from './shell/open-store.js';
import { StartError } from './shell/start-error.js';
import { StoreWriter } from './shell/store-writer.js';
import type { StoreRecord } from './store/store.js';
import { SUBSCRIBER_PREFIX, Subscribers, subscriberWrite } from './subscribers.js';
import { Traces } from './trace.js';
import { registerTransports } from './transports/metrics.js';
import { registerTrunkMetrics } from './trunk/metrics.js';
import { readTrunkParts } from './trunk/shell/outside.js';
import { makeDomains } from './upstreams.js';
import { VERSION } from './version.js';

/** What the second live nonce key is for: a nonce of the hour before still counts. */
const ROTATE_MS = 3_600_000;
const STORE_DEADLINE_MS = 5000;
/** How long a start waits for the host names of next hops. */
const RESOLVE_WITHIN_MS = 2000;
/** Where the demo passwords of the embedded default are kept. */
const CREDENTIALS = 'var/credentials.json';

export interface ComposeModules {
  readonly log: Logger;
  /** One line per step, for whoever waits at the terminal. */
  progress(line: string): void;
  readonly credentialsPath?: string;
}

/** A border that runs. */
export interface Running {
  readonly adminUrl: string | undefined;
  /** Demo subscribers, when no configuration named a domain. */
  readonly demo: readonly Credential[];
  status(): StatusFacts;
  /** New calls get 503; calls under way go on. */
  drain(): void;
  /** Drains, waits for the calls at most `withinMs`, ends those that are left, and closes everything. */
  stop(withinMs: number): Promise<void>;
}

/**
 * The one composition root: everything is built here, from the configuration, in the order of dependence.
 * Throws `StartError` with a plain sentence when there can be no border; what is merely missing becomes a warning.
 */
export async function compose(config: Config, modules: ComposeModules): Promise<Running> {
  const { log, progress } = modules;
  const startedAt = wallNow();
  const warnings: string[] = [];
  const warn = (sentence: string): void => {
    warnings.push(sentence);
    log.warn(sentence);
  };
  const health = new Health();
  const random = systemRandom;
  const counts = new ReasonCounts();

  // What the machine has, and the sockets on it.
  const machine = await lookAtMachine();
  const plan = planRealms(config, machine);
  for (const w of plan.warnings) warn(w);
  progress('opening sockets');
  const certificates = await Certificates.open(config.realms, {
    wall: wallNow,
    info: s => log.info(s),
    warn: s => log.warn(s),
  });
  const sockets = await openSockets(plan, config.limits, certificates);
  for (const w of sockets.warnings) warn(w);
  const realms = new Realms(plan.realms, sockets.opened);
  const closing: (() => Promise<void>)[] = [
    async () => certificates.close(),
    async () => void (await Promise.all(sockets.listeners.map(l => l.close()))),
  ];

  try {
    // What was known before.
    progress('opening the store');
    const store = await openStore(config.store, warn);
    closing.push(() => store.close());
    health.set('store', true, store.opened.path);
    const secret = await borderSecret(store, random);

    // Domains and who belongs to them.
    const primary = machine.primary[4] ?? machine.primary[6] ?? machine.loopback[4] ?? 'localhost';
    const made = makeDomains(config.domains ?? { [primary]: { kind: 'local' } }, realms, random);
    const aliases =
      config.domains === undefined ? [...machine.all, 'localhost'].map(host => ({ host, domain: primary })) : [];
    const domains = new Domains(made, realms, aliases);
    const subscribers = new Subscribers();
    for await (const r of store.load(SUBSCRIBER_PREFIX)) subscribers.apply(r.key, r.value);
    const stopWatching = store.watch(change => void subscribers.apply(change.key, change.value), SUBSCRIBER_PREFIX);
    closing.push(async () => stopWatching());
    const forwardings = new Forwardings(config.forwarding);
    for await (const r of store.load(FORWARDING_PREFIX)) forwardings.apply(r.key, r.value);
    const stopForwardings = store.watch(change => void forwardings.apply(change.key, change.value), FORWARDING_PREFIX);
    closing.push(async () => stopForwardings());
    const demo =
      config.domains === undefined ? await demoSubscribers(primary, modules.credentialsPath ?? CREDENTIALS, warn) : [];
    for (const c of demo) {
      const w = subscriberWrite(c.user, c.domain, { password: c.password });
      subscribers.apply(w.key, w.value);
      await store.write([w]).catch((error: unknown) => warn(`The demo subscribers are not kept: ${sentence(error)}`));
    }

    // The media relay, with its own thread.
    progress('opening the media relay');
    const late: { border: Border | undefined } = { border: undefined };
    const relay = await MediaRelay.open(
      {
        realms: plan.realms.map(r => ({
          name: r.name,
          addresses: r.addresses.filter(a => sockets.opened.some(o => o.bind.address === a.bind)),
          codecs: config.realms === 'auto' ? undefined : config.realms[r.name]?.codecs,
        })),
        ports: config.media.ports,
        path: config.media.path,
        latch: { windowMs: config.media.latchWindow },
        inactivityMs: config.media.inactivity,
        sites: config.media.sites,
      },
      { now: monotonicNow, random, onEvent: e => onRelay(e), log: line => log.info(line) },
    ).catch((error: unknown) => {
      throw new StartError(`The media relay can't start: ${sentence(error)}`);
    });
    closing.push(() => relay.close());

    const trunkParts = await readTrunkParts(config);
    const traces = new Traces({ wall: wallNow, realms });
    const mirror = config.hep === undefined ? undefined : hepMirror(config.hep, realms, traces, closing);
    const assembled = assemble(config, {
      realms,
      domains,
      subscribers,
      forwardings,
      relay,
      random,
      counts,
      traces,
      tap: mirror === undefined ? traces : taps([traces, mirror]),
      keys: { names: derive(secret, 'names'), nonce: derive(secret, 'nonce'), tag: derive(secret, 'tag') },
      trunks: trunkParts,
      now: monotonicNow(),
      wall: wallNow,
      peerOf: via => sockets.streams[via & 0xff]?.peerOf(via),
      streams: via => sockets.streams[via & 0xff],
    });
    const { border, flows, transactions, registrar, digests, locator, waker, forwarder, trunks, routing, watch } =
      assembled;
    late.border = border;

    // What happens to its events.
    const ledgers = await openLedgers(config.cdr, warn, closing);
    const eventLog = new EventLog(log);
    const writer = new StoreWriter({
      store,
      answer: (id, ok) => driver.answer(id, { kind: 'stored', ok }),
      onTrouble: why => {
        health.set('store', false, why);
        log.error(`Registrations are not kept over a restart: ${why}`);
      },
      onRecovered: () => {
        health.set('store', true, store.opened.path);
        log.info('the store takes registrations again');
      },
    });
    const dns = new DnsClient(dnsOptions(config.dns));
    closing.push(async () => dns.close());
    const metrics = new Metrics();
    closing.push(async () => metrics.close());
    const noted = eventMetrics(metrics);
    let faults = 0;
    const driver = new Driver(border, {
      listeners: sockets.listeners,
      now: monotonicNow,
      onEvent: e => {
        if (e.kind === 'ask-store') return writer.write(e.id, e.batch);
        if (e.kind === 'ask' && e.asks === 'push') {
          void askGateway(config.push, e.question).then(answer => driver.answer(e.id, { kind: 'answer', answer }));
          return;
        }
        if (e.kind === 'media-reported') {
          if (config.hep?.rtcp === true) mirror?.reports(traces.callIdOf(e.ref) ?? '', e.from, e.to, e.reports);
          return;
        }
        if (e.kind === 'call-ended' && ledgers.length > 0) {
          const line = `${JSON.stringify(callRecord(e, wallNow()))}\n`;
          for (const ledger of ledgers) ledger.write(line);
        }
        if (e.kind === 'ask' && e.asks === 'dns')
          return void dns.ask(e.question).then(answer => driver.answer(e.id, { kind: 'answer', answer }));
        noted(e);
        eventLog.write(monotonicNow(), e);
      },
      onFault: error => {
        faults++;
        counts.add('internal-error');
        log.error({ error }, 'a fault of the program was caught');
      },
    });
    function onRelay(e: RelayEvent): void {
      if (late.border === undefined) return;
      // Never inside a turn: the relay may tell of something while the border is talking to it.
      setImmediate(() => driver.run((now, tx) => border.onRelayEvent(now, e, tx)));
    }

    // Bindings come back before the first message does.
    const records: StoreRecord[] = [];
    for await (const r of store.load(BINDING_PREFIX)) records.push(r);
    const restored = registrar.restore(monotonicNow(), records);
    if (records.length > 0) progress(`${restored.kept} registrations restored, ${restored.dropped} had ended`);

    const calls = (): number => border.callCount;
    let draining = false;
    const drain = (): void => {
      if (draining) return;
      draining = true;
      health.set('draining', false, 'no new calls are taken');
      border.drain(monotonicNow());
      log.info({ calls: calls() }, 'draining: no new calls are taken');
    };
    const status = (): StatusFacts => statusOf();
    registerAccounting(metrics, ledgers);
    registerTransports(metrics, {
      listeners: realms.listeners,
      streams: sockets.streams,
      certificates: certificates.all,
      wall: wallNow,
    });
    registerHep(metrics, mirror);
    locateMetrics(metrics, locator, monotonicNow);
    registerTrunkMetrics(metrics, trunks, routing);
    registerMetrics(metrics, {
      counts,
      requests: border.requests,
      replies: border.replies,
      registrar,
      transfers: border.shard.transfers,
      waker,
      forwarder,
      subscribers,
      transactions,
      flows,
      relay,
      listeners: realms.listeners,
      udp: sockets.udp,
      streams: sockets.streams,
      store: writer,
      calls,
      refused: () => driver.refused,
      faults: () => faults,
    });
    const sources = adminSources({
      border,
      driver,
      registrar,
      realms,
      domains,
      subscribers,
      trunks,
      store,
      forwardings,
      status,
      drain,
    });
    let admin: Admin | undefined;
    try {
      admin = await startAdmin({ listen: config.admin.listen, metrics, health, routes: adminRoutes(sources) });
      const open = admin;
      closing.push(() => open.close());
    } catch (error) {
      warn(`The admin API is not there, so \`drawbridge calls\` and its kind won't work: ${sentence(error)}`);
    }

    function statusOf(): StatusFacts {
      return {
        version: VERSION,
        pid: process.pid,
        startedAt,
        draining,
        listeners: realms.listeners.map(l => {
          const udp = sockets.udp[l.via];
          return {
            realm: l.realm.name,
            transport: l.transport,
            bind: l.bind,
            advertise: l.advertise,
            path: udp?.path ?? 'stream',
            because: udp?.because ?? '',
          };
        }),
        media: relay.paths,
        domains: domains.all.map(d => domainFacts(d, monotonicNow())),
        calls: calls(),
        bindings: registrar.bindings.size,
        subscribers: subscribers.size,
        store: store.opened.path,
        warnings: [...warnings, ...certificates.warnings],
      };
    }

    driver.start();
    await untilZero(() => locator.pending, { withinMs: RESOLVE_WITHIN_MS, everyMs: 10 });
    for (const w of unresolved(locator.lists, monotonicNow())) warn(w);
    const rotation = setInterval(() => digests.rotate(random.bytes(32)), ROTATE_MS);
    rotation.unref();
    health.set('sip', true, `${realms.listeners.length} sockets`);

    let stopped: Promise<void> | undefined;
    return {
      adminUrl: admin?.url,
      demo,
      status,
      drain,
      stop(withinMs) {
        stopped ??= (async () => {
          drain();
          if (!(await untilZero(calls, { withinMs }))) {
            log.warn({ calls: calls() }, 'the time to drain is over: calls are ended');
            driver.run((now, tx) => border.endAll(now, tx));
            // BYEs get a moment to be answered.
            await untilZero(() => transactions.clientCount, { withinMs: 2000 });
          }
          driver.run((now, tx) => {
            transactions.use(tx);
            watch.unregister(now);
          });
          // The provider's answer, and the challenge before it.
          await untilZero(() => trunks.registeredCount, { withinMs: 2000 });
          clearInterval(rotation);
          await untilZero(() => writer.waiting, { withinMs: STORE_DEADLINE_MS });
          await driver.close();
          for (const close of closing.reverse()) await close().catch(() => {});
        })();
        return stopped;
      },
    };
  } catch (error) {
    for (const close of closing.reverse()) await close().catch(() => {});
    throw error;
  }
}

async function demoSubscribers(
  domain: string,
  path: string,
  warn: (sentence: string) => void,
): Promise<readonly Credential[]> {
  const list = demoCredentials(domain, await readCredentials(path), systemRandom);
  await writeCredentials(path, list).catch((error: unknown) =>
    warn(`The demo passwords could not be written to ${path} and change at the next start: ${sentence(error)}`),
  );
  return list;
}

function hepMirror(
  hep: NonNullable<Config['hep']>,
  realms: Realms,
  traces: Traces,
  closing: (() => Promise<void>)[],
): HepMirror {
  const collector = openCollector(hep.to);
  closing.push(async () => collector.close());
  return new HepMirror(hep, {
    realms,
    wall: wallNow,
    callerOf: callId => traces.callerOf(callId),
    send: packet => collector.send(packet),
  });
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
