import type { Hono } from 'hono';
import type { Domains } from '../domains.js';
import type { Store } from '../store/store.js';
import type { Subscribers } from '../subscribers.js';
import { type ForwardingRules, type Forwardings, forwardingRules, forwardingWrite } from './rules.js';

export interface ForwardingSource {
  get(user: string, domain: string): ForwardingRules | undefined;
  /** A problem as a sentence, undefined when it is done. `rules` null: as configured again. */
  set(user: string, domain: string, rules: ForwardingRules | null): Promise<string | undefined>;
}

export interface ForwardingModules {
  readonly forwardings: Forwardings;
  readonly domains: Domains;
  readonly subscribers: Subscribers;
  readonly store: Store;
}

export function forwardingSource(m: ForwardingModules): ForwardingSource {
  return {
    get: (user, domain) => m.forwardings.get(`${user}@${m.domains.lookup(domain)?.name ?? domain}`),
    async set(user, domain, rules) {
      const d = m.domains.lookup(domain);
      if (d === undefined) return `${domain} is none of the configured domains`;
      if (d.kind === 'local' && m.subscribers.get(user, d.name) === undefined)
        return `there is no subscriber ${user}@${d.name}`;
      const w = forwardingWrite(user, d.name, rules);
      await m.store.write([w]);
      m.forwardings.apply(w.key, w.value);
      return undefined;
    },
  };
}

const PATH = '/subscribers/:who/forwarding';
const MAX_BODY = 16_384;

/** GET, PUT and DELETE of one subscriber's rules. */
export function forwardingRoutes(api: Hono, s: ForwardingSource): void {
  api.get(PATH, c => {
    const [user, domain] = parts(c.req.param('who'));
    return c.json(s.get(user, domain) ?? { dnd: false });
  });
  api.put(PATH, async c => {
    if (!(c.req.header('content-type') ?? '').toLowerCase().startsWith('application/json'))
      return c.json({ error: 'send application/json' }, 415);
    if (Number(c.req.header('content-length') ?? MAX_BODY + 1) > MAX_BODY)
      return c.json({ error: 'at most 16 KiB, with Content-Length' }, 413);
    let body: unknown;
    try {
      body = JSON.parse(await c.req.text());
    } catch {
      return c.json({ error: 'the body is not JSON' }, 400);
    }
    const rules = forwardingRules.safeParse(body);
    if (!rules.success)
      return c.json({ error: rules.error.issues.map(i => `${i.path.join('.')}: ${i.message}`).join('; ') }, 400);
    return done(c.req.param('who'), rules.data, answer => c.json(answer.body, answer.status));
  });
  api.delete(PATH, (c, next) => {
    const who = c.req.param('who');
    // Another route names a domain here, and a user called "forwarding".
    return who.includes('@') ? done(who, null, answer => c.json(answer.body, answer.status)) : next();
  });

  async function done(
    who: string,
    rules: ForwardingRules | null,
    say: (answer: { body: object; status: 200 | 404 | 503 }) => Response,
  ): Promise<Response> {
    const [user, domain] = parts(who);
    try {
      const problem = await s.set(user, domain, rules);
      return say(
        problem === undefined
          ? { body: s.get(user, domain) ?? { dnd: false }, status: 200 }
          : { body: { error: problem }, status: 404 },
      );
    } catch (error) {
      return say({ body: { error: error instanceof Error ? error.message : String(error) }, status: 503 });
    }
  }
}

function parts(who: string): [user: string, domain: string] {
  const at = who.lastIndexOf('@');
  return [who.slice(0, at), who.slice(at + 1)];
}
