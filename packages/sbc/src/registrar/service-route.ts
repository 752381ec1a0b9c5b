import { own } from '@drawbridge/core';
import { H, headerLine, type MessageView } from '@drawbridge/sip';
import type { RealmListener } from '../realms.js';
import { type Binding, NO_PATH } from './binding.js';
import { isRoute } from './outbound.js';

/** Most values, and most bytes of all of them: each goes into every request of that phone. */
const MAX_ROUTES = 16;
const MAX_BYTES = 2048;

/** The way that an upstream's 200 tells for what this phone sends there (RFC 3608 §5.1); what can't be kept whole is none. */
export function serviceRouteOf(m: MessageView): readonly string[] {
  if (!m.has(H.serviceRoute)) return NO_PATH;
  const routes = m.list(H.serviceRoute);
  const bytes = routes.reduce((sum, r) => sum + r.length, 0);
  return routes.length <= MAX_ROUTES && bytes <= MAX_BYTES && routes.every(isRoute) ? routes.map(own) : NO_PATH;
}

/** Where an upstream wants its way taken, the phone hears of the first step alone: us. */
export function ownServiceRoute(listener: RealmListener, bindings: readonly Binding[]): string {
  return bindings.some(b => b.serviceRoute.length > 0)
    ? headerLine('Service-Route', `<sip:${listener.sentBy}${listener.uriTransport};lr>`)
    : '';
}
