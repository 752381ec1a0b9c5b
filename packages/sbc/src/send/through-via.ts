import type { Flow } from '@drawbridge/sip';
import type { RealmListener } from '../realms.js';
import type { Shard } from '../shard.js';

const VIA = '\r\nVia: SIP/2.0/';

/** A message was written for the listener of its leg or target; over another one its Via says so. */
export function throughVia(shard: Shard, to: { readonly listener: RealmListener }, flow: Flow, text: string): string {
  const listener: RealmListener = shard.m.realms.listener(flow.via);
  if (listener === to.listener) return text;
  const at = text.indexOf(VIA) + VIA.length;
  return `${text.slice(0, at)}${listener.transport.toUpperCase()} ${listener.sentBy}${text.slice(text.indexOf(';', at))}`;
}
