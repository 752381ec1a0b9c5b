import { own } from '@drawbridge/core';
import { H } from '../message/header-id.js';
import type { MessageView } from '../message/view.js';

/** ACK to a non-2xx final (RFC 3261 §17.1.1.3): everything of the INVITE's hop, the To of the response. */
export function hopAck(invite: MessageView, response: MessageView): string {
  return hopRequest('ACK', invite, response.line(response.first(H.to)), '');
}

/** CANCEL of the INVITE (§9.1). `headers`: further lines, each with CRLF (Reason). */
export function hopCancel(invite: MessageView, headers: string): string {
  return hopRequest('CANCEL', invite, invite.line(invite.first(H.to)), headers);
}

/** Same Request-URI, top Via, Route, From, Call-ID and CSeq number; retained, so it pins neither message. */
function hopRequest(method: 'ACK' | 'CANCEL', invite: MessageView, to: string, headers: string): string {
  const via = invite.text.slice(invite.lineAt(invite.first(H.via)), invite.via.end);
  let routes = '';
  for (let i = invite.first(H.route); i >= 0; i = invite.next(i)) routes += invite.line(i);
  return own(
    `${method} ${invite.uri} SIP/2.0\r\n${via}\r\n${routes}Max-Forwards: 70\r\n${invite.line(invite.first(H.from))}${to}${invite.line(
      invite.first(H.callId),
    )}CSeq: ${invite.cseq} ${method}\r\n${headers}Content-Length: 0\r\n\r\n`,
  );
}
