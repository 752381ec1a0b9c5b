import { createRequire } from 'node:module';
import { mark, REJECTED } from './parse-mark.js';

/** Parses one datagram, reads the fields and returns their marks summed; REJECTED for what it refuses. */
export type Reader = (bytes: Buffer) => number;

export interface Peer {
  readonly name: string;
  readonly version: string;
  readonly reader: Reader;
}

const require = createRequire(import.meta.url);

/** The JavaScript parsers on npm, each called the way its own stack calls it. */
export async function openPeers(): Promise<Peer[]> {
  return [drachtio(), sip(), jssip(), await sipJs()];
}

function versionOf(name: string): string {
  return (require(`${name}/package.json`) as { version: string }).version;
}

/** What the four have in common once a message is read. */
interface Fields {
  readonly method: string | undefined;
  readonly uri: string;
  readonly status: number;
  readonly branch: string;
  readonly sentBy: string;
  readonly fromTag: string | undefined;
  readonly toTag: string | undefined;
  readonly callId: string;
  readonly cseq: number;
  readonly contact: string | undefined;
  readonly contentLength: number;
}

function total(f: Fields): number {
  return (
    (f.method === undefined ? f.status : mark(f.method) + mark(f.uri)) +
    mark(f.branch) +
    mark(f.sentBy) +
    mark(f.fromTag ?? '') +
    mark(f.toTag ?? '') +
    mark(f.callId) +
    f.cseq +
    (f.contact === undefined ? 0 : mark(f.contact)) +
    f.contentLength
  );
}

interface PlainVia {
  readonly host: string;
  readonly port?: number | undefined;
  readonly params: Readonly<Record<string, string | undefined>>;
}
interface PlainAddress {
  readonly uri: string;
  readonly params: Readonly<Record<string, string | undefined>>;
}

interface DrachtioMessage {
  readonly method?: string;
  readonly uri: string;
  readonly status: number;
  get(name: string): string;
  has(name: string): boolean;
  getParsedHeader(name: 'via'): PlainVia[];
  getParsedHeader(name: 'from' | 'to'): PlainAddress;
  getParsedHeader(name: 'contact'): PlainAddress[];
  getParsedHeader(name: 'cseq'): { seq: number };
}

function drachtio(): Peer {
  const Message = require('drachtio-sip').SipMessage as new (text: string) => DrachtioMessage;
  const reader: Reader = bytes => {
    let m: DrachtioMessage;
    try {
      m = new Message(bytes.toString('utf8'));
    } catch {
      return REJECTED;
    }
    const via = m.getParsedHeader('via')[0] as PlainVia;
    return total({
      method: m.method,
      uri: m.uri,
      status: m.status,
      branch: via.params['branch'] ?? '',
      sentBy: via.port === undefined ? via.host : `${via.host}:${via.port}`,
      fromTag: m.getParsedHeader('from').params['tag'],
      toTag: m.getParsedHeader('to').params['tag'],
      callId: m.get('call-id'),
      cseq: m.getParsedHeader('cseq').seq,
      contact: m.has('contact') ? m.getParsedHeader('contact')[0]?.uri : undefined,
      contentLength: Number(m.get('content-length')),
    });
  };
  return { name: 'drachtio-sip', version: versionOf('drachtio-sip'), reader };
}

interface SipMessage {
  readonly method?: string;
  readonly uri: string;
  readonly status: number;
  readonly headers: {
    readonly via: PlainVia[];
    readonly from: PlainAddress;
    readonly to: PlainAddress;
    readonly 'call-id': string;
    readonly cseq: { readonly seq: number };
    readonly contact?: PlainAddress[];
    readonly 'content-length': number | string;
  };
}

