import { randomToken } from '@drawbridge/core';
import { H, headerLine, parseNameAddr, type ServerTransaction } from '@drawbridge/sip';
import type { LocalDomain } from '../domains.js';
import type { Inbound } from '../inbound.js';
import type { StoreWrite } from '../store/store.js';
import type { Binding, BindingFields } from './binding.js';
import type { Bindings } from './bindings.js';
import type { Gruus } from './gruu.js';
import { outboundLines, outboundOf, pathLines, supports, trustedPath, withoutRegId } from './outbound.js';
import type { RegistrarModules, RegistrarOptions } from './registrar.js';
import {
  contactLines,
  isRefusal,
  type Refusal,
  readRegister,
  sameContact,
  type Wanted,
  type WantedContact,
} from './request.js';

/** 20 characters of 6 bits: 120 random bits. */
const OPAQUE_CHARS = 20;

/**
 * A REGISTER to a domain of ours (RFC 3261 §10.3). Everything is judged before anything changes, so that it is
 * applied whole or not at all; the table changes at once, so that the next REGISTER finds it in order.
 */
export function registerLocal(
  inbound: Inbound,
  domain: LocalDomain,
  st: ServerTransaction,
  /** Lines of the 200. */
  push: string,
  o: RegistrarOptions,
  m: RegistrarModules,
  bindings: Bindings,
  gruus: Gruus,
): void {
  const { now, tx } = inbound;
  const refuse = (r: Refusal): void => {
    st.reply(
      now,
      r.status,
      r.headers === undefined ? { reason: r.reason } : { headers: r.headers, reason: r.reason },
      tx,
    );
  };

  // Step 5: the AoR is the To, canonical, and must be the requester's own (step 4).
  const to = parseNameAddr(inbound.m.get(H.to));
  const target = to === undefined ? undefined : m.domains.address(to.uri);
  if (target === undefined || target.domain !== domain) return refuse({ status: 404, reason: 'not-found' });
  if (inbound.identity.kind !== 'subscriber' || inbound.identity.aor !== target.aor)
    return refuse({ status: 403, reason: 'not-owner' });

  const asked = readRegister(inbound.m, o.registrar);
  if (isRefusal(asked)) return refuse(asked);
  const path = trustedPath(inbound);
  if ('status' in path) return refuse(path);
  const outbound = outboundOf(inbound.m, asked, path);
  if (typeof outbound === 'object') return refuse(outbound);
  const wanted = outbound === 'ignored' ? withoutRegId(asked) : asked;

  const before = bindings.of(target.aor);
  const refusal = judge(before, wanted, bindings.size, o);
  if (refusal !== undefined) return refuse(refusal);
  if (m.journal.full) return refuse({ status: 503, reason: 'ask-limit', headers: headerLine('Retry-After', '5') });

  const batch: StoreWrite[] = [];
  let refreshOnly = true;
  if (wanted.wildcard) {
    refreshOnly = before.length === 0;
    for (const b of [...before]) bindings.remove(now, b, 'removed', batch);
  }
  for (const c of wanted.contacts) {
    const known = bindings.of(target.aor).find(b => sameContact(b, c));
    if (c.seconds === 0) {
      if (known === undefined) continue;
      refreshOnly = false;
      bindings.remove(now, known, 'removed', batch);
      continue;
    }
    const fields: BindingFields = {
      aor: target.aor,
      domain: domain.name,
      kind: 'local',
      opaque: known?.opaque ?? randomToken(m.random, OPAQUE_CHARS),
      contact: c.contact,
      params: c.params,
      // The only way back is the way it came; the host in the contact is never a destination.
      flow: st.flow,
      expires: now + c.seconds * 1000,
      registered: now,
      q: c.q,
      callId: wanted.callId,
      cseq: wanted.cseq,
      instance: c.instance,
      regId: c.regId,
      path,
      userAgent: wanted.userAgent,
    };
    if (known === undefined) {
      refreshOnly = false;
      bindings.add(now, fields, batch);
    } else if (bindings.refresh(now, known, fields, batch)) refreshOnly = false;
  }

  const bound = bindings.of(target.aor);
  let headers = contactLines(now, bound, supports(inbound.m, 'gruu') ? gruus : undefined) + dateLine(m.wall());
  headers += push;
  if (path.length > 0) headers += pathLines(inbound.m, path);
  if (outbound === 'applied') headers += outboundLines(st.flow.transport, o.keepalive);
  if (refreshOnly) {
    if (batch.length > 0) m.journal.put(batch);
    st.reply(now, 200, { headers }, tx);
    return;
  }
  // Written now: when the commit comes back the request would have to be read again.
  const written = st.write(200, { headers });
  m.journal.commit(now, batch, (at, ok, later) => {
    // A store that can't write keeps nobody from being called: the binding lives in memory and the failure is counted.
    if (!ok) m.counts.add('store-failed');
    st.reply(at, 200, { written }, later ?? m.transactions.tx);
  });
}

let second = 0;
let line = '';

/** The same within a second; to format it takes longer than to find the user. */
function dateLine(wall: number): string {
  const now = Math.floor(wall / 1000);
  if (now !== second) {
    second = now;
    line = headerLine('Date', new Date(wall).toUTCString());
  }
  return line;
}

/** Steps 6 and 7: order within a Call-ID, and the caps. Undefined: all of it may be applied. */
function judge(before: readonly Binding[], wanted: Wanted, size: number, o: RegistrarOptions): Refusal | undefined {
  const late = (b: Binding): boolean => b.callId === wanted.callId && wanted.cseq <= b.cseq;
  if (wanted.wildcard) return before.some(late) ? { status: 500, reason: 'out-of-order' } : undefined;
  const added: WantedContact[] = [];
  let removed = 0;
  for (const c of wanted.contacts) {
    const known = before.find(b => sameContact(b, c));
    if (known !== undefined && late(known)) return { status: 500, reason: 'out-of-order' };
    if (known !== undefined && c.seconds === 0) removed++;
    if (known === undefined && c.seconds > 0) added.push(c);
  }
  if (before.length + added.length - removed > o.registrar.maxContacts)
    return { status: 403, reason: 'too-many-contacts' };
  if (size + added.length - removed > o.registrar.maxBindings)
    return { status: 503, reason: 'binding-limit', headers: headerLine('Retry-After', '60') };
  return undefined;
}
