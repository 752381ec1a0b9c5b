import type { PushConfig } from '../config.js';
import type { PushAnswer, PushRequest } from '../waker.js';

/** Asks the operator's push gateway over HTTP. Headers may be secrets: they go nowhere else. */
export async function askGateway(config: PushConfig, q: PushRequest): Promise<PushAnswer> {
  const provider = config.providers[q.provider];
  if (provider === undefined) return { failed: 'no such provider' };
  try {
    const response = await fetch(provider.url, {
      method: 'POST',
      headers: { ...provider.headers, 'content-type': 'application/json' },
      body: JSON.stringify(q),
      redirect: 'error',
      signal: AbortSignal.timeout(provider.timeout),
    });
    await response.body?.cancel();
    return { status: response.status };
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    return { failed: cause instanceof Error ? cause.message.slice(0, 200) : 'failed' };
  }
}
