import { Hono } from 'hono';
import * as z from 'zod';
import { type ForwardingSource, forwardingRoutes } from '../forwarding/api.js';
import type { NewSubscriber } from '../subscribers.js';
import type { TrunkFacts } from '../trunk/facts.js';
import type { BindingFacts, CallFacts, StatusFacts, TraceMessage } from './facts.js';

/** What the API shows and may do; the composition root wires it to the running border. */
export interface AdminSources {
  status(): StatusFacts;
  calls(): readonly CallFacts[];
  call(id: string): CallFacts | undefined;
  trace(id: string): readonly TraceMessage[] | undefined;
  /** False: no such call. */
  hangUp(id: string): boolean;
  bindings(): readonly BindingFacts[];
  trunks(): readonly TrunkFacts[];
  subscribers(): readonly { readonly user: string; readonly domain: string; readonly algorithms: readonly string[] }[];
  /** Problems by position, none when all were stored. All or nothing. */
  addSubscribers(list: readonly NewSubscriber[]): Promise<readonly string[]>;
  removeSubscriber(user: string, domain: string): Promise<boolean>;
  readonly forwarding: ForwardingSource;
  drain(): void;
}

const newSubscriber = z.strictObject({
  user: z.string(),
  domain: z.string(),
  password: z.string().optional(),
  ha1: z.partialRecord(z.enum(['MD5', 'SHA-256', 'SHA-512-256']), z.string().regex(/^[0-9a-f]{32,64}$/)).optional(),
});
/** One, or up to a thousand at once. */
const newSubscribers = z.union([newSubscriber.transform(s => [s]), z.array(newSubscriber).min(1).max(1000)]);

const MAX_BODY = 1 << 20;

/** `/api/v1`: JSON in, JSON out; errors are `{ "error": "a sentence" }`. */
export function adminRoutes(s: AdminSources): Hono {
  const api = new Hono();
  api.get('/status', c => c.json(s.status()));
  api.get('/calls', c => c.json(s.calls()));
  api.get('/calls/:id', c => {
    const call = s.call(c.req.param('id'));
    return call === undefined ? c.json({ error: 'no such call' }, 404) : c.json(call);
  });
  api.get('/calls/:id/trace', c => {
    const trace = s.trace(c.req.param('id'));
    return trace === undefined
      ? c.json({ error: 'no such call, or its trace has been overwritten' }, 404)
      : c.json(trace);
  });
  api.delete('/calls/:id', c =>
    s.hangUp(c.req.param('id')) ? c.json({ ended: c.req.param('id') }) : c.json({ error: 'no such call' }, 404),
  );
  api.get('/bindings', c => c.json(s.bindings()));
  api.get('/trunks', c => c.json(s.trunks()));
  forwardingRoutes(api, s.forwarding);
  api.get('/subscribers', c => c.json(s.subscribers()));
  api.post('/subscribers', async c => {
    // A browser sends forms and plain text across origins without asking; JSON it must ask for.
    if (!(c.req.header('content-type') ?? '').toLowerCase().startsWith('application/json'))
      return c.json({ error: 'send application/json' }, 415);
    if (Number(c.req.header('content-length') ?? 0) > MAX_BODY) return c.json({ error: 'at most 1 MiB at once' }, 413);
    let body: unknown;
    try {
      body = JSON.parse(await c.req.text());
    } catch {
      return c.json({ error: 'the body is not JSON' }, 400);
    }
    const parsed = newSubscribers.safeParse(body);
    if (!parsed.success)
      return c.json(
        { error: 'expected { user, domain, password } or { user, domain, ha1 }, or a list of at most 1000 of them' },
        400,
      );
    try {
      const problems = await s.addSubscribers(parsed.data);
      return problems.length === 0
        ? c.json({ added: parsed.data.length }, 201)
        : c.json({ error: problems.join('; ') }, 422);
    } catch (error) {
      return c.json({ error: sentence(error) }, 503);
    }
  });
  api.delete('/subscribers/:domain/:user', async c => {
    try {
      const gone = await s.removeSubscriber(c.req.param('user'), c.req.param('domain'));
      return gone
        ? c.json({ removed: `${c.req.param('user')}@${c.req.param('domain')}` })
        : c.json({ error: 'no such subscriber' }, 404);
    } catch (error) {
      return c.json({ error: sentence(error) }, 503);
    }
  });
  api.post('/drain', c => {
    s.drain();
    return c.json({ draining: true }, 202);
  });
  const app = new Hono();
  app.route('/api/v1', api);
  return app;
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
