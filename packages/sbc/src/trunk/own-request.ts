import { type Mono, type Random, randomToken } from '@drawbridge/core';
import {
  buildRequest,
  type ClientTransaction,
  type ClientUser,
  type Flow,
  type FlowTable,
  type Transactions,
} from '@drawbridge/sip';
import type { NextHop } from '../locate/hop-list.js';

export interface OwnRequestModules {
  readonly transactions: Transactions;
  readonly flows: FlowTable;
  readonly random: Random;
}

export interface OwnRequest {
  readonly method: 'OPTIONS' | 'REGISTER';
  readonly uri: string;
  /** Without tag. */
  readonly from: string;
  readonly to: string;
  readonly callId: string;
  readonly cseq: number;
  readonly contact?: string | undefined;
  readonly headers?: string | undefined;
  readonly timeoutMs?: number | undefined;
}

/** A request of the border itself to a next hop, outside any call. Undefined: no room for it. */
export function sendOwn(
  m: OwnRequestModules,
  now: Mono,
  hop: NextHop,
  r: OwnRequest,
  user: ClientUser,
): { readonly ct: ClientTransaction; readonly flow: Flow } | undefined {
  const flow = m.flows.dialled(now, hop.listener.via, hop.endpoint, hop.host);
  if (flow === undefined) return undefined;
  const branch = m.transactions.newBranch();
  const text = buildRequest({
    method: r.method,
    uri: r.uri,
    via: { transport: hop.listener.transport, sentBy: hop.listener.sentBy, branch },
    maxForwards: 70,
    from: `${r.from};tag=${randomToken(m.random, 16)}`,
    to: r.to,
    callId: r.callId,
    cseq: r.cseq,
    contact: r.contact,
    headers: r.headers,
  });
  const { timeoutMs, method } = r;
  const ct = m.transactions.request(now, { method, text, branch, flow, user, timeoutMs }, m.transactions.tx);
  return ct === undefined ? undefined : { ct, flow };
}
