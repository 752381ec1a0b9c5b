import { isToken } from './chars.js';
import { headerLine, mustBeLines, mustBeSafe } from './line.js';

export interface RequestParts {
  readonly method: string;
  readonly uri: string;
  readonly via: {
    readonly transport: string;
    readonly sentBy: string;
    readonly branch: string;
    /** Asks for the source port (RFC 3581 §3); true when absent. */
    readonly rport?: boolean;
  };
  readonly maxForwards: number;
  /** Whole header values, tags included. */
  readonly from: string;
  readonly to: string;
  readonly callId: string;
  readonly cseq: number;
  readonly contact?: string | undefined;
  /** Values of Route, in order, `<>` included. */
  readonly routes?: readonly string[] | undefined;
  /** Further header lines, each with its CRLF. */
  readonly headers?: string | undefined;
  readonly contentType?: string | undefined;
  readonly body?: string | undefined;
}

/** A request of our own (RFC 3261 §8.1.1). Throws on parts that could break the message. */
export function buildRequest(r: RequestParts): string {
  if (!isToken(r.method)) throw new TypeError('a method must be a token');
  mustBeSafe('Request-URI', r.uri);
  if (r.uri === '' || r.uri.includes(' ')) throw new TypeError('a Request-URI holds no space');
  const headers = r.headers ?? '';
  mustBeLines(headers);
  const body = r.body ?? '';
  const rport = r.via.rport === false ? '' : ';rport';
  let out = `${r.method} ${r.uri} SIP/2.0\r\n`;
  out += headerLine('Via', `SIP/2.0/${r.via.transport.toUpperCase()} ${r.via.sentBy};branch=${r.via.branch}${rport}`);
  if (r.routes !== undefined) for (const route of r.routes) out += headerLine('Route', route);
  out += `Max-Forwards: ${r.maxForwards}\r\n`;
  out += headerLine('From', r.from) + headerLine('To', r.to) + headerLine('Call-ID', r.callId);
  out += `CSeq: ${r.cseq} ${r.method}\r\n`;
  if (r.contact !== undefined) out += headerLine('Contact', r.contact);
  out += headers;
  if (r.contentType !== undefined && body !== '') out += headerLine('Content-Type', r.contentType);
  return `${out}Content-Length: ${body.length}\r\n\r\n${body}`;
}
