import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openStore } from './store.ts';

const FIRST = 'CREATE TABLE cat (name TEXT)';
const SECOND = 'ALTER TABLE cat ADD COLUMN age INTEGER';
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'brink-store-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function openWith(migrations: string[]): Promise<{ version: unknown; cats: unknown[] }> {
  const store = await openStore(folder, migrations);
  const version = store.sql('PRAGMA user_version').get()?.user_version;
  const cats = store.sql('SELECT * FROM cat').all();
  store.close();
  return { version, cats };
}

describe('a migration', () => {
  it('copies the store before it changes it', async () => {
    const store = await openStore(folder, [FIRST]);
    store.db.exec("INSERT INTO cat VALUES ('Chelsea')");
    store.close();
    expect(await openWith([FIRST, SECOND])).toEqual({ version: 2, cats: [{ name: 'Chelsea', age: null }] });
    const copy = new DatabaseSync(join(folder, 'ledger.db.v1'), { readOnly: true });
    expect(copy.prepare('SELECT * FROM cat').all()).toEqual([{ name: 'Chelsea' }]);
    copy.close();
  });

  it('that fails leaves the store as it was', async () => {
    await openWith([FIRST]);
    await expect(openStore(folder, [FIRST, `${SECOND}; CREATE TABLE cat (again TEXT)`])).rejects.toThrow(
      'already exists',
    );
    expect((await openWith([FIRST])).version).toBe(1);
  });

  it('of a new store copies nothing: there is nothing yet', async () => {
    await openWith([FIRST, SECOND]);
    expect((await readdir(folder)).filter((name) => name.includes('.v'))).toEqual([]);
  });

  it('is not made twice', async () => {
    await openWith([FIRST]);
    await openWith([FIRST, SECOND]);
    await openWith([FIRST, SECOND]);
    expect((await readdir(folder)).filter((name) => name.endsWith('.v1'))).toEqual(['ledger.db.v1']);
  });
});
