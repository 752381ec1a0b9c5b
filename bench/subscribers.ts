import { ADMIN } from './border.js';

export interface NewSubscriber {
  readonly user: string;
  readonly domain: string;
  readonly password: string;
}

/** Creates subscribers through the running border's own API, in slices that fit one request. */
export async function addSubscribers(list: readonly NewSubscriber[]): Promise<void> {
  for (let at = 0; at < list.length; at += 1000) {
    const reply = await fetch(`${ADMIN}/api/v1/subscribers`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(list.slice(at, at + 1000)),
    });
    if (!reply.ok) throw new Error(`the border refused subscribers: ${reply.status} ${await reply.text()}`);
  }
}
