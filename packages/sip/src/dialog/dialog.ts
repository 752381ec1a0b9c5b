import { own } from '@drawbridge/core';
import type { Flow } from '../flow/flow.js';
import { nameAddrSpan, parseNameAddr, scanNameAddr } from '../header/name-addr.js';
import { H } from '../message/header-id.js';
import { buildRequest } from '../message/request.js';
import type { MessageView } from '../message/view.js';
import { parseUri } from '../uri.js';
import { requestUri, wayThrough } from './route-set.js';

export type DialogState = 'early' | 'confirmed' | 'ended';

export interface DialogRequestParts {
  readonly via: {
    readonly transport: string;
    readonly sentBy: string;
    readonly branch: string;
    readonly rport?: boolean;
  };
  /** For ACK (the INVITE's) and PRACK resent; otherwise the next one is taken. */
  readonly cseq?: number | undefined;
  readonly contact?: string | undefined;
  /** Further header lines, each with its CRLF. */
  readonly headers?: string | undefined;
  readonly contentType?: string | undefined;
  readonly body?: string | undefined;
  /** Default 70. */
  readonly maxForwards?: number;
}

export interface ClientDialogParts {
  readonly callId: string;
  readonly localTag: string;
  /** Whole From value without tag: name-addr or `<uri>`. */
  readonly localUri: string;
  /** Whole To value without tag. */
  readonly remoteUri: string;
  readonly localSeq: number;
}

/** Target-refresh requests and their 2xx (RFC 3261 §12.2, RFC 3311, RFC 6665). */
const REFRESHING = new Set(['INVITE', 'UPDATE', 'SUBSCRIBE', 'NOTIFY', 'REFER']);

/**
 * One dialog as RFC 3261 §12 has it, for either role. Every string is our own copy. The route set is fixed when the
 * dialog is made — only the first 2xx of an early dialog may still replace it (§13.2.2.4) — and never changed by
 * requests inside it.
 */
export class Dialog {
  readonly callId: string;
  readonly localTag: string;
  readonly remoteTag: string;
  /** Values of From and To without tag: URI in angle brackets, display name kept. */
  readonly localUri: string;
  readonly remoteUri: string;
  remoteTarget: string;
  /** Route values in the order of sending, `<>` included. */
  routeSet: readonly string[];
  /** CSeq of our last request, 0 before the first. */
  localSeq: number;
  /** CSeq of the peer's last request, -1 before the first. */
  remoteSeq: number;
  state: DialogState;
  flow: Flow;

  private constructor(
    ids: { callId: string; localTag: string; remoteTag: string; localUri: string; remoteUri: string },
    remoteTarget: string,
    routeSet: readonly string[],
    localSeq: number,
    remoteSeq: number,
    state: DialogState,
    flow: Flow,
  ) {
    this.callId = own(ids.callId);
    this.localTag = own(ids.localTag);
    this.remoteTag = own(ids.remoteTag);
    this.localUri = own(ids.localUri);
    this.remoteUri = own(ids.remoteUri);
    this.remoteTarget = own(remoteTarget);
    this.routeSet = routeSet;
    this.localSeq = localSeq;
    this.remoteSeq = remoteSeq;
    this.state = state;
    this.flow = flow;
  }

  /** From the request that we answer (§12.1.1): Record-Route in its order. Early until `confirm`. */
  static asServer(m: MessageView, localTag: string, flow: Flow): Dialog {
    return new Dialog(
      {
        callId: m.callId,
        localTag,
        remoteTag: m.fromTag,
        localUri: withoutTag(m.get(H.to)),
        remoteUri: withoutTag(m.get(H.from)),
      },
      contactOf(m),
      routesOf(m),
      0,
      m.cseq,
      'early',
      flow,
    );
  }

