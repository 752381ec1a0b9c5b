import { parseNameAddr } from '../header/name-addr.js';
import { parseUri } from '../uri.js';

/** Where a request is addressed and what its Route says. */
export interface Way {
  readonly uri: string;
  readonly routes: readonly string[] | undefined;
}

/**
 * A target and the route set in front of it. A strict router (its URI without `lr`) at the head of that gets itself as
 * Request-URI, and the target as last Route (RFC 3261 §12.2.1.1, §16.6 step 6).
 */
export function wayThrough(routes: readonly string[] | undefined, target: string): Way {
  const first = routes?.[0];
  if (routes === undefined || first === undefined) return { uri: target, routes };
  const next = parseNameAddr(first)?.uri ?? '';
  if (next === '' || parseUri(next)?.params.has('lr') === true) return { uri: target, routes };
  return { uri: requestUri(next), routes: [...routes.slice(1), `<${target}>`] };
}

/** A URI without what a Request-URI may not hold: `method` and embedded headers (RFC 3261 §19.1.1, §19.1.5). */
export function requestUri(uri: string): string {
  // Before the `@` either is part of the user.
  const host = uri.indexOf('@') + 1;
  const mark = uri.indexOf('?', host);
  const params = uri.slice(host, mark < 0 ? undefined : mark);
  if (!/;method=/i.test(params)) return mark < 0 ? uri : uri.slice(0, mark);
  const kept = params.split(';').filter((p, i) => i === 0 || !/^method=/i.test(p));
  return uri.slice(0, host) + kept.join(';');
}
