import { mkdir, open, readdir, readFile, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { BrinkError, ConfigurationSchema } from '@brink/protocol';
import { z } from 'zod';

/** A configuration that was active once, with the files it was made of. */
export const StoredRevisionSchema = z.strictObject({
  revision: z.string().regex(/^[0-9a-f]{12}$/),
  activated_at: z.iso.datetime(),
  configuration: ConfigurationSchema,
  files: z.array(z.strictObject({ name: z.string(), text: z.string() })),
});
export type StoredRevision = z.infer<typeof StoredRevisionSchema>;

const REVISIONS_MAX = 100;

/** Revisions as files: readable before the ledger is open, and by people. `active.json` is the last known good one. */
export function createRevisions(dir: string) {
  const folder = join(dir, 'revisions');
  const pathOf = (revision: string) => join(folder, `${revision}.json`);
  const active = join(dir, 'active.json');

  async function read(path: string): Promise<StoredRevision | undefined> {
    const text = await readFile(path, 'utf8').catch(() => undefined);
    if (text === undefined) return undefined;
    try {
      // What an older version of Brink stored may not be valid any more: then it is no longer known to be good.
      return StoredRevisionSchema.parse(JSON.parse(text));
    } catch {
      return undefined;
    }
  }

  async function list(): Promise<StoredRevision[]> {
    const names = await readdir(folder).catch(() => []);
    const all = await Promise.all(
      names.filter((name) => name.endsWith('.json')).map((name) => read(join(folder, name))),
    );
    return all
      .filter((item) => item !== undefined)
      .sort((a, b) => (a.activated_at < b.activated_at ? 1 : a.activated_at > b.activated_at ? -1 : 0));
  }

  return {
    lastKnownGood: () => read(active),
    get: (revision: string) => (/^[0-9a-f]{12}$/.test(revision) ? read(pathOf(revision)) : Promise.resolve(undefined)),
    /** Newest first. */
    list,
    /** @throws BrinkError E_STORAGE_FULL or E_STORAGE_READONLY */
    async store(item: StoredRevision): Promise<void> {
      const text = `${JSON.stringify(item, undefined, 1)}\n`;
      try {
        await mkdir(folder, { recursive: true });
        await writeDurably(pathOf(item.revision), text);
        await writeDurably(active, text);
        for (const old of (await list()).slice(REVISIONS_MAX)) await unlink(pathOf(old.revision));
      } catch (cause) {
        const full = (cause as NodeJS.ErrnoException).code === 'ENOSPC';
        const code = full ? 'E_STORAGE_FULL' : 'E_STORAGE_READONLY';
        throw new BrinkError(code, `the configuration cannot be stored in ${dir}`, { cause });
      }
    },
  };
}

export type Revisions = ReturnType<typeof createRevisions>;

/** The old file or the new one, whole, whatever happens meanwhile. */
async function writeDurably(path: string, text: string): Promise<void> {
  const temporary = `${path}.new`;
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}
