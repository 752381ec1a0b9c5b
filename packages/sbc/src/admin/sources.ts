import type { Driver } from '@drawbridge/core';
import { monotonicNow } from '@drawbridge/service';
import type { Border } from '../border.js';
import type { Domains } from '../domains.js';
import type { BorderAnswer, BorderEvent } from '../events.js';
import { forwardingSource } from '../forwarding/api.js';
import type { Forwardings } from '../forwarding/rules.js';
import type { Realms } from '../realms.js';
import { algAdvice } from '../registrar/alg.js';
import type { Binding } from '../registrar/binding.js';
import type { Registrar } from '../registrar/registrar.js';
import type { Store } from '../store/store.js';
import {
  type NewSubscriber,
  type Subscribers,
  subscriberKey,
  subscriberProblem,
  subscriberWrite,
} from '../subscribers.js';
import { trunkFacts } from '../trunk/facts.js';
import type { Trunks } from '../trunk/trunks.js';
import type { AdminSources } from './api.js';
import type { BindingFacts, StatusFacts } from './facts.js';

export interface SourcesModules {
  readonly border: Border;
  readonly driver: Driver<BorderEvent, BorderAnswer>;
  readonly registrar: Registrar;
  readonly realms: Realms;
  readonly domains: Domains;
  readonly subscribers: Subscribers;
  readonly trunks: Trunks;
  readonly store: Store;
  readonly forwardings: Forwardings;
  status(): StatusFacts;
  drain(): void;
}

/** The running border as the API sees it. Changes of the core's state are turns of the driver. */
export function adminSources(m: SourcesModules): AdminSources {
  return {
    status: m.status,
    drain: m.drain,
    forwarding: forwardingSource(m),
    calls: () => m.border.calls(),
    call: id => m.border.call(id),
    trace: id => m.border.trace(id),
    hangUp(id) {
      let found = false;
      m.driver.run((now, tx) => {
        found = m.border.hangUp(now, id, tx);
      });
      return found;
    },
    trunks: () => trunkFacts(m.trunks, monotonicNow()),
    bindings: () => [...m.registrar.bindings.all()].map(b => bindingFacts(m, b)),
    subscribers: () =>
      m.subscribers.list().map(s => ({ user: s.user, domain: s.domain, algorithms: Object.keys(s.credentials.ha1) })),
    addSubscribers: list => addSubscribers(m, list),
    async removeSubscriber(user, domain) {
      const name = m.domains.lookup(domain)?.name ?? domain;
      if (m.subscribers.get(user, name) === undefined) return false;
      const key = subscriberKey(user, name);
      await m.store.write([{ key, value: null }]);
      m.subscribers.apply(key, null);
      return true;
    },
  };
}

async function addSubscribers(m: SourcesModules, list: readonly NewSubscriber[]): Promise<readonly string[]> {
  const problems = list.map(s => subscriberProblem(s, m.domains)).filter(p => p !== undefined);
  if (problems.length > 0) return problems;
  const batch = list.map(s =>
    subscriberWrite(
      s.user,
      m.domains.lookup(s.domain)?.name ?? s.domain,
      s.password === undefined ? { ha1: s.ha1 ?? {} } : { password: s.password },
    ),
  );
  await m.store.write(batch);
  for (const w of batch) m.subscribers.apply(w.key, w.value);
  return [];
}

function bindingFacts(m: SourcesModules, b: Binding): BindingFacts {
  const listener = m.realms.listener(b.flow.via);
  const k = m.registrar.keepalive.facts(b);
  const seconds = (ms: number): number => Math.round(ms / 1000);
  return {
    aor: b.aor,
    contact: b.contact,
    kind: b.kind,
    realm: listener.realm.name,
    transport: listener.transport,
    peer: b.flow.peer.get(b.flow.j),
    q: b.q,
    expiresInS: Math.max(0, seconds(b.expires - monotonicNow())),
    userAgent: b.userAgent,
    alg: b.alg.map(f => ({ ...f, advice: algAdvice(f.kind) })),
    keepalive:
      k === undefined
        ? undefined
        : {
            how: k.how,
            intervalS: seconds(k.intervalMs),
            heldS: seconds(k.goodMs),
            lostS: k.badMs === undefined ? undefined : seconds(k.badMs),
            searching: k.searching,
          },
  };
}
