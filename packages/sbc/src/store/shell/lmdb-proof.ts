import { open } from 'lmdb';

// Reads a store to the last record, in a process of its own: a damaged map ends that process, not the border.
// Exit 0: sound. 1 or a signal: damaged. 3: it can't be opened here, which moving it aside wouldn't change.
const path = process.argv[2] ?? '';
const CANNOT: ReadonlySet<unknown> = new Set(['EACCES', 'EPERM', 'EROFS', 'ENOSPC', 13, 1, 30, 28]);
try {
  const db = open<string, string | number | (string | number)[]>({
    path,
    noSubdir: true,
    encoding: 'string',
    useVersions: true,
    maxDbs: 1,
  });
  const { entryCount } = db.getStats() as { readonly entryCount: number };
  let read = 0;
  for (const { value } of db.getRange({})) {
    JSON.parse(value);
    read++;
  }
  // A page of noise may pass for an empty one.
  if (read !== entryCount) throw new Error(`${read} of ${entryCount} records can be read`);
  await db.close();
} catch (error) {
  const { code, message } = error as { code?: unknown; message?: string };
  process.stderr.write(`${CANNOT.has(code) ? `${String(code)} ` : ''}${message ?? String(error)}\n`);
  process.exit(CANNOT.has(code) ? 3 : 1);
}
