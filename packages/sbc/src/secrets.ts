import { createHmac } from 'node:crypto';
import type { Random } from '@drawbridge/core';
import type { Store } from './store/store.js';

const KEY = 'secret/border';

/** The border's own secret, made at the first start: names toward upstreams and nonces stay good over a restart. */
export async function borderSecret(store: Store, random: Random): Promise<Uint8Array> {
  const found = (await store.find(KEY))?.value;
  if (typeof found === 'string' && /^[0-9a-f]{64}$/.test(found)) return Buffer.from(found, 'hex');
  const made = random.bytes(32);
  await store.write([{ key: KEY, value: Buffer.from(made).toString('hex') }]);
  return made;
}

/** One key per use, so that what one of them gives away says nothing about the others. */
export function derive(secret: Uint8Array, use: string): Uint8Array {
  return createHmac('sha256', secret).update(use).digest();
}