function sip(): Peer {
  const parse = (require('sip') as { parse(text: string): SipMessage | undefined }).parse;
  const reader: Reader = bytes => {
    const m = parse(bytes.toString('latin1'));
    if (m === undefined) return REJECTED;
    const via = m.headers.via[0] as PlainVia;
    return total({
      method: m.method,
      uri: m.uri,
      status: m.status,
      branch: via.params['branch'] ?? '',
      sentBy: via.port === undefined ? via.host : `${via.host}:${via.port}`,
      fromTag: m.headers.from.params['tag'],
      toTag: m.headers.to.params['tag'],
      callId: m.headers['call-id'],
      cseq: m.headers.cseq.seq,
      contact: m.headers.contact?.[0]?.uri,
      contentLength: Number(m.headers['content-length']),
    });
  };
  return { name: 'sip', version: versionOf('sip'), reader };
}

interface GrammarVia {
  readonly host: string;
  readonly port?: number;
  readonly branch: string;
}

interface JssipMessage {
  readonly method?: string;
  readonly ruri?: { toString(): string };
  readonly status_code?: number | null;
  readonly via: GrammarVia;
  readonly from_tag?: string;
  readonly to_tag?: string;
  readonly call_id: string;
  readonly cseq: number;
  getHeader(name: string): string;
  hasHeader(name: string): boolean;
  parseHeader(name: string): { readonly uri: { toString(): string } };
}

function jssip(): Peer {
  const { parseMessage } = require('jssip/lib/Parser.js') as {
    parseMessage(text: string, ua: unknown): JssipMessage | undefined;
  };
  const ua = {};
  const reader: Reader = bytes => {
    const m = parseMessage(bytes.toString('utf8'), ua);
    if (m === undefined) return REJECTED;
    return total({
      method: typeof m.status_code === 'number' ? undefined : m.method,
      uri: typeof m.status_code === 'number' ? '' : String(m.ruri),
      status: m.status_code ?? 0,
      branch: m.via.branch,
      sentBy: m.via.port === undefined ? m.via.host : `${m.via.host}:${m.via.port}`,
      fromTag: m.from_tag,
      toTag: m.to_tag,
      callId: m.call_id,
      cseq: m.cseq,
      contact: m.hasHeader('contact') ? m.parseHeader('contact').uri.toString() : undefined,
      contentLength: Number(m.getHeader('content-length')),
    });
  };
  return { name: 'jssip', version: versionOf('jssip'), reader };
}

interface SipJsMessage {
  readonly method?: string;
  readonly ruri?: { toString(): string };
  readonly statusCode?: number;
  readonly via: GrammarVia;
  readonly fromTag?: string;
  readonly toTag?: string;
  readonly callId: string;
  readonly cseq: number;
  getHeader(name: string): string;
  hasHeader(name: string): boolean;
  parseHeader(name: string): { readonly uri: { toString(): string } };
}

async function sipJs(): Promise<Peer> {
  const module = (await import('sip.js/lib/core/messages/parser.js' as string)) as {
    Parser: { parseMessage(text: string, logger: unknown): SipJsMessage | undefined };
  };
  const quiet = (): void => {};
  const logger = { error: quiet, warn: quiet, log: quiet, debug: quiet };
  const reader: Reader = bytes => {
    const m = module.Parser.parseMessage(bytes.toString('utf8'), logger);
    if (m === undefined) return REJECTED;
    return total({
      method: m.statusCode === undefined ? m.method : undefined,
      uri: m.statusCode === undefined ? String(m.ruri) : '',
      status: m.statusCode ?? 0,
      branch: m.via.branch,
      sentBy: m.via.port === undefined ? m.via.host : `${m.via.host}:${m.via.port}`,
      fromTag: m.fromTag,
      toTag: m.toTag,
      callId: m.callId,
      cseq: m.cseq,
      contact: m.hasHeader('contact') ? m.parseHeader('contact').uri.toString() : undefined,
      contentLength: Number(m.getHeader('content-length')),
    });
  };
  return { name: 'sip.js', version: versionOf('sip.js'), reader };
}
