import { drop, Endpoints, isStream, type Mono, PASS, type Rx, type Tx, type Verdict } from '@drawbridge/core';
import { stunPong } from '@drawbridge/sip';
import type { Shard } from '../shard.js';

const MAX_DATAGRAM = 65_507;
const STUN_HEADER = 20;
const CRLF = '\r\n';
const scratch = new Endpoints(1);

/** Decides on source, size and first bytes, before any parsing. Keeps nothing about a source. */
export function guard(shard: Shard, now: Mono, rx: Rx, i: number, tx: Tx): Verdict {
  const via = rx.via[i]!;
  const at = rx.at[i]!;
  const len = rx.len[i]!;
  if (!shard.m.realms.accepts(via, rx.peer, i)) return drop('foreign-network');
  const first = len === 0 ? 0 : rx.bytes[at]!;
  if (isStream(via)) return len < 16 ? drop('too-short') : PASS;
  // RFC 7983: 0 … 3 is STUN, whose header alone has 20 bytes. Requests begin with a letter, responses with S.
  if (first < 4 && len >= STUN_HEADER) return stun(shard, now, rx, i, tx);
  if (first === 13 || first === 10 || first === 0) return keepalive(shard, now, rx, i, tx);
  if (len < 16) return drop('too-short');
  if (len > MAX_DATAGRAM) return drop('too-long');
  return (first | 32) >= 97 && (first | 32) <= 122 ? PASS : drop('not-sip');
}

/**
 * RFC 5626 §4.4.2: a Binding request is answered with the source as we see it. The answer is larger than the question, so
 * that sources without a registration share a budget per prefix: nobody's address can be flooded through us.
 */
function stun(shard: Shard, now: Mono, rx: Rx, i: number, tx: Tx): Verdict {
  const pong = stunPong(rx.bytes, rx.at[i]!, rx.len[i]!, rx.peer, i);
  if (pong === '') return drop('stun');
  const flow = shard.m.flows.find(rx.via[i]!, rx.peer, i);
  if (flow !== undefined) shard.m.registrar.seen(now, flow);
  const known = flow !== undefined && shard.m.registrar.byFlow(flow).length > 0;
  if (!known && !shard.pongs.take(now, rx.peer, i)) return drop('rate-limited');
  scratch.copy(0, rx.peer, i);
  tx.text(rx.via[i]!, scratch, 0, pong);
  return drop('keepalive');
}

/** RFC 5626 §4.4.1: a ping is two CRLF and gets one back; a single CRLF or NULs only keep a mapping open. */
function keepalive(shard: Shard, now: Mono, rx: Rx, i: number, tx: Tx): Verdict {
  const len = rx.len[i]!;
  const at = rx.at[i]!;
  if (len > 16) return drop('not-sip');
  const flow = shard.m.flows.find(rx.via[i]!, rx.peer, i);
  if (flow !== undefined) shard.m.registrar.seen(now, flow);
  if (len >= 4 && rx.bytes.toString('latin1', at, at + 4) === CRLF + CRLF) {
    scratch.copy(0, rx.peer, i);
    tx.text(rx.via[i]!, scratch, 0, CRLF);
  }
  return drop('keepalive');
}