  /** From a response to our request (§12.1.2): Record-Route in reverse. Confirmed by a 2xx, early otherwise. */
  static asClient(ours: ClientDialogParts, m: MessageView, flow: Flow): Dialog {
    return new Dialog(
      {
        callId: ours.callId,
        localTag: ours.localTag,
        remoteTag: m.toTag,
        localUri: ours.localUri,
        remoteUri: ours.remoteUri,
      },
      contactOf(m),
      routesOf(m).reverse(),
      ours.localSeq,
      -1,
      m.status >= 200 ? 'confirmed' : 'early',
      flow,
    );
  }

  /**
   * A 2xx came for an early dialog of ours, or we sent one. As client give the response: the route set is computed
   * anew from it (§13.2.2.4), since a proxy may record-route the 2xx only.
   */
  confirm(m?: MessageView): void {
    if (this.state !== 'early') return;
    this.state = 'confirmed';
    if (m === undefined) return;
    this.routeSet = routesOf(m).reverse();
    this.refresh(m);
  }

  end(): void {
    this.state = 'ended';
  }

  /** The ids of a request inside the dialog match (§12.2.2). */
  matches(m: MessageView): boolean {
    return m.toTag === this.localTag && m.fromTag === this.remoteTag && m.callId === this.callId;
  }

  /** §12.2.2: a request with a lower CSeq than the last gets 500; gaps are legal; ACK and CANCEL don't count. */
  accepts(m: MessageView): 'ok' | 'lower-cseq' {
    if (m.method === 'ACK' || m.method === 'CANCEL') return 'ok';
    if (m.cseq <= this.remoteSeq) return 'lower-cseq';
    this.remoteSeq = m.cseq;
    return 'ok';
  }

  nextSeq(): number {
    this.localSeq++;
    return this.localSeq;
  }

  /** Takes the Contact of a target-refresh request, or of the response to one. */
  refresh(m: MessageView): void {
    if (!REFRESHING.has(m.isRequest ? m.method : m.cseqMethod)) return;
    const target = contactOf(m);
    if (target !== '') this.remoteTarget = own(target);
  }

  /** A request inside the dialog (§12.2.1.1). Strict routers in front are served as §12.2.1.1 says. */
  request(method: string, o: DialogRequestParts): string {
    const { uri, routes } = wayThrough(this.routeSet, this.remoteTarget);
    const cseq = o.cseq ?? this.nextSeq();
    return buildRequest({
      method,
      uri,
      via: o.via,
      maxForwards: o.maxForwards ?? 70,
      from: `${this.localUri};tag=${this.localTag}`,
      to: this.remoteTag === '' ? this.remoteUri : `${this.remoteUri};tag=${this.remoteTag}`,
      callId: this.callId,
      cseq,
      routes,
      contact: o.contact,
      headers: o.headers,
      contentType: o.contentType,
      body: o.body,
    });
  }
}

/** First Contact's URI as a request can carry it, '' when there is none that it can be sent to. */
function contactOf(m: MessageView): string {
  if (!m.has(H.contact)) return '';
  const uri = parseNameAddr(m.list(H.contact)[0] ?? '')?.uri ?? '';
  return isTarget(uri) ? requestUri(uri) : '';
}

/** Record-Route values as Route values. One that can't be sent to makes the rest useless as well: then there are none. */
function routesOf(m: MessageView): string[] {
  if (!m.has(H.recordRoute)) return [];
  const routes = m.list(H.recordRoute);
  return routes.every(r => isTarget(parseNameAddr(r)?.uri ?? '')) ? routes.map(own) : [];
}

/** Fit to stand as a Request-URI: a SIP URI, which holds nothing that would end it early. Phones write names of any letters there. */
function isTarget(uri: string): boolean {
  const scheme = parseUri(uri)?.scheme;
  return scheme === 'sip' || scheme === 'sips';
}

/** A From or To value with its URI in angle brackets and nothing behind: what a tag can be added to. */
function withoutTag(value: string): string {
  const span = nameAddrSpan();
  if (!scanNameAddr(value, 0, value.length, span)) return value;
  const uri = `<${value.slice(span.uri, span.uriEnd)}>`;
  return span.displayEnd === span.display ? uri : `${value.slice(span.display, span.displayEnd)} ${uri}`;
}
