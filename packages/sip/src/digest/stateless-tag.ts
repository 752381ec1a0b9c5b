import { createHmac } from 'node:crypto';
import type { MessageView } from '../message/view.js';

/**
 * To tag of a stateless reply (RFC 3261 §8.2.7): the same for every retransmission of one request, and for nobody
 * else to foresee. 96 bits as base64url, which are token characters.
 */
export function statelessTag(m: MessageView, key: Uint8Array): string {
  return createHmac('sha256', key)
    .update(`${m.branch}\n${m.sentBy}\n${m.callId}\n${m.fromTag}\n${m.cseq}\n${m.uri}`, 'latin1')
    .digest('base64url')
    .slice(0, 16);
}
