import { readFile } from 'node:fs/promises';
import { randomToken } from '@drawbridge/core';
import { systemRandom } from '@drawbridge/service';
import { openLmdbStore } from '../store/shell/lmdb.js';
import { StoreError, type StoreWrite } from '../store/store.js';
import {
  type NewSubscriber,
  SUBSCRIBER_PREFIX,
  Subscribers,
  subscriberKey,
  subscriberProblem,
  subscriberWrite,
} from '../subscribers.js';
import { AdminClient, NotRunning } from './admin-client.js';
import type { Command, CommandContext } from './command.js';
import { parseSubscribers } from './subscriber-file.js';
import { table } from './table.js';

const USAGE = `drawbridge subscribers list
drawbridge subscribers add USER@DOMAIN [--password PASSWORD]   (without one, a password is made and printed)
drawbridge subscribers remove USER@DOMAIN
drawbridge subscribers import FILE                             (JSON list, or lines of user,domain,password)`;

/** Most that one request to the API carries. */
const AT_ONCE = 1000;

/** Through the running border when there is one, straight into its store when there is none. */
export const subscribers: Command = async c => {
  const [what = 'list', word] = c.words;
  switch (what) {
    case 'list':
      return list(c);
    case 'add': {
      const who = address(word);
      if (who === undefined) return usage(c);
      const made = c.password === undefined;
      const password = c.password ?? randomToken(systemRandom, 16);
      const done = await add(c, [{ ...who, password }]);
      if (done === 0)
        c.print(
          c.json
            ? JSON.stringify({ added: { ...who, ...(made ? { password } : {}) } })
            : `${word} can register now${made ? ` with the password ${password}` : ''}.`,
        );
      return done;
    }
    case 'remove': {
      const who = address(word);
      if (who === undefined) return usage(c);
      const gone = await remove(c, who);
      if (!gone) c.complain(`There is no subscriber ${word}.`);
      else
        c.print(
          c.json
            ? JSON.stringify({ removed: word })
            : `${word} can't register any more; a registration that stands ends when it expires.`,
        );
      return gone ? 0 : 1;
    }
    case 'import': {
      if (word === undefined) return usage(c);
      return importFile(c, word);
    }
    default:
      return usage(c);
  }
};

function usage(c: CommandContext): number {
  c.complain(USAGE);
  return 2;
}

function address(word: string | undefined): { user: string; domain: string } | undefined {
  const at = word?.lastIndexOf('@') ?? -1;
  if (word === undefined || at < 1 || at === word.length - 1) return undefined;
  return { user: word.slice(0, at), domain: word.slice(at + 1) };
}

interface Listed {
  readonly user: string;
  readonly domain: string;
  readonly algorithms: readonly string[];
}

async function list(c: CommandContext): Promise<number> {
  const all = await either(
    c,
    api => api.get<readonly Listed[]>('/subscribers'),
    async known =>
      known.list().map((s): Listed => ({ user: s.user, domain: s.domain, algorithms: Object.keys(s.credentials.ha1) })),
  );
  if (c.json) c.print(JSON.stringify(all));
  else if (all.length === 0) c.print('No subscribers. Add one: drawbridge subscribers add USER@DOMAIN');
  else
    c.print(
      table(
        ['SUBSCRIBER', 'DIGESTS'],
        all.map(s => [`${s.user}@${s.domain}`, s.algorithms.join(' ')]),
      ),
    );
  return 0;
}

async function add(c: CommandContext, all: readonly NewSubscriber[]): Promise<number> {
  const problems = all.map(s => problem(c, s)).filter(p => p !== undefined);
  if (problems.length > 0) {
    for (const p of problems.slice(0, 20)) c.complain(p);
    return 1;
  }
  await either(
    c,
    async api => {
      for (let at = 0; at < all.length; at += AT_ONCE) await api.post('/subscribers', all.slice(at, at + AT_ONCE));
    },
    async (_known, write) =>
      write(
        all.map(s =>
          subscriberWrite(s.user, s.domain, s.password === undefined ? { ha1: s.ha1 ?? {} } : { password: s.password }),
        ),
      ),
  );
  return 0;
}

/** What the running border would say too, so that both ways refuse the same. */
function problem(c: CommandContext, s: NewSubscriber): string | undefined {
  const fault = subscriberProblem(s);
  if (fault !== undefined || c.config.domains === undefined) return fault;
  const domain = Object.entries(c.config.domains).find(([name]) => name.toLowerCase() === s.domain.toLowerCase())?.[1];
  if (domain === undefined) return `${s.domain} is none of the configured domains (${c.source})`;
  return domain.kind === 'local'
    ? undefined
    : `${s.domain} is an upstream domain: its own service keeps its subscribers`;
}

function remove(c: CommandContext, who: { user: string; domain: string }): Promise<boolean> {
  return either(
    c,
    async api => {
      const all = await api.get<readonly Listed[]>('/subscribers');
      if (!all.some(s => s.user === who.user && s.domain === who.domain.toLowerCase())) return false;
      await api.delete(`/subscribers/${encodeURIComponent(who.domain)}/${encodeURIComponent(who.user)}`);
      return true;
    },
    async (known, write) => {
      if (known.get(who.user, who.domain.toLowerCase()) === undefined) return false;
      await write([{ key: subscriberKey(who.user, who.domain), value: null }]);
      return true;
    },
  );
}

async function importFile(c: CommandContext, path: string): Promise<number> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    c.complain(`${path} can't be read: ${error instanceof Error ? error.message : String(error)}`);
    return 1;
  }
  const parsed = parseSubscribers(text);
  if (parsed.problems.length > 0) {
    for (const p of parsed.problems.slice(0, 20)) c.complain(`${path}: ${p}`);
    c.complain('Nothing was imported.');
    return 1;
  }
  const done = await add(c, parsed.subscribers);
  if (done === 0)
    c.print(
      c.json
        ? JSON.stringify({ imported: parsed.subscribers.length })
        : `${parsed.subscribers.length} subscribers imported.`,
    );
  return done;
}

/** The running border first: it has the store open and hears of changes at once. */
async function either<T>(
  c: CommandContext,
  running: (api: AdminClient) => Promise<T>,
  stored: (known: Subscribers, write: (batch: readonly StoreWrite[]) => Promise<void>) => Promise<T>,
): Promise<T> {
  try {
    return await running(new AdminClient(c.config.admin));
  } catch (error) {
    if (!(error instanceof NotRunning)) throw error;
    if (c.config.store.kind === 'memory')
      throw new StoreError('failed', `${error.message} With store.kind: memory there is nothing to change without it.`);
  }
  const store = await openLmdbStore(c.config.store.path);
  try {
    if (store.opened.recovered !== undefined) c.complain(store.opened.recovered);
    const known = new Subscribers();
    for await (const r of store.load(SUBSCRIBER_PREFIX)) known.apply(r.key, r.value);
    return await stored(known, batch => store.write(batch));
  } finally {
    await store.close();
  }
}
