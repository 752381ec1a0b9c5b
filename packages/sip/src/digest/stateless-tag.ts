import type { MessageView } from '../message/view.js';
import { SipHash } from './siphash.js';

const macs = new WeakMap<Uint8Array, SipHash>();
const bytes = Buffer.alloc(12);

/**
 * To tag of a stateless reply (RFC 3261 §8.2.7): the same for every retransmission of one request, and for nobody
 * else to foresee. 96 bits as base64url, which are token characters.
 */
export function statelessTag(m: MessageView, key: Uint8Array): string {
  let mac = macs.get(key);
  if (mac === undefined) {
    mac = SipHash.of(key, 'tag');
    macs.set(key, mac);
  }
  for (const part of [m.branch, m.sentBy, m.callId, m.fromTag]) {
    mac.mixText(part);
    // Stands in none of them.
    mac.mixText('\n');
  }
  mac.mixWord(m.cseq);
  mac.mixText(m.uri);
  const out = mac.end();
  for (let k = 0; k < 3; k++) bytes.writeInt32LE(out[k]!, k * 4);
  return bytes.toString('base64url');
}
